//! Every call that the gate makes to Clerk, times every way in which it can fail: the verdict is a
//! defined one and says why, calls and time are bounded, nothing wrong is forwarded, and whoever can
//! be verified without the call stays signed in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clerk_gate::config::KeySource;
use clerk_gate::core::machine::{TokenType, TokenTypes};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, Fault, TestSession};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::support::{Answer, Call, World, cookies, route, usual_routes};

/// A call to Clerk, and what becomes of a request that needs it when it fails: the status, and the
/// reason where there is one.
struct ClerkCall {
    name: &'static str,
    endpoint: Endpoint,
    /// Whether the keys are at hand before Clerk fails.
    keys: Keys,
    /// The request that needs the call.
    ask: fn(&World, &TestSession) -> Call,
    /// No connection, no answer in time, or one that breaks off.
    unreachable: &'static str,
    /// A status of 429 or 5xx.
    refused: &'static str,
    /// No JSON, whatever it calls itself.
    unintelligible: &'static str,
    /// JSON of another shape.
    misshapen: &'static str,
    /// The right thing under a wrong name.
    mislabelled: &'static str,
    /// More than is read.
    huge: &'static str,
    /// The most calls that three requests at once make.
    most: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Keys {
    Unknown,
    Known,
    /// Known for so long that they are asked for again.
    Old,
}

#[rustfmt::skip]
const CALLS: [ClerkCall; 5] = [
    ClerkCall { name: "the keys, when none is known", endpoint: Endpoint::Jwks, keys: Keys::Unknown, ask: with_a_token, unreachable: "503 jwk-remote-failed-to-load", refused: "503 jwk-remote-failed-to-load", unintelligible: "503 jwk-remote-failed-to-load", misshapen: "503 jwk-remote-failed-to-load", mislabelled: "200", huge: "503 jwk-remote-failed-to-load", most: 1 },
    ClerkCall { name: "the keys, when known ones are old", endpoint: Endpoint::Jwks, keys: Keys::Old, ask: with_a_token, unreachable: "200", refused: "200", unintelligible: "200", misshapen: "200", mislabelled: "200", huge: "200", most: 1 },
    ClerkCall { name: "what is behind a nonce", endpoint: Endpoint::HandshakePayload, keys: Keys::Known, ask: with_a_nonce, unreachable: "307 client-uat-but-no-session-token", refused: "307 client-uat-but-no-session-token", unintelligible: "307 client-uat-but-no-session-token", misshapen: "307 client-uat-but-no-session-token", mislabelled: "307 client-uat-but-no-session-token", huge: "307 client-uat-but-no-session-token", most: 3 },
    ClerkCall { name: "the renewal of a session", endpoint: Endpoint::Refresh, keys: Keys::Known, ask: with_an_expired_token, unreachable: "401 session-token-expired-refresh-fetch-error", refused: "401 session-token-expired-refresh-standin_fault", unintelligible: "401 session-token-expired-refresh-unexpected-sdk-error", misshapen: "401 session-token-expired-refresh-unexpected-sdk-error", mislabelled: "401 session-token-expired-refresh-unexpected-sdk-error", huge: "401 session-token-expired-refresh-unexpected-bapi-error", most: 3 },
    // The truth is that the stand-in knows no such token.
    ClerkCall { name: "whom an API key stands for", endpoint: Endpoint::MachineTokens, keys: Keys::Known, ask: with_an_api_key, unreachable: "503 token-verification-unavailable", refused: "503 token-verification-unavailable", unintelligible: "503 token-verification-unavailable", misshapen: "503 token-verification-unavailable", mislabelled: "401 token-invalid", huge: "503 token-verification-unavailable", most: 3 },
];

/// A way to fail.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// Nobody listens.
    Refused,
    /// Somebody does, and misbehaves.
    Fault(Fault),
}

/// Longer than any call may take.
const SLOW: Fault = Fault::Hang(Duration::from_hours(1));

