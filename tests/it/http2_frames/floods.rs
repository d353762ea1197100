//! Clients that ask for nothing and have the gate work: what they say without end is cut off.

use super::wire::*;
use super::*;

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
async fn rapid_resets_are_cut_off() {
    let world = world().await;
    let outcome = flood(&world, &[], 20_000, |number| {
        let stream = 1 + 2 * number;
        [
            get(&world, stream),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    })
    .await;
    assert_cut(&outcome);
    let reached = world.upstream.received().len();
    assert!(reached < 2_000, "{reached} requests reached the upstream");
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

/// A header block without an end (CVE-2024-27316).
#[tokio::test]
async fn header_blocks_without_an_end_are_cut_off() {
    let world = world().await;
    let begin = frame(HEADERS, END_STREAM, 1, &request(&world, "GET", &[]));
    let piece = block(&[("x-more", &"x".repeat(1000))]);
    let outcome = flood(&world, &begin, 10_000, |_| {
        frame(CONTINUATION, 0, 1, &piece)
    })
    .await;
    assert_cut(&outcome);
    world.upstream.assert_untouched();
}

/// Pieces of a header block in which nothing is.
#[tokio::test]
async fn empty_pieces_of_a_header_block_are_cut_off() {
    let world = world().await;
    let begin = frame(HEADERS, END_STREAM, 1, &request(&world, "GET", &[]));
    let outcome = flood(&world, &begin, 100_000, |_| frame(CONTINUATION, 0, 1, &[])).await;
    assert_cut(&outcome);
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
    let name = "x-bomb";
    block.push(u8::try_from(name.len()).unwrap());
    block.extend(name.as_bytes());
    // The length, 3900, in pieces of seven bits: 127, and 3773 beyond it.
    block.extend([127, 0xbd, 29]);
    block.extend(vec![b'x'; 3900]);
    block.extend(vec![0xbe; 10_000]);
    line.send(&frame(HEADERS, WHOLE, 1, &block)).await;
    let outcome = line.outcome().await;
    let fits = matches!(
        outcome,
        Outcome::Answered(1, 431 | 400) | Outcome::Died(_) | Outcome::Reset(..)
    );
    assert!(fits, "{outcome:?}");
    world.upstream.assert_untouched();
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
    let outcome = line.outcome().await;
    let fits = matches!(
        outcome,
        Outcome::Answered(1, 431 | 400) | Outcome::Died(_) | Outcome::Reset(..)
    );
    assert!(fits, "{outcome:?}");
    world.upstream.assert_untouched();
}

/// Whoever asks for answers and reads none of them does not fill the gate's memory.
#[tokio::test]
async fn pings_and_settings_that_nobody_reads_the_answers_of_are_bounded() {
    let world = world().await;
    for piece in [
        frame(PING, 0, 0, &[7; 8]),
        super::wire::settings(&[(3, 100)]),
    ] {
        let mut line = Line::open(&world).await;
        let said = piece.repeat(1000);
        // 20 MB of them: either the gate stops reading, or it has let go.
        let saying = async {
            for _ in 0..1500 {
                line.send(&said).await;
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), saying).await;
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
