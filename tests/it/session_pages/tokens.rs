//! Tokens for a page: of the session, and of templates.

use std::sync::Arc;

use clerk_gate::config::Config;
use clerk_gate::core::instance::{Continuity, Way};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::core::template::Template;
use clerk_gate::standin::{Endpoint, Fault};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{assert_kept_close, from_here, gets_in, json, script};
use crate::support::{START_MS, World, refreshable, usual_routes};

/// Puts a template into a configuration.
pub fn add_template(config: &mut Config, name: &str, change: impl FnOnce(&mut Template)) {
    let mut template = Template::new(name);
    change(&mut template);
    let mut templates = config.policy.templates().to_vec();
    templates.push(Arc::new(template));
    config.policy = config.policy.clone().with_templates(templates);
}

pub fn claims(jwt: &str) -> Value {
    let token = clerk_gate::core::jwt::Token::decode(jwt).unwrap();
    Value::Object(token.claims().clone())
}

#[tokio::test]
async fn a_page_gets_the_token_that_is_there_while_it_lasts() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let calls = world.clerk.calls(Endpoint::Tokens);
    let answer = script(&world, "/_gate/token", &ada).send().await;
    assert_kept_close(&answer);
    let end = START_MS / 1000 + 60;
    assert_eq!(
        json(&answer),
        json!({ "jwt": ada.token, "expires_at": end })
    );
    assert_eq!(world.clerk.calls(Endpoint::Tokens), calls);
    // Ten seconds before its end it is no longer worth much.
    world.clock.advance_ms(50_000);
    let answer = script(&world, "/_gate/token", &ada).send().await;
    let body = json(&answer);
    assert_ne!(body["jwt"], ada.token);
    assert_eq!(body["expires_at"], end + 50);
    assert_eq!(claims(body["jwt"].as_str().unwrap())["sid"], ada.session_id);
    assert_eq!(world.clerk.calls(Endpoint::Tokens), calls + 1);
}

#[tokio::test]
async fn where_none_is_minted_a_page_gets_the_token_that_came() {
    let closed = World::with(usual_routes()).configure(|config| {
        config.clerk.instance.ways.mint = Way::Closed;
    });
    let faithful = World::with(usual_routes()).configure(|config| {
        config.clerk.instance.continuity = Continuity::Faithful;
    });
    for builder in [closed, faithful] {
        let world = builder.start().await;
        let ada = world.clerk.sign_in("ada", None);
        let answer = script(&world, "/_gate/token?fresh", &ada).send().await;
        assert_eq!(json(&answer)["jwt"], ada.token);
        assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 0);
    }
}

#[tokio::test]
async fn a_session_that_was_renewed_on_the_way_to_nothing_stays_renewed() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(70_000);
    let refresh = refreshable(&world, &ada);
    let none = world.request(Method::POST, "/_gate/token/none");
    let none = from_here(&world, none).cookie(&refresh).send().await;
    assert_eq!(none.status, StatusCode::NOT_FOUND, "{none:?}");
    assert_eq!(none.code(), "template-unknown");
    world.clock.advance_ms(70_000);
    let sign_in = world.visit("/_gate/sign-in").cookie(&refresh).send().await;
    assert_eq!(
        sign_in.status,
        StatusCode::TEMPORARY_REDIRECT,
        "{sign_in:?}"
    );
    for answer in [none, sign_in] {
        let cookies = answer.all("set-cookie");
        for name in ["__session=", "__Host-clerk-gate-seal_"] {
            let comes = cookies.iter().any(|line| line.starts_with(name));
            assert!(comes, "{name}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_page_can_ask_for_a_fresh_one() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let answer = script(&world, "/_gate/token?fresh", &ada).send().await;
    assert_ne!(json(&answer)["jwt"], ada.token);
    // However often it asks, Clerk is asked once in ten seconds.
    for _ in 0..20 {
        script(&world, "/_gate/token?fresh", &ada).send().await;
    }
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 1);
    world.clock.advance_ms(10_000);
    script(&world, "/_gate/token?fresh", &ada).send().await;
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 2);
}

