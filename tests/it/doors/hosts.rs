//! Every spelling of a host that is tried at the proxy, told by a gateway.

use clerk_gate::core::door::Dialect;
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::HostPattern;
use clerk_gate::core::requirement::Requirement;

use super::{said, status};
use crate::attacks::{assert_none, table};
use crate::support::{World, raw, route, usual_routes};

/// Doors for several hosts, one of which is for admins alone.
async fn world() -> World {
    let mut admin = usual_routes().remove(1);
    admin.paths = route("any", &["/**"], Requirement::Public).paths;
    admin.hosts = vec![HostPattern::Exact("admin.example.com".to_owned())];
    World::with(vec![admin, route("rest", &["/**"], Requirement::Public)])
        .configure(|config| {
            config.edge.public =
                PublicAddress::Fixed(Origin::parse("https://app.example.com").unwrap());
            config.edge.hosts = vec![HostPattern::Below("example.com".to_owned())];
        })
        .with_doors()
        .start()
        .await
}

/// The status that somebody gets who asks for this host.
async fn asked(world: &World, dialect: Dialect, host: &[u8], person: &str) -> u16 {
    let mut bytes = match dialect {
        Dialect::Envoy => b"GET /auth/envoy/ HTTP/1.1\r\n".to_vec(),
        _ => format!("GET {} HTTP/1.1\r\nhost: door\r\n", dialect.path()).into_bytes(),
    };
    for (name, value) in said(dialect, "GET", "/", "{host}") {
        bytes.extend_from_slice(format!("{name}: ").as_bytes());
        if value == "{host}" {
            bytes.extend_from_slice(host);
        } else {
            bytes.extend_from_slice(value.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("connection: close\r\n{person}\r\n").as_bytes());
    let answer = raw(world.doors.unwrap(), &bytes).await;
    match answer.header("x-clerk-gate-status") {
        Some(_) => status(dialect, &answer),
        None => answer.status.as_u16(),
    }
}

#[tokio::test]
async fn a_host_is_judged_at_a_door_however_it_is_written() {
    let world = world().await;
    let bearer = |person: &str| {
        let token = world.clerk.sign_in(person, None).token;
        format!("authorization: Bearer {token}\r\n")
    };
    let people = [
        (String::new(), 401),
        (bearer("mel"), 403),
        (bearer("ada"), 200),
    ];
    let mut faults = Vec::new();
    let mut count = 0;
    for (number, case) in table("hosts.txt", 130).into_iter().enumerate() {
        // A gateway tells one host; what else there is to try is a matter between it and the client.
        let Some(host) = case.input.strip_prefix(b"/\r\nHost: ") else {
            continue;
        };
        if host.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            continue;
        }
        let kind = case.expected.split(' ').next().unwrap_or_default();
        let dialect = Dialect::ALL[number % Dialect::ALL.len()];
        for (person, judged) in &people {
            let wanted = match kind {
                "judged" => *judged,
                "open" => 200,
                status => status.parse().unwrap(),
            };
            let is = asked(&world, dialect, host, person).await;
            if is != wanted {
                faults.push(case.fault(format!("{dialect:?}: {is} and not {wanted}")));
            }
        }
        count += 1;
    }
    world.upstream.assert_untouched();
    assert_none(&faults);
    assert!(count >= 60, "{count} hosts");
}
