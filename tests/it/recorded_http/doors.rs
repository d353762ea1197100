//! The same requests once more, told by a gateway: the door says what the proxy does.

use clerk_gate::clock::ManualClock;
use clerk_gate::core::door::Dialect;
use clerk_gate::core::identity_headers::IDENTITY_HEADERS;

use super::*;
use crate::doors::{cookies, said, status};

/// Rows that are replayed, and those whose request no door takes, because its path is not canonical or
/// a header of it says what only a gateway may.
const AUTHENTICATE: (usize, usize) = (1070, 2);
const PROTECT: (usize, usize) = (476, 3);

/// What a gateway makes of a row's request.
fn question(row: &Value, dialect: Dialect) -> Vec<u8> {
    let original = request(row);
    let text = String::from_utf8_lossy(&original);
    let mut words = text.lines().next().unwrap().split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (origin, _) = origin(row);
    let mut bytes = match dialect {
        Dialect::Envoy => format!("{method} {}{target} HTTP/1.1\r\n", dialect.path()),
        _ => format!("GET {} HTTP/1.1\r\nhost: door\r\n", dialect.path()),
    }
    .into_bytes();
    for (name, value) in said(dialect, method, target, &origin.host().to_string()) {
        let value = match &*name {
            "x-original-proto" | "x-forwarded-proto" => origin.scheme().as_str(),
            "x-original-client" | "x-forwarded-for" => "127.0.0.1",
            _ => &value,
        };
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let head = original.split(|byte| *byte == b'\n').skip(1);
    for line in head.filter(|line| line.len() > 1) {
        let name: Vec<u8> = line
            .iter()
            .copied()
            .take_while(|byte| *byte != b':')
            .collect();
        let name = String::from_utf8(name).unwrap().to_ascii_lowercase();
        let is_told = name == "host" || name.starts_with("x-forwarded-") || name == "connection";
        if !is_told {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Our own cookies are sealed anew each time: only their names can be compared.
pub(super) fn comparable(cookies: Vec<String>) -> Vec<String> {
    cookies
        .into_iter()
        .map(|cookie| match cookie.split_once('=') {
            Some((name, _)) if name.starts_with("__Host-clerk-gate") => name.to_owned(),
            _ => cookie,
        })
        .collect()
}

fn difference(
    dialect: Dialect,
    told: &Answer,
    answer: &Answer,
    received: &[Received],
) -> Option<String> {
    let mut found = Differences::default();
    let nginx = dialect == Dialect::Nginx && told.status != 200;
    found.compare("status", answer.status.as_u16(), status(dialect, told));
    let location = if nginx {
        "x-clerk-gate-location"
    } else {
        "location"
    };
    found.compare("location", answer.header("location"), told.header(location));
    found.compare(
        "set-cookie",
        comparable(answer.all("set-cookie")),
        comparable(cookies(told)),
    );
    for name in ["x-clerk-auth-reason", "x-clerk-auth-status"] {
        found.compare(name, answer.header(name), told.header(name));
    }
    let challenge = if nginx {
        "x-clerk-gate-www-authenticate"
    } else {
        "www-authenticate"
    };
    found.compare(
        "challenge",
        answer.header("www-authenticate"),
        told.header(challenge),
    );
    for name in &IDENTITY_HEADERS {
        let name = name.as_str();
        match received {
            [received] => {
                let wanted = received.header(name).unwrap_or_default();
                found.compare(name, Some(&*wanted), told.header(name));
            }
            _ => found.compare(name, None, told.header(name)),
        }
    }
    found.told()
}

/// What came of asking about rows.
#[derive(Default)]
struct Told {
    replayed: usize,
    /// Refused by the door, where the proxy forwards something that is written otherwise.
    refused: usize,
    differing: BTreeMap<String, String>,
}

impl Told {
    /// Sends a row to a gate, and has a gateway ask about it: which one, the number of the row says.
    async fn ask(&mut self, replay: &mut Replay, number: usize, row: &Value, route: &Route) {
        let id = row["id"].as_str().unwrap();
        let Some((answer, received)) = replay.send(row, route).await else {
            return;
        };
        let gate = replay.gate(row, route).await.unwrap();
        let dialect = Dialect::ALL[number % Dialect::ALL.len()];
        let told = ask(replay.doors[&gate], &question(row, dialect)).await;
        // Nothing is ever forwarded through a door.
        assert_eq!(replay.upstream.take_received().len(), 0, "{id}");
        self.replayed += 1;
        if let Some(difference) = difference(dialect, &told, &answer, &received) {
            let reason = told.header("x-clerk-auth-reason").unwrap_or_default();
            if ["path-not-canonical", "header-disguised"].contains(&reason) {
                self.refused += 1;
            } else {
                self.differing.insert(id.to_owned(), difference);
            }
        }
    }

    #[track_caller]
    fn assert_equal(&self, (replayed, refused): (usize, usize)) {
        assert_eq!(self.differing, BTreeMap::new());
        assert_eq!((self.replayed, self.refused), (replayed, refused));
    }
}

#[tokio::test]
async fn a_gateway_is_told_what_the_proxy_does_with_every_recorded_request() {
    let table = rows::authenticate();
    let mut replay = Replay::new(ManualClock::at(table.now_ms), PendingSessions::SignedIn).await;
    let mut told = Told::default();
    for (number, row) in table.cases.iter().enumerate() {
        if !row["id"].as_str().unwrap().starts_with("ur.") {
            let route = authenticate::gate_route(row);
            told.ask(&mut replay, number, row, &route).await;
        }
    }
    replay.stop.cancel();
    told.assert_equal(AUTHENTICATE);
}

#[tokio::test]
async fn a_gateway_is_told_what_the_proxy_does_with_every_recorded_handler() {
    let table = rows::table("protect");
    let now_ms = table["now"].as_u64().unwrap() * 1000;
    let mut replay = Replay::new(ManualClock::at(now_ms), PendingSessions::SignedOut).await;
    let mut told = Told::default();
    for (number, row) in table["cases"].as_array().unwrap().iter().enumerate() {
        let does = row["policy"]["do"].as_str().unwrap();
        if protect::LEFT_OUT.iter().any(|(name, _)| *name == does) {
            continue;
        }
        if let Some(route) = crate::recorded::handler(&row["policy"]) {
            told.ask(&mut replay, number, row, &route).await;
        }
    }
    replay.stop.cancel();
    told.assert_equal(PROTECT);
}
