//! Many who behave badly at once, and somebody beside them who behaves well.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clerk_gate::clock::{Clock as _, SystemClock};
use clerk_gate::standin::{StandIn, StandInOptions};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::program::{Running, file, program};
use crate::support::upstream::RecordingUpstream;
use crate::support::{Call, World, cookies, usual_routes};

/// Longer than any answer takes here, and much shorter than a test run.
const PATIENCE: Duration = Duration::from_secs(20);

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it ends in time")
}

/// Opens a connection and sends the beginning of something.
async fn begin(gate: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(gate).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_client_is_served_beside_hundreds_that_are_not_and_those_are_cut_off() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.limits.head_timeout = Duration::from_secs(2);
            config.limits.body_timeout = Duration::from_secs(2);
            config.limits.write_timeout = Duration::from_secs(2);
        })
        .start()
        .await;
    let host = format!("host: localhost:{}\r\n", world.gate.port());
    let mut abusers = Vec::new();
    for n in 0..400 {
        let bytes = match n % 4 {
            // Says nothing at all.
            0 => String::new(),
            // A head that never ends.
            1 => format!("GET /public/x HTTP/1.1\r\n{host}x-half: "),
            // A body that never comes.
            2 => format!("POST /public/x HTTP/1.1\r\n{host}content-length: 1000\r\n\r\nhalf"),
            // A head of many lines that never ends.
            _ => format!(
                "GET /public/x HTTP/1.1\r\n{host}{}",
                "x-own: y\r\n".repeat(150)
            ),
        };
        abusers.push(begin(world.gate, bytes.as_bytes()).await);
    }
    let session = world.clerk.sign_in("mel", None);
    for n in 0..50 {
        let page = world
            .get(&format!("/members/{n}"))
            .cookie(&cookies(&session));
        assert_eq!(in_time(page.send()).await.status, StatusCode::OK);
    }
    for mut abuser in abusers {
        let mut received = Vec::new();
        let _ = in_time(abuser.read_to_end(&mut received)).await;
        let received = String::from_utf8_lossy(&received);
        assert!(!received.contains(" 200 "), "{received}");
    }
}

/// Resident memory of a process in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// A gate as a process of its own, between a stand-in and an upstream.
async fn process(
    clerk: &StandIn,
    upstream: &RecordingUpstream,
    name: &str,
) -> (Running, SocketAddr) {
    let secret = file(&format!("{name}.secret"), clerk.secret_key());
    let mut text = String::new();
    let url = clerk.url();
    writeln!(text, "listen = \"127.0.0.1:0\"\n[clerk]").unwrap();
    writeln!(text, "publishable-key = \"{}\"", clerk.publishable_key()).unwrap();
    writeln!(text, "secret-key-file = \"{}\"", secret.display()).unwrap();
    writeln!(text, "api-url = \"{url}\"\nfrontend-api-url = \"{url}\"").unwrap();
    writeln!(text, "sign-in-url = \"{url}/sign-in\"").unwrap();
    writeln!(text, "[upstream]\nurl = \"http://{}\"", upstream.address).unwrap();
    writeln!(
        text,
        "[admin]\nlisten = \"off\"\n[shutdown]\ndrain = \"10s\""
    )
    .unwrap();
    let path = file(&format!("{name}.toml"), &text);
    let started = tokio::task::spawn_blocking(move || {
        Running::start(program().arg("run").arg("-c").arg(path))
    });
    let (mut running, gate) = started.await.unwrap();
    running.discard_log();
    (running, gate)
}

async fn stand_in() -> StandIn {
    StandIn::start(StandInOptions::new(Arc::new(|| SystemClock.now_ms())))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_whatever_strangers_send() {
    let clerk = stand_in().await;
    let upstream = RecordingUpstream::start().await;
    let (running, gate) = process(&clerk, &upstream, "memory").await;
    let flood = async |round: usize| {
        for n in 0..500 {
            let header = json!({ "alg": "RS256", "typ": "JWT", "kid": format!("ins_{round}_{n}") });
            let claims = json!({ "sub": "user_1", "pad": "x".repeat(6_000), "n": n });
            let token = clerk.sign(&header, &claims);
            let call = Call::new(gate, Method::GET, &format!("/{round}/{n}"))
                .header("x-own", &"y".repeat(20_000))
                .bearer(&token);
            let status = in_time(call.send()).await.status;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
    };
    // The first round pays for what is allocated once.
    flood(0).await;
    let before = resident(running.id());
    for round in 1..4 {
        flood(round).await;
    }
    let grown = resident(running.id()).saturating_sub(before);
    assert!(grown < 16 << 20, "{} KiB more", grown >> 10);
    upstream.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_reached_the_upstream_is_answered_although_the_gate_is_told_to_stop() {
    let clerk = stand_in().await;
    let upstream = RecordingUpstream::start().await;
    let (running, gate) = process(&clerk, &upstream, "stop").await;
    let session = clerk.sign_in("mel", None);
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..32)
        .map(|client| {
            let (answered, cookies) = (Arc::clone(&answered), cookies(&session));
            tokio::spawn(async move {
                // One request after the other, each over a connection of its own, until refused.
                for n in 0.. {
                    let call =
                        Call::new(gate, Method::GET, &format!("/{client}/{n}")).cookie(&cookies);
                    match call.try_send().await {
                        Some(answer) => {
                            assert_eq!(answer.status, StatusCode::OK);
                            assert_eq!(answer.body, "upstream");
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        None => return,
                    }
                }
            })
        })
        .collect();
    while answered.load(Ordering::SeqCst) < 200 {
        tokio::task::yield_now().await;
    }
    running.signal("TERM");
    for client in clients {
        in_time(client).await.unwrap();
    }
    let (code, _) = tokio::task::spawn_blocking(move || running.end())
        .await
        .unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(upstream.received().len(), answered.load(Ordering::SeqCst));
}
