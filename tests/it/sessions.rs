//! Handshake and refresh against the stand-in Clerk, step by step as a browser would.

use std::time::Duration;

use clerk_gate::standin::{Endpoint, Fault};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;
use url::Url;

use crate::support::{Answer, Call, World, cookies, exchange, refreshable, usual_routes};

/// The cookies a browser would send back, from the Set-Cookie lines of an answer.
fn kept(answer: &Answer) -> String {
    let pairs: Vec<_> = answer
        .all("set-cookie")
        .iter()
        .filter(|line| !line.contains("Max-Age=0"))
        .map(|line| line.split(';').next().unwrap().to_owned())
        .collect();
    pairs.join("; ")
}

/// Follows a redirect to the stand-in by hand.
async fn at_clerk(world: &World, location: &str) -> Answer {
    let url = Url::parse(location).unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let target = &url[url::Position::BeforePath..];
    let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    exchange(world.clerk.addr(), request.as_bytes())
        .await
        .remove(0)
}

fn path_of(location: &str) -> String {
    Url::parse(location).unwrap()[url::Position::BeforePath..].to_owned()
}

#[tokio::test]
async fn a_handshake_by_a_relative_proxy_goes_to_the_host_that_was_asked_for() {
    let world = World::with(usual_routes())
        .configure(|config| "/__clerk".clone_into(&mut config.clerk.instance.frontend_api))
        .start()
        .await;
    for host in ["localhost", "shop.localhost", "127.0.0.1"] {
        let host = format!("{host}:{}", world.gate.port());
        let away = world
            .visit("/members")
            .header("host", &host)
            .cookie("__client_uat=1; __clerk_db_jwt=dvb_1");
        let away = away.send().await;
        let expected = format!("http://{host}/__clerk/v1/client/handshake?");
        let location = away.header("location").unwrap();
        assert!(location.starts_with(&expected), "{location}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_handshake_goes_to_clerk_and_comes_back_with_cookies() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let uat_only = format!(
        "__client_uat={}; __clerk_db_jwt={}",
        ada.client_uat, ada.dev_browser
    );
    let away = world.visit("/members?tab=1").cookie(&uat_only).send().await;
    assert_eq!(away.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(
        away.header("location")
            .unwrap()
            .contains("client-uat-but-no-session-token")
    );
    let back = at_clerk(&world, away.header("location").unwrap()).await;
    assert_eq!(back.status, StatusCode::TEMPORARY_REDIRECT, "{back:?}");
    let returned = back.header("location").unwrap();
    assert!(returned.contains("__clerk_handshake="), "{returned}");
    let consumed = world
        .visit(&path_of(returned))
        .cookie(&uat_only)
        .send()
        .await;
    assert_eq!(
        consumed.status,
        StatusCode::TEMPORARY_REDIRECT,
        "{consumed:?}"
    );
    assert_eq!(
        path_of(consumed.header("location").unwrap()),
        "/members?tab=1"
    );
    assert_eq!(consumed.header("cache-control"), Some("no-store"));
    world.upstream.assert_untouched();
    let home = world
        .visit("/members?tab=1")
        .cookie(&kept(&consumed))
        .send()
        .await;
    assert_eq!(home.status, StatusCode::OK, "{home:?}");
    let received = world.upstream.only();
    assert_eq!(received.header("x-user-id"), Some(ada.user_id));
    assert_eq!(
        (received.target.as_str(), received.header("cookie")),
        ("/members?tab=1", None)
    );
}

#[tokio::test]
async fn a_foreign_handshake_result_is_refused() {
    let world = World::start().await;
    let other = World::start().await;
    let forged = other
        .clerk
        .handshake_token(&["__session=x; Path=/".to_owned()]);
    let answer = world
        .visit(&format!("/members?__clerk_handshake={forged}"))
        .cookie("__clerk_db_jwt=d")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    assert_eq!(answer.all("set-cookie"), Vec::<String>::new());
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn an_expired_session_is_refreshed_in_the_same_exchange() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(70_000);
    let refresh = refreshable(&world, &ada);
    let answer = world
        .request(Method::POST, "/members")
        .cookie(&refresh)
        .body("a=1")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(
        answer
            .all("set-cookie")
            .iter()
            .any(|line| line.starts_with("__session=")),
        "{answer:?}"
    );
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    let received = world.upstream.only();
    assert_eq!(received.header("x-user-id"), Some(ada.user_id.clone()));
    assert_eq!(&received.body[..], b"a=1");
}

#[tokio::test]
async fn what_was_renewed_on_the_way_to_sign_in_is_kept() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(70_000);
    let refresh = refreshable(&world, &ada);
    let answer = world.visit("/_gate/sign-in").cookie(&refresh).send().await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    let renewed = answer.all("set-cookie");
    assert!(
        renewed.iter().any(|line| line.starts_with("__session=")),
        "{answer:?}"
    );
}

/// Longer than it takes until many requests are under way, and shorter than a call may take.
const UNDER_WAY: Fault = Fault::Hang(Duration::from_secs(3));

/// Sends the same request so many times at once.
async fn at_once(count: usize, call: impl Fn() -> Call) -> Vec<Answer> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        calls.spawn(call().try_send());
    }
    let answers = calls.join_all().await;
    answers.into_iter().map(Option::unwrap).collect()
}