/// Longer than a call may take, and what the machine adds to it.
const PATIENCE: Duration = Duration::from_secs(12);

/// What is expected of a call that fails so.
type Expected = fn(&ClerkCall) -> &'static str;

#[rustfmt::skip]
const FAILURES: [(Failure, Expected); 12] = [
    (Failure::Refused, |call| call.unreachable),
    (Failure::Fault(Fault::Close), |call| call.unreachable),
    (Failure::Fault(Fault::HalfWay), |call| call.unreachable),
    (Failure::Fault(SLOW), |call| call.unreachable),
    (Failure::Fault(Fault::StatusWithRetryAfter(429, 60)), |call| call.refused),
    (Failure::Fault(Fault::Status(500)), |call| call.refused),
    (Failure::Fault(Fault::Status(503)), |call| call.refused),
    (Failure::Fault(Fault::Garbage), |call| call.unintelligible),
    (Failure::Fault(Fault::Empty), |call| call.misshapen),
    (Failure::Fault(Fault::Page), |call| call.unintelligible),
    (Failure::Fault(Fault::PlainText), |call| call.mislabelled),
    (Failure::Fault(Fault::Huge(1 << 20)), |call| call.huge),
];

fn with_a_token(world: &World, _: &TestSession) -> Call {
    let session = world.clerk.sign_in("ada", None);
    world.get("/members/failing").bearer(&session.token)
}

fn with_a_nonce(world: &World, session: &TestSession) -> Call {
    let (uat, browser) = (session.client_uat, &session.dev_browser);
    world
        .visit("/members/failing?__clerk_handshake_nonce=made-up")
        .cookie(&format!("__client_uat={uat}; __clerk_db_jwt={browser}"))
}

fn with_an_expired_token(world: &World, session: &TestSession) -> Call {
    let refresh = session.refresh_token.as_deref().unwrap();
    let suffix = world.clerk.cookie_suffix();
    let cookies = format!("{}; __refresh_{suffix}={refresh}", cookies(session));
    world.get("/members/failing").cookie(&cookies)
}

fn with_an_api_key(world: &World, _: &TestSession) -> Call {
    world.get("/machines/failing").bearer("ak_madeup")
}

/// The way to Clerk, which can be cut.
struct Bridge {
    address: SocketAddr,
    listening: JoinHandle<()>,
    crossing: Arc<Mutex<JoinSet<()>>>,
}

