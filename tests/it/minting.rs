//! People whose token has run out and who cannot go to Clerk and back, against the stand-in Clerk.

use clerk_gate::clock::Clock as _;
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, Fault, TestSession};
use http::{Method, StatusCode};
use std::time::Duration;
use tokio::task::JoinSet;

use crate::support::{Answer, World, WorldBuilder, cookies, refreshable, route, usual_routes};

const OLD: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const NEW: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=";

/// A world whose gates seal with these keys.
fn with_keys(keys: &'static [&'static str]) -> WorldBuilder {
    World::with(usual_routes()).configure(move |config| {
        config.clerk.seal_keys = keys.iter().map(|key| (*key).into()).collect();
    })
}

/// What an answer sets under a name that begins so.
fn set<'a>(answer: &'a [String], name: &str) -> Option<&'a str> {
    let pairs = answer.iter().map(|line| line.split(';').next().unwrap());
    let mut values = pairs.filter_map(|pair| pair.split_once('='));
    values.find_map(|(key, value)| key.starts_with(name).then_some(value))
}

/// The value of the seal that this person's browser gets when their session is refreshed.
async fn seal_of(world: &World, session: &TestSession) -> String {
    world.clock.advance_ms(70_000);
    let refresh = refreshable(world, session);
    let answer = world.get("/members").cookie(&refresh).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    world.upstream.take_received();
    let lines = answer.all("set-cookie");
    set(&lines, "__Host-clerk-gate-seal_").unwrap().to_owned()
}

/// The cookies of a browser without a refresh token: those of a session, and a seal.
fn sealed(world: &World, session: &TestSession, seal: &str) -> String {
    let suffix = world.clerk.cookie_suffix();
    format!(
        "{}; __Host-clerk-gate-seal_{suffix}={seal}",
        cookies(session)
    )
}

async fn post(world: &World, cookies: &str) -> Answer {
    let call = world.request(Method::POST, "/members").cookie(cookies);
    call.body("what=typed").send().await
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.code())
}

#[tokio::test]
async fn a_form_that_took_its_time_arrives_with_its_sender() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let seal = seal_of(&world, &ada).await;
    world.clock.advance_ms(3_600_000);
    let answer = post(&world, &sealed(&world, &ada, &seal)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let received = world.upstream.only();
    assert_eq!(received.header("x-user-id"), Some(ada.user_id.clone()));
    assert_eq!(received.header("cookie"), None);
    assert_eq!(&received.body[..], b"what=typed");
    // The browser has the new token too, and needs nobody with it.
    let lines = answer.all("set-cookie");
    let token = set(&lines, "__session").unwrap();
    let again = format!("__session={token}; {}", cookies(&ada));
    assert_eq!(post(&world, &again).await.status, StatusCode::OK);
    let counts = [Endpoint::Session, Endpoint::MintedTokens].map(|one| world.clerk.calls(one));
    assert_eq!(counts, [1, 1]);
}

#[tokio::test]
async fn a_token_that_no_longer_does_is_not_given_out_again() {
    let mut routes = usual_routes();
    let young = Requirement::MaxTokenAge(Duration::from_secs(5));
    routes.insert(0, route("young", &["/young"], young));
    let world = World::with(routes).start().await;
    let ada = world.clerk.sign_in("ada", None);
    let seal = seal_of(&world, &ada).await;
    world.clock.advance_ms(70_000);
    let sent = async |path: &str, token: &str| {
        let line = format!("__session={token}; {}", sealed(&world, &ada, &seal));
        let call = world.request(Method::POST, path).cookie(&line);
        let answer = call.body("what=typed").send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        set(&answer.all("set-cookie"), "__session").map(str::to_owned)
    };
    let first = sent("/young", &ada.token).await.unwrap();
    // It is too old for this route, and Clerk has made it a moment ago.
    world.clock.advance_ms(6_000);
    let second = sent("/young", &first).await.unwrap();
    assert_ne!(second, first);
    // Something that it says has changed.
    world.clock.advance_ms(2_000);
    let now_ms = world.clock.now_ms();
    let denials = world.service.gate.denials();
    denials.expire_tokens(&ada.user_id, now_ms / 1000, now_ms);
    let third = sent("/members", &second).await.unwrap();
    assert_ne!(third, second);
    assert_eq!(sent("/members", &third).await, None);
    // Whoever was sent before that shares it.
    assert_eq!(sent("/members", &first).await, Some(third));
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 3);
    // However often a token does not do, Clerk makes one in a second.
    denials.expire_tokens(&ada.user_id, now_ms / 1000 + 60, now_ms);
    for _ in 0..5 {
        let answer = post(&world, &sealed(&world, &ada, &seal)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 3);
}

