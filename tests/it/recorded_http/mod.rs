//! Verdicts recorded from Clerk's own SDK, replayed over HTTP: a real gate for each set of options,
//! requests as bytes, a Backend API that is asked over a wire, and what the upstream saw of them.

mod authenticate;
mod doors;
mod ext_authz;
mod http2;
mod present;
mod protect;
mod upstream_http2;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use clerk_gate::clock::SharedClock;
use clerk_gate::config::{Config, KeySource, Protocol};
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::instance::PendingSessions;
use clerk_gate::core::origin::{Host, Origin, Scheme};
use clerk_gate::core::policy::{PathReading, Policy, Route};
use clerk_gate::server;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::support::http2::ask_as;
use crate::support::rows::{self, FakeApi};
use crate::support::upstream::{Received, RecordingUpstream};
use crate::support::{Answer, ask, config_of};

/// The gates so far, and what stands around them.
struct Replay {
    /// By options, origin and route; `None` where a gate does not start with them.
    gates: BTreeMap<String, Option<SocketAddr>>,
    /// The doors of each gate.
    doors: BTreeMap<SocketAddr, SocketAddr>,
    /// Where Envoy asks each of them.
    checks: BTreeMap<SocketAddr, SocketAddr>,
    api: SocketAddr,
    upstream: RecordingUpstream,
    /// What the upstream is spoken to in.
    protocol: Protocol,
    clock: SharedClock,
    pending: PendingSessions,
    stop: CancellationToken,
}

impl Replay {
    async fn new(clock: SharedClock, pending: PendingSessions) -> Self {
        Self {
            gates: BTreeMap::new(),
            doors: BTreeMap::new(),
            checks: BTreeMap::new(),
            api: rows::serve(FakeApi::load()).await,
            upstream: RecordingUpstream::start().await,
            protocol: Protocol::Http1,
            clock,
            pending,
            stop: CancellationToken::new(),
        }
    }

    /// The same before an upstream that is spoken to in HTTP/2.
    async fn before_http2(clock: SharedClock, pending: PendingSessions) -> Self {
        Self {
            upstream: RecordingUpstream::start_in_either_version().await,
            protocol: Protocol::Http2,
            ..Self::new(clock, pending).await
        }
    }

    /// Sends the request of a row to a gate with its options and this route. `None` if there can be
    /// no such gate.
    async fn send(&mut self, row: &Value, route: &Route) -> Option<(Answer, Vec<Received>)> {
        self.send_in(Protocol::Http1, row, route).await
    }

    /// The same from a client that speaks this.
    async fn send_in(
        &mut self,
        client: Protocol,
        row: &Value,
        route: &Route,
    ) -> Option<(Answer, Vec<Received>)> {
        let gate = self.gate(row, route).await?;
        let request = request(row);
        let answer = match client {
            Protocol::Http1 => ask(gate, &request).await,
            Protocol::Http2 => {
                let answer = ask_as(gate, &request).await;
                answer.expect("a request that HTTP/2 has too")
            }
        };
        Some((answer, self.upstream.take_received()))
    }

    async fn gate(&mut self, row: &Value, route: &Route) -> Option<SocketAddr> {
        let (origin, trusted) = origin(row);
        let key = format!("{origin} {trusted} {} {:?}", row["options"], route);
        if let Some(known) = self.gates.get(&key) {
            return *known;
        }
        let gate = self.start(&row["options"], origin, trusted, route).await;
        self.gates.insert(key, gate);
        gate
    }

    async fn start(
        &mut self,
        options: &Value,
        origin: Origin,
        trusted: bool,
        route: &Route,
    ) -> Option<SocketAddr> {
        let mut instance = rows::instance(options)?;
        rows::use_proxy(&mut instance, options, &origin);
        instance.pending = self.pending;
        let mut config: Config = config_of(instance, self.upstream.address, Vec::new());
        config.policy = Policy::compile(vec![route.clone()], PathReading::Exactly).unwrap();
        config.debug_headers = true;
        // What is on this machine is served without saying where it is.
        if origin.to_string() != "http://localhost:3000" {
            config.edge.public = PublicAddress::Fixed(origin);
        }
        if trusted {
            config.edge.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        }
        config.admin_listen = None;
        config.upstreams[0].protocol = self.protocol;
        config.http2.cleartext = true;
        config.forward_auth = Some(crate::support::doors(&["127.0.0.1"], None));
        config.ext_authz = Some(crate::support::doors(&["127.0.0.1"], None));
        config.clerk.api_url = format!("http://{}", self.api).parse().unwrap();
        config.clerk.secret_key = options["secretKey"].as_str().map(Into::into);
        config.clerk.machine_secret_key = options["machineSecretKey"].as_str().map(Into::into);
        config.clerk.keys = match options["jwtKey"].as_str() {
            Some(pem) => KeySource::Pem(pem.to_owned()),
            None => KeySource::BackendApi,
        };
        let bound = server::build(&config, Arc::clone(&self.clock)).await.ok()?;
        let address = bound.address().unwrap();
        self.doors.insert(address, bound.doors_address().unwrap());
        self.checks.insert(address, bound.check_address().unwrap());
        tokio::spawn(bound.run(self.stop.clone()));
        Some(address)
    }
}

/// Where the SDK takes the application of a row to be, and whether a forwarded host says so: the gate
/// believes that of a trusted proxy alone.
fn origin(row: &Value) -> (Origin, bool) {
    let url = Url::parse(row["request"]["url"].as_str().unwrap()).unwrap();
    let header = |name: &str| {
        let headers = row["request"]["headers"].as_array().unwrap().iter();
        let mut values =
            headers.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
        values.next().and_then(|pair| pair[1].as_str())
    };
    let forwarded = header("x-forwarded-host").filter(|host| !host.is_empty());
    let host = forwarded.or(header("host")).unwrap();
    let scheme = header("x-forwarded-proto").unwrap_or(url.scheme());
    let origin = Origin::new(Scheme::parse(scheme).unwrap(), Host::parse(host).unwrap());
    (origin, forwarded.is_some())
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

/// What reached the application, as either version has it, without what is made anew for each request.
fn told(received: &[Received]) -> Vec<String> {
    let head = |received: Received| {
        let received = received.in_either_version();
        let mut headers: Vec<String> = received
            .headers
            .iter()
            .filter(|(name, _)| *name != "x-request-id")
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        headers.sort();
        let (method, target) = (&received.method, &received.target);
        format!("{method} {target} {}", headers.join("; "))
    };
    received.iter().cloned().map(head).collect()
}

/// What is not as it was recorded.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "most of what is compared was made for that"
    )]
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, wanted: T, is: T) {
        if wanted != is {
            self.0.push(format!("{what}: {wanted:?} -> {is:?}"));
        }
    }

    fn told(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("; "))
    }
}

/// A text of a row; an empty one is none.
fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// Compares what differs with what the deviations list.
#[track_caller]
fn assert_as_written(replayed: &BTreeSet<&str>, differing: &BTreeMap<&str, String>) {
    let rules = rows::rows_by_rule();
    let written: BTreeSet<&str> = rules
        .values()
        .flatten()
        .map(String::as_str)
        .filter(|id| replayed.contains(id))
        .collect();
    let found: BTreeSet<&str> = differing.keys().copied().collect();
    assert_eq!(found, written, "not as the deviations say: {differing:#?}");
}