impl Bridge {
    /// A bridge to wherever `to` says once somebody crosses it.
    async fn build(to: Arc<Mutex<Option<SocketAddr>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let crossing: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let all = Arc::clone(&crossing);
        let listening = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let to = to.lock().unwrap().expect("Clerk is there");
                all.lock().unwrap().spawn(async move {
                    let Ok(mut far) = TcpStream::connect(to).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self {
            address,
            listening,
            crossing,
        }
    }

    /// Cuts it, with everybody who is on it.
    async fn cut(&mut self) {
        self.listening.abort();
        let _ = (&mut self.listening).await;
        self.crossing.lock().unwrap().abort_all();
    }
}

/// Sends a request that may take as long as a call to Clerk.
async fn send(call: Call) -> Answer {
    let answer = tokio::time::timeout(PATIENCE, call.try_send()).await;
    answer.expect("an answer in time").expect("an answer")
}

/// What is wrong with how the gate takes a failure of a call.
async fn faults(call: &'static ClerkCall, failure: Failure, wanted: &'static str) -> Vec<String> {
    let clerk = Arc::default();
    let mut bridge = Bridge::build(Arc::clone(&clerk)).await;
    let url = format!("http://{}", bridge.address);
    let mut routes = usual_routes();
    let keys = Requirement::Token(TokenTypes::of(&[TokenType::ApiKey]));
    routes.push(route("machines", &["/machines/**"], keys));
    let world = World::with(routes)
        .configure(move |config| {
            config.clerk.api_url = url.parse().unwrap();
            config.clerk.keys = KeySource::FrontendApi { url };
        })
        .start()
        .await;
    *clerk.lock().unwrap() = Some(world.clerk.addr());
    let session = world.clerk.sign_in("mel", None);
    let mut found = Vec::new();
    if call.keys != Keys::Unknown {
        let answer = world.get("/members/before").bearer(&session.token);
        assert_eq!(send(answer).await.status, 200);
    }
    world.clock.advance_ms(match call.keys {
        Keys::Old => 600_000,
        Keys::Known | Keys::Unknown => 70_000,
    });
    match failure {
        Failure::Refused => bridge.cut().await,
        Failure::Fault(fault) => world.clerk.misbehave(call.endpoint, fault),
    }
    let before = world.clerk.calls(call.endpoint);
    world.upstream.take_received();
    let began = Instant::now();
    let asked: Vec<_> = (0..3)
        .map(|_| tokio::spawn(send((call.ask)(&world, &session))))
        .collect();
    for answer in asked {
        let answer = answer.await.unwrap();
        let reason = answer.header("x-clerk-auth-reason").unwrap_or_default();
        let seen = format!("{} {reason}", answer.status.as_u16());
        if seen.trim_end() != wanted {
            found.push(seen);
        }
        let forwarded = wanted == "200";
        if !forwarded
            && !answer.all("set-cookie").iter().all(|line| {
                line.starts_with("__clerk_redirect_count=")
                    || line.starts_with("__Host-clerk-gate-state_")
            })
        {
            found.push(format!("{answer:?}"));
        }
    }
    if began.elapsed() > PATIENCE {
        found.push(format!("took {:?}", began.elapsed()));
    }
    let forwarded = world.upstream.take_received().len();
    if forwarded != if wanted == "200" { 3 } else { 0 } {
        found.push(format!("{forwarded} are forwarded"));
    }
    let calls = || world.clerk.calls(call.endpoint) - before;
    if let Failure::Fault(_) = failure {
        // Old keys are asked for again in the background.
        let called = async {
            while calls() == 0 {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, called).await.is_err() {
            found.push("Clerk was not asked".to_owned());
        }
    }
    if calls() > call.most {
        found.push(format!("{} calls", calls()));
    }
    // Whoever can be verified without the call stays signed in, while Clerk still fails.
    if call.keys != Keys::Unknown {
        let other = world.clerk.sign_in("ada", None);
        let answer = world.get("/members/local").bearer(&other.token);
        let answer = send(answer).await;
        if answer.status != 200 {
            found.push(format!("somebody else: {answer:?}"));
        }
    }
    let public = send(world.get("/public/x")).await;
    if public.status != 200 {
        found.push(format!("public: {public:?}"));
    }
    // And all is well once Clerk is.
    if let Failure::Fault(_) = failure {
        world.clerk.behave();
        world.clock.advance_ms(31_000);
        let answer = send(with_a_token(&world, &session)).await;
        if answer.status != 200 {
            found.push(format!("afterwards: {answer:?}"));
        }
    }
    found
        .into_iter()
        .map(|what| format!("{}, {failure:?}: {what}, not {wanted}", call.name))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_of_every_call_to_clerk_has_a_verdict_of_its_own_and_lets_nobody_in() {
    // So many at once that those who wait for Clerk do not wait one after the other, and so few that
    // the others are not late for want of a processor.
    let places = Arc::new(Semaphore::new(6));
    let mut rows = JoinSet::new();
    for call in &CALLS {
        for (failure, wanted) in FAILURES {
            let places = Arc::clone(&places);
            rows.spawn(async move {
                let _place = places.acquire_owned().await.unwrap();
                faults(call, failure, wanted(call)).await
            });
        }
    }
    assert_eq!(rows.len(), 60);
    let mut found: Vec<String> = rows.join_all().await.into_iter().flatten().collect();
    found.sort();
    assert!(
        found.is_empty(),
        "{} faults:\n{}",
        found.len(),
        found.join("\n")
    );
}
