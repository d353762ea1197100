//! Several gates with one Redis, and a Redis that fails: nobody hangs, what was promised happens, and
//! all is as before once it is back.

use std::time::Duration;

use clerk_gate::store::redis::OnError;
use http::StatusCode;
use tokio::time::Instant;

use crate::server::Server;
use crate::support::World;
use crate::{DEADLINE, eventually, gate};

/// So long that a request which waited for it would show.
const TIMEOUT: Duration = Duration::from_millis(500);

/// How many of these requests went through; none takes long.
async fn through(world: &World, requests: usize) -> usize {
    let mut through = 0;
    for _ in 0..requests {
        let answer = tokio::time::timeout(DEADLINE, world.get("/x").send()).await;
        through += usize::from(answer.expect("an answer").status == StatusCode::OK);
    }
    through
}

/// Asks until the gate counts in the server, from an address that nothing else comes from.
async fn counting_there(world: &World, server: &Server) {
    eventually("counts in redis", async || {
        let call = world.get("/x").header("x-forwarded-for", "192.0.2.9");
        call.send().await;
        server.counts() > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gates_let_exactly_as_many_through_as_one() {
    let server = Server::start();
    let mut worlds = Vec::new();
    for _ in 0..3 {
        let world = gate(&server.url(), Duration::from_secs(5), OnError::Refuse).await;
        counting_there(&world, &server).await;
        worlds.push(world);
        server.flush();
    }
    for world in &worlds {
        world.upstream.take_received();
    }
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..64 {
        let call = worlds[number % 3].get("/x");
        calls.spawn(async move { call.send().await.status.as_u16() });
    }
    let mut statuses = calls.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[..10], [200; 10]);
    assert_eq!(statuses[10..], [429; 54]);
    let arrived: usize = worlds.iter().map(|w| w.upstream.received().len()).sum();
    assert_eq!(arrived, 10);
}

/// What of twelve requests goes through while nobody can count elsewhere.
const WITHOUT: [(OnError, usize); 3] = [
    (OnError::Local, 10),
    (OnError::Allow, 12),
    (OnError::Refuse, 0),
];

#[tokio::test]
async fn a_redis_that_was_never_there_keeps_nobody_waiting() {
    for (on_error, expected) in WITHOUT {
        let world = gate("redis://127.0.0.1:1", TIMEOUT, on_error).await;
        let began = Instant::now();
        assert_eq!(through(&world, 12).await, expected, "{on_error:?}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(world.upstream.received().len(), expected);
        if on_error == OnError::Refuse {
            let answer = world.get("/x").send().await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.code(), "limits-unavailable");
            assert_eq!(answer.header("retry-after"), Some("5"));
        }
    }
}

#[tokio::test]
async fn a_redis_that_is_stopped_and_started_again_counts_again() {
    for (on_error, expected) in WITHOUT {
        let mut server = Server::start();
        let world = gate(&server.url(), TIMEOUT, on_error).await;
        counting_there(&world, &server).await;
        server.stop();
        let began = Instant::now();
        assert_eq!(through(&world, 12).await, expected, "{on_error:?}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        server.start_again();
        assert_eq!(server.counts(), 0);
        counting_there(&world, &server).await;
    }
}

#[tokio::test]
async fn a_redis_that_does_nothing_costs_one_timeout_and_not_one_for_each_request() {
    for (on_error, expected) in WITHOUT {
        let server = Server::start();
        let world = gate(&server.url(), TIMEOUT, on_error).await;
        counting_there(&world, &server).await;
        server.flush();
        server.pause();
        let began = Instant::now();
        let got = through(&world, 12).await;
        server.go_on();
        // What was sent to it meanwhile is no sign that it is asked again.
        server.flush();
        assert_eq!(got, expected, "{on_error:?}");
        assert!(began.elapsed() < 12 * TIMEOUT / 2, "{:?}", began.elapsed());
        counting_there(&world, &server).await;
    }
}

#[tokio::test]
async fn a_redis_that_is_full_is_none_until_there_is_room() {
    for (on_error, expected) in WITHOUT {
        let server = Server::start();
        let world = gate(&server.url(), TIMEOUT, on_error).await;
        counting_there(&world, &server).await;
        server.flush();
        server.fill(true);
        assert_eq!(through(&world, 12).await, expected, "{on_error:?}");
        assert_eq!(server.counts(), 0);
        server.fill(false);
        counting_there(&world, &server).await;
    }
}
