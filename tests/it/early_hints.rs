//! Early hints: what a client of HTTP/1.1 hears before its answer, and what it does not.

use std::time::Duration;

use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, usual_routes};
use crate::tls::{self, Authority};
use clerk_gate::config::Config;

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn changed(change: impl FnOnce(&mut Config) + Send + 'static) -> (World, WireUpstream) {
    let upstream = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .before(upstream.address)
        .configure(|config| {
            config.upstreams[0].early_hints = true;
            change(config);
        });
    (world.start().await, upstream)
}

async fn world() -> (World, WireUpstream) {
    changed(|_| {}).await
}

fn get(world: &World, path: &str, version: &str) -> String {
    let port = world.gate.port();
    format!("GET {path} HTTP/{version}\r\nhost: localhost:{port}\r\n\r\n")
}

/// A client that has asked, and the connection to the application on which it is asked for.
async fn asked(world: &World, upstream: &WireUpstream, version: &str) -> (Wire, Wire) {
    let mut client = Wire::connect(world.gate).await;
    client.send(get(world, "/public/x", version)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    (client, server)
}

#[tokio::test]
async fn a_client_hears_what_it_may_load_while_the_application_thinks() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = asked(&world, &upstream, "1.1").await;
    for round in 0..3 {
        for _ in 0..2 {
            server
                .send(
                    "HTTP/1.1 103 Early Hints\r\nset-cookie: a=1\r\nlink: </a.css>; rel=preload\r\n\
                     x-user-id: user_1\r\nconnection: close\r\ncontent-length: 5\r\n\r\n",
                )
                .await;
            // There is no answer yet.
            assert_eq!(client.head().await, HINT, "{round}");
        }
        server
            .send("HTTP/1.1 102 Processing\r\nlink: </b>\r\n\r\n")
            .await;
        server
            .send("HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n")
            .await;
        server.send(OK).await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(client.exactly(2).await, b"ok");
        client.send(get(&world, "/public/y", "1.1")).await;
        server.head().await;
    }
}

#[tokio::test]
async fn hints_go_over_tls_too() {
    let upstream = WireUpstream::start().await;
    let authority = Authority::new();
    let world = tls::behind(tls::terms(vec![authority.certifies(&["localhost"])]))
        .before(upstream.address)
        .configure(|config| config.upstreams[0].early_hints = true)
        .start()
        .await;
    let mut client = tls::agree(&world, &authority.plain_client(), "localhost")
        .await
        .unwrap();
    let request = get(&world, "/public/x", "1.1");
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes())
        .await
        .unwrap();
    let mut server = upstream.accept().await;
    server.head().await;
    server.send(HINT).await;
    let mut heard = vec![0; HINT.len()];
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut heard)
        .await
        .unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), HINT);
}

#[tokio::test]
async fn nobody_hears_any_unless_the_operator_says_so() {
    let (world, upstream) = changed(|config| config.upstreams[0].early_hints = false).await;
    let (mut client, mut server) = asked(&world, &upstream, "1.1").await;
    server.send([HINT, OK].concat()).await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn whoever_does_not_know_interim_answers_gets_none() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = asked(&world, &upstream, "1.0").await;
    server.send([HINT, OK].concat()).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("a.css"), "{answer}");
}

#[tokio::test]
async fn an_application_that_hints_without_end_is_heard_for_8_kib() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = asked(&world, &upstream, "1.1").await;
    let long = format!(
        "HTTP/1.1 103 Early Hints\r\nlink: </{}>\r\n\r\n",
        "a".repeat(3000)
    );
    for _ in 0..5 {
        server.send(&long).await;
    }
    server.send(OK).await;
    let mut hints = 0;
    loop {
        let head = client.head().await;
        if head.starts_with("HTTP/1.1 200") {
            break;
        }
        assert_eq!(head, long);
        hints += 1;
    }
    assert!(hints <= 2, "{hints}");
}

#[tokio::test]
async fn what_comes_after_the_gate_has_answered_is_heard_by_nobody() {
    let (world, upstream) = changed(|config| {
        config.upstreams[0].response_timeout = Duration::from_millis(300);
    })
    .await;
    let (mut client, mut server) = asked(&world, &upstream, "1.1").await;
    let refused = client.head().await;
    assert!(refused.starts_with("HTTP/1.1 504 "), "{refused}");
    server.try_send([HINT, OK].concat()).await;
    client.send(get(&world, "/public/y", "1.1")).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server.send(OK).await;
    let both = client.until("\r\n\r\nok").await;
    assert!(!both.contains("a.css"), "{both}");
}

#[tokio::test]
async fn hints_stand_between_answers_where_requests_come_at_once() {
    let (world, upstream) = world().await;
    let (mut client, mut server) = asked(&world, &upstream, "1.1").await;
    client.send(get(&world, "/public/y", "1.1")).await;
    client.send(get(&world, "/public/z", "1.1")).await;
    // More than a socket takes at once, and nobody reads.
    let large = 8 * 1024 * 1024;
    server
        .send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {large}\r\n\r\n"
        ))
        .await;
    let answering = async move {
        server.send(vec![b'x'; large]).await;
        for _ in 0..2 {
            server.head().await;
            server.send([HINT, OK].concat()).await;
        }
    };
    let reading = async move {
        client.head().await;
        let body = client.exactly(large).await;
        assert!(body.iter().all(|byte| *byte == b'x'));
        let mut answers = 0;
        while answers < 2 {
            let head = client.head().await;
            if head != HINT {
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
                assert_eq!(client.exactly(2).await, b"ok");
                answers += 1;
            }
        }
    };
    tokio::join!(answering, reading);
}
