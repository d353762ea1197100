//! The page that takes events, from the wire to what it changes.

use std::time::Duration;

use clerk_gate::clock::Clock as _;
use http::{Method, StatusCode};
use serde_json::json;

use super::{OTHER_SECRET, PAGE, delivery, event, listening, post, sign};
use crate::support::wire::Wire;
use crate::support::{Answer, World, cookies};

/// Somebody's still valid cookies, which have let them in once.
async fn let_in(world: &World, person: &str) -> (clerk_gate::standin::TestSession, String) {
    let session = world.clerk.sign_in(person, None);
    let cookies = cookies(&session);
    assert_is_in(world, &cookies).await;
    (session, cookies)
}

async fn assert_is_in(world: &World, cookies: &str) {
    let answer = world.get("/members").cookie(cookies).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(world.upstream.take_received().len(), 1);
}

async fn assert_is_out(world: &World, cookies: &str, reason: &str) {
    let answer = world.get("/members").cookie(cookies).send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert_eq!(answer.code(), reason);
    world.upstream.assert_untouched();
}

fn assert_taken(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    assert_eq!(answer.body, "");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn the_end_of_a_session_counts_at_once() {
    for kind in ["session.ended", "session.removed", "session.revoked"] {
        let world = listening().start().await;
        let (ada, hers) = let_in(&world, "ada").await;
        let (_, his) = let_in(&world, "mel").await;
        let data = json!({ "id": ada.session_id, "user_id": ada.user_id });
        let body = event(&world, kind, &data);
        assert_taken(&delivery(&world, "msg_1", &body).send().await);
        assert_is_out(&world, &hers, "session-revoked").await;
        assert_is_in(&world, &his).await;
    }
}

#[tokio::test]
async fn who_is_deleted_or_banned_is_out_with_every_session() {
    for (kind, banned) in [("user.deleted", false), ("user.updated", true)] {
        let world = listening().start().await;
        let (ada, hers) = let_in(&world, "ada").await;
        let (_, elsewhere) = let_in(&world, "ada").await;
        let (_, his) = let_in(&world, "mel").await;
        let body = event(
            &world,
            kind,
            &json!({ "id": ada.user_id, "banned": banned }),
        );
        assert_taken(&delivery(&world, "msg_1", &body).send().await);
        assert_is_out(&world, &hers, "session-revoked").await;
        assert_is_out(&world, &elsewhere, "session-revoked").await;
        assert_is_in(&world, &his).await;
    }
}

#[tokio::test]
async fn a_role_of_yesterday_has_to_be_renewed() {
    let world = listening().start().await;
    let (ada, hers) = let_in(&world, "ada").await;
    world.clock.advance_ms(1500);
    let data = json!({ "public_user_data": { "user_id": ada.user_id } });
    let body = event(&world, "organizationMembership.updated", &data);
    assert_taken(&delivery(&world, "msg_1", &body).send().await);
    assert_is_out(&world, &hers, "session-token-outdated").await;
    world.clock.advance_ms(1500);
    let_in(&world, "ada").await;
}

#[tokio::test]
async fn an_organisation_that_is_gone_opens_nothing_any_more() {
    let world = listening().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let hers = cookies(&ada);
    let me = world.get("/_gate/me").cookie(&hers).send().await;
    let me: serde_json::Value = serde_json::from_str(&me.body).unwrap();
    let organization = me["organization"]["id"].as_str().unwrap();
    assert_is_in(&world, &hers).await;
    world.clock.advance_ms(1500);
    let data = json!({ "id": organization, "deleted": true });
    let body = event(&world, "organization.deleted", &data);
    assert_taken(&delivery(&world, "msg_1", &body).send().await);
    assert_is_out(&world, &hers, "session-token-outdated").await;
}

#[tokio::test]
async fn what_is_not_clerks_or_not_of_now_changes_nothing() {
    let world = listening().start().await;
    let (ada, hers) = let_in(&world, "ada").await;
    let body = event(&world, "session.revoked", &json!({ "id": ada.session_id }));
    let tampered = body.replace("session.revoked", "session.removed");
    let now = world.clock.now_ms() / 1000;
    let good = sign(super::SECRET, "msg_1", now, &body);
    let old = now - 301;
    let unsigned = world.request(Method::POST, PAGE).body(body.as_str());
    let of_another = sign(OTHER_SECRET, "msg_1", now, &body);
    let too_old = sign(super::SECRET, "msg_1", old, &body);
    let large = format!("{body}{}", " ".repeat(256 * 1024));
    let large_signed = sign(super::SECRET, "msg_1", now, &large);
    let nonsense = sign(super::SECRET, "msg_1", now, "{}");
    for (name, call, status, reason) in [
        ("unsigned", unsigned, 400, "webhook-malformed"),
        (
            "tampered",
            post(&world, "msg_1", now, &good, &tampered),
            401,
            "webhook-invalid",
        ),
        (
            "another id",
            post(&world, "msg_2", now, &good, &body),
            401,
            "webhook-invalid",
        ),
        (
            "another time",
            post(&world, "msg_1", now + 1, &good, &body),
            401,
            "webhook-invalid",
        ),
        (
            "another secret",
            post(&world, "msg_1", now, &of_another, &body),
            401,
            "webhook-invalid",
        ),
        (
            "too old",
            post(&world, "msg_1", old, &too_old, &body),
            401,
            "webhook-invalid",
        ),
        (
            "too large",
            post(&world, "msg_1", now, &large_signed, &large),
            413,
            "body-too-large",
        ),
        (
            "no event",
            post(&world, "msg_1", now, &nonsense, "{}"),
            400,
            "webhook-malformed",
        ),
    ] {
        // What a browser would send does not change what is answered.
        let answer = call.header("accept", "text/html").send().await;
        let found = (answer.status.as_u16(), answer.code());
        assert_eq!(found, (status, reason.to_owned()), "{name}: {answer:?}");
        assert_is_in(&world, &hers).await;
    }
    // None of that was remembered as the event, which is taken as ever.
    assert_taken(&post(&world, "msg_1", now, &good, &body).send().await);
    assert_is_out(&world, &hers, "session-revoked").await;
}

#[tokio::test]
async fn an_event_that_comes_again_is_taken_and_does_nothing() {
    let world = listening().start().await;
    let (ada, hers) = let_in(&world, "ada").await;
    let body = event(
        &world,
        "user.updated",
        &json!({ "id": ada.user_id, "banned": true }),
    );
    let now = world.clock.now_ms() / 1000;
    let signature = sign(super::SECRET, "msg_1", now, &body);
    assert_taken(&post(&world, "msg_1", now, &signature, &body).send().await);
    assert_is_out(&world, &hers, "session-revoked").await;
    // The ban is lifted, she signs in anew, and somebody repeats what they have overheard.
    world.clock.advance_ms(2000);
    let (_, anew) = let_in(&world, "ada").await;
    assert_taken(&post(&world, "msg_1", now, &signature, &body).send().await);
    assert_is_in(&world, &anew).await;
    // Clerk itself may send an event again, signed anew.
    assert_taken(&delivery(&world, "msg_1", &body).send().await);
    assert_is_in(&world, &anew).await;
}

#[tokio::test]
async fn events_of_no_consequence_are_taken_too() {
    let world = listening().start().await;
    let (_, hers) = let_in(&world, "ada").await;
    for (number, kind) in ["session.created", "email.created", "role.updated"]
        .iter()
        .enumerate()
    {
        let body = event(&world, kind, &json!({ "id": "x_1" }));
        assert_taken(
            &delivery(&world, &format!("msg_{number}"), &body)
                .send()
                .await,
        );
    }
    assert_is_in(&world, &hers).await;
}

#[tokio::test]
async fn a_session_opens_nothing_there_and_other_methods_are_named() {
    let world = listening().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let with_session = world.request(Method::POST, PAGE).cookie(&cookies(&ada));
    let answer = with_session.body("{}").send().await;
    assert_eq!(answer.code(), "webhook-malformed");
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = world.request(method, PAGE).send().await;
        assert_eq!(answer.code(), "method-not-allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn without_a_secret_there_is_no_such_page() {
    let world = World::start().await;
    let (ada, hers) = let_in(&world, "ada").await;
    let body = event(&world, "session.revoked", &json!({ "id": ada.session_id }));
    let answer = delivery(&world, "msg_1", &body).send().await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.code(), "page-unknown");
    assert_is_in(&world, &hers).await;
}

/// The head of a delivery whose body is still to come, behind these further lines.
fn head(world: &World, further: &str) -> String {
    let now = world.clock.now_ms() / 1000;
    let signature = sign(OTHER_SECRET, "msg_1", now, "");
    format!(
        "POST {PAGE} HTTP/1.1\r\nhost: localhost\r\nsvix-id: msg_1\r\nsvix-timestamp: {now}\r\nsvix-signature: {signature}\r\n{further}\r\n"
    )
}

#[tokio::test]
async fn a_body_that_does_not_come_to_an_end_is_not_waited_for() {
    let world = listening().start().await;
    let mut client = Wire::connect(world.gate).await;
    client.send(&head(&world, "content-length: 100\r\n")).await;
    client.send("{").await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let rest = client.rest().await;
    tokio::time::resume();
    assert!(
        rest.starts_with("HTTP/1.1 408 ") && rest.contains("body-timeout"),
        "{rest}"
    );
    assert!(began.elapsed() >= Duration::from_secs(10));
}

#[tokio::test]
async fn no_more_of_a_body_is_read_than_an_event_can_have() {
    let world = listening().start().await;
    // Its length is not announced.
    let mut client = Wire::connect(world.gate).await;
    client
        .send(&head(&world, "transfer-encoding: chunked\r\n"))
        .await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..5 {
        client.try_send(&chunk).await;
    }
    let rest = client.rest().await;
    assert!(rest.starts_with("HTTP/1.1 413 "), "{rest}");
    // Nor is anything read for a head that no event has.
    let mut client = Wire::connect(world.gate).await;
    let lines = format!(
        "POST {PAGE} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 100\r\n\r\n"
    );
    client.send(&lines).await;
    let rest = client.rest().await;
    assert!(rest.starts_with("HTTP/1.1 400 "), "{rest}");
}
