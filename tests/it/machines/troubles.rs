//! Clerk's Backend API in trouble: nobody new gets in, and whoever is known goes on.

use bytes::Bytes;
use clerk_gate::standin::Fault;
use http::Response;

use super::*;
use crate::support::upstream::RecordingUpstream;

const UNAVAILABLE: &str = "token-verification-unavailable";

/// A gate whose Backend API answers as told.
async fn behind(api: &RecordingUpstream) -> World {
    let url = format!("http://{}", api.address).parse().unwrap();
    world_of(ROUTES)
        .configure(move |config| config.clerk.api_url = url)
        .start()
        .await
}

fn answer(status: u16, content_type: &str, body: &str) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Bytes::copy_from_slice(body.as_bytes()))
        .unwrap()
}

const JSON: &str = "application/json";
const PAGE: &str = "text/html";

/// A sound answer about a key, but for its end: `…` in the table below.
const SOUND: &str = r#"{"id":"ak_1","subject":"user_1","scopes":["read:invoices"],"revoked":false,"expired":false,"expiration":null"#;

/// Answers of the Backend API, and what they come to.
const ANSWERS: [(&str, u16, &str, &str, u16, &str); 26] = [
    ("too many requests", 429, JSON, "{}", 503, UNAVAILABLE),
    ("an error", 500, JSON, "{}", 503, UNAVAILABLE),
    (
        "an error with a sound body",
        500,
        JSON,
        "…}",
        503,
        UNAVAILABLE,
    ),
    ("a gateway's error", 502, PAGE, "<h1>bad", 503, UNAVAILABLE),
    ("forbidden", 403, JSON, "{}", 503, UNAVAILABLE),
    ("a redirect", 307, JSON, "{}", 503, UNAVAILABLE),
    ("another success", 204, JSON, "", 503, UNAVAILABLE),
    ("a page", 200, PAGE, "<h1>welcome", 503, UNAVAILABLE),
    ("a page that says JSON", 200, JSON, "<h1>", 503, UNAVAILABLE),
    ("JSON that says page", 200, PAGE, "…}", 503, UNAVAILABLE),
    ("nothing", 200, JSON, "", 503, UNAVAILABLE),
    ("half", 200, JSON, "…", 503, UNAVAILABLE),
    ("a list", 200, JSON, "[]", 503, UNAVAILABLE),
    ("a key set", 200, JSON, r#"{"keys":[]}"#, 503, UNAVAILABLE),
    ("a number", 200, JSON, r#"…,"subject":7}"#, 503, UNAVAILABLE),
    (
        "several",
        200,
        JSON,
        r#"…,"subject":["user_1"]}"#,
        503,
        UNAVAILABLE,
    ),
    (
        "nobody",
        200,
        JSON,
        r#"…,"subject":null}"#,
        503,
        UNAVAILABLE,
    ),
    (
        "no time",
        200,
        JSON,
        r#"…,"expiration":"never"}"#,
        503,
        UNAVAILABLE,
    ),
    (
        "no flags",
        200,
        JSON,
        r#"{"id":"ak_1","subject":"user_1"}"#,
        503,
        UNAVAILABLE,
    ),
    ("too much", 200, JSON, "…{x*300000}", 503, UNAVAILABLE),
    (
        "our key refused",
        401,
        JSON,
        "{}",
        503,
        "secret-key-invalid",
    ),
    (
        "not active",
        200,
        JSON,
        r#"{"active":false}"#,
        401,
        "token-invalid",
    ),
    ("unknown", 404, JSON, "{}", 401, "token-invalid"),
    (
        "revoked",
        200,
        JSON,
        r#"…,"revoked":true}"#,
        401,
        "token-revoked",
    ),
    (
        "perhaps revoked",
        200,
        JSON,
        r#"…,"revoked":1}"#,
        401,
        "token-revoked",
    ),
    (
        "expired",
        200,
        JSON,
        r#"…,"expired":true}"#,
        401,
        "token-expired",
    ),
];

#[tokio::test]
async fn an_answer_that_is_no_verdict_lets_nobody_in() {
    let api = RecordingUpstream::start().await;
    let world = behind(&api).await;
    for (n, (what, given, content_type, body, status, reason)) in ANSWERS.iter().enumerate() {
        let long = format!(",\"x\":\"{}\"}}", "x".repeat(300_000));
        let body = body.replace('…', SOUND).replace("{x*300000}", &long);
        api.answers(move |_| answer(*given, content_type, &body));
        let token = format!("ak_number_{n}");
        let answer = world.get("/keys/1").bearer(&token).send().await;
        assert_eq!(
            told(&answer),
            (*status, Some((*reason).to_owned())),
            "{what}: {answer:?}"
        );
        let later = (*status == 503).then_some("5");
        assert_eq!(answer.header("retry-after"), later, "{what}");
        // What is no verdict is asked about again, and a verdict is kept.
        world.get("/keys/1").bearer(&token).send().await;
        world.upstream.assert_untouched();
        let asked = api.take_received().len();
        assert_eq!(asked, if *status == 503 { 2 } else { 1 }, "{what}");
    }
    api.answers(|_| answer(200, JSON, &format!("{SOUND}}}")));
    let call = world.get("/keys/1").bearer("ak_number_1");
    let outcome = outcome(&world, call).await;
    assert_eq!(outcome, (200, true), "nothing is left of the trouble");
}

#[tokio::test]
async fn what_is_asked_of_clerk_is_the_token_and_nothing_of_the_request() {
    let api = RecordingUpstream::start().await;
    let world = behind(&api).await;
    api.answers(|_| answer(404, JSON, "{}"));
    for (target, token, path, field) in [
        ("/keys/1?secret=x", "ak_one", "/api_keys/verify", "secret"),
        ("/machines/1", "mt_one", "/m2m_tokens/verify", "token"),
        (
            "/mcp/1",
            "oat_one",
            "/oauth_applications/access_tokens/verify",
            "access_token",
        ),
    ] {
        let call = world
            .get(target)
            .bearer(token)
            .cookie("a=b")
            .header("x-mine", "1");
        assert_eq!(call.send().await.status, 401);
        let asked = api.take_received();
        assert_eq!(asked.len(), 1);
        assert_eq!((&*asked[0].method, &*asked[0].target), ("POST", path));
        assert_eq!(asked[0].body, json!({ field: token }).to_string());
        let key = format!("Bearer {}", world.clerk.secret_key());
        assert_eq!(asked[0].header("authorization"), Some(key));
        assert_eq!(asked[0].header("cookie"), None);
        assert_eq!(asked[0].header("x-mine"), None);
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_token_may_end_as_it_likes() {
    let api = RecordingUpstream::start().await;
    let world = behind(&api).await;
    api.answers(|_| answer(200, JSON, &format!("{SOUND}}}")));
    for token in ["ak_a_", "ak_a-", "ak__", "ak_.", "ak_0"] {
        let call = world.get("/keys/1").bearer(token);
        assert_eq!(outcome(&world, call).await, (200, true), "{token}");
    }
    assert_eq!(api.received().len(), 5);
}

#[tokio::test]
async fn known_tokens_go_on_while_clerk_is_away() {
    let world = world().await;
    let tokens = Tokens::of(&world);
    let by_kind = [
        ("/keys/1", &tokens.key.secret),
        ("/machines/1", &tokens.m2m.secret),
        ("/mcp/1", &tokens.oauth.secret),
    ];
    let jwts = [
        ("/machines/1", &tokens.m2m_jwt),
        ("/mcp/1", &tokens.oauth_jwt),
    ];
    for (target, token) in by_kind.iter().chain(&jwts) {
        assert_eq!(
            outcome(&world, world.get(target).bearer(token)).await,
            (200, true)
        );
    }
    for fault in [
        Fault::Close,
        Fault::Status(500),
        Fault::Status(429),
        Fault::StatusWithRetryAfter(429, 60),
        Fault::Garbage,
        Fault::Empty,
    ] {
        world.clerk.misbehave(Endpoint::MachineTokens, fault);
        for (target, token) in by_kind.iter().chain(&jwts) {
            assert_eq!(
                outcome(&world, world.get(target).bearer(token)).await,
                (200, true),
                "{fault:?}"
            );
        }
        let new = api_key(&world, &[], None);
        let answer = world.get("/keys/1").bearer(&new.secret).send().await;
        assert_refused(&world, &answer, 503, UNAVAILABLE);
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, None, "another token would not help");
    }
    // The time for which they are known is over.
    world.clock.advance_ms(30_000);
    for (target, token) in by_kind {
        let answer = world.get(target).bearer(token).send().await;
        assert_refused(&world, &answer, 503, UNAVAILABLE);
    }
    world.clerk.behave();
    for (target, token) in by_kind {
        assert_eq!(
            outcome(&world, world.get(target).bearer(token)).await,
            (200, true)
        );
    }
}

#[tokio::test]
async fn a_backend_api_that_refuses_connections_lets_nobody_in() {
    let world = world_of(ROUTES)
        .configure(|config| {
            // Bound and let go: nobody listens there.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            config.clerk.api_url = format!("http://{address}").parse().unwrap();
        })
        .start()
        .await;
    let tokens = Tokens::of(&world);
    for (target, token) in [
        ("/keys/1", &tokens.key.secret),
        ("/anything/1", &tokens.m2m.secret),
        ("/hidden/1", &tokens.key.secret),
    ] {
        let answer = world.get(target).bearer(token).send().await;
        assert_refused(&world, &answer, 503, UNAVAILABLE);
    }
    assert_eq!(
        outcome(&world, world.get("/mcp/1").bearer(&tokens.oauth_jwt)).await,
        (200, true)
    );
}

#[tokio::test]
async fn without_a_secret_key_an_opaque_token_is_nobodys() {
    let world = world_of(ROUTES)
        .configure(|config| config.clerk.secret_key = None)
        .start()
        .await;
    let tokens = Tokens::of(&world);
    let answer = world.get("/keys/1").bearer(&tokens.key.secret).send().await;
    assert_refused(&world, &answer, 503, UNAVAILABLE);
    assert_eq!(lookups(&world), 0);
    assert_eq!(
        outcome(&world, world.get("/machines/1").bearer(&tokens.m2m_jwt)).await,
        (200, true)
    );
}
