//! The verdict by itself: no sockets, a token that was verified before.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use clerk_gate::clerk::jwks::KeyStore;
use clerk_gate::clerk::keys::KeySet;
use clerk_gate::clerk::machines::MachineApi;
use clerk_gate::clock::SystemClock;
use clerk_gate::core::edge::{Edge, PublicAddress};
use clerk_gate::core::facts::{RequestFacts, WireRequest};
use clerk_gate::core::identity_headers::HeaderPlan;
use clerk_gate::core::instance::{BackendApi, Instance};
use clerk_gate::core::jwt::Token;
use clerk_gate::core::key::PublishableKey;
use clerk_gate::core::origin::Scheme;
use clerk_gate::core::pattern::PathPattern;
use clerk_gate::core::policy::{PathReading, Policy, Route};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::core::verify::Signature;
use clerk_gate::gate::live::LiveRules;
use clerk_gate::gate::machines::Machines;
use clerk_gate::gate::meters::Meters;
use clerk_gate::gate::seals::Seals;
use clerk_gate::gate::{Gate, Site, Snapshot};
use http::{HeaderMap, Method, Uri, Version};

use super::tokens::{PUBLISHABLE_KEY, Signer};

/// How many verdicts one figure is the mean of.
const VERDICTS: u32 = 40_000;

/// How many tokens that are new one figure is the mean of.
const TOKENS: u32 = 5_000;

/// Prints what a token takes that is seen for the first time, and a verdict with so many routes.
pub async fn measure(signer: &Signer) {
    let raw = signer.tokens("first", 1).remove(0);
    let keys = KeySet::from_pem(&signer.pem()).unwrap();
    let token = Token::decode(&raw).unwrap();
    assert_eq!(keys.check(&raw, &token), Signature::Good);
    println!("\n| for a token seen for the first time | microseconds |\n|---|---|");
    println!(
        "| decoding | {:.2} |",
        best(|| drop(std::hint::black_box(Token::decode(&raw))))
    );
    println!(
        "| checking the signature | {:.2} |",
        best(|| {
            std::hint::black_box(keys.check(&raw, &token));
        })
    );
    println!(
        "\n| routes | one verdict, token verified before, in microseconds | with reading the request |\n|---|---|---|"
    );
    for routes in [10, 100, 1_000, 10_000] {
        let (verdict, whole) = with_routes(signer, routes).await;
        println!("| {routes} | {verdict:.2} | {whole:.2} |");
    }
}

/// The best mean of several, in microseconds.
fn best(mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..7 {
        let began = processor_time();
        for _ in 0..TOKENS {
            work();
        }
        best = best.min(micros_each(began, TOKENS));
    }
    best
}

fn micros_each(began: Duration, count: u32) -> f64 {
    processor_time().saturating_sub(began).as_secs_f64() * 1e6 / f64::from(count)
}

/// What this thread has used, by the account of the kernel: on a busy machine the wall clock counts
/// what others do.
pub(super) fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

async fn with_routes(signer: &Signer, count: usize) -> (f64, f64) {
    let snapshot = snapshot(signer, count);
    let gate = Gate::new(Arc::new(SystemClock));
    let token = signer.tokens("verdict", 1).remove(0);
    let mut headers = HeaderMap::new();
    headers.insert("host", "localhost".parse().unwrap());
    let cookie = format!("theme=dark; __session={token}; __client_uat=1; __clerk_db_jwt=dvb_bench");
    headers.insert("cookie", cookie.parse().unwrap());
    // In the middle of the table, so that neither end is flattered.
    let target: Uri = format!("/section{}/page/7", count / 2).parse().unwrap();
    let read = || {
        let wire = WireRequest {
            method: &Method::GET,
            target: &target,
            version: Version::HTTP_11,
            headers: &headers,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scheme: Scheme::Http,
        };
        RequestFacts::read(wire, &snapshot.edge).unwrap()
    };
    let facts = read();
    let verdict = gate.decide(&snapshot, &facts).await.verdict;
    assert!(verdict.who.is_some(), "{verdict:?}");
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..7 {
        let began = processor_time();
        for _ in 0..VERDICTS {
            std::hint::black_box(gate.decide(&snapshot, &facts).await);
        }
        best.0 = best.0.min(micros_each(began, VERDICTS));
        let began = processor_time();
        for _ in 0..VERDICTS {
            let facts = read();
            std::hint::black_box(gate.decide(&snapshot, &facts).await);
        }
        best.1 = best.1.min(micros_each(began, VERDICTS));
    }
    best
}

fn snapshot(signer: &Signer, count: usize) -> Snapshot {
    let key = PublishableKey::parse(PUBLISHABLE_KEY).unwrap();
    let clock = Arc::new(SystemClock);
    let routes = (0..count)
        .map(|n| {
            let path = PathPattern::parse(&format!("/section{n}/**")).unwrap();
            Route::new(&format!("route{n}"), vec![path], Requirement::SignedIn)
        })
        .collect();
    let policy = Policy::compile(routes, PathReading::Leniently).unwrap();
    Snapshot {
        shadow: None,
        meters: Meters::default().of(&policy),
        sites: vec![Site {
            instance: Instance::of(key, BackendApi::NoSecretKey),
            keys: KeyStore::fixed(KeySet::from_pem(&signer.pem()).unwrap(), clock),
            backend: None,
            machines: Arc::new(Machines::new(MachineApi::default(), Duration::ZERO)),
            seals: Arc::new(Seals::new(&[]).unwrap()),
            outcomes: None,
            frontend_api: None,
            live: LiveRules::default(),
            browsers: None,
        }],
        policy,
        edge: Edge {
            public: PublicAddress::Loopback,
            trusted_proxies: Vec::new(),
            hosts: Vec::new(),
            sites: Vec::new(),
        },
        headers: HeaderPlan::new(Vec::new()),
        reserved: Arc::new(HeaderPlan::new(Vec::new()).reserved()),
        pages_prefix: "/_gate/".to_owned(),
        debug_headers: false,
        upstreams: Vec::new(),
        max_body: None,
        body_timeout: Duration::from_secs(30),
        webhooks: None,
    }
}
