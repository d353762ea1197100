//! A route whose application gets a token of a template in the place of the session's.

use std::sync::Arc;

use clerk_gate::core::policy::{PathReading, Policy, Route};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::core::template::Template;
use clerk_gate::standin::{Endpoint, Fault};
use http::StatusCode;
use http::header::HeaderName;
use serde_json::json;

use super::tokens::claims;
use crate::support::{World, cookies, route};

/// A world with `/graph/**` for people, `/open/**` for anybody, both with a token in this header, and
/// `/plain/**` without.
async fn world(header: &'static str) -> World {
    let mut template = Template::new("app");
    template.header = HeaderName::from_static(header);
    let template = Arc::new(template);
    let with = |name: &str, path: &str, requirement: Requirement| -> Route {
        let mut route = route(name, &[path], requirement);
        route.template = Some(Arc::clone(&template));
        route
    };
    let routes = vec![
        with("graph", "/graph/**", Requirement::SignedIn),
        with("open", "/open/**", Requirement::Public),
        route("plain", &["/plain/**"], Requirement::SignedIn),
    ];
    World::with(Vec::new())
        .configure(move |config| {
            let policy = Policy::compile(routes, PathReading::Leniently).unwrap();
            config.policy = policy.with_templates(vec![template]);
        })
        .start()
        .await
}

#[tokio::test]
async fn the_application_gets_a_token_of_the_template_and_no_other() {
    let world = world("authorization").await;
    let ada = world.clerk.sign_in("ada", None);
    let answer = world.get("/graph/x").cookie(&cookies(&ada)).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let received = world.upstream.only();
    let authorization = received.header("authorization").unwrap();
    let token = claims(authorization.strip_prefix("Bearer ").unwrap());
    assert_eq!(token["email"], "ada@example.com");
    assert_eq!(token["sub"], ada.user_id);
    assert_eq!(received.header("x-user-id"), Some(ada.user_id));
    // A bearer's own token gives way as well.
    world.upstream.take_received();
    world.get("/graph/x").bearer(&ada.token).send().await;
    assert_eq!(
        world.upstream.only().header("authorization"),
        Some(authorization)
    );
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 1);
}

#[tokio::test]
async fn what_a_client_sends_in_its_place_never_arrives() {
    for (header, forged) in [
        ("authorization", vec![("authorization", "Basic YTpi")]),
        (
            "x-supabase",
            vec![
                ("x-supabase", "forged"),
                ("X_Supabase", "forged"),
                ("x-supabase", "again"),
            ],
        ),
    ] {
        let world = world(header).await;
        let ada = world.clerk.sign_in("ada", None);
        let send = |path: &str, known: bool| {
            let mut call = world.get(path);
            for (name, value) in &forged {
                call = call.header(name, value);
            }
            if known {
                call.cookie(&cookies(&ada))
            } else {
                call.cookie("__clerk_db_jwt=dvb_1")
            }
            .send()
        };
        let answer = send("/graph/x", true).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let received = world.upstream.only();
        let token = received.header(header).unwrap();
        assert_eq!(
            claims(token.trim_start_matches("Bearer "))["sub"],
            ada.user_id
        );
        assert!(!format!("{received:?}").contains("forged"), "{received:?}");
        // Where anybody may come and nobody is signed in, there is none.
        world.upstream.take_received();
        let answer = send("/open/x", false).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let received = world.upstream.only();
        assert_eq!(received.header(header), None);
        assert_eq!(received.header("x_supabase"), None);
    }
}

#[tokio::test]
async fn other_routes_keep_what_clients_send() {
    let world = world("authorization").await;
    let ada = world.clerk.sign_in("ada", None);
    let call = world.get("/plain/x").cookie(&cookies(&ada));
    call.header("authorization", "Basic YTpi").send().await;
    assert_eq!(
        world.upstream.only().header("authorization").as_deref(),
        Some("Basic YTpi")
    );
    assert_eq!(world.clerk.calls(Endpoint::Tokens), 0);
}

#[tokio::test]
async fn a_token_is_kept_for_a_while_and_for_one_session_alone() {
    let world = world("authorization").await;
    let ada = world.clerk.sign_in("ada", None);
    let there = world.clerk.sign_in("ada", None);
    let ask = |session| world.get("/graph/x").cookie(&cookies(session)).send();
    ask(&ada).await;
    world.clock.advance_ms(40_000);
    ask(&ada).await;
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 1);
    ask(&there).await;
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 2);
    // Ten seconds before its end, another one is made.
    world.clock.advance_ms(10_000);
    ask(&ada).await;
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 3);
}

#[tokio::test]
async fn many_requests_at_once_make_one_call() {
    let world = world("authorization").await;
    let ada = world.clerk.sign_in("ada", None);
    let slow = Fault::Hang(std::time::Duration::from_millis(200));
    world.clerk.misbehave(Endpoint::MintedTokens, slow);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        calls.spawn(world.get("/graph/x").cookie(&cookies(&ada)).send());
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 1);
}

#[tokio::test]
async fn without_a_token_the_application_is_left_alone() {
    let world = world("authorization").await;
    let ada = world.clerk.sign_in("ada", None);
    for fault in [
        Fault::Close,
        Fault::Status(404),
        Fault::Status(429),
        Fault::Status(500),
        Fault::Garbage,
        Fault::Page,
        Fault::PlainText,
        Fault::Huge(1_000_000),
    ] {
        world.clerk.misbehave(Endpoint::MintedTokens, fault);
        for path in ["/graph/x", "/open/x"] {
            let answer = world.get(path).cookie(&cookies(&ada)).send().await;
            assert_eq!(
                answer.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{fault:?} {path}"
            );
            assert_eq!(answer.code(), "template-unavailable", "{fault:?}");
        }
    }
    world.upstream.assert_untouched();
    world.clerk.behave();
    let answer = world.get("/graph/x").cookie(&cookies(&ada)).send().await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_that_has_ended_leaves_no_token_behind() {
    let world = world("authorization").await;
    let ada = world.clerk.sign_in("ada", None);
    world.get("/graph/x").cookie(&cookies(&ada)).send().await;
    world.upstream.take_received();
    super::script(&world, "/_gate/sign-out", &ada).send().await;
    for path in ["/graph/x", "/open/x"] {
        world.get(path).cookie(&cookies(&ada)).send().await;
    }
    let received = world.upstream.take_received();
    assert!(
        received
            .iter()
            .all(|one| one.header("authorization").is_none()),
        "{received:?}"
    );
    assert_eq!(
        received.len(),
        1,
        "only what is open to anybody: {received:?}"
    );
}

#[tokio::test]
async fn whoever_may_not_costs_clerk_nothing() {
    let world = world("authorization").await;
    let pia = world.clerk.sign_in("pia", None);
    let answer = world.get("/graph/x").cookie(&cookies(&pia)).send().await;
    assert_eq!(answer.code(), "session-pending");
    let mut ada = world.clerk.sign_in("ada", None);
    ada.token = world.clerk.mint(&ada.session_id, &json!({ "exp": 1 }));
    world.get("/graph/x").cookie(&cookies(&ada)).send().await;
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 0);
    world.upstream.assert_untouched();
}
