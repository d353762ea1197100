//! Requests at once: a place is free again when the exchange has ended, however it ends.

use clerk_gate::core::budget::{BudgetKey, Holder, TooMany};
use clerk_gate::store::{Beyond, InFlight};
use http::StatusCode;

use super::written;
use crate::support::waiting::in_time;
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{Answer, World};

async fn world(most: u32) -> (World, WireUpstream) {
    let text = format!(
        "[[route]]\nname = \"all\"\npath = \"/**\"\nrequire = \"public\"\nlimit = {{ in-flight = {most} }}\n"
    );
    let written = written(&text);
    let upstream = WireUpstream::start().await;
    let world = World::with(Vec::new())
        .configure(move |config| config.policy = written.policy)
        .before(upstream.address);
    (world.start().await, upstream)
}

fn head(world: &World, lines: &str) -> String {
    let port = world.gate.port();
    format!("GET /x HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}\r\n")
}

async fn assert_full(world: &World) {
    let answer = world.get("/x").send().await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.code(), "too-many-in-flight");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        answer.header("ratelimit-policy"),
        Some("\"all-in-flight\";q=1;qu=\"concurrent-requests\"")
    );
    assert_eq!(answer.header("ratelimit"), Some("\"all-in-flight\";r=0"));
}

/// Asks until a place is free; the upstream answers each time that it is asked.
async fn eventually_free(world: &World, upstream: &WireUpstream) -> Answer {
    let asking = async {
        loop {
            let call = tokio::spawn(world.get("/x").send());
            tokio::pin!(call);
            tokio::select! {
                answer = &mut call => {
                    let answer = answer.unwrap();
                    assert_eq!(answer.code(), "too-many-in-flight");
                }
                mut server = upstream.next() => {
                    server.head().await;
                    server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    return call.await.unwrap();
                }
            }
        }
    };
    in_time(asking).await
}

#[tokio::test]
async fn a_place_is_taken_until_the_last_byte_of_an_answer() {
    let (world, upstream) = world(1).await;
    let mut client = Wire::connect(world.gate).await;
    client.send(head(&world, "")).await;
    let mut server = upstream.accept().await;
    server.head().await;
    assert_full(&world).await;
    server
        .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
        .await;
    client.until("ha").await;
    assert_full(&world).await;
    upstream.assert_nobody_waits().await;
    server.send("lf").await;
    client.until("lf").await;
    drop(server);
    assert_eq!(
        eventually_free(&world, &upstream).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    for answered in [false, true] {
        let (world, upstream) = world(1).await;
        let mut client = Wire::connect(world.gate).await;
        client.send(head(&world, "")).await;
        let mut server = upstream.accept().await;
        server.head().await;
        if answered {
            server
                .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
                .await;
            client.until("ha").await;
        }
        assert_full(&world).await;
        drop(client);
        drop(server);
        let answer = eventually_free(&world, &upstream).await;
        assert_eq!(answer.status, StatusCode::OK, "answered: {answered}");
    }
}

#[tokio::test]
async fn an_upstream_that_fails_gives_the_place_back() {
    let (world, upstream) = world(1).await;
    let mut client = Wire::connect(world.gate).await;
    client.send(head(&world, "")).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server.send("no HTTP at all\r\n\r\n").await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    drop(server);
    assert_eq!(
        eventually_free(&world, &upstream).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_websocket_takes_its_place_while_it_is_open() {
    let (world, upstream) = world(1).await;
    let mut client = Wire::connect(world.gate).await;
    let lines = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n";
    client.send(head(&world, lines)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        )
        .await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client.send("ping").await;
    assert_eq!(server.exactly(4).await, b"ping");
    assert_full(&world).await;
    upstream.assert_nobody_waits().await;
    drop(client);
    drop(server);
    assert_eq!(
        eventually_free(&world, &upstream).await.status,
        StatusCode::OK
    );
}

#[test]
fn nothing_is_kept_of_what_has_ended() {
    let counts = InFlight::default();
    let key = |id: u8| BudgetKey {
        budget: "api".into(),
        holder: Holder::Address([192, 0, 2, id].into()),
    };
    let (one, left) = counts.enter(&key(1), 2, Beyond::Refuse);
    assert_eq!(left, Ok(1));
    let (two, left) = counts.enter(&key(1), 2, Beyond::Refuse);
    assert_eq!(left, Ok(0));
    let (none, left) = counts.enter(&key(1), 2, Beyond::Refuse);
    assert_eq!((none.is_none(), left), (true, Err(TooMany)));
    let (other, left) = counts.enter(&key(2), 2, Beyond::Refuse);
    assert_eq!((counts.len(), left), (2, Ok(1)));
    let (beyond, left) = counts.enter(&key(1), 2, Beyond::Count);
    assert_eq!((beyond.is_some(), left), (true, Err(TooMany)));
    drop((one, two, other));
    assert_eq!(counts.len(), 1);
    drop(beyond);
    assert!(counts.is_empty());
}
