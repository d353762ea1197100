//! What may be said on a stream in which state (RFC 9113, sections 5.1 and 5.4).

use super::*;
use crate::support::frames::*;

/// The codes for something on a stream that is over.
const OVER: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];

#[tokio::test]
async fn streams_are_used_in_order() {
    let world = world().await;
    let block = request(&world, "GET", &[]);
    let cancelled = [post(&world, 1, &[]), reset(1, CANCEL)].concat();
    let behind_reset = |more: Vec<u8>| [cancelled.clone(), more].concat();
    let behind = |more: Vec<u8>| [get(&world, 1), more].concat();
    let cases = vec![
        // Idle
        dies(
            "DATA on an idle stream",
            &[PROTOCOL_ERROR],
            frame(DATA, END_STREAM, 1, b"x"),
        ),
        dies(
            "RST_STREAM on an idle stream",
            &[PROTOCOL_ERROR],
            frame(RST_STREAM, 0, 1, &[0; 4]),
        ),
        dies(
            "WINDOW_UPDATE on an idle stream",
            &[PROTOCOL_ERROR],
            window_update(1, 100),
        ),
        dies(
            "CONTINUATION on an idle stream",
            &[PROTOCOL_ERROR],
            frame(CONTINUATION, END_HEADERS, 1, &block),
        ),
        // Half closed by the client
        refuses(
            "DATA behind the end",
            OVER,
            behind(frame(DATA, END_STREAM, 1, b"x")),
        )
        .after(1),
        refuses("HEADERS behind the end", OVER, behind(get(&world, 1))).after(1),
        dies(
            "CONTINUATION behind the end",
            OVER,
            behind(frame(CONTINUATION, END_HEADERS, 1, &block)),
        )
        .after(1),
        // Reset by the client
        refuses(
            "DATA behind a reset",
            OVER,
            behind_reset(frame(DATA, END_STREAM, 1, b"x")),
        ),
        refuses("HEADERS behind a reset", OVER, behind_reset(get(&world, 1))),
        dies(
            "CONTINUATION behind a reset",
            OVER,
            behind_reset(frame(CONTINUATION, END_HEADERS, 1, &block)),
        ),
        lives(
            "WINDOW_UPDATE behind a reset",
            behind_reset(window_update(1, 1)),
        ),
        lives(
            "RST_STREAM behind a reset",
            behind_reset(frame(RST_STREAM, 0, 1, &[0; 4])),
        ),
        // Numbers
        dies(
            "a stream of an even number",
            &[PROTOCOL_ERROR],
            get(&world, 2),
        ),
        dies(
            "a stream of a smaller number",
            OVER,
            [get(&world, 5), get(&world, 3)].concat(),
        )
        .after(1),
        // Priorities mean nothing any more (section 5.3), but frames have their form.
        lives(
            "a stream that is its own parent",
            frame(PRIORITY, 0, 7, &[0, 0, 0, 5, 9]),
        ),
        // Resets and farewells of any kind
        lives(
            "RST_STREAM for an unknown reason",
            behind_reset(frame(RST_STREAM, 0, 1, &[0xff; 4])),
        ),
        lives(
            "DATA of no length and no end",
            [post(&world, 1, &[]), frame(DATA, 0, 1, b"")].concat(),
        ),
    ];
    hold(&world, 17, cases).await;
}

/// Behind a connection error nothing is read any more.
#[tokio::test]
async fn behind_a_mistake_nothing_is_read() {
    let world = world().await;
    let mut line = Line::open(&world).await;
    line.send(&[frame(PING, 0, 1, &[0; 8]), get(&world, 1)].concat())
        .await;
    assert!(matches!(line.outcome().await, Outcome::Died(_)));
    while line.frame().await.is_some() {}
    world.upstream.assert_untouched();
}

/// More streams at once than were agreed on are refused, and said to have done nothing.
#[tokio::test]
async fn streams_beyond_what_was_settled_are_refused() {
    let world = world_with(|world| world.configure(|config| config.http2.max_streams = 10)).await;
    let mut line = Line::open(&world).await;
    for number in 0..12 {
        line.send(&post(&world, 1 + 2 * number, &[])).await;
    }
    let outcome = line.outcome().await;
    let fits = matches!(
        outcome,
        Outcome::Reset(21 | 23, REFUSED_STREAM | PROTOCOL_ERROR) | Outcome::Died(_)
    );
    assert!(fits, "{outcome:?}");
}

/// Whoever is told to go away may finish what was begun.
#[tokio::test]
async fn a_client_that_says_goodbye_gets_its_answers() {
    let world = world().await;
    let mut line = Line::open(&world).await;
    let goodbye = frame(GOAWAY, 0, 0, &[0; 8]);
    line.send(&[get(&world, 1), goodbye].concat()).await;
    assert_eq!(line.outcome().await, Outcome::Answered(1, 200));
    assert_eq!(line.body(1).await, b"upstream");
}

/// Two requests on one connection are two requests.
#[tokio::test]
async fn streams_are_answered_each_with_its_own() {
    let world = world().await;
    world.upstream.answers(|received| {
        let mut answer = http::Response::new(received.body.clone());
        *answer.status_mut() = http::StatusCode::CREATED;
        answer
    });
    let mut line = Line::open(&world).await;
    let told = [
        post(&world, 1, &[]),
        post(&world, 3, &[]),
        frame(DATA, END_STREAM, 3, b"three"),
        frame(DATA, END_STREAM, 1, b"one"),
    ];
    line.send(&told.concat()).await;
    let mut bodies = std::collections::BTreeMap::new();
    while bodies.len() < 2 {
        let frame = line.frame().await.unwrap();
        if frame.kind == DATA && !frame.payload.is_empty() {
            bodies.insert(frame.stream, String::from_utf8(frame.payload).unwrap());
        }
    }
    let expected = [(1, "one".to_owned()), (3, "three".to_owned())];
    assert_eq!(bodies, expected.into());
}
