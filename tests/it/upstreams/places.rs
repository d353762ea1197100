//! How many requests a server has at once.

use super::*;

/// A gate before this server, which takes one request at once.
async fn one_at_once(servers: &[SocketAddr]) -> World {
    world_before(servers, |config| {
        config.upstreams[0].group.max_in_flight = Some(1);
    })
    .await
}

/// The place of the request is free again soon after this.
async fn is_free_again(world: &World, server: SocketAddr) {
    let series = of_server("clerk_gate_upstream_in_flight", server);
    let free = async { while metric(world, &series).await > 0.0 {} };
    let freed = tokio::time::timeout(Duration::from_secs(20), free).await;
    assert!(freed.is_ok(), "the place is not given back");
}

#[tokio::test]
async fn a_full_server_is_passed_over_and_where_all_are_full_nobody_is_asked() {
    let (held, other) = (WireUpstream::start().await, WireUpstream::start().await);
    let world = one_at_once(&[held.address, other.address]).await;
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for upstream in [&held, &other] {
        let mut client = Wire::connect(world.gate).await;
        client.send(get(&world, "/public/x")).await;
        let mut server = upstream.accept().await;
        server.head().await;
        clients.push(client);
        servers.push(server);
    }
    for method in ["GET", "POST"] {
        let answer = world
            .request(method.parse().unwrap(), "/public/y")
            .send()
            .await;
        assert_eq!(outcome(&answer), (503, "upstream-full".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    held.assert_nobody_waits().await;
    other.assert_nobody_waits().await;
    // The head of an answer is not its end.
    servers[1]
        .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
        .await;
    clients[1].head().await;
    let answer = world.get("/public/y").send().await;
    assert_eq!(outcome(&answer), (503, "upstream-full".to_owned()));
    servers[1].send("k").await;
    clients[1].exactly(2).await;
    is_free_again(&world, other.address).await;
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world, "/public/z")).await;
    let mut server = other.accept().await;
    server.head().await;
    server.send(OK).await;
    assert!(client.head().await.contains("200 OK"));
}

#[tokio::test]
async fn a_place_is_given_back_however_the_request_ends() {
    let upstream = WireUpstream::start().await;
    let world = one_at_once(&[upstream.address]).await;
    for end in ["client leaves", "server leaves", "no answer"] {
        let mut client = Wire::connect(world.gate).await;
        client.send(get(&world, "/public/x")).await;
        let mut server = upstream.accept().await;
        server.head().await;
        if end != "no answer" {
            server
                .send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
                .await;
            client.head().await;
        }
        if end == "client leaves" {
            drop(client);
            is_free_again(&world, upstream.address).await;
        } else {
            drop(server);
            is_free_again(&world, upstream.address).await;
            drop(client);
        }
    }
}

#[tokio::test]
async fn a_websocket_keeps_its_place_while_it_is_open() {
    let upstream = WireUpstream::start().await;
    let world = one_at_once(&[upstream.address]).await;
    let mut client = Wire::connect(world.gate).await;
    let port = world.gate.port();
    client
        .send(format!(
            "GET /public/ws HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        ))
        .await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")
        .await;
    client.until("hello").await;
    let answer = world.get("/public/y").send().await;
    assert_eq!(outcome(&answer), (503, "upstream-full".to_owned()));
    upstream.assert_nobody_waits().await;
    drop((client, server));
    is_free_again(&world, upstream.address).await;
}

#[tokio::test]
async fn places_are_counted_on_when_another_configuration_takes_the_place_of_one() {
    let upstream = WireUpstream::start().await;
    let world = one_at_once(&[upstream.address]).await;
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world, "/public/x")).await;
    let mut server = upstream.accept().await;
    server.head().await;
    world.reloader.change_to(world.config.clone()).unwrap();
    let answer = world.get("/public/y").send().await;
    assert_eq!(outcome(&answer), (503, "upstream-full".to_owned()));
    upstream.assert_nobody_waits().await;
    // What is in flight ends as it began.
    server.send(OK).await;
    assert!(client.head().await.contains("200 OK"));
}
