//! Frames that are too long, too short, on the wrong stream or of no known kind (RFC 9113, sections
//! 4 and 6).

use super::*;
use crate::support::frames::*;

#[expect(clippy::too_many_lines, reason = "a table")]
#[tokio::test]
async fn frames_are_as_the_rfc_has_them() {
    let world = world().await;
    let whole = request(&world, "GET", &[]);
    let (half, rest) = whole.split_at(whole.len() / 2);
    let begun = frame(HEADERS, END_STREAM, 1, half);
    // With an end, so that whoever minds nothing takes it for a request.
    let ended = frame(CONTINUATION, END_HEADERS, 1, rest);
    let within = |other: Vec<u8>| [begun.clone(), other, ended.clone()].concat();
    let padded = |length: u8| {
        let mut payload = vec![length];
        payload.extend(&whole);
        payload
    };
    let cases = vec![
        // Section 4.1
        lives("a frame of an unknown kind", frame(0x16, 0, 0, &[0; 8])),
        lives(
            "a frame of an unknown kind on a stream",
            frame(0x16, 0, 3, &[]),
        ),
        lives(
            "a PING with flags that nobody knows",
            frame(PING, 0x16, 0, &[0; 8]),
        ),
        lives(
            "a PING with the reserved bit",
            frame(PING, 0, 1 << 31, &[0; 8]),
        ),
        // Section 4.2
        refuses(
            "DATA that is longer than was settled",
            SIZE,
            [
                post(&world, 1, &[]),
                frame(DATA, END_STREAM, 1, &[0; 16_385]),
            ]
            .concat(),
        ),
        dies(
            "HEADERS that are longer than was settled",
            SIZE,
            frame(HEADERS, WHOLE, 1, &[0; 16_385]),
        ),
        // Section 4.3
        dies(
            "a header block with an index that is not there",
            PACKING,
            frame(HEADERS, WHOLE, 1, &[0xff, 0xff, 0xff, 0x0f]),
        ),
        dies(
            "a header block with a table larger than was settled",
            PACKING,
            frame(HEADERS, WHOLE, 1, &[0x3f, 0xff, 0xff, 0x03]),
        ),
        dies(
            "PRIORITY within a header block",
            &[PROTOCOL_ERROR],
            within(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ),
        dies(
            "an unknown frame within a header block",
            &[PROTOCOL_ERROR],
            within(frame(0x16, 0, 1, &[])),
        ),
        dies(
            "HEADERS of another stream within a header block",
            &[PROTOCOL_ERROR],
            within(get(&world, 3)),
        ),
        // Section 6.1
        dies(
            "DATA on stream 0",
            &[PROTOCOL_ERROR],
            frame(DATA, 0, 0, b"x"),
        ),
        dies(
            "DATA with more padding than there is",
            &[PROTOCOL_ERROR],
            [
                post(&world, 1, &[]),
                frame(DATA, PADDED | END_STREAM, 1, &[9, 1, 2]),
            ]
            .concat(),
        ),
        // Section 6.2
        dies("HEADERS on stream 0", &[PROTOCOL_ERROR], get(&world, 0)),
        dies(
            "HEADERS with more padding than there is",
            &[PROTOCOL_ERROR],
            frame(HEADERS, WHOLE | PADDED, 1, &padded(255)),
        ),
        answers(
            "HEADERS with padding",
            200,
            frame(
                HEADERS,
                WHOLE | PADDED,
                1,
                &[padded(3), vec![0; 3]].concat(),
            ),
        ),
        answers(
            "HEADERS with a priority",
            200,
            frame(
                HEADERS,
                WHOLE | WITH_PRIORITY,
                1,
                &[vec![0, 0, 0, 0, 9], whole.clone()].concat(),
            ),
        ),
        dies(
            "HEADERS too short for the priority that they have",
            SIZE,
            frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[0, 0, 0]),
        ),
        // Section 6.3
        dies(
            "PRIORITY on stream 0",
            &[PROTOCOL_ERROR],
            frame(PRIORITY, 0, 0, &[0; 5]),
        ),
        refuses(
            "PRIORITY of four bytes",
            SIZE,
            frame(PRIORITY, 0, 1, &[0; 4]),
        ),
        lives(
            "PRIORITY of a stream that is idle",
            frame(PRIORITY, 0, 9, &[0, 0, 0, 1, 9]),
        ),
        // Section 6.4
        dies(
            "RST_STREAM on stream 0",
            &[PROTOCOL_ERROR],
            frame(RST_STREAM, 0, 0, &[0; 4]),
        ),
        dies(
            "RST_STREAM of three bytes",
            SIZE,
            [post(&world, 1, &[]), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
        ),
        // Section 6.6
        dies(
            "a promise of a client",
            &[PROTOCOL_ERROR],
            [
                post(&world, 1, &[]),
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[vec![0, 0, 0, 2], whole.clone()].concat(),
                ),
            ]
            .concat(),
        ),
        // Section 6.7
        lives(
            "an answer to a PING that nobody sent",
            frame(PING, ACK, 0, &[1; 8]),
        ),
        dies(
            "PING on a stream",
            &[PROTOCOL_ERROR],
            frame(PING, 0, 1, &[0; 8]),
        ),
        dies("PING of six bytes", SIZE, frame(PING, 0, 0, &[0; 6])),
        // Section 6.8
        dies(
            "GOAWAY on a stream",
            &[PROTOCOL_ERROR],
            frame(GOAWAY, 0, 1, &[0; 8]),
        ),
        // Section 6.9
        dies(
            "a window that grows by nothing",
            &[PROTOCOL_ERROR],
            window_update(0, 0),
        ),
        refuses(
            "the window of a stream that grows by nothing",
            &[PROTOCOL_ERROR],
            [post(&world, 1, &[]), window_update(1, 0)].concat(),
        ),
        dies(
            "WINDOW_UPDATE of three bytes",
            SIZE,
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]),
        ),
        dies(
            "a window that grows beyond what can be",
            WINDOW,
            [window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)].concat(),
        ),
        refuses(
            "the window of a stream that grows beyond what can be",
            WINDOW,
            [
                post(&world, 1, &[]),
                window_update(1, 0x7fff_ffff),
                window_update(1, 0x7fff_ffff),
            ]
            .concat(),
        ),
        // Section 6.10
        answers(
            "a header block in three pieces",
            200,
            [
                begun.clone(),
                frame(CONTINUATION, 0, 1, &rest[..4]),
                frame(CONTINUATION, END_HEADERS, 1, &rest[4..]),
            ]
            .concat(),
        ),
        dies(
            "CONTINUATION on stream 0",
            &[PROTOCOL_ERROR],
            within(frame(CONTINUATION, END_HEADERS, 0, rest)),
        ),
        dies(
            "CONTINUATION of another stream",
            &[PROTOCOL_ERROR],
            within(frame(CONTINUATION, END_HEADERS, 3, rest)),
        ),
        dies(
            "CONTINUATION behind a whole header block",
            &[PROTOCOL_ERROR],
            [
                frame(HEADERS, END_HEADERS, 1, &request(&world, "POST", &[])),
                frame(CONTINUATION, END_HEADERS, 1, rest),
            ]
            .concat(),
        ),
        dies(
            "CONTINUATION behind DATA",
            &[PROTOCOL_ERROR],
            [
                post(&world, 1, &[]),
                frame(DATA, 0, 1, b"x"),
                frame(CONTINUATION, END_HEADERS, 1, rest),
            ]
            .concat(),
        ),
    ];
    hold(&world, 38, cases).await;
}

#[tokio::test]
async fn a_ping_comes_back_as_it_was_sent() {
    let world = world().await;
    let mut line = Line::open(&world).await;
    line.send(&frame(PING, 0, 0, b"\x00echo me")).await;
    loop {
        let frame = line.frame().await.unwrap();
        if frame.kind == PING {
            assert_eq!((frame.flags, &*frame.payload), (ACK, &b"\x00echo me"[..]));
            break;
        }
    }
}
