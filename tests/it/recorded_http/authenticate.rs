//! `authenticateRequest`: a row is signed-in (forwarded), signed-out (refused), or on its way to
//! Clerk and back (redirected).
//!
//! Every route asks for the tokens of the row and answers whoever has none with a 401, so that the
//! recorded reason shows in the answer.

use clerk_gate::clock::ManualClock;
use clerk_gate::core::identity_headers::IDENTITY_HEADERS;
use clerk_gate::core::policy::OnSignedOut;
use clerk_gate::core::requirement::Requirement;

use super::*;
use crate::support::route;

/// Rows that are replayed by state, and those that come out differently, each under a rule of the
/// deviations.
const REPLAYED: [(&str, usize); 4] = [
    ("handshake", 264),
    ("signed-in", 304),
    ("signed-out", 488),
    ("threw", 22),
];
const DEVIATING: usize = 71;

/// Rows that are left out, by family, with the reason: what they vary is where the application is,
/// which a gate is told once and for all.
const LEFT_OUT: [(&str, usize, &str); 1] = [(
    "ur",
    75,
    "each has another idea of where the application is; a gate is told that by `public-url`",
)];

pub(super) fn gate_route(row: &Value) -> Route {
    let requirement = match rows::token_types(&row["options"]["acceptsToken"]) {
        None => Requirement::SignedIn,
        Some(types) => Requirement::Token(types),
    };
    let mut route = route("everything", &["/**"], requirement);
    route.on_signed_out = OnSignedOut::Unauthorized;
    route
}

/// How the gate differs from what was recorded.
pub(super) fn difference(row: &Value, answer: &Answer, received: &[Received]) -> Option<String> {
    let expect = &row["expect"];
    let mut found = Differences::default();
    let cookies = rows::strings(&expect["setCookie"]).unwrap_or_default();
    found.compare("set-cookie", cookies, answer.all("set-cookie"));
    if let Some(location) = text(&expect["headers"]["location"]) {
        // A result that is consumed in development is cleaned off the address, whatever it was.
        found.compare("status", 307, answer.status.as_u16());
        found.compare("location", Some(&*location), answer.header("location"));
        let kept = expect["headers"]["cache-control"].as_str();
        found.compare("cache-control", kept, answer.header("cache-control"));
        let reason = expect["reason"].as_str();
        found.compare("reason", reason, answer.header("x-clerk-auth-reason"));
        found.compare("forwarded", 0, received.len());
        return found.told();
    }
    match expect["status"].as_str().unwrap() {
        "signed-in" => signed_in(row, answer, received, &mut found),
        "threw" => {
            // No rule may let anybody in whom the SDK cannot judge.
            found.compare("forwarded", 0, received.len());
            found.compare("status", 400, answer.status.as_u16());
            found.compare(
                "reason",
                Some("handshake-invalid"),
                answer.header("x-clerk-auth-reason"),
            );
        }
        _ => signed_out(row, answer, received, &mut found),
    }
    found.told()
}

/// Forwarded once, with the identity of the recorded auth object and no other.
fn signed_in(row: &Value, answer: &Answer, received: &[Received], found: &mut Differences) {
    let [received] = received else {
        found.compare("forwarded", 1, received.len());
        found.compare("answer", String::new(), format!("{answer:?}"));
        return;
    };
    let expect = &row["expect"];
    // A pending session counts as signed in here, as it does in the state that was recorded.
    let auth = match &expect["authIfPendingAllowed"] {
        Value::Null => &expect["auth"],
        allowed => allowed,
    };
    let list = |name: &str, between: &str| {
        let list = rows::strings(&auth[name]).filter(|list| !list.is_empty());
        list.map(|list| list.join(between))
    };
    for header in &IDENTITY_HEADERS {
        let wanted = match header.as_str() {
            "x-user-id" => text(&auth["userId"]),
            "x-session-id" => text(&auth["sessionId"]),
            "x-org-id" => text(&auth["orgId"]),
            "x-org-slug" => text(&auth["orgSlug"]),
            "x-org-role" => text(&auth["orgRole"]),
            "x-org-permissions" => list("orgPermissions", ","),
            // The SDK keeps to itself who acts by a machine's token.
            "x-actor-id" if expect["tokenType"] != "session_token" => continue,
            "x-actor-id" => text(&auth["actor"]["sub"]),
            "x-token-type" => text(&expect["tokenType"]),
            "x-token-subject" => text(&auth["subject"]),
            "x-token-scopes" => list("scopes", " "),
            "x-client-id" => text(&auth["clientId"]),
            other => panic!("{other} has no place here"),
        };
        found.compare(header.as_str(), wanted, received.header(header.as_str()));
    }
}

/// Refused with the recorded reason, and not forwarded.
fn signed_out(row: &Value, answer: &Answer, received: &[Received], found: &mut Differences) {
    let reason = row["expect"]["reason"].as_str().unwrap();
    found.compare("forwarded", 0, received.len());
    // Without any key nobody can be told to sign in: that is our trouble (design, section 8, A3).
    let status = match reason {
        "jwk-remote-failed-to-load" | "secret-key-invalid" => 503,
        _ => 401,
    };
    found.compare("status", status, answer.status.as_u16());
    found.compare("reason", Some(reason), answer.header("x-clerk-auth-reason"));
    let json = answer.header("content-type") == Some("application/json");
    let head = row["request"]["method"] == "HEAD";
    if json && !head {
        let code = reason.split("-refresh-").next().unwrap();
        found.compare("code", code, &answer.code());
    }
}

#[tokio::test]
async fn what_the_sdk_says_of_a_request_the_gate_does_over_http() {
    let table = rows::authenticate();
    let mut replay = Replay::new(ManualClock::at(table.now_ms), PendingSessions::SignedIn).await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
    let mut replayed = BTreeSet::new();
    let mut differing = BTreeMap::new();
    let mut beyond = Vec::new();
    for row in &table.cases {
        let id = row["id"].as_str().unwrap();
        let family = id.split('.').next().unwrap();
        if LEFT_OUT.iter().any(|(name, _, _)| *name == family) {
            *left_out.entry(family).or_default() += 1;
            continue;
        }
        let status = row["expect"]["status"].as_str().unwrap();
        *counts.entry(status).or_default() += 1;
        replayed.insert(id);
        let Some((answer, received)) = replay.send(row, &gate_route(row)).await else {
            differing.insert(id, "the gate does not start".to_owned());
            continue;
        };
        if !received.is_empty() && status != "signed-in" {
            beyond.push(id);
        }
        if let Some(difference) = difference(row, &answer, &received) {
            differing.insert(id, difference);
        }
    }
    replay.stop.cancel();
    println!(
        "authenticate.json over HTTP: replayed {}, equal {}, deviating by decision {}, left out {}, with {} gates",
        replayed.len(),
        replayed.len() - differing.len(),
        differing.len(),
        table.cases.len() - replayed.len(),
        replay.gates.len(),
    );
    assert_as_written(&replayed, &differing);
    for (family, rows, _) in LEFT_OUT {
        assert_eq!(left_out[family], rows, "{family}");
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), REPLAYED);
    assert_eq!(differing.len(), DEVIATING);
    // A failing nonce leaves a valid session alone (D2); a PEM key needs no secret key (D3).
    assert_eq!(
        beyond,
        [
            "hs.dev.nonce-404-session",
            "hs.prod.nonce-404-session",
            "cf.no-sk-jwtkey"
        ]
    );
}
