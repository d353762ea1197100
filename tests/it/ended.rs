//! Sessions that are over although their tokens still hold.

use clerk_gate::core::decide::{Decision, Standing, Verdict};
use clerk_gate::core::policy::{PathReading, Policy};
use clerk_gate::core::question::TokenStanding;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE};
use http::{HeaderMap, Method};
use serde_json::json;

use crate::support::pure::{self, Oracle, SIGNER, START_MS, Scene};

/// What a request of somebody with a token of this standing comes to, where a session is needed.
fn judged(standing: TokenStanding, change: impl FnOnce(&mut HeaderMap, &str)) -> Verdict {
    let scene = Scene::with(Policy::compile(Vec::new(), PathReading::Leniently).unwrap());
    let token = SIGNER.token(&scene.instance, &json!({}));
    let mut headers = HeaderMap::new();
    change(&mut headers, &token);
    let oracle = Oracle {
        standing,
        ..Oracle::keys_only()
    };
    let target = "/".parse().unwrap();
    let judge =
        |inputs: clerk_gate::core::decide::Inputs<'_, '_>| Some(pure::judge(inputs, &oracle));
    let verdict = scene.with_facts(&Method::GET, &target, headers, judge);
    verdict.unwrap().unwrap()
}

fn by_cookie(headers: &mut HeaderMap, token: &str) {
    let cookies = format!("__session={token}; __client_uat={}", START_MS / 1000 - 60);
    headers.insert(COOKIE, cookies.parse().unwrap());
}

fn by_page_load(headers: &mut HeaderMap, token: &str) {
    by_cookie(headers, token);
    headers.insert(ACCEPT, "text/html".parse().unwrap());
}

fn by_bearer(headers: &mut HeaderMap, token: &str) {
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers.insert(ACCEPT, "text/html".parse().unwrap());
}

fn reason(verdict: &Verdict) -> String {
    verdict.cause.as_ref().unwrap().to_string()
}

const OVER: [(TokenStanding, &str); 2] = [
    (TokenStanding::Revoked, "session-revoked"),
    (TokenStanding::Outdated, "session-token-outdated"),
];

#[test]
fn a_token_whose_session_is_over_lets_nobody_in() {
    for way in [by_cookie, by_page_load, by_bearer] {
        assert!(pure::is_forwarded(&judged(TokenStanding::Stands, way)));
        for (standing, code) in OVER {
            let verdict = judged(standing, way);
            assert!(!pure::is_forwarded(&verdict), "{verdict:?}");
            assert_eq!(reason(&verdict), code);
        }
    }
}

#[test]
fn a_page_load_asks_clerk_what_has_become_of_the_session() {
    for (standing, code) in OVER {
        let verdict = judged(standing, by_page_load);
        assert_eq!(verdict.standing, Standing::Handshake);
        let Decision::Redirect(redirect) = &verdict.decision else {
            panic!("{verdict:?}");
        };
        let asks = format!(
            "/v1/client/handshake?redirect_url=https%3A%2F%2Fapp.example.com%2F%3F__clerk_gate_state%3D0123456789abcdef&__clerk_api_version=2026-05-12&suffixed_cookies=false&__clerk_hs_reason={code}&"
        );
        assert!(redirect.location.contains(&asks), "{}", redirect.location);
    }
}

#[test]
fn a_bearer_of_an_ended_session_is_never_sent_to_clerk() {
    for (standing, _) in OVER {
        let verdict = judged(standing, by_bearer);
        assert_eq!(verdict.standing, Standing::SignedOut);
    }
}
