//! The same requests once more, told by Envoy over gRPC: the same verdicts, and the application gets
//! the same head.

use clerk_gate::clock::ManualClock;
use http::HeaderMap;

use super::doors::comparable;
use super::*;
use crate::ext_authz::{Ask, Caller, Told};

/// Rows that are replayed, and those that no door takes, because their path is not canonical.
const AUTHENTICATE: (usize, usize) = (1070, 2);
const PROTECT: (usize, usize) = (476, 3);

/// What is about a connection, or differs from one request to the next.
const APART: [&str; 5] = [
    "connection",
    "content-length",
    "host",
    "x-forwarded-host",
    "x-request-id",
];

/// What Envoy makes of a row's request.
fn asked(row: &Value) -> Ask {
    let original = request(row);
    let text = String::from_utf8_lossy(&original);
    let mut words = text.lines().next().unwrap().split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (origin, _) = origin(row);
    let mut ask = Ask::of(method, target, &origin.host().to_string());
    ask.http.header_map = None;
    origin.scheme().as_str().clone_into(&mut ask.http.scheme);
    "127.0.0.1".clone_into(&mut ask.client);
    let head = original.split(|byte| *byte == b'\n').skip(1);
    for line in head.filter(|line| line.len() > 1) {
        let at = line.iter().position(|byte| *byte == b':').unwrap();
        let name = String::from_utf8(line[..at].to_vec()).unwrap();
        let name = name.to_ascii_lowercase();
        let is_told = name == "host" || name.starts_with("x-forwarded-");
        if !is_told {
            ask = ask.bytes(&name, line[at + 1..].trim_ascii());
        }
    }
    ask
}

/// A head without what is apart.
fn head(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let mut lines: Vec<_> = headers
        .iter()
        .filter(|(name, _)| !APART.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    lines.sort();
    lines
}

fn difference(told: &Told, answer: &Answer, received: &[Received]) -> Option<String> {
    let mut found = Differences::default();
    found.compare("status", answer.status.as_u16(), told.status());
    for name in [
        "location",
        "www-authenticate",
        "x-clerk-auth-reason",
        "x-clerk-auth-status",
        "x-clerk-auth-message",
    ] {
        found.compare(name, answer.header(name), told.answer.header(name));
    }
    found.compare(
        "set-cookie",
        comparable(answer.all("set-cookie")),
        comparable(told.answer.all("set-cookie")),
    );
    let arrives = told.arrives.as_ref().map(head);
    let received = received.first().map(|received| head(&received.headers));
    found.compare("head", received, arrives);
    found.told()
}

#[derive(Default)]
struct Replayed {
    rows: usize,
    /// Refused, where the proxy forwards something that is written otherwise.
    refused: usize,
    differing: BTreeMap<String, String>,
}

impl Replayed {
    async fn ask(&mut self, replay: &mut Replay, row: &Value, route: &Route) {
        let id = row["id"].as_str().unwrap();
        let Some((answer, received)) = replay.send(row, route).await else {
            return;
        };
        let gate = replay.gate(row, route).await.unwrap();
        let ask = asked(row);
        let mut caller = Caller::connect(replay.checks[&gate]).await;
        let told = ask.told(caller.check(ask.message(), None).await.unwrap());
        // Nothing is ever forwarded.
        assert_eq!(replay.upstream.take_received().len(), 0, "{id}");
        self.rows += 1;
        if let Some(difference) = difference(&told, &answer, &received) {
            let reason = told.answer.header("x-clerk-auth-reason");
            if reason == Some("path-not-canonical") {
                self.refused += 1;
            } else {
                self.differing.insert(id.to_owned(), difference);
            }
        }
    }

    #[track_caller]
    fn assert_equal(&self, wanted: (usize, usize)) {
        assert_eq!(self.differing, BTreeMap::new());
        assert_eq!((self.rows, self.refused), wanted);
    }
}

#[tokio::test]
async fn envoy_is_told_what_the_proxy_does_with_every_recorded_request() {
    let table = rows::authenticate();
    let mut replay = Replay::new(ManualClock::at(table.now_ms), PendingSessions::SignedIn).await;
    let mut replayed = Replayed::default();
    for row in &table.cases {
        if !row["id"].as_str().unwrap().starts_with("ur.") {
            let route = authenticate::gate_route(row);
            replayed.ask(&mut replay, row, &route).await;
        }
    }
    replay.stop.cancel();
    replayed.assert_equal(AUTHENTICATE);
}

#[tokio::test]
async fn envoy_is_told_what_the_proxy_does_with_every_recorded_handler() {
    let table = rows::table("protect");
    let now_ms = table["now"].as_u64().unwrap() * 1000;
    let mut replay = Replay::new(ManualClock::at(now_ms), PendingSessions::SignedOut).await;
    let mut replayed = Replayed::default();
    for row in table["cases"].as_array().unwrap() {
        let does = row["policy"]["do"].as_str().unwrap();
        if protect::LEFT_OUT.iter().any(|(name, _)| *name == does) {
            continue;
        }
        if let Some(route) = crate::recorded::handler(&row["policy"]) {
            replayed.ask(&mut replay, row, &route).await;
        }
    }
    replay.stop.cancel();
    replayed.assert_equal(PROTECT);
}
