//! Whoever takes traces is slow, away or wrong, and requests know nothing of it.

use std::sync::Arc;
use std::time::Duration;

use clerk_gate::server::accept::Service;
use http::StatusCode;
use tokio::time::Instant;

use super::*;

/// What was counted of spans, by outcome.
fn counted(service: &Service) -> [u64; 4] {
    service.gate.meters.spans.outcomes().map(|(_, count)| count)
}

/// Sends requests, each of which makes two spans and an upstream's.
async fn requests(world: &World, count: usize) {
    for _ in 0..count {
        let answer = world.get("/public/1").send().await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

async fn until(service: &Service, expected: [u64; 4]) {
    let waiting = async {
        while counted(service) != expected {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(waited.is_ok(), "{:?}, not {expected:?}", counted(service));
}

#[tokio::test]
async fn what_waits_is_sent_before_the_gate_stops() {
    let receiver = Receiver::start(Manner::Takes).await;
    let world = traced(&receiver, 1.0).start().await;
    let service = Arc::clone(&world.service);
    requests(&world, 3).await;
    world.stop().await;
    assert_eq!(receiver.now().spans.len(), 9);
    assert_eq!(counted(&service), [9, 0, 0, 0]);
}

#[tokio::test]
async fn a_receiver_that_hangs_harms_nobody_and_does_not_keep_the_gate_from_stopping() {
    let receiver = Receiver::start(Manner::Hangs).await;
    let world = traced(&receiver, 1.0)
        .configure(|config| config.shutdown.drain = Duration::ZERO)
        .start()
        .await;
    requests(&world, 5).await;
    receiver.spans(3).await;
    requests(&world, 5).await;
    assert_eq!(world.upstream.received().len(), 10);
    let began = Instant::now();
    world.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn spans_for_a_receiver_that_is_away_are_counted_as_failed() {
    let mut receiver = Receiver::start(Manner::Takes).await;
    receiver.address = ([127, 0, 0, 1], 1).into();
    let world = traced(&receiver, 1.0).start().await;
    let service = Arc::clone(&world.service);
    requests(&world, 2).await;
    assert_eq!(world.upstream.received().len(), 2);
    world.stop().await;
    assert_eq!(counted(&service), [0, 0, 6, 0]);
}

#[tokio::test]
async fn a_receiver_that_has_no_use_for_spans_is_not_asked_twice() {
    for status in [400, 404, 302] {
        let receiver = Receiver::start(Manner::Answers(status)).await;
        let world = traced(&receiver, 1.0).start().await;
        requests(&world, 1).await;
        until(&world.service, [0, 0, 3, 0]).await;
        assert_eq!(receiver.now().raw.len(), 1, "{status}");
        world.stop().await;
        assert_eq!(receiver.now().raw.len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_busy_is_asked_again() {
    let receiver = Receiver::start(Manner::AnswersOnce(503)).await;
    let world = traced(&receiver, 1.0).start().await;
    requests(&world, 1).await;
    until(&world.service, [3, 0, 0, 0]).await;
    let raw = receiver.now().raw;
    assert_eq!(raw.len(), 2);
    assert_eq!(raw[0], raw[1], "the same once more");
}

#[tokio::test]
async fn spans_that_were_not_taken_are_counted_as_such() {
    for (left, expected) in [
        (2, [1, 0, 0, 2]),
        (0, [3, 0, 0, 0]),
        (99, [0, 0, 0, 3]),
        (-1, [3, 0, 0, 0]),
    ] {
        let receiver = Receiver::start(Manner::Leaves(left)).await;
        let world = traced(&receiver, 1.0).start().await;
        requests(&world, 1).await;
        until(&world.service, expected).await;
    }
}