/// The session cookies that an answer sets.
fn session_cookies(answer: &Answer) -> Vec<String> {
    let mut lines = answer.all("set-cookie");
    lines.retain(|line| line.starts_with("__session"));
    lines
}

#[tokio::test]
async fn many_expired_requests_of_one_session_make_one_refresh() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(70_000);
    let refresh = refreshable(&world, &ada);
    world.clerk.misbehave(Endpoint::Refresh, UNDER_WAY);
    let answers = at_once(200, || world.get("/members").cookie(&refresh)).await;
    assert_eq!(world.clerk.calls(Endpoint::Refresh), 1);
    let renewed = session_cookies(&answers[0]);
    assert!(!renewed.is_empty(), "{:?}", answers[0]);
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(session_cookies(answer), renewed);
    }
    let received = world.upstream.received();
    assert_eq!(received.len(), 200);
    for received in received {
        assert_eq!(received.header("x-user-id"), Some(ada.user_id.clone()));
        assert_eq!(received.header("cookie"), None);
    }
}

#[tokio::test]
async fn what_a_refresh_brought_is_not_given_out_once_its_token_has_ended() {
    let world = World::with(usual_routes())
        .clerk(|options| options.token_lifetime = Duration::from_secs(5))
        .configure(|config| config.clerk.instance.clock_skew_ms = 0)
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let others = format!(
        "; __client_uat={}; __clerk_db_jwt={}; __refresh_{}={}",
        ada.client_uat,
        ada.dev_browser,
        world.clerk.cookie_suffix(),
        ada.refresh_token.as_deref().unwrap()
    );
    let mut session = format!("__session={}", ada.token);
    for calls in 1..=3 {
        world.clock.advance_ms(6_000);
        let held = session + &others;
        let answer = world.request(Method::POST, "/members").cookie(&held).send();
        let answer = answer.await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(world.clerk.calls(Endpoint::Refresh), calls);
        session = session_cookies(&answer)[0]
            .split(';')
            .next()
            .unwrap()
            .to_owned();
    }
    assert_eq!(world.upstream.received().len(), 3);
}

#[tokio::test]
async fn many_who_come_back_with_one_nonce_make_one_call_and_all_get_the_cookies() {
    let world = World::with(usual_routes()).with_nonces().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let uat_only = format!(
        "__client_uat={}; __clerk_db_jwt={}",
        ada.client_uat, ada.dev_browser
    );
    let away = world.visit("/members?tab=1").cookie(&uat_only).send().await;
    let back = at_clerk(&world, away.header("location").unwrap()).await;
    let returned = path_of(back.header("location").unwrap());
    assert!(returned.contains("__clerk_handshake_nonce="), "{returned}");
    world.clerk.misbehave(Endpoint::HandshakePayload, UNDER_WAY);
    let answers = at_once(200, || world.visit(&returned).cookie(&uat_only)).await;
    assert_eq!(world.clerk.calls(Endpoint::HandshakePayload), 1);
    let cookies = session_cookies(&answers[0]);
    assert!(!cookies.is_empty(), "{:?}", answers[0]);
    for answer in &answers {
        // A development instance cleans the address first.
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT, "{answer:?}");
        let home = path_of(answer.header("location").unwrap());
        assert_eq!(home, "/members?tab=1");
        assert_eq!(session_cookies(answer), cookies);
    }
    world.upstream.assert_untouched();
    let signed = kept(&answers[199]);
    let answers = at_once(200, || world.visit("/members?tab=1").cookie(&signed)).await;
    for answer in answers {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert_eq!(world.upstream.received().len(), 200);
    // Whoever comes later finds the nonce spent.
    world.clerk.behave();
    let late = world.visit(&returned).cookie(&uat_only).send().await;
    assert_eq!(session_cookies(&late), Vec::<String>::new());
}

