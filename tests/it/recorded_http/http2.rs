//! The same requests once more, in HTTP/2: the gate does what it does in HTTP/1.1, and the application
//! is told the same.

use clerk_gate::clock::ManualClock;

use super::authenticate::{difference, gate_route};
use super::*;

/// Rows that are replayed, and requests that are forwarded.
const REPLAYED: (usize, usize) = (1078, 271);

#[tokio::test]
async fn what_the_sdk_says_of_a_request_the_gate_does_over_http_2() {
    let table = rows::authenticate();
    let clock = || ManualClock::at(table.now_ms);
    let mut one = Replay::new(clock(), PendingSessions::SignedIn).await;
    let mut two = Replay::new(clock(), PendingSessions::SignedIn).await;
    let mut replayed = BTreeSet::new();
    let mut differing = BTreeMap::new();
    let mut forwarded = 0;
    for row in &table.cases {
        let id = row["id"].as_str().unwrap();
        if id.starts_with("ur.") {
            continue;
        }
        replayed.insert(id);
        let route = gate_route(row);
        let Some((answer, received)) = two.send_in(Protocol::Http2, row, &route).await else {
            differing.insert(id, "the gate does not start".to_owned());
            continue;
        };
        if let Some(difference) = difference(row, &answer, &received) {
            differing.insert(id, difference);
        }
        let (_, in_http1) = one.send(row, &route).await.unwrap();
        // Each has gates of its own, at addresses of their own.
        assert_eq!(told(&received), told(&in_http1), "{id}");
        forwarded += received.len();
    }
    one.stop.cancel();
    two.stop.cancel();
    println!(
        "authenticate.json over HTTP/2: replayed {}, forwarded {forwarded}",
        replayed.len()
    );
    assert_as_written(&replayed, &differing);
    assert_eq!((replayed.len(), forwarded), REPLAYED);
}
