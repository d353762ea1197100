//! The keys of the instance: outages, rotation, and people who make up key ids.

use clerk_gate::clock::Clock as _;
use clerk_gate::standin::{Endpoint, Fault};
use http::StatusCode;
use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn without_any_key_public_routes_work_and_protected_ones_are_a_503() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    for fault in [
        Fault::Close,
        Fault::Status(500),
        Fault::Garbage,
        Fault::Empty,
    ] {
        world.clerk.misbehave(Endpoint::Jwks, fault);
        world.clock.advance_ms(31_000);
        let token = world.clerk.mint(&ada.session_id, &json!({}));
        let answer = world.get("/members").bearer(&token).send().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "jwk-remote-failed-to-load")
        );
        assert_eq!(answer.header("retry-after"), Some("5"));
        let me = world.get("/_gate/me").bearer(&token).send().await;
        assert_eq!(me.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            world.get("/public/x").bearer(&token).send().await.status,
            StatusCode::OK
        );
    }
    world.clerk.behave();
    world.clock.advance_ms(31_000);
    let token = world.clerk.mint(&ada.session_id, &json!({}));
    assert_eq!(
        world.get("/members").bearer(&token).send().await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn good_keys_are_kept_while_clerk_answers_garbage() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    assert_eq!(
        world.get("/members").bearer(&ada.token).send().await.status,
        StatusCode::OK
    );
    for fault in [
        Fault::Garbage,
        Fault::Empty,
        Fault::Status(500),
        Fault::Close,
    ] {
        world.clerk.misbehave(Endpoint::Jwks, fault);
        world.clock.advance_ms(3_600_000);
        let token = world.clerk.mint(&ada.session_id, &json!({}));
        assert_eq!(
            world.get("/members").bearer(&token).send().await.status,
            StatusCode::OK
        );
    }
    // But not for ever: a day after the last good answer there is no key.
    world.clock.advance_ms(24 * 3_600_000);
    let token = world.clerk.mint(&ada.session_id, &json!({}));
    assert_eq!(
        world.get("/members").bearer(&token).send().await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn made_up_key_ids_cause_one_fetch_in_a_cool_down() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    assert_eq!(
        world.get("/members").bearer(&ada.token).send().await.status,
        StatusCode::OK
    );
    world.clock.advance_ms(11_000);
    let before = world.clerk.calls(Endpoint::Jwks);
    for number in 0..200 {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": format!("ins_{number}") });
        let token = world.clerk.sign(
            &header,
            &json!({ "sub": "user_1", "exp": 4_000_000_000_u64 }),
        );
        let answer = world.get("/members").bearer(&token).send().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::UNAUTHORIZED, "jwk-kid-mismatch")
        );
    }
    assert_eq!(world.clerk.calls(Endpoint::Jwks) - before, 1);
    world.upstream.only();
}

#[tokio::test]
async fn a_rotated_key_is_found_at_once_and_the_old_one_is_gone() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    assert_eq!(
        world.get("/members").bearer(&ada.token).send().await.status,
        StatusCode::OK
    );
    world.clock.advance_ms(11_000);
    world.clerk.rotate_keys(false).unwrap();
    let token = world.clerk.mint(&ada.session_id, &json!({}));
    assert_eq!(
        world.get("/members").bearer(&token).send().await.status,
        StatusCode::OK
    );
    // Verified before, cached, not expired: and made with a key that is gone.
    let answer = world.get("/members").bearer(&ada.token).send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::UNAUTHORIZED, "jwk-kid-mismatch")
    );
}

#[tokio::test]
async fn many_who_need_a_key_at_once_cause_one_fetch() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let calls: Vec<_> = (0..50)
        .map(|_| tokio::spawn(world.get("/members").bearer(&ada.token).send()))
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(world.clerk.calls(Endpoint::Jwks), 1);
}

#[tokio::test]
async fn a_token_that_is_good_for_days_goes_with_its_key_although_nothing_new_comes() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let days = json!({ "exp": world.clock.now_ms() / 1000 + 30 * 86_400 });
    let token = world.clerk.mint(&ada.session_id, &days);
    let ask = || world.get("/members").bearer(&token).send();
    assert_eq!(ask().await.status, StatusCode::OK);
    world.clerk.rotate_keys(false).unwrap();
    world.clock.advance_ms(301_000);
    // Keys are fetched in the background, once somebody has been answered by the old ones.
    let gone = async { while ask().await.status == StatusCode::OK {} };
    let gone = tokio::time::timeout(std::time::Duration::from_secs(20), gone).await;
    gone.expect("the key is missed");
    assert_eq!(ask().await.code(), "jwk-kid-mismatch");
}

#[tokio::test]
async fn a_token_that_was_verified_before_is_no_good_once_its_keys_are_too_old() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let days = json!({ "exp": world.clock.now_ms() / 1000 + 30 * 86_400 });
    let token = world.clerk.mint(&ada.session_id, &days);
    let ask = || world.get("/members").bearer(&token).send();
    assert_eq!(ask().await.status, StatusCode::OK);
    world.clerk.misbehave(Endpoint::Jwks, Fault::Status(503));
    world.clock.advance_ms(23 * 3_600_000);
    assert_eq!(ask().await.status, StatusCode::OK);
    world.clock.advance_ms(2 * 3_600_000);
    world.upstream.take_received();
    assert_eq!(ask().await.status, StatusCode::SERVICE_UNAVAILABLE);
    world.upstream.assert_untouched();
}