#[tokio::test]
async fn a_revoked_session_is_not_refreshed() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clerk.revoke(&ada.session_id);
    world.clock.advance_ms(70_000);
    let refresh = refreshable(&world, &ada);
    let answer = world.get("/members").cookie(&refresh).send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::UNAUTHORIZED, "session-token-expired")
    );
    assert!(
        answer
            .header("x-clerk-auth-reason")
            .unwrap()
            .starts_with("session-token-expired-refresh-session"),
        "{answer:?}"
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_session_that_cannot_be_read_is_compared_with_another_site_before_it_is_refused() {
    let world = World::start().await;
    let mut session = world.clerk.sign_in("mel", None);
    // Clerk's own library throws over a feature without a scope.
    let odd = json!({ "v": 2, "fea": "nothing", "o": { "id": "org_1", "rol": "member" } });
    session.token = world.clerk.mint(&session.session_id, &odd);
    let visit = || world.visit("/members").cookie(&cookies(&session));
    let from = |site: &str| visit().header("referer", site).send();
    let compared = from("https://elsewhere.example/").await;
    assert_eq!(compared.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(
        compared.header("x-clerk-auth-reason"),
        Some("primary-domain-cross-origin-sync")
    );
    let own = format!("http://localhost:{}/", world.gate.port());
    for answer in [from(&own).await, visit().send().await] {
        let location = answer.header("location").unwrap();
        assert!(
            location.starts_with(&world.clerk.sign_in_url()),
            "{location}"
        );
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn made_up_nonces_take_no_more_than_their_share_of_clerk() {
    let world = World::with(usual_routes()).with_nonces().start().await;
    let back = |nonce: &str| {
        let target = format!("/members?__clerk_handshake_nonce={nonce}");
        world.visit(&target).cookie("__clerk_db_jwt=dvb_1")
    };
    for odd in ["a%2Fb", "a%20b", "%C3%A4", &"a".repeat(257)] {
        let answer = back(odd).send().await;
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT, "{odd}");
    }
    assert_eq!(world.clerk.calls(Endpoint::HandshakePayload), 0);
    world.clerk.misbehave(Endpoint::HandshakePayload, UNDER_WAY);
    let mut asking = JoinSet::new();
    for number in 0..100 {
        asking.spawn(back(&format!("made_up_{number}")).try_send());
    }
    for answer in asking.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT, "{answer:?}");
    }
    assert_eq!(world.clerk.calls(Endpoint::HandshakePayload), 64);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_nonce_that_is_worth_nothing_is_asked_about_once_in_a_while() {
    let world = World::with(usual_routes()).with_nonces().start().await;
    let back = || {
        let target = "/members?__clerk_handshake_nonce=made_up";
        world.visit(target).cookie("__clerk_db_jwt=dvb_1").send()
    };
    for _ in 0..10 {
        assert_eq!(back().await.status, StatusCode::TEMPORARY_REDIRECT);
    }
    assert_eq!(world.clerk.calls(Endpoint::HandshakePayload), 1);
    world.clock.advance_ms(10_000);
    back().await;
    assert_eq!(world.clerk.calls(Endpoint::HandshakePayload), 2);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_nonce_of_which_clerk_has_said_nothing_is_asked_about_again() {
    let world = World::with(usual_routes()).with_nonces().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let uat_only = format!(
        "__client_uat={}; __clerk_db_jwt={}",
        ada.client_uat, ada.dev_browser
    );
    let away = world.visit("/members").cookie(&uat_only).send().await;
    let back = at_clerk(&world, away.header("location").unwrap()).await;
    let returned = path_of(back.header("location").unwrap());
    for fault in [Fault::Close, Fault::Status(500), Fault::Status(429)] {
        world.clerk.misbehave(Endpoint::HandshakePayload, fault);
        let answer = world.visit(&returned).cookie(&uat_only).send().await;
        assert_eq!(session_cookies(&answer), Vec::<String>::new());
    }
    world.clerk.behave();
    let answer = world.visit(&returned).cookie(&uat_only).send().await;
    assert!(!session_cookies(&answer).is_empty(), "{answer:?}");
}

#[tokio::test]
async fn made_up_refresh_tokens_of_a_session_are_tried_three_times_in_a_while() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let mel = world.clerk.sign_in("mel", None);
    world.clock.advance_ms(70_000);
    let suffix = world.clerk.cookie_suffix();
    let with = |session, refresh: &str| {
        let cookies = format!("{}; __refresh_{suffix}={refresh}", cookies(session));
        world.get("/members").cookie(&cookies)
    };
    let asked = || world.clerk.calls(Endpoint::Refresh);
    world.clerk.misbehave(Endpoint::Refresh, UNDER_WAY);
    let mut at_once = JoinSet::new();
    for number in 0..20 {
        at_once.spawn(with(&ada, &format!("made_up_{number}")).try_send());
    }
    for answer in at_once.join_all().await {
        assert_eq!(answer.unwrap().status, StatusCode::UNAUTHORIZED);
    }
    world.clerk.behave();
    assert_eq!(asked(), 3);
    let answer = with(&ada, "one_more").send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let why = answer.header("x-clerk-auth-reason").unwrap();
    assert!(why.starts_with("session-token-expired-refresh-"), "{why}");
    assert_eq!(asked(), 3);
    world.upstream.assert_untouched();
    // Others are renewed meanwhile, and this session again after a while.
    let answer = with(&mel, mel.refresh_token.as_deref().unwrap())
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    world.clock.advance_ms(10_000);
    let answer = with(&ada, ada.refresh_token.as_deref().unwrap())
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(asked(), 5);
}

#[tokio::test]
async fn a_session_that_is_known_to_be_over_is_not_refreshed() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(70_000);
    let denials = world.service.gate.denials();
    denials.deny_session(&ada.session_id, crate::support::START_MS);
    let refresh = refreshable(&world, &ada);
    let answer = world.get("/members").cookie(&refresh).send().await;
    assert_eq!(
        answer.header("x-clerk-auth-reason"),
        Some("session-token-expired-refresh-session-ended")
    );
    assert_eq!(world.clerk.calls(Endpoint::Refresh), 0);
    world.upstream.assert_untouched();
}
