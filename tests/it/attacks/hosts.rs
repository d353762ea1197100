//! Hosts and forms of the target: a rule for a host holds however the host is written.

use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::HostPattern;
use clerk_gate::core::requirement::Requirement;

use super::{Case, assert_none, replace, table};
use crate::support::{World, raw, route, usual_routes};

/// A gate for several hosts, one of which is for admins alone.
async fn world() -> World {
    let mut admin = usual_routes().remove(1);
    admin.paths = route("any", &["/**"], Requirement::Public).paths;
    admin.hosts = vec![HostPattern::Exact("admin.example.com".to_owned())];
    let rest = route("rest", &["/**"], Requirement::Public);
    World::with(vec![admin, rest])
        .configure(|config| {
            config.edge.public =
                PublicAddress::Fixed(Origin::parse("https://app.example.com").unwrap());
            config.edge.hosts = vec![HostPattern::Below("example.com".to_owned())];
        })
        .start()
        .await
}

/// What is wrong with how the gate takes a case, if anything is.
async fn fault(world: &World, case: &Case, people: &[String; 3]) -> Option<String> {
    let (kind, host) = case
        .expected
        .split_once(' ')
        .unwrap_or((&case.expected, ""));
    for (person, judged) in people.iter().zip([401, 403, 200]) {
        let head = format!(" HTTP/1.1\r\n{person}connection: close\r\n");
        let mut request = b"GET ".to_vec();
        let at = case
            .input
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .unwrap();
        request.extend_from_slice(&case.input[..at]);
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(&case.input[at + 2..]);
        request.extend_from_slice(b"\r\n\r\n");
        let answer = raw(world.gate, &request).await;
        let received = world.upstream.take_received();
        let wanted = match kind {
            "judged" => judged,
            "open" => 200,
            status => status.parse().unwrap_or_default(),
        };
        let told = received.first().map(|request| {
            let name = request.header("x-forwarded-host").unwrap_or_default();
            let host = request.header("host").unwrap_or_default();
            // The rule was for the host that the upstream is told.
            assert_eq!(host.split(':').next(), Some(&*name), "{}", case.line);
            host
        });
        let right = if wanted == 200 {
            told.as_deref() == Some(host)
        } else {
            told.is_none()
        };
        if answer.status.as_u16() != wanted || !right {
            return Some(case.fault(format!("{} {told:?}", answer.status)));
        }
    }
    None
}

#[tokio::test]
async fn no_spelling_of_a_host_gets_past_its_rule() {
    let world = world().await;
    let bearer = |person: &str| {
        let token = world.clerk.sign_in(person, None).token;
        format!("authorization: Bearer {token}\r\n")
    };
    let people = [String::new(), bearer("mel"), bearer("ada")];
    let mut faults = Vec::new();
    for case in table("hosts.txt", 130) {
        faults.extend(fault(&world, &case, &people).await);
    }
    assert_none(&faults);
}

/// A name that must resolve to this machine is no reason to answer for it.
#[tokio::test]
async fn a_gate_for_this_machine_answers_for_no_other_name() {
    let world = World::start().await;
    for host in [
        "app.example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "128.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "2130706433",
        "127.1",
        "0x7f.1",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[fe80::1]",
        "localhostx",
        "xlocalhost",
    ] {
        let request = replace(
            b"GET /public/x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n",
            b"{host}",
            host.as_bytes(),
        );
        assert_eq!(raw(world.gate, &request).await.status, 421, "{host}");
    }
    world.upstream.assert_untouched();
}
