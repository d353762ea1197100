//! What Clerk is asked about sessions of which something is open, and what follows.

use std::time::Duration;

use clerk_gate::core::instance::Continuity;
use clerk_gate::standin::{Endpoint, Fault};
use tokio::time::Instant;

use super::{
    A_TOKENS_LIFE_MS, WireUpstream, World, closed_with, events, eventually, frame, hears, lines,
    open, websocket, world_with,
};

const EVERY: Duration = Duration::from_millis(100);

/// A gate that asks often.
async fn curious() -> (World, WireUpstream) {
    world_with(|world| world.configure(|config| config.clerk.live.check = Some(EVERY))).await
}

/// How often Clerk was asked about sessions.
fn asked(world: &World) -> usize {
    world.clerk.calls(Endpoint::Sessions)
}

#[tokio::test]
async fn a_stream_ends_when_clerk_says_that_its_session_is_over() {
    let (world, upstream) = curious().await;
    let ada = world.clerk.sign_in("ada", None);
    let mel = world.clerk.sign_in("mel", None);
    let (mut browser, _server) = websocket(&world, &upstream, &ada).await;
    let (mut client, mut server) = events(&world, &upstream, &lines(&mel)).await;
    world.clerk.revoke(&ada.session_id);
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    let heard = closed_with(&mut browser).await;
    assert_eq!(heard, (4401, "session-revoked".to_owned()));
    // From now on its tokens are out, and the other session goes on.
    let now = super::START + A_TOKENS_LIFE_MS;
    let denials = world.service.gate.denials();
    assert!(denials.is_denied(&ada.session_id, now));
    eventually("both were asked about", || asked(&world) >= 2).await;
    server.send("9\r\ndata: 2\n\n\r\n").await;
    client.until("data: 2\n\n\r\n").await;
    assert!(!denials.is_denied(&mel.session_id, now));
}

#[tokio::test]
async fn a_session_that_clerk_does_not_know_is_over() {
    let (world, upstream) = curious().await;
    let ada = world.clerk.sign_in("ada", None);
    let claims = serde_json::json!({ "sid": "sess_unheard_of" });
    let mut of_nobody = world.clerk.sign_in("ada", None);
    of_nobody.token = world.clerk.mint(&ada.session_id, &claims);
    let (mut browser, _server) = websocket(&world, &upstream, &of_nobody).await;
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    let heard = closed_with(&mut browser).await;
    assert_eq!(heard, (4401, "session-revoked".to_owned()));
}

#[tokio::test]
async fn nobody_is_asked_about_as_long_as_a_token_holds() {
    let (world, upstream) = curious().await;
    let ada = world.clerk.sign_in("ada", None);
    let (_browser, _server) = websocket(&world, &upstream, &ada).await;
    let mel = world.clerk.sign_in("mel", None);
    let mut later = world.clerk.sign_in("mel", None);
    let lasting = serde_json::json!({ "exp": super::START / 1000 + 3600 });
    later.token = world.clerk.mint(&mel.session_id, &lasting);
    let (mut client, mut stream) = events(&world, &upstream, &lines(&later)).await;
    tokio::time::sleep(EVERY * 3).await;
    assert_eq!(asked(&world), 0);
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    // Ada's is asked about again and again, the other one never.
    eventually("ada was asked about", || asked(&world) >= 3).await;
    world
        .clerk
        .misbehave(Endpoint::Sessions, Fault::Status(503));
    let before = asked(&world);
    eventually("clerk was asked in vain", || asked(&world) >= before + 2).await;
    world.clock.advance_ms(11 * 60 * 1000);
    eventually("ada's has ended", || open(&world) == 1).await;
    stream.send("9\r\ndata: 2\n\n\r\n").await;
    client.until("data: 2\n\n\r\n").await;
}

