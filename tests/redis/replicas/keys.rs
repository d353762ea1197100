//! When Clerk has other keys, the first gate that learns of it has the others fetch theirs.

use std::time::Duration;

use clerk_gate::standin::Endpoint;
use clerk_gate::store::redis::Addresses;
use tokio::time::Instant;

use super::{advance, asks, three};
use crate::eventually;
use crate::server::Server;

/// Longer than a gate leaves between two fetches.
const A_WHILE_MS: u64 = 15_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_that_one_gate_has_met_is_fetched_by_the_others_within_a_second() {
    let server = Server::start();
    let at = Addresses::one(&server.url());
    let worlds = three(&at, Duration::from_millis(500)).await;
    let clerk = &worlds[0].clerk;
    let before = clerk.sign_in("ada", None);
    for world in &worlds {
        assert!(asks(world, &before).await.status.is_success());
    }
    let fetched = clerk.calls(Endpoint::Jwks);
    clerk.rotate_keys(true).unwrap();
    advance(&worlds, A_WHILE_MS);
    let after = clerk.sign_in("ada", None);
    assert!(asks(&worlds[0], &after).await.status.is_success());
    let began = Instant::now();
    let calls = || clerk.calls(Endpoint::Jwks) - fetched;
    eventually("all have fetched", async || calls() >= 3).await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // They have the key, and the news goes round no more.
    for world in &worlds {
        assert!(asks(world, &after).await.status.is_success());
        assert!(asks(world, &before).await.status.is_success());
    }
    assert_eq!(calls(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_never_taken_from_redis_and_who_says_so_often_has_them_fetched_once() {
    let server = Server::start();
    let at = Addresses::one(&server.url());
    let worlds = three(&at, Duration::from_millis(500)).await;
    let clerk = &worlds[0].clerk;
    let ada = clerk.sign_in("ada", None);
    for world in &worlds {
        assert!(asks(world, &ada).await.status.is_success());
    }
    let fetched = clerk.calls(Endpoint::Jwks);
    advance(&worlds, A_WHILE_MS);
    for number in 0..200 {
        let mut add = redis::cmd("XADD");
        add.arg("clerk-gate:{notices}").arg("*");
        add.arg("kind").arg("keys").arg("by").arg("nobody");
        add.arg("of").arg(clerk.publishable_key());
        add.arg("digest").arg(format!("{number}"));
        add.exec(&mut server.connection()).unwrap();
    }
    // What comes behind them has been heard.
    let denials = worlds[0].service.gate.denials();
    denials.deny_session("sess_last", crate::support::START_MS);
    for world in &worlds[1..] {
        let last = world.service.gate.denials();
        let heard = || last.is_denied("sess_last", crate::support::START_MS);
        eventually("all is heard", async || heard()).await;
    }
    eventually("each has fetched", async || {
        clerk.calls(Endpoint::Jwks) >= fetched + 3
    })
    .await;
    for world in &worlds {
        assert!(asks(world, &ada).await.status.is_success());
    }
    assert_eq!(clerk.calls(Endpoint::Jwks), fetched + 3);
}
