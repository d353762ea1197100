//! Verdicts recorded from Clerk's own SDK, replayed over HTTP: a real gate for each set of options,
//! requests as bytes, and what the upstream saw of them.
//!
//! Every route asks for a session and answers whoever has none with a 401, so that a row shows in
//! the answer as `signed-in` (forwarded) or `signed-out` (refused, with the recorded reason).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use clerk_gate::clock::ManualClock;
use clerk_gate::config::KeySource;
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::OnSignedOut;
use clerk_gate::core::requirement::Requirement;
use clerk_gate::server;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::support::rows::{self, FakeApi};
use crate::support::upstream::{Received, RecordingUpstream};
use crate::support::{Answer, ask, config_of, route};

/// The families that are replayed, with the rows that are recorded as signed-in and signed-out.
const FAMILIES: [(&str, usize, usize); 12] = [
    ("ck", 9, 24),
    ("sh", 0, 58),
    ("hd", 4, 21),
    ("hf", 6, 16),
    ("hx", 11, 14),
    ("sx", 19, 9),
    ("az", 13, 34),
    ("jw", 30, 75),
    ("ky", 3, 23),
    ("cs", 17, 10),
    ("cp", 13, 8),
    ("cl", 28, 1),
];

/// Rows that come out differently; each stands under a rule of the deviations.
const DEVIATING: usize = 26;

/// The gates so far, and what stands around them.
struct Replay {
    /// By options; `None` where a gate does not start with them.
    gates: BTreeMap<String, Option<SocketAddr>>,
    api: SocketAddr,
    upstream: RecordingUpstream,
    now_ms: u64,
    stop: CancellationToken,
}

impl Replay {
    async fn gate(&mut self, row: &Value) -> Option<SocketAddr> {
        let url = Url::parse(row["request"]["url"].as_str().unwrap()).unwrap();
        let development = url.host_str() == Some("localhost");
        let key = format!("{development} {}", row["options"]);
        if let Some(known) = self.gates.get(&key) {
            return *known;
        }
        let gate = self.start(&row["options"], development).await;
        self.gates.insert(key, gate);
        gate
    }

    async fn start(&self, options: &Value, development: bool) -> Option<SocketAddr> {
        let origin = Origin::parse("https://app.example.com").unwrap();
        let mut instance = rows::instance(options)?;
        rows::use_proxy(&mut instance, options, &origin);
        let mut everything = route("everything", &["/**"], Requirement::SignedIn);
        everything.on_signed_out = OnSignedOut::Unauthorized;
        let mut config = config_of(instance, self.upstream.address, vec![everything]);
        if !development {
            config.edge.public = PublicAddress::Fixed(origin);
        }
        config.admin_listen = None;
        config.clerk.api_url = format!("http://{}", self.api).parse().unwrap();
        config.clerk.secret_key = options["secretKey"].as_str().map(Into::into);
        config.clerk.keys = match options["jwtKey"].as_str() {
            Some(pem) => KeySource::Pem(pem.to_owned()),
            None => KeySource::BackendApi,
        };
        let bound = server::build(&config, ManualClock::at(self.now_ms))
            .await
            .ok()?;
        let address = bound.address().unwrap();
        tokio::spawn(bound.run(self.stop.clone()));
        Some(address)
    }

    /// How the gate differs from what was recorded.
    async fn difference(&mut self, row: &Value) -> Option<String> {
        let Some(gate) = self.gate(row).await else {
            return Some("the gate does not start".to_owned());
        };
        let answer = ask(gate, &request(row)).await;
        let received = self.upstream.take_received();
        match row["expect"]["status"].as_str().unwrap() {
            "signed-in" => signed_in_difference(row, &answer, &received),
            _ => signed_out_difference(row, &answer, &received),
        }
    }
}

