//! Frames that no decent client sends.

use std::time::Duration;

use super::{world, world_with};
use crate::support::World;
use crate::support::wire::Wire;

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(20);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Header lines, each as a literal that nobody remembers (RFC 7541, section 6.2.2).
fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short one"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn usual<'a>(world: &World, authority: &'a mut String) -> Vec<(&'a str, &'a str)> {
    *authority = format!("localhost:{}", world.gate.port());
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", authority),
        (":path", "/public/x"),
    ]
}

async fn open(world: &World) -> Wire {
    let mut wire = Wire::connect(world.gate).await;
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    wire.send(frame(SETTINGS, 0, 0, &[])).await;
    wire
}

/// The next frame of one of these kinds: its kind, its stream and its payload.
async fn next(wire: &mut Wire, kinds: &[u8]) -> (u8, u32, Vec<u8>) {
    loop {
        let head = wire.exactly(9).await;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = wire.exactly(usize::try_from(length).unwrap()).await;
        if kinds.contains(&head[3]) {
            return (head[3], stream, payload);
        }
    }
}

#[tokio::test]
async fn a_head_that_is_none_resets_its_stream_and_nothing_else() {
    let world = world().await;
    let mut authority = String::new();
    let usual = usual(&world, &mut authority);
    let with = |line: (&'static str, &'static str)| {
        let mut lines = usual.clone();
        lines.push(line);
        lines
    };
    let without = |name: &str| {
        let lines = usual.iter().copied().filter(|line| line.0 != name);
        lines.collect::<Vec<_>>()
    };
    let malformed = [
        with(("connection", "x-user-id")),
        with(("keep-alive", "timeout=5")),
        with(("proxy-connection", "close")),
        with(("transfer-encoding", "chunked")),
        with(("upgrade", "websocket")),
        with(("te", "gzip")),
        with((":path", "/members")),
        with(("content-length", "4")),
        without(":method"),
        without(":scheme"),
        without(":path"),
    ];
    let mut wire = open(&world).await;
    let mut stream = 1;
    for lines in &malformed {
        let head = block(lines);
        let flags = END_HEADERS | END_STREAM;
        wire.send(frame(HEADERS, flags, stream, &head)).await;
        let (kind, on, _) = next(&mut wire, &[RST_STREAM, HEADERS, GOAWAY]).await;
        assert_eq!((kind, on), (RST_STREAM, stream), "{lines:?}");
        stream += 2;
    }
    world.upstream.assert_untouched();
    let head = block(&usual);
    let flags = END_HEADERS | END_STREAM;
    wire.send(frame(HEADERS, flags, stream, &head)).await;
    assert_eq!(next(&mut wire, &[HEADERS]).await.1, stream);
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn names_that_cannot_be_end_the_connection() {
    let world = world().await;
    for name in ["X-User-Id", ":unheard-of", "x user id"] {
        let mut authority = String::new();
        let mut lines = usual(&world, &mut authority);
        lines.push((name, "forged"));
        let mut wire = open(&world).await;
        let flags = END_HEADERS | END_STREAM;
        wire.send(frame(HEADERS, flags, 1, &block(&lines))).await;
        next(&mut wire, &[GOAWAY]).await;
        assert!(wire.closes_within(DEADLINE).await, "{name}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_head_without_end_is_cut_off_in_http_2() {
    let world = world().await;
    let mut authority = String::new();
    let usual = usual(&world, &mut authority);
    let long = "x".repeat(100);
    let more = block(&[("x-one", &long)]).repeat(100);
    for piece in [&[][..], &more] {
        let mut wire = open(&world).await;
        wire.send(frame(HEADERS, END_STREAM, 1, &block(&usual)))
            .await;
        let mut sent = 0;
        let piece = frame(CONTINUATION, 0, 1, piece);
        while sent < 32 * 1024 * 1024 && wire.sends(&piece).await {
            sent += piece.len();
        }
        assert!(sent < 8 * 1024 * 1024, "{sent} bytes are taken");
        assert!(wire.closes_within(DEADLINE).await);
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let world = world_with(|world| {
        world.configure(|config| config.limits.head_timeout = Duration::from_millis(400))
    })
    .await;
    let mut authority = String::new();
    let usual = usual(&world, &mut authority);
    let mut wire = open(&world).await;
    wire.send(frame(HEADERS, END_STREAM, 1, &block(&usual)))
        .await;
    assert!(wire.closes_within(DEADLINE).await);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn pings_and_settings_without_end_are_answered_one_by_one_and_hold_nothing() {
    let world = world().await;
    for noise in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[])] {
        let mut wire = open(&world).await;
        // Nothing of what is answered is read, so that no more is taken once it waits to be.
        let taken = wire.fill_with(&noise.repeat(1000), 64 * 1024 * 1024).await;
        assert!(taken < 32 * 1024 * 1024, "{taken} bytes are taken");
    }
    let answer = world.get("/public/x").send().await;
    assert_eq!(answer.status, http::StatusCode::OK);
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let world = world().await;
    let mut authority = String::new();
    let head = block(&usual(&world, &mut authority));
    let mut wire = open(&world).await;
    let mut burst = Vec::new();
    for number in 0..500 {
        let stream = 2 * number + 1;
        burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
        burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    wire.try_send(burst).await;
    let (_, _, payload) = next(&mut wire, &[GOAWAY]).await;
    // ENHANCE_YOUR_CALM.
    assert_eq!(payload[4..8], [0, 0, 0, 11]);
    assert!(wire.closes_within(DEADLINE).await);
    assert!(world.upstream.received().len() < 100);
}