#[tokio::test]
async fn three_hundred_requests_of_one_session_make_one_token() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let seal = seal_of(&world, &ada).await;
    world.clock.advance_ms(70_000);
    let cookies = sealed(&world, &ada, &seal);
    world
        .clerk
        .misbehave(Endpoint::Session, Fault::Hang(Duration::from_secs(2)));
    let mut calls = JoinSet::new();
    for _ in 0..300 {
        calls.spawn(
            world
                .request(Method::POST, "/members")
                .cookie(&cookies)
                .try_send(),
        );
    }
    for answer in calls.join_all().await.into_iter().map(Option::unwrap) {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert_eq!(world.upstream.take_received().len(), 300);
    // Those who were sent before the answer arrived, and arrive after it.
    for _ in 0..20 {
        assert_eq!(post(&world, &cookies).await.status, StatusCode::OK);
    }
    let counts = [Endpoint::Session, Endpoint::MintedTokens].map(|one| world.clerk.calls(one));
    assert_eq!(counts, [1, 1]);
}

#[tokio::test]
async fn a_seal_in_the_browser_of_somebody_else_opens_nothing() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let seal = seal_of(&world, &ada).await;
    let mel = world.clerk.sign_in("mel", None);
    world.clock.advance_ms(70_000);
    let answer = post(&world, &sealed(&world, &mel, &seal)).await;
    assert_eq!(refused(&answer), (401, "session-token-expired".to_owned()));
    // Nor where the token is gone: Mel's browser signed in after Ada was sealed.
    let suffix = world.clerk.cookie_suffix();
    let bare = format!(
        "__client_uat={}; __clerk_db_jwt={}; __Host-clerk-gate-seal_{suffix}={seal}",
        mel.client_uat + 1,
        mel.dev_browser
    );
    let answer = post(&world, &bare).await;
    let reason = "client-uat-but-no-session-token".to_owned();
    assert_eq!(refused(&answer), (401, reason));
    world.upstream.assert_untouched();
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 0);
}

