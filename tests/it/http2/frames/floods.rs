//! Clients that ask for nothing and have the gate work: what they say without end is cut off.

use super::*;
use crate::support::frames::*;

/// Says `piece` up to `times` times, until the gate has had enough.
async fn flood(world: &World, begin: &[u8], times: u32, piece: impl Fn(u32) -> Vec<u8>) -> Outcome {
    let mut line = Line::open(world).await;
    line.send(begin).await;
    let mut said = Vec::new();
    for number in 0..times {
        said.extend(piece(number));
        if said.len() > 16_384 {
            line.send(&said).await;
            said.clear();
        }
    }
    line.send(&said).await;
    line.ping().await;
    loop {
        match line.outcome().await {
            // What is refused one by one is no end yet.
            Outcome::Reset(..) | Outcome::Answered(..) => {}
            outcome => return outcome,
        }
    }
}

#[track_caller]
fn assert_cut(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Died(_)), "{outcome:?}");
}

/// Streams that are opened and taken back at once (CVE-2023-44487).
#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let world = world().await;
    let mut line = Line::open(&world).await;
    let burst = (0..500).flat_map(|number| {
        let stream = 1 + 2 * number;
        [get(&world, stream), reset(stream, CANCEL)].concat()
    });
    line.send(&burst.collect::<Vec<_>>()).await;
    let end = loop {
        let outcome = line.outcome().await;
        if let Outcome::Died(_) = outcome {
            break outcome;
        }
    };
    assert_eq!(end, Outcome::Died(Some(ENHANCE_YOUR_CALM)));
    assert!(line.0.closes_within(DEADLINE).await);
    let reached = world.upstream.received().len();
    assert!(reached < 100, "{reached} requests reached the upstream");
}

/// Streams that the gate has to reset (CVE-2025-8671).
#[tokio::test]
async fn streams_that_the_gate_has_to_reset_are_cut_off() {
    let world = world().await;
    let outcome = flood(&world, &[], 20_000, |number| {
        let stream = 1 + 2 * number;
        [post(&world, stream, &[]), window_update(stream, 0)].concat()
    })
    .await;
    assert_cut(&outcome);
}

/// Begins a header block and goes on with this piece of it until nobody takes any more.
async fn assert_a_block_is_cut_off(world: &World, piece: &[u8]) {
    let mut line = Line::open(world).await;
    line.send(&frame(HEADERS, END_STREAM, 1, &request(world, "GET", &[])))
        .await;
    let said = frame(CONTINUATION, 0, 1, piece).repeat(1 + 16_384 / (9 + piece.len()));
    let mut taken = 0;
    while taken < 32 * 1024 * 1024 && line.0.sends(&said).await {
        taken += said.len();
    }
    assert!(taken < 8 * 1024 * 1024, "{taken} bytes are taken");
    assert!(line.0.closes_within(DEADLINE).await);
    world.upstream.assert_untouched();
}

/// A header block without an end (CVE-2024-27316).
#[tokio::test]
async fn a_head_without_end_is_cut_off_in_http_2() {
    let world = world().await;
    let lines = block(&[("x-one", &"x".repeat(100))]).repeat(100);
    assert_a_block_is_cut_off(&world, &lines).await;
}

/// Pieces of a header block in which nothing is.
#[tokio::test]
async fn empty_pieces_of_a_header_block_are_cut_off() {
    assert_a_block_is_cut_off(&world().await, &[]).await;
}

/// A header block that does not go on.
#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let world = world_with(|world| {
        world.configure(|config| config.limits.head_timeout = Duration::from_millis(400))
    })
    .await;
    let mut line = Line::open(&world).await;
    line.send(&frame(HEADERS, END_STREAM, 1, &request(&world, "GET", &[])))
        .await;
    assert!(line.0.closes_within(DEADLINE).await);
    world.upstream.assert_untouched();
}

/// The head on the first stream is too large, and nothing of it arrives.
async fn is_refused(world: &World, line: &mut Line) {
    let outcome = line.outcome().await;
    let fits = matches!(
        outcome,
        Outcome::Answered(1, 431 | 400) | Outcome::Died(_) | Outcome::Reset(..)
    );
    assert!(fits, "{outcome:?}");
    world.upstream.assert_untouched();
}

/// A small block that means a large head (RFC 7541, section 7.3).
#[tokio::test]
async fn a_small_block_does_not_become_a_large_head() {
    let world = world().await;
    let mut line = Line::open(&world).await;
    // A line of four kilobytes that the other side remembers, and then its number, again and again.
    let mut block = request(&world, "GET", &[]);
    block.push(0x40);
    text(&mut block, "x-bomb");
    text(&mut block, &"x".repeat(3900));
    block.extend(vec![0xbe; 10_000]);
    line.send(&frame(HEADERS, WHOLE, 1, &block)).await;
    is_refused(&world, &mut line).await;
}

/// A head of more lines than are taken.
#[tokio::test]
async fn a_head_of_too_many_lines_is_refused() {
    let world = world().await;
    let mut line = Line::open(&world).await;
    let names: Vec<String> = (0..300).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    line.send(&frame(HEADERS, WHOLE, 1, &request(&world, "GET", &many)))
        .await;
    is_refused(&world, &mut line).await;
}

/// Whoever asks for answers and reads none of them does not fill the gate's memory.
#[tokio::test]
async fn pings_and_settings_without_end_are_answered_one_by_one_and_hold_nothing() {
    let world = world().await;
    for noise in [
        frame(PING, 0, 0, b"12345678"),
        settings(&[]),
        settings(&[(3, 100)]),
    ] {
        let mut line = Line::open(&world).await;
        // Nothing of what is answered is read, so that no more is taken once it waits to be.
        let most = 64 * 1024 * 1024;
        let taken = line.0.fill_with(&noise.repeat(1000), most).await;
        assert!(taken < most / 2, "{taken} bytes are taken");
    }
    let mut line = Line::open(&world).await;
    line.send(&get(&world, 1)).await;
    assert_eq!(line.outcome().await, Outcome::Answered(1, 200));
}

/// DATA of no length, without end.
#[tokio::test]
async fn empty_data_without_end_is_bounded() {
    let world = world().await;
    let begin = post(&world, 1, &[]);
    let outcome = flood(&world, &begin, 100_000, |_| frame(DATA, 0, 1, b"")).await;
    assert!(
        matches!(outcome, Outcome::Died(_) | Outcome::Lived),
        "{outcome:?}"
    );
    let mut line = Line::open(&world).await;
    line.send(&get(&world, 1)).await;
    assert_eq!(line.outcome().await, Outcome::Answered(1, 200));
}
