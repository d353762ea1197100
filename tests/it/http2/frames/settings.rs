//! SETTINGS and flow control (RFC 9113, sections 6.5 and 6.9).

use super::*;
use crate::support::frames::*;

const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW: u16 = 4;
const MAX_FRAME: u16 = 5;

#[tokio::test]
async fn settings_are_as_the_rfc_has_them() {
    let world = world().await;
    let set = |id: u16, value: u32| settings(&[(id, value)]);
    let cases = vec![
        dies(
            "an acknowledgement with content",
            SIZE,
            frame(SETTINGS, ACK, 0, &[0; 6]),
        ),
        dies(
            "SETTINGS on a stream",
            &[PROTOCOL_ERROR],
            frame(SETTINGS, 0, 1, &[0; 6]),
        ),
        dies(
            "SETTINGS of five bytes",
            SIZE,
            frame(SETTINGS, 0, 0, &[0; 5]),
        ),
        dies(
            "a push that is neither on nor off",
            &[PROTOCOL_ERROR],
            set(ENABLE_PUSH, 2),
        ),
        dies(
            "a window beyond what can be",
            WINDOW,
            set(INITIAL_WINDOW, 1 << 31),
        ),
        dies(
            "a frame size below the least",
            &[PROTOCOL_ERROR],
            set(MAX_FRAME, 16_383),
        ),
        dies(
            "a frame size beyond the most",
            &[PROTOCOL_ERROR],
            set(MAX_FRAME, 1 << 24),
        ),
        lives("a setting that nobody knows", set(0xff, 7)),
        lives(
            "the same setting twice",
            settings(&[(INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)]),
        ),
        lives("a table of no size", set(1, 0)),
    ];
    hold(&world, 10, cases).await;
}

#[tokio::test]
async fn settings_are_acknowledged() {
    let world = world().await;
    let mut line = Line::open(&world).await;
    line.send(&settings(&[(INITIAL_WINDOW, 1000)])).await;
    loop {
        let frame = line.frame().await.unwrap();
        if frame.kind == SETTINGS {
            assert_eq!((frame.flags, frame.payload.len()), (ACK, 0));
            break;
        }
    }
}

/// A client that gives room for a byte gets a byte, then what it gives room for; a smaller window
/// may make the room negative (section 6.9.2).
#[tokio::test]
async fn an_answer_is_sent_as_far_as_there_is_room() {
    let world = world().await;
    let mut line = Line::open_with(&world, &[(INITIAL_WINDOW, 1)]).await;
    line.send(&get(&world, 1)).await;
    let mut body = Vec::<u8>::new();
    let mut room = 1;
    while body.len() < 8 {
        let frame = line.frame().await.unwrap();
        if frame.kind != DATA {
            continue;
        }
        body.extend(&frame.payload);
        assert!(
            body.len() <= room,
            "{} bytes in room for {room}",
            body.len()
        );
        if body.len() == 1 {
            // One byte is out, so that the room is one byte less than none.
            line.send(&settings(&[(INITIAL_WINDOW, 0)])).await;
            line.send(&window_update(1, 4)).await;
            room = 4;
        } else if body.len() == room {
            line.send(&settings(&[(INITIAL_WINDOW, 100)])).await;
            room = 104;
        }
    }
    assert_eq!(body, b"upstream");
}

/// Frames are no longer than the client takes.
#[tokio::test]
async fn frames_to_the_client_are_of_its_size() {
    let world = world().await;
    let long = bytes::Bytes::from(vec![b'x'; 60_000]);
    let body = long.clone();
    world
        .upstream
        .answers(move |_| http::Response::new(body.clone()));
    let mut line = Line::open(&world).await;
    line.send(&get(&world, 1)).await;
    let mut length = 0;
    while length < long.len() {
        let frame = line.frame().await.unwrap();
        assert!(frame.payload.len() <= 16_384, "{}", frame.payload.len());
        if frame.kind == DATA {
            length += frame.payload.len();
        }
    }
}
