//! Spellings of `/admin`: whatever some server takes for it needs what `/admin` needs.

use clerk_gate::core::path::CanonicalPath;
use clerk_gate::core::policy::CredentialUse;
use clerk_gate::core::requirement::Requirement;

use super::{Case, assert_none, table};
use crate::support::upstream::Received;
use crate::support::{Answer, World, raw, route, usual_routes};

/// The statuses of somebody without credentials, of a member, and of an admin who gets through.
const JUDGED: [u16; 3] = [401, 403, 200];

/// Sends a target as it is written.
async fn send(world: &World, target: &[u8], lines: &str) -> (Answer, Vec<Received>) {
    let port = world.gate.port();
    let mut request = b"GET ".to_vec();
    request.extend_from_slice(target);
    request.extend_from_slice(
        format!(" HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n{lines}\r\n")
            .as_bytes(),
    );
    let answer = raw(world.gate, &request).await;
    (answer, world.upstream.take_received())
}

/// What is wrong with how the gate takes a case, if anything is.
async fn fault(world: &World, case: &Case, people: &[String; 3]) -> Option<String> {
    let target = case.at(world);
    let refused = case.expected.parse::<u16>().ok();
    for (person, judged) in people.iter().zip(JUDGED) {
        let (answer, received) = send(world, &target, person).await;
        let wanted = refused.unwrap_or(judged);
        let through = usize::from(wanted == 200);
        if answer.status.as_u16() != wanted || received.len() != through {
            let seen: Vec<_> = received.iter().map(|request| &request.target).collect();
            return Some(case.fault(format!("{} {seen:?}", answer.status)));
        }
        if let Some(request) = received.first() {
            let port = world.gate.port().to_string();
            let seen = request.target.replace(&port, "{port}");
            let seen = seen.replace("localhost:{port}", "{host}");
            let path = request.target.split('?').next().unwrap_or_default();
            let again = CanonicalPath::parse(path).map(|path| path.to_string());
            if seen != case.expected || again.as_deref() != Ok(path) {
                return Some(case.fault(format!("the upstream sees {seen}")));
            }
        }
    }
    None
}

async fn walk(world: &World) -> Vec<String> {
    let bearer = |person: &str| {
        let token = world.clerk.sign_in(person, None).token;
        format!("authorization: Bearer {token}\r\n")
    };
    let people = [String::new(), bearer("mel"), bearer("ada")];
    let mut faults = Vec::new();
    for case in table("paths.txt", 500) {
        faults.extend(fault(world, &case, &people).await);
    }
    faults
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_past_its_rule() {
    let world = World::start().await;
    assert_none(&walk(&world).await);
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_past_its_rule_where_all_else_is_open() {
    let mut routes = usual_routes();
    let mut rest = route("rest", &["/**"], Requirement::Public);
    rest.credentials = CredentialUse::Ignore;
    routes[0].credentials = CredentialUse::Ignore;
    routes.push(rest);
    let world = World::with(routes).start().await;
    assert_none(&walk(&world).await);
}

/// The rule must not cost people who mean what they write.
#[tokio::test]
async fn paths_that_only_look_alike_are_left_alone() {
    let world = World::start().await;
    let mut faults = Vec::new();
    for case in table("paths_harmless.txt", 40) {
        let (answer, received) = send(&world, &case.at(&world), "").await;
        let seen: Vec<_> = received.iter().map(|request| &*request.target).collect();
        if answer.status != 200 || seen != [&*case.expected] {
            faults.push(case.fault(format!("{} {seen:?}", answer.status)));
        }
    }
    assert_none(&faults);
}
