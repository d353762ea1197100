//! Who somebody is, as a page is told.

use serde_json::json;

use super::{assert_kept_close, json};
use crate::support::{START_MS, World, cookies, usual_routes};

#[tokio::test]
async fn a_page_is_told_who_is_signed_in_and_how_fresh_that_is() {
    let world = World::with(usual_routes())
        .configure(|config| {
            let paths = [
                &["email"][..],
                &["metadata", "tier"],
                &["not_there"],
                &["https://x.example/a.b"],
            ];
            let owned = |path: &&[&str]| path.iter().map(|name| (*name).to_owned()).collect();
            config.policy = config
                .policy
                .clone()
                .telling(paths.iter().map(owned).collect());
        })
        .start()
        .await;
    let mut ada = world.clerk.sign_in("ada", None);
    ada.token = world.clerk.mint(
        &ada.session_id,
        &json!({
            "fva": [5, -1],
            "email": "ada@example.com",
            "metadata": { "tier": "gold", "secret": "hidden" },
            "https://x.example/a.b": [1, "<b>"],
        }),
    );
    let answer = world.get("/_gate/me").cookie(&cookies(&ada)).send().await;
    assert_kept_close(&answer);
    let mut body = json(&answer);
    let organization = body["organization"].take();
    assert_eq!(organization["role"], "org:admin");
    assert_eq!(organization["slug"], "acme");
    assert_eq!(
        body,
        json!({
            "user_id": ada.user_id,
            "session_id": ada.session_id,
            "organization": null,
            "issued_at": START_MS / 1000,
            "expires_at": START_MS / 1000 + 60,
            "factor_ages": { "first_factor_minutes": 5, "second_factor_minutes": null },
            "impersonated": false,
            "actor": null,
            "claims": {
                "email": "ada@example.com",
                "metadata.tier": "gold",
                "https://x.example/a.b": [1, "<b>"],
            },
        })
    );
    // Never a token, and no claim that is not listed.
    let signature = ada.token.rsplit('.').next().unwrap();
    assert!(!answer.body.contains(signature) && !answer.body.contains("hidden"));
}

#[tokio::test]
async fn a_page_is_told_of_somebody_who_acts_in_a_name() {
    let world = World::start().await;
    let mut ada = world.clerk.sign_in("ada", None);
    let act = json!({ "act": { "sub": "user_operator", "iss": "https://x.example" } });
    ada.token = world.clerk.mint(&ada.session_id, &act);
    let answer = world.get("/_gate/me").cookie(&cookies(&ada)).send().await;
    let body = json(&answer);
    assert_eq!(body["impersonated"], true);
    assert_eq!(body["actor"], "user_operator");
    assert_eq!(body["claims"], json!({}));
}
