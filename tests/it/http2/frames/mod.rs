//! HTTP/2 frame by frame: what RFC 9113 says of clients that break its rules, and what the upstream
//! must not receive from them.
//!
//! A case is what is said on a connection after the settings, and what has to come of it. The
//! cases that follow the sections of the RFC ask what h2spec asks.

mod floods;
mod forms;
pub mod line;
mod messages;
mod settings;
mod streams;

use std::fmt::Write as _;
use std::time::Duration;

use super::{world, world_with};
use crate::support::World;
use crate::support::frames::{
    COMPRESSION_ERROR, END_HEADERS, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, HEADERS, PREFACE,
    PROTOCOL_ERROR, WHOLE, block, frame, settings,
};
use crate::support::waiting::DEADLINE;
use line::{Line, Outcome};

/// What a frame of the wrong size ends a connection with. h2 says that of some in general terms.
const SIZE: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
/// The same for a header block that cannot be unpacked.
const PACKING: &[u32] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];
/// The same for a window that grows too large.
const WINDOW: &[u32] = &[FLOW_CONTROL_ERROR, PROTOCOL_ERROR];

/// How long a refusal may take.
const GRACE: Duration = Duration::from_secs(5);

/// What has to come of a case.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// The connection is given up, for one of these reasons or without a word
    /// (RFC 9113, section 5.4.1).
    Dies(&'static [u32]),
    /// The stream is given up or answered with a refusal; giving up the connection is allowed
    /// (section 5.4.2).
    Refuses(&'static [u32]),
    /// The stream is answered so.
    Answers(u16),
    /// Nothing comes of it: a PING afterwards is answered.
    Lives,
}

/// One thing that a client says.
struct Case {
    name: &'static str,
    says: Vec<u8>,
    expected: Expected,
    /// How many requests reach the upstream by it.
    reach: usize,
}

/// What goes wrong before anything can be passed on.
fn dies(name: &'static str, codes: &'static [u32], says: Vec<u8>) -> Case {
    Case {
        name,
        says,
        expected: Expected::Dies(codes),
        reach: 0,
    }
}

fn refuses(name: &'static str, codes: &'static [u32], says: Vec<u8>) -> Case {
    Case {
        name,
        says,
        expected: Expected::Refuses(codes),
        reach: 0,
    }
}

fn answers(name: &'static str, status: u16, says: Vec<u8>) -> Case {
    Case {
        name,
        says,
        expected: Expected::Answers(status),
        reach: 1,
    }
}

fn lives(name: &'static str, says: Vec<u8>) -> Case {
    Case {
        name,
        says,
        expected: Expected::Lives,
        reach: 0,
    }
}

impl Case {
    /// The same, where so many requests before the mistake are whole.
    fn after(self, reach: usize) -> Self {
        Self { reach, ..self }
    }
}

/// The lines of a request that anybody may make.
fn lines(world: &World, method: &'static str) -> Vec<(&'static str, String)> {
    vec![
        (":method", method.to_owned()),
        (":scheme", "http".to_owned()),
        (":path", "/public/x".to_owned()),
        (":authority", format!("localhost:{}", world.gate.port())),
    ]
}

/// The block of such a request with further lines.
fn request(world: &World, method: &'static str, further: &[(&str, &str)]) -> Vec<u8> {
    let lines = lines(world, method);
    let mut all: Vec<(&str, &str)> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
    all.extend(further);
    block(&all)
}

/// A whole GET on a stream.
fn get(world: &World, stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &request(world, "GET", &[]))
}