#[tokio::test]
async fn a_seal_that_was_cut_or_changed_opens_nothing() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let seal = seal_of(&world, &ada).await;
    world.clock.advance_ms(70_000);
    let mut changed = seal.clone();
    let last = changed.pop().unwrap();
    let half = &seal[..seal.len() / 2];
    changed.push(if last == 'A' { 'B' } else { 'A' });
    for bad in [
        "x",
        half,
        &changed,
        &format!("{seal}A"),
        &seal.to_lowercase(),
    ] {
        let answer = post(&world, &sealed(&world, &ada, bad)).await;
        assert_eq!(refused(&answer), (401, "session-token-expired".to_owned()));
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_session_that_was_revoked_at_clerk_gets_no_token_and_is_out_from_then_on() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let seal = seal_of(&world, &ada).await;
    let live = world.clerk.mint(&ada.session_id, &serde_json::json!({}));
    world.clerk.revoke(&ada.session_id);
    world.clock.advance_ms(70_000);
    let later = world.clerk.mint(&ada.session_id, &serde_json::json!({}));
    let answer = post(&world, &sealed(&world, &ada, &seal)).await;
    assert_eq!(refused(&answer), (401, "session-revoked".to_owned()));
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 0);
    // What Clerk has said of the session holds for each of its tokens.
    for token in [live, later] {
        let answer = world.get("/members").bearer(&token).send().await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn while_clerk_cannot_be_asked_the_answer_is_to_try_again() {
    for (endpoint, fault) in [
        (Endpoint::Session, Fault::Close),
        (Endpoint::Session, Fault::Status(429)),
        (Endpoint::Session, Fault::Status(500)),
        (Endpoint::Session, Fault::Garbage),
        (Endpoint::MintedTokens, Fault::Close),
        (Endpoint::MintedTokens, Fault::Status(503)),
        (Endpoint::MintedTokens, Fault::Garbage),
    ] {
        let world = World::start().await;
        let ada = world.clerk.sign_in("ada", None);
        let seal = seal_of(&world, &ada).await;
        world.clock.advance_ms(70_000);
        world.clerk.misbehave(endpoint, fault);
        let cookies = sealed(&world, &ada, &seal);
        let answer = post(&world, &cookies).await;
        let unavailable = (503, "session-renewal-unavailable".to_owned());
        assert_eq!(refused(&answer), unavailable, "{endpoint:?} {fault:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        // A form of a browser is told how it can be sent again.
        let form = world.request(Method::POST, "/members").cookie(&cookies);
        let form = form.header("sec-fetch-dest", "document").body("what=typed");
        let page = form.send().await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            page.body.contains("Reload this page in a moment"),
            "{}",
            page.body
        );
        world.upstream.assert_untouched();
        world.clerk.behave();
        assert_eq!(post(&world, &cookies).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn when_the_budget_is_spent_nobody_is_let_in_on_old_knowledge() {
    let world = World::with(usual_routes())
        .configure(|config| config.clerk.api_budget = 10)
        .start()
        .await;
    let mut others = Vec::new();
    for _ in 0..4 {
        let session = world.clerk.sign_in("mel", None);
        let suffix = world.clerk.cookie_suffix();
        let refresh = session.refresh_token.clone().unwrap();
        others.push(format!(
            "{}; __refresh_{suffix}={refresh}",
            cookies(&session)
        ));
    }
    world.clock.advance_ms(70_000);
    let mut outcomes = Vec::new();
    for other in &others {
        outcomes.push(post(&world, other).await.status.as_u16());
    }
    assert_eq!(outcomes, [200, 200, 200, 200]);
    let spent = world.clerk.sign_in("ada", None);
    let suffix = world.clerk.cookie_suffix();
    let refresh = spent.refresh_token.clone().unwrap();
    world.clock.advance_ms(70_000);
    let cookies = format!("{}; __refresh_{suffix}={refresh}", cookies(&spent));
    let before = world.clerk.calls(Endpoint::Refresh);
    world.upstream.take_received();
    let answer = post(&world, &cookies).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert_eq!(
        answer.header("x-clerk-auth-reason"),
        Some("session-token-expired-refresh-budget-spent")
    );
    assert_eq!(world.clerk.calls(Endpoint::Refresh), before);
    // Whose browser has a seal is told to try again.
    let answer = post(&world, &crate::support::sealed(&world, &spent)).await;
    let unavailable = (503, "session-renewal-unavailable".to_owned());
    assert_eq!(refused(&answer), unavailable);
    assert_eq!(world.clerk.calls(Endpoint::MintedTokens), 0);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_key_that_was_taken_out_opens_nothing_any_more() {
    let both = with_keys(&[NEW, OLD]).start().await;
    let ada = both.clerk.sign_in("ada", None);
    let seal = seal_of(&both, &ada).await;
    // The gate that comes after it, before the same Clerk.
    for (keys, expected) in [(&[NEW][..], 200), (&[OLD], 401), (&[OLD, NEW], 200)] {
        let url = both.clerk.url();
        let (key, secret) = (
            both.clerk.publishable_key().to_owned(),
            both.clerk.secret_key().to_owned(),
        );
        let next = with_keys(&[])
            .configure(move |config| {
                let publishable = clerk_gate::core::key::PublishableKey::parse(&key).unwrap();
                let mut instance = clerk_gate::core::instance::Instance::of(
                    publishable,
                    clerk_gate::core::instance::BackendApi::Available,
                );
                instance.frontend_api.clone_from(&url);
                config.clerk.keys = clerk_gate::config::KeySource::FrontendApi { url: url.clone() };
                config.clerk.instance = instance;
                config.clerk.api_url = url.parse().unwrap();
                config.clerk.secret_key = Some(secret.into());
                config.clerk.seal_keys = keys.iter().map(|key| (*key).into()).collect();
            })
            .start()
            .await;
        next.clock.advance_ms(70_000);
        // Seals are bound to an origin, and a gate on this machine has that of its host.
        let host = format!("localhost:{}", both.gate.port());
        let answer = next
            .request(Method::POST, "/members")
            .header("host", &host)
            .cookie(&sealed(&both, &ada, &seal))
            .send()
            .await;
        assert_eq!(answer.status.as_u16(), expected, "{keys:?}: {answer:?}");
        assert_eq!(next.upstream.received().len(), usize::from(expected == 200));
    }
}

#[tokio::test]
async fn clerk_is_never_told_of_the_seal() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let seal = seal_of(&world, &ada).await;
    world.clock.advance_ms(70_000);
    let refresh = format!(
        "{}; __refresh_{}=unknown",
        sealed(&world, &ada, &seal),
        world.clerk.cookie_suffix()
    );
    assert_eq!(post(&world, &refresh).await.status, StatusCode::OK);
    let mut headers = http::HeaderMap::new();
    headers.insert("cookie", format!("a=1; {refresh}").parse().unwrap());
    let told = clerk_gate::clerk::backend::header_lists(&headers).to_string();
    assert!(told.contains("a=1; __session="), "{told}");
    assert!(told.contains("__refresh_"), "{told}");
    assert!(
        !told.contains("clerk-gate") && !told.contains(&seal),
        "{told}"
    );
}
