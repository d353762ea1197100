//! `auth.protect()`: a route with `hide = true` for each recorded handler.

use clerk_gate::clock::ManualClock;
use http::StatusCode;

use super::*;
use crate::recorded::handler;

/// Rows that are replayed, and those that come out differently, each under a rule of the deviations.
const REPLAYED: usize = 476;
const DEVIATING: usize = 142;

/// Rows that are left out: a handler calls these helpers for itself, whoever asks, and no route does.
pub(super) const LEFT_OUT: [(&str, usize); 2] =
    [("redirectToSignIn", 38), ("redirectToSignUp", 11)];

/// What the client gets, in the words of the table.
fn kind(answer: &Answer, received: &[Received]) -> &'static str {
    match (answer.status, received) {
        (StatusCode::OK, [_]) => "pass",
        (_, [_, ..]) => "forwarded, but not answered with what came back",
        (StatusCode::TEMPORARY_REDIRECT, []) => "redirect",
        (StatusCode::UNAUTHORIZED, []) => "unauthorized",
        (StatusCode::NOT_FOUND, []) => "not-found",
        // The SDK throws over a result that it cannot trust, which is an error 500.
        (StatusCode::BAD_REQUEST, [])
            if answer.header("x-clerk-auth-reason") == Some("handshake-invalid") =>
        {
            "threw"
        }
        _ => "refused",
    }
}

pub(super) fn difference(row: &Value, answer: &Answer, received: &[Received]) -> Option<String> {
    let expect = &row["expect"];
    let mut found = Differences::default();
    let kind = kind(answer, received);
    found.compare("kind", expect["kind"].as_str().unwrap(), kind);
    if expect["kind"] != "threw" {
        let location = expect["location"].as_str();
        found.compare("location", location, answer.header("location"));
        let cookies = rows::strings(&expect["setCookie"]).unwrap_or_default();
        found.compare("set-cookie", cookies, answer.all("set-cookie"));
    }
    // What the SDK says of the session, the gate says too, but for what is hidden.
    let said = expect["headers"]["x-clerk-auth-reason"].as_str();
    let said = said.map(|reason| reason.trim_start_matches("protect-rewrite, "));
    if let Some(reason) = said.filter(|reason| *reason != "protect-rewrite" && kind != "not-found")
    {
        found.compare("reason", Some(reason), answer.header("x-clerk-auth-reason"));
    }
    if let Some(challenge) = expect["headers"].get("www-authenticate") {
        found.compare(
            "www-authenticate",
            challenge.as_str(),
            answer.header("www-authenticate"),
        );
    }
    found.told()
}

#[tokio::test]
async fn what_protect_gives_a_client_the_gate_gives_over_http() {
    let table = rows::table("protect");
    let now_ms = table["now"].as_u64().unwrap() * 1000;
    let cases = table["cases"].as_array().unwrap();
    let mut replay = Replay::new(ManualClock::at(now_ms), PendingSessions::SignedOut).await;
    let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
    let mut replayed = BTreeSet::new();
    let mut differing = BTreeMap::new();
    let mut beyond = Vec::new();
    for row in cases {
        let id = row["id"].as_str().unwrap();
        let does = row["policy"]["do"].as_str().unwrap();
        if LEFT_OUT.iter().any(|(name, _)| *name == does) {
            *left_out.entry(does).or_default() += 1;
            continue;
        }
        replayed.insert(id);
        let Some(route) = handler(&row["policy"]) else {
            differing.insert(id, "there is no such route".to_owned());
            continue;
        };
        let Some((answer, received)) = replay.send(row, &route).await else {
            differing.insert(id, "the gate does not start".to_owned());
            continue;
        };
        if !received.is_empty() && row["expect"]["kind"] != "pass" {
            beyond.push(id);
        }
        if let Some(difference) = difference(row, &answer, &received) {
            differing.insert(id, difference);
        }
    }
    replay.stop.cancel();
    println!(
        "protect.json over HTTP: replayed {}, equal {}, deviating by decision {}, left out {}, with {} gates",
        replayed.len(),
        replayed.len() - differing.len(),
        differing.len(),
        cases.len() - replayed.len(),
        replay.gates.len(),
    );
    assert_as_written(&replayed, &differing);
    assert_eq!(left_out.into_iter().collect::<Vec<_>>(), LEFT_OUT);
    assert_eq!((replayed.len(), differing.len()), (REPLAYED, DEVIATING));
    assert!(beyond.is_empty(), "{beyond:?}");
}
