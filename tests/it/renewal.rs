//! Which token of an expired session is renewed, and what is said where none is.

use clerk_gate::core::instance::Continuity;
use clerk_gate::core::policy::{PathReading, Policy};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, Method};
use serde_json::json;

use crate::support::pure::{self, Oracle, SIGNER, START_MS, Scene};

/// Everything needs a session.
fn scene() -> Scene {
    Scene::with(Policy::compile(Vec::new(), PathReading::Leniently).unwrap())
}

/// What a GET with an expired bearer token, a refresh cookie and this session cookie leads to.
fn renewal_beside(session: &str) -> String {
    let mut scene = scene();
    scene.instance.continuity = Continuity::Faithful;
    let expired = json!({ "exp": START_MS / 1000 - 60 });
    let bearer = SIGNER.token(&scene.instance, &expired);
    let suffix = scene.instance.key.cookie_suffix();
    let cookies = format!("__session={session}; __client_uat=1; __refresh_{suffix}=r");
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {bearer}").parse().unwrap());
    headers.insert(COOKIE, cookies.parse().unwrap());
    let target = "/".parse().unwrap();
    scene.with_facts(&Method::GET, &target, headers, |inputs| {
        let verdict = pure::judge(inputs, &Oracle::keys_only()).unwrap();
        assert!(!pure::is_forwarded(&verdict), "{verdict:?}");
        verdict.cause.unwrap().to_string()
    })
}

#[test]
fn the_cookie_s_token_is_renewed_though_the_header_s_has_expired() {
    assert_eq!(
        renewal_beside("a.b.c"),
        "session-token-expired-refresh-expired-session-token-decode-failed"
    );
    let scene = scene();
    let nameless = SIGNER.token(&scene.instance, &json!({ "sid": null }));
    assert_eq!(
        renewal_beside(&nameless),
        "session-token-expired-refresh-expired-session-token-missing-sid-claim"
    );
    // Asked for, and Clerk could not be reached.
    let good = SIGNER.token(&scene.instance, &json!({}));
    assert_eq!(
        renewal_beside(&good),
        "session-token-expired-refresh-fetch-error"
    );
}