#[tokio::test]
async fn a_stream_lives_on_without_a_word_of_clerks_and_not_for_ever() {
    for fault in [
        Fault::Close,
        Fault::Status(429),
        Fault::Status(401),
        Fault::Status(500),
        Fault::Garbage,
        Fault::Page,
        Fault::PlainText,
    ] {
        let (world, upstream) = curious().await;
        let ada = world.clerk.sign_in("ada", None);
        let (mut browser, mut server) = websocket(&world, &upstream, &ada).await;
        world.clerk.misbehave(Endpoint::Sessions, fault);
        world.clock.advance_ms(A_TOKENS_LIFE_MS);
        eventually("clerk was asked", || asked(&world) >= 2).await;
        world.clock.advance_ms(9 * 60 * 1000);
        let before = asked(&world);
        eventually("clerk was asked again", || asked(&world) >= before + 2).await;
        server.send(frame(0x81, b"still here")).await;
        let heard = hears(&mut browser).await;
        assert!(heard.is_some_and(|heard| heard.is_text()), "{fault:?}");
        world.clock.advance_ms(61 * 1000);
        let heard = closed_with(&mut browser).await;
        assert_eq!(
            heard,
            (4401, "session-token-expired".to_owned()),
            "{fault:?}"
        );
        // That nothing was heard of it is nothing against the session.
        let denials = world.service.gate.denials();
        assert!(!denials.is_denied(&ada.session_id, super::START + 20 * 60 * 1000));
    }
}

#[tokio::test]
async fn clerk_is_asked_with_the_key_of_the_configuration_that_is_in_force() {
    let (world, upstream) = world_with(|world| {
        world.configure(|config| {
            config.clerk.live.check = Some(EVERY);
            config.clerk.secret_key = Some("sk_test_of_yesterday".into());
        })
    })
    .await;
    let ada = world.clerk.sign_in("ada", None);
    let (_browser, _server) = websocket(&world, &upstream, &ada).await;
    let mut config = world.config.clone();
    config.clerk.secret_key = Some(world.clerk.secret_key().into());
    world.reloader.change_to(config).unwrap();
    let (mut client, mut server) = events(&world, &upstream, &lines(&ada)).await;
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    eventually("clerk was asked", || asked(&world) >= 2).await;
    world.clock.advance_ms(11 * 60 * 1000);
    let before = asked(&world);
    eventually("clerk was asked again", || asked(&world) >= before + 2).await;
    assert_eq!(open(&world), 2);
    server.send("9\r\ndata: 2\n\n\r\n").await;
    client.until("data: 2\n\n\r\n").await;
}

#[tokio::test]
async fn a_good_word_begins_the_grace_anew() {
    let (world, upstream) = curious().await;
    let ada = world.clerk.sign_in("ada", None);
    let (mut browser, mut server) = websocket(&world, &upstream, &ada).await;
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    for _ in 0..3 {
        world.clerk.misbehave(Endpoint::Sessions, Fault::Close);
        let before = asked(&world);
        eventually("clerk was asked in vain", || asked(&world) >= before + 2).await;
        world.clock.advance_ms(9 * 60 * 1000);
        world.clerk.behave();
        let before = asked(&world);
        eventually("clerk has answered", || asked(&world) >= before + 2).await;
    }
    server.send(frame(0x81, b"still here")).await;
    assert!(
        hears(&mut browser)
            .await
            .is_some_and(|heard| heard.is_text())
    );
}

#[tokio::test]
async fn two_hundred_streams_of_a_session_make_one_call_in_an_interval() {
    let (world, upstream) = curious().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(events(&world, &upstream, &lines(&ada)).await);
    }
    assert_eq!(world.service.gate.live().open(), (200, 1));
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    eventually("the first call", || asked(&world) >= 1).await;
    let began = Instant::now();
    eventually("three more calls", || asked(&world) >= 4).await;
    let took = began.elapsed();
    assert!(took > EVERY * 2, "{took:?} for three calls");
    drop(streams);
    eventually("nothing is open", || open(&world) == 0).await;
    let after = asked(&world);
    // A call that is under way may still be counted.
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    let (_client, _server) =
        events(&world, &upstream, &lines(&world.clerk.sign_in("mel", None))).await;
    tokio::time::sleep(EVERY * 3).await;
    assert!(asked(&world) <= after + 1, "nobody is asked about");
}