#[tokio::test]
async fn a_session_that_clerk_has_ended_gives_no_token_and_opens_nothing_any_more() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clerk.revoke(&ada.session_id);
    let answer = script(&world, "/_gate/token?fresh", &ada).send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert_eq!(answer.code(), "session-revoked");
    assert!(!gets_in(&world, &ada).await);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_template_that_is_listed_gives_tokens() {
    let world = World::with(usual_routes())
        .configure(|config| add_template(config, "app", |_| {}))
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let answer = script(&world, "/_gate/token/app", &ada).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_kept_close(&answer);
    let body = json(&answer);
    let token = claims(body["jwt"].as_str().unwrap());
    assert_eq!(token["email"], "ada@example.com");
    assert_eq!(body["expires_at"], token["exp"]);
    // The same again for a moment, and to nobody else.
    let again = script(&world, "/_gate/token/app", &ada).send().await;
    assert_eq!(json(&again), body);
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 1);
    let mel = world.clerk.sign_in("mel", None);
    let hers = script(&world, "/_gate/token/app", &mel).send().await;
    assert_eq!(
        claims(json(&hers)["jwt"].as_str().unwrap())["email"],
        "mel@example.com"
    );
    // Nobody chooses how long it is good for.
    let call = script(
        &world,
        "/_gate/token/app?expires_in_seconds=315360000",
        &ada,
    );
    let answer = call
        .body(r#"{"expires_in_seconds":315360000}"#)
        .send()
        .await;
    assert_eq!(json(&answer), body);
}

#[tokio::test]
async fn a_template_that_is_not_listed_gives_none_and_clerk_is_left_alone() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    for name in ["app", "App", "other"] {
        let answer = script(&world, &format!("/_gate/token/{name}"), &ada)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name}");
        assert_eq!(answer.code(), "template-unknown");
    }
    for name in ["", "a/b", "a%2Fb", "a.b", "..%2Fapp"] {
        let answer = script(&world, &format!("/_gate/token/{name}"), &ada)
            .send()
            .await;
        assert!(answer.status.is_client_error(), "{name}: {answer:?}");
    }
    assert_eq!(world.clerk.calls(Endpoint::Tokens), 0);
}

#[tokio::test]
async fn a_template_asks_what_it_requires() {
    let admins = clerk_gate::core::authorization::Asked {
        role: Some("org:admin".to_owned()),
        ..Default::default()
    };
    let world = World::with(usual_routes())
        .configure(|config| {
            add_template(config, "app", |template| {
                template.requirement = Requirement::Has(admins);
            });
        })
        .start()
        .await;
    let (ada, mel) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("mel", None),
    );
    let answer = script(&world, "/_gate/token/app", &mel).send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::FORBIDDEN, "role-missing")
    );
    assert_eq!(world.clerk.calls(Endpoint::Tokens), 0);
    let answer = script(&world, "/_gate/token/app", &ada).send().await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn what_was_made_for_a_session_goes_with_it() {
    let world = World::with(usual_routes())
        .configure(|config| add_template(config, "app", |_| {}))
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    script(&world, "/_gate/token/app", &ada).send().await;
    script(&world, "/_gate/sign-out", &ada).send().await;
    let answer = script(&world, "/_gate/token/app", &ada).send().await;
    assert_eq!(answer.code(), "session-revoked");
    assert_eq!(world.clerk.calls(Endpoint::Tokens), 1);
}

#[tokio::test]
async fn whoever_acts_in_somebodys_name_has_their_tokens_and_still_acts() {
    let world = World::start().await;
    let mut ada = world.clerk.sign_in("ada", None);
    let act = json!({ "act": { "sub": "user_operator" } });
    ada.token = world.clerk.mint(&ada.session_id, &act);
    let answer = script(&world, "/_gate/token", &ada).send().await;
    let body = json(&answer);
    assert_eq!(
        claims(body["jwt"].as_str().unwrap())["act"]["sub"],
        "user_operator"
    );
    // One that is made anew would not say who stands behind it.
    let answer = script(&world, "/_gate/token?fresh", &ada).send().await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.code(), "impersonated");
    assert_eq!(world.clerk.calls(Endpoint::Tokens), 0);
}

#[tokio::test]
async fn a_template_that_clerk_does_not_know_is_not_the_pages_fault() {
    let world = World::with(usual_routes())
        .configure(|config| add_template(config, "supabase", |_| {}))
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let answer = script(&world, "/_gate/token/supabase", &ada).send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.code(), "template-unavailable");
    for fault in [
        Fault::Close,
        Fault::Status(429),
        Fault::Status(500),
        Fault::Garbage,
        Fault::Page,
    ] {
        world.clerk.misbehave(Endpoint::MintedTokens, fault);
        for (path, code) in [
            ("/_gate/token/supabase", "template-unavailable"),
            ("/_gate/token?fresh", "sessions-unavailable"),
        ] {
            let answer = script(&world, path, &ada).send().await;
            assert_eq!(
                answer.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{fault:?} {path}"
            );
            assert_eq!(answer.code(), code, "{fault:?}");
            assert_kept_close(&answer);
        }
    }
}
