//! Stopping under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, StatusCode};
use tokio::net::TcpStream;

use super::{Kept, figure, in_time, process, soak};
use crate::support::site::clerk;
use crate::support::upstream::RecordingUpstream;
use crate::support::{Call, World, cookies};

/// One request after the other, each over a connection of its own, until refused.
async fn ask_anew(gate: SocketAddr, client: usize, cookies: &str, answered: &AtomicUsize) {
    for n in 0.. {
        let call = Call::new(gate, Method::GET, &format!("/{client}/{n}")).cookie(cookies);
        let Some(answer) = call.try_send().await else {
            return;
        };
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, "upstream");
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// The same, over one connection for as long as it is kept, and then over another one.
async fn ask_on(gate: SocketAddr, client: usize, cookies: &str, answered: &AtomicUsize) {
    let lines = format!("cookie: {cookies}\r\n");
    while let Ok(stream) = TcpStream::connect(gate).await {
        let mut kept = Kept::over(stream, gate);
        for n in 0.. {
            let Some(answer) = kept.try_get(&format!("/{client}/{n}"), &lines).await else {
                break;
            };
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            answered.fetch_add(1, Ordering::SeqCst);
            if answer.contains("\r\nconnection: close\r\n") {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_reached_the_upstream_is_answered_although_the_gate_is_told_to_stop() {
    let clerk = clerk().await;
    let upstream = RecordingUpstream::start().await;
    let session = clerk.sign_in("mel", None);
    let rounds = soak();
    for round in 0..rounds {
        let name = format!("stop-{round}");
        let (running, gate) = process(&clerk, upstream.address, &name, "").await;
        upstream.take_received();
        let answered = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..32)
            .map(|client| {
                let (answered, cookies) = (Arc::clone(&answered), cookies(&session));
                tokio::spawn(async move {
                    if client % 2 == 0 {
                        ask_anew(gate, client, &cookies, &answered).await;
                    } else {
                        ask_on(gate, client, &cookies, &answered).await;
                    }
                })
            })
            .collect();
        let enough = async {
            while answered.load(Ordering::SeqCst) < 400 {
                tokio::task::yield_now().await;
            }
        };
        in_time(enough).await;
        running.signal("TERM");
        for client in clients {
            in_time(client).await.unwrap();
        }
        let (code, _) = tokio::task::spawn_blocking(move || running.end())
            .await
            .unwrap();
        assert_eq!(code, Some(0));
        let answered = answered.load(Ordering::SeqCst);
        assert_eq!(upstream.received().len(), answered);
        if round + 1 == rounds {
            figure("rounds of stopping under load", rounds);
            figure("requests of the last, all answered", answered);
        }
    }
}

/// A client that goes on asking on one connection learns from an answer that it has to open another one,
/// and never from a connection that closes under a request.
#[tokio::test]
async fn who_asks_on_a_kept_connection_is_told_that_it_closes_before_it_does() {
    let world = World::start().await;
    let stream = TcpStream::connect(world.gate).await.unwrap();
    let mut kept = Kept::over(stream, world.gate);
    let first = kept.try_get("/public/first", "").await.expect("an answer");
    assert!(!first.contains("\r\nconnection: close\r\n"), "{first}");
    world.begin_to_stop();
    let mut answered = 1;
    loop {
        let answer = kept.try_get("/public/next", "").await;
        let answer = answer.expect("an answer to whatever is asked on a connection that was kept");
        answered += 1;
        if answer.contains("\r\nconnection: close\r\n") {
            break;
        }
    }
    assert!(kept.try_get("/public/last", "").await.is_none());
    assert_eq!(world.upstream.received().len(), answered);
}