#[tokio::test]
async fn where_clerk_is_not_asked_a_stream_has_its_time() {
    let without_key = |config: &mut clerk_gate::config::Config| config.clerk.secret_key = None;
    let off = |config: &mut clerk_gate::config::Config| config.clerk.live.check = None;
    let faithful = |config: &mut clerk_gate::config::Config| {
        config.clerk.instance.continuity = Continuity::Faithful;
        config.clerk.live.check = Some(EVERY);
    };
    for change in [without_key as fn(&mut _), off, faithful] {
        let (world, upstream) = world_with(|world| world.configure(change)).await;
        let ada = world.clerk.sign_in("ada", None);
        let (mut browser, mut server) = websocket(&world, &upstream, &ada).await;
        let mel = world.clerk.sign_in("mel", None);
        let (mut of_mel, _server) = websocket(&world, &upstream, &mel).await;
        world.clock.advance_ms(59 * 60 * 1000);
        // It still ends at once when it is known to be over.
        super::revoke(&world, &mel);
        assert_eq!(closed_with(&mut of_mel).await.1, "session-revoked");
        server.send(frame(0x81, b"still here")).await;
        assert!(
            hears(&mut browser)
                .await
                .is_some_and(|heard| heard.is_text())
        );
        world.clock.advance_ms(61 * 1000);
        let heard = closed_with(&mut browser).await;
        assert_eq!(heard, (4401, "session-token-expired".to_owned()));
        assert_eq!(asked(&world), 0);
    }
}

#[tokio::test]
async fn a_session_of_a_bearer_is_bound_alike() {
    let (world, upstream) = curious().await;
    let ada = world.clerk.sign_in("ada", None);
    let bearer = format!("authorization: Bearer {}\r\n", ada.token);
    let (mut client, _server) = events(&world, &upstream, &bearer).await;
    world.clerk.revoke(&ada.session_id);
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    assert_eq!(client.until("\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test]
async fn a_young_token_of_another_request_is_a_word_as_well() {
    let (world, upstream) = curious().await;
    let ada = world.clerk.sign_in("ada", None);
    let (_browser, _server) = websocket(&world, &upstream, &ada).await;
    world.clock.advance_ms(50_000);
    // The page has had its token renewed, and asks for something with it.
    let mut later = ada.clone();
    later.token = world.clerk.mint(&ada.session_id, &serde_json::json!({}));
    let me = || {
        world
            .get("/_gate/me")
            .cookie(&crate::support::cookies(&later))
    };
    assert_eq!(me().send().await.status, http::StatusCode::OK);
    // The first token has ended, the second one not: had Clerk been asked about her as about Mel, it
    // would have been by now.
    world.clock.advance_ms(30_000);
    let mel = world.clerk.sign_in("mel", None);
    let mut short = mel.clone();
    let claims = serde_json::json!({ "exp": (super::START + 80_000) / 1000 + 1 });
    short.token = world.clerk.mint(&mel.session_id, &claims);
    let (_of_mel, _its_server) = events(&world, &upstream, &lines(&short)).await;
    world.clock.advance_ms(10_000);
    eventually("mel was asked about", || asked(&world) >= 3).await;
    let before = asked(&world);
    let began = Instant::now();
    eventually("mel was asked about again", || asked(&world) >= before + 4).await;
    // Two of them would make as many calls in half the time.
    assert!(began.elapsed() > EVERY * 3, "{:?}", began.elapsed());
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    world.clerk.revoke(&ada.session_id);
    eventually("ada's has ended", || open(&world) == 1).await;
}

#[tokio::test]
async fn a_spent_budget_puts_questions_off_and_ends_nothing_before_its_time() {
    let (world, upstream) = world_with(|world| {
        world.configure(|config| {
            config.clerk.live.check = Some(EVERY);
            config.clerk.api_budget = 0;
        })
    })
    .await;
    let ada = world.clerk.sign_in("ada", None);
    let (mut browser, mut server) = websocket(&world, &upstream, &ada).await;
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    // Each question is put off, and none is made.
    let told = tokio::time::timeout(EVERY * 3, hears(&mut browser)).await;
    assert!(told.is_err(), "it goes on: {told:?}");
    // Longer than Clerk may be silent, and shorter than anything may last.
    world.clock.advance_ms(30 * 60 * 1000);
    server.send(frame(0x81, b"still here")).await;
    let heard = hears(&mut browser).await;
    assert!(heard.is_some_and(|heard| heard.is_text()));
    world.clock.advance_ms(31 * 60 * 1000);
    let heard = closed_with(&mut browser).await;
    assert_eq!(heard, (4401, "session-token-expired".to_owned()));
    assert_eq!(asked(&world), 0);
}