/// The beginning of a POST on a stream: its body is to come.
fn post(world: &World, stream: u32, further: &[(&str, &str)]) -> Vec<u8> {
    let block = request(world, "POST", further);
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// Says every case on a connection of its own, `count` of them, and looks at what comes of it.
async fn hold(world: &World, count: usize, cases: Vec<Case>) {
    assert_eq!(cases.len(), count, "cases");
    let mut faults = String::new();
    for case in cases {
        world.upstream.take_received();
        let mut line = Line::open(world).await;
        line.send(&case.says).await;
        line.ping().await;
        let outcome = outcome(&mut line, case.reach, case.expected).await;
        let fits = match (&outcome, case.expected) {
            (Outcome::Died(Some(code)), Expected::Dies(codes) | Expected::Refuses(codes))
            | (Outcome::Reset(_, code), Expected::Refuses(codes)) => codes.contains(code),
            (Outcome::Answered(_, status), Expected::Refuses(_)) => *status == 400,
            (Outcome::Answered(_, status), Expected::Answers(expected)) => *status == expected,
            (Outcome::Died(None), Expected::Dies(_) | Expected::Refuses(_))
            | (Outcome::Lived, Expected::Lives) => true,
            _ => false,
        };
        if !fits {
            let _ = writeln!(
                faults,
                "{}: {outcome:?}, not {:?}",
                case.name, case.expected
            );
        }
        if matches!(outcome, Outcome::Died(_)) && !line.0.closes_within(DEADLINE).await {
            let _ = writeln!(faults, "{}: the connection stays open", case.name);
        }
        let reached = world.upstream.take_received();
        let whole = reached.iter().filter(|one| one.body != "(broken off)");
        if whole.count() > case.reach {
            let _ = writeln!(faults, "{}: the upstream received {reached:?}", case.name);
        }
    }
    assert!(faults.is_empty(), "{faults}");
    // Whatever was done to the gate, others are served.
    let mut line = Line::open(world).await;
    line.send(&get(world, 1)).await;
    assert_eq!(line.outcome().await, Outcome::Answered(1, 200));
}

/// The outcome of a case. Answers to whole requests before the mistake, and to the PING behind it,
/// are nothing yet where it is still to be seen.
async fn outcome(line: &mut Line, whole: usize, expected: Expected) -> Outcome {
    let mut left = whole;
    loop {
        match (line.outcome().await, expected) {
            (Outcome::Answered(_, 200), Expected::Dies(_) | Expected::Refuses(_)) if left > 0 => {
                left -= 1;
            }
            // PINGs are answered before anything else; what is refused is refused by another task.
            (Outcome::Lived, Expected::Answers(_)) => {}
            (Outcome::Lived, Expected::Dies(_) | Expected::Refuses(_)) => {
                let more = tokio::time::timeout(GRACE, line.outcome()).await;
                return more.unwrap_or(Outcome::Lived);
            }
            (outcome, _) => return outcome,
        }
    }
}

#[tokio::test]
async fn a_preface_that_is_none_ends_the_connection() {
    let world = world().await;
    for preface in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut line = Line::silent(&world).await;
        line.send(preface).await;
        line.send(&settings(&[])).await;
        line.send(&get(&world, 1)).await;
        // An answer in HTTP/1.1 reads as a frame of some kind; what counts is that there is an end.
        let ended = tokio::time::timeout(DEADLINE, async { while line.frame().await.is_some() {} });
        ended.await.expect("an end");
        world.upstream.assert_untouched();
    }
}

/// h2 does not mind what comes first (section 3.4 would have it end the connection); what comes is
/// judged like anything else.
#[tokio::test]
async fn a_request_before_the_settings_is_judged_as_any_other() {
    let world = world().await;
    let mut line = Line::silent(&world).await;
    line.send(PREFACE).await;
    let mut lines = lines(&world, "GET");
    "/admin".clone_into(&mut lines[2].1);
    let lines: Vec<(&str, &str)> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
    line.send(&frame(HEADERS, WHOLE, 1, &block(&lines))).await;
    let outcome = line.outcome().await;
    let fits = matches!(
        outcome,
        Outcome::Answered(1, 401) | Outcome::Died(None | Some(PROTOCOL_ERROR))
    );
    assert!(fits, "{outcome:?}");
    world.upstream.assert_untouched();
}
