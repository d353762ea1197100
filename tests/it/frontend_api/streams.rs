//! Bodies through the proxy: piece by piece, in both directions.

use super::SECRET_KEY;
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, usual_routes};

async fn world() -> (World, WireUpstream) {
    let frontend_api = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .relaying_to(frontend_api.address)
        .configure(|config| config.clerk.secret_key = Some(SECRET_KEY.into()));
    (world.start().await, frontend_api)
}

fn head(world: &World, request: &str, lines: &str) -> String {
    let port = world.gate.port();
    format!("{request} HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}\r\n")
}

#[tokio::test]
async fn an_endless_answer_arrives_piece_by_piece() {
    let (world, frontend_api) = world().await;
    let mut client = Wire::connect(world.gate).await;
    client
        .send(head(&world, "GET /__clerk/v1/events", ""))
        .await;
    let mut server = frontend_api.accept().await;
    let seen = server.head().await;
    assert!(seen.starts_with("GET /v1/events HTTP/1.1\r\n"), "{seen}");
    server
        .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert!(
        answer.contains("content-type: text/event-stream\r\n"),
        "{answer}"
    );
    for piece in ["one", "two", "six"] {
        server.send(format!("3\r\n{piece}\r\n")).await;
        assert_eq!(
            client.until(&format!("{piece}\r\n")).await,
            format!("3\r\n{piece}\r\n")
        );
    }
}

#[tokio::test]
async fn an_upload_passes_piece_by_piece_without_trailers() {
    let (world, frontend_api) = world().await;
    let mut client = Wire::connect(world.gate).await;
    let lines = "transfer-encoding: chunked\r\ntrailer: x-sum\r\nte: trailers\r\n";
    client
        .send(head(&world, "POST /__clerk/v1/me/profile_image", lines))
        .await;
    client.send("3\r\none\r\n").await;
    let mut server = frontend_api.accept().await;
    let seen = server.head().await;
    assert!(seen.contains("transfer-encoding: chunked\r\n"), "{seen}");
    assert!(!seen.contains("trailer"), "{seen}");
    assert_eq!(server.until("one\r\n").await, "3\r\none\r\n");
    client.send("3\r\ntwo\r\n").await;
    assert_eq!(server.until("two\r\n").await, "3\r\ntwo\r\n");
    client
        .send("0\r\nx-sum: 1\r\nclerk-secret-key: forged\r\n\r\n")
        .await;
    assert_eq!(server.until("0\r\n\r\n").await, "0\r\n\r\n");
    server
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: clerk-secret-key\r\n\r\n")
        .await;
    server
        .send(format!(
            "2\r\nok\r\n0\r\nclerk-secret-key: {SECRET_KEY}\r\n\r\n"
        ))
        .await;
    let answer = client.head().await;
    assert!(!answer.contains("trailer"), "{answer}");
    assert_eq!(client.until("0\r\n\r\n").await, "2\r\nok\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_body_of_a_get_arrives_and_the_next_request_is_read_behind_it() {
    let (world, frontend_api) = world().await;
    let mut client = Wire::connect(world.gate).await;
    let lines = "transfer-encoding: chunked\r\n";
    client.send(head(&world, "GET /__clerk/v1/a", lines)).await;
    client.send("4\r\nbody\r\n0\r\n\r\n").await;
    client.send(head(&world, "GET /__clerk/v1/b", "")).await;
    let mut server = frontend_api.accept().await;
    let seen = server.head().await;
    assert!(seen.starts_with("GET /v1/a HTTP/1.1\r\n"), "{seen}");
    assert_eq!(server.until("0\r\n\r\n").await, "4\r\nbody\r\n0\r\n\r\n");
    server
        .send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na")
        .await;
    let seen = server.head().await;
    assert!(seen.starts_with("GET /v1/b HTTP/1.1\r\n"), "{seen}");
    server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.exactly(1).await, b"a");
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
}