/// The bytes of a row's request. Header text is what JavaScript holds: one byte for each character.
/// There is no row among these that HTTP/1.1 could not carry.
fn request(row: &Value) -> Vec<u8> {
    let url = Url::parse(row["request"]["url"].as_str().unwrap()).unwrap();
    let target = &url[url::Position::BeforePath..];
    let method = row["request"]["method"].as_str().unwrap();
    let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for pair in row["request"]["headers"].as_array().unwrap() {
        let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend(value.chars().map(|c| u8::try_from(u32::from(c)).unwrap()));
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Forwarded once, with the identity of the recorded auth object and no other.
fn signed_in_difference(row: &Value, answer: &Answer, received: &[Received]) -> Option<String> {
    let [received] = received else {
        return Some(format!("forwarded {} times: {answer:?}", received.len()));
    };
    let expect = &row["expect"];
    // A pending session counts as signed in here, as it does in the state that was recorded.
    let auth = match &expect["authIfPendingAllowed"] {
        Value::Null => &expect["auth"],
        allowed => allowed,
    };
    let text = |name: &str| {
        auth[name]
            .as_str()
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
    };
    let permissions = rows::strings(&auth["orgPermissions"])
        .filter(|list| !list.is_empty())
        .map(|list| list.join(","));
    let wanted = [
        ("x-user-id", text("userId")),
        ("x-session-id", text("sessionId")),
        ("x-org-id", text("orgId")),
        ("x-org-slug", text("orgSlug")),
        ("x-org-role", text("orgRole")),
        ("x-org-permissions", permissions),
        (
            "x-actor-id",
            auth["actor"]["sub"].as_str().map(str::to_owned),
        ),
        ("x-token-type", Some("session_token".to_owned())),
    ];
    let wrong: Vec<String> = wanted
        .into_iter()
        .filter(|(name, value)| received.header(name) != *value)
        .map(|(name, value)| format!("{name}: {value:?} -> {:?}", received.header(name)))
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

/// Refused with the recorded reason, and not forwarded.
fn signed_out_difference(row: &Value, answer: &Answer, received: &[Received]) -> Option<String> {
    // No rule may let anybody in whom the SDK keeps out.
    assert!(received.is_empty(), "{}: {received:?}", row["id"]);
    let reason = row["expect"]["reason"].as_str().unwrap();
    // Without any key nobody can be told to sign in: that is our trouble (design, section 8, A3).
    let status = match reason {
        "jwk-remote-failed-to-load" | "secret-key-invalid" => 503,
        _ => 401,
    };
    let given = answer.header("x-clerk-auth-reason");
    if answer.status != status || given != Some(reason) {
        return Some(format!("{status} {reason} -> {} {given:?}", answer.status));
    }
    let json = answer.header("content-type") == Some("application/json");
    let code = reason.split("-refresh-").next().unwrap();
    let head = row["request"]["method"] == "HEAD";
    (json && !head && answer.code() != code).then(|| format!("{code} -> {}", answer.body))
}

#[tokio::test]
async fn what_the_sdk_says_of_a_request_the_gate_does_over_http() {
    let table = rows::authenticate();
    let mut replay = Replay {
        gates: BTreeMap::new(),
        api: rows::serve(FakeApi::load()).await,
        upstream: RecordingUpstream::start().await,
        now_ms: table.now_ms,
        stop: CancellationToken::new(),
    };
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut replayed = BTreeSet::new();
    let mut differing = BTreeMap::new();
    for row in &table.cases {
        let id = row["id"].as_str().unwrap();
        let family = id.split('.').next().unwrap();
        let status = row["expect"]["status"].as_str().unwrap();
        let wanted = FAMILIES.iter().any(|(name, _, _)| *name == family);
        if !wanted || !matches!(status, "signed-in" | "signed-out") {
            continue;
        }
        *counts.entry((family, status)).or_default() += 1;
        replayed.insert(id);
        if let Some(difference) = replay.difference(row).await {
            differing.insert(id, difference);
        }
    }
    replay.stop.cancel();
    for (family, signed_in, signed_out) in FAMILIES {
        let count = |status| counts.get(&(family, status)).copied().unwrap_or_default();
        assert_eq!(
            (count("signed-in"), count("signed-out")),
            (signed_in, signed_out),
            "{family}"
        );
    }
    let rules = rows::rows_by_rule();
    let written: BTreeSet<&str> = rules
        .values()
        .flatten()
        .map(String::as_str)
        .filter(|id| replayed.contains(id))
        .collect();
    let found: BTreeSet<&str> = differing.keys().copied().collect();
    assert_eq!(found, written, "not as the deviations say: {differing:#?}");
    assert_eq!(differing.len(), DEVIATING, "{differing:#?}");
}
