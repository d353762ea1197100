//! Every spelling of a host that is tried at the proxy, told by a gateway.

use clerk_gate::core::door::Dialect;
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::HostPattern;
use clerk_gate::core::requirement::Requirement;

use super::asked;
use crate::attacks::{assert_none, table};
use crate::support::{World, route, usual_routes};

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
            let is = asked(&world, dialect, (b"/", host), person).await;
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
