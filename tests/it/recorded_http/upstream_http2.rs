//! The same requests before an application that is spoken to in HTTP/2, from clients in either version:
//! each is judged as it was recorded, and the application is told what it is told in HTTP/1.1.

use clerk_gate::clock::ManualClock;
use http::Version;

use super::*;

/// Rows that are replayed, and requests that reach the application in HTTP/2 and in HTTP/1.1 by way of
/// either client: WebSockets go to it in HTTP/1.1.
const AUTHENTICATE: (usize, usize, usize) = (1078, 542, 0);
const PROTECT: (usize, usize, usize) = (476, 146, 2);

/// Gates before either kind of application, and what came of sending rows to them.
struct Sides {
    http1: Replay,
    http2: Replay,
    in_http2: usize,
    in_http1: usize,
}

impl Sides {
    async fn new(now_ms: u64, pending: PendingSessions) -> Self {
        let clock = || ManualClock::at(now_ms);
        Self {
            http1: Replay::new(clock(), pending).await,
            http2: Replay::before_http2(clock(), pending).await,
            in_http2: 0,
            in_http1: 0,
        }
    }

    /// Sends a row by both clients to the application in HTTP/2, and gives what differs from what was
    /// recorded. `None` if there can be no gate for it.
    async fn send(
        &mut self,
        row: &Value,
        route: &Route,
        difference: impl Fn(&Value, &Answer, &[Received]) -> Option<String>,
    ) -> Option<Vec<String>> {
        let id = row["id"].as_str().unwrap();
        let mut differing = Vec::new();
        for client in [Protocol::Http1, Protocol::Http2] {
            let (before, told_before) = self.http1.send_in(client, row, route).await?;
            let (answer, received) = self.http2.send_in(client, row, route).await?;
            let wanted = (before.status, told(&told_before));
            assert_eq!((answer.status, told(&received)), wanted, "{id} {client:?}");
            for one in &received {
                let websocket = one.headers.contains_key("upgrade");
                assert_eq!(one.version == Version::HTTP_11, websocket, "{id}");
                match one.version {
                    Version::HTTP_2 => self.in_http2 += 1,
                    _ => self.in_http1 += 1,
                }
            }
            differing.extend(difference(row, &answer, &received));
        }
        Some(differing)
    }

    #[track_caller]
    fn assert_counts(self, replayed: usize, counts: (usize, usize, usize)) {
        self.http1.stop.cancel();
        self.http2.stop.cancel();
        self.http1.upstream.assert_untouched();
        self.http2.upstream.assert_untouched();
        assert_eq!((replayed, self.in_http2, self.in_http1), counts);
    }
}

#[tokio::test]
async fn what_the_sdk_says_of_a_request_the_gate_does_before_an_application_in_http_2() {
    let table = rows::authenticate();
    let mut sides = Sides::new(table.now_ms, PendingSessions::SignedIn).await;
    let mut replayed = BTreeSet::new();
    let mut differing = BTreeMap::new();
    for row in &table.cases {
        let id = row["id"].as_str().unwrap();
        if id.starts_with("ur.") {
            continue;
        }
        replayed.insert(id);
        let route = authenticate::gate_route(row);
        let sent = sides.send(row, &route, authenticate::difference).await;
        let found = sent.unwrap_or_else(|| vec!["the gate does not start".to_owned()]);
        if !found.is_empty() {
            differing.insert(id, found.join("; "));
        }
    }
    assert_as_written(&replayed, &differing);
    sides.assert_counts(replayed.len(), AUTHENTICATE);
}

#[tokio::test]
async fn what_protect_gives_a_client_the_gate_gives_before_an_application_in_http_2() {
    let table = rows::table("protect");
    let now_ms = table["now"].as_u64().unwrap() * 1000;
    let mut sides = Sides::new(now_ms, PendingSessions::SignedOut).await;
    let mut replayed = BTreeSet::new();
    let mut differing = BTreeMap::new();
    for row in table["cases"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        let does = row["policy"]["do"].as_str().unwrap();
        if protect::LEFT_OUT.iter().any(|(name, _)| *name == does) {
            continue;
        }
        replayed.insert(id);
        let sent = match crate::recorded::handler(&row["policy"]) {
            Some(route) => sides.send(row, &route, protect::difference).await,
            None => None,
        };
        let found = sent.unwrap_or_else(|| vec!["there is no such gate".to_owned()]);
        if !found.is_empty() {
            differing.insert(id, found.join("; "));
        }
    }
    assert_as_written(&replayed, &differing);
    sides.assert_counts(replayed.len(), PROTECT);
}
