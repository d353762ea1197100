//! Whom a connection to an upstream serves that has served somebody.

use super::*;

const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

/// A gate before an upstream that is held by hand; `None` is the default.
async fn world(reuse: Option<Reuse>) -> (World, WireUpstream) {
    let upstream = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .before(upstream.address)
        .configure(move |config| {
            if let Some(reuse) = reuse {
                config.upstreams[0].reuse = reuse;
            }
        });
    (world.start().await, upstream)
}

/// Asks on this connection and has this one answer.
async fn served(world: &World, client: &mut Wire, path: &str, server: &mut Wire) {
    client.send(get(world, path)).await;
    let seen = server.head().await;
    assert!(seen.starts_with(&format!("GET {path} ")), "{seen}");
    server.send(OK).await;
    client.head().await;
    assert_eq!(client.exactly(2).await, b"ok");
}

/// Somebody is served, somebody else asks, and only then the upstream says more to the first one. Gives
/// what the second one hears.
async fn second_client(reuse: Option<Reuse>) -> String {
    let (world, upstream) = world(reuse).await;
    let mut first = Wire::connect(world.gate).await;
    first.send(get(&world, "/public/first")).await;
    let mut used = upstream.accept().await;
    used.head().await;
    used.send(OK).await;
    first.head().await;
    first.exactly(2).await;
    let mut second = Wire::connect(world.gate).await;
    second.send(get(&world, "/public/second")).await;
    let (mut own, seen) = tokio::select! {
        seen = used.head() => (None, seen),
        mut own = upstream.accept() => {
            let seen = own.head().await;
            (Some(own), seen)
        }
    };
    assert!(seen.starts_with("GET /public/second "), "{seen}");
    used.send(POISON).await;
    if let Some(own) = &mut own {
        assert_eq!(used.rest().await, "", "the gate lets go of it");
        own.send(OK).await;
    }
    let head = second.head().await;
    let length = if head.contains("content-length: 6") {
        6
    } else {
        2
    };
    String::from_utf8(second.exactly(length).await).unwrap()
}

#[tokio::test]
async fn an_answer_that_comes_late_is_never_heard_by_somebody_else() {
    for reuse in [None, Some(Reuse::Safe)] {
        assert_eq!(second_client(reuse).await, "ok");
    }
}

/// What the test above is about: without it, that one would prove nothing.
#[tokio::test]
async fn where_connections_serve_whoever_comes_next_a_late_answer_is_heard_by_them() {
    assert_eq!(second_client(Some(Reuse::Always)).await, "poison");
}

#[tokio::test]
async fn a_client_that_stays_is_served_over_its_own_connections() {
    let (world, upstream) = world(None).await;
    let mut clients = Vec::new();
    for path in ["/public/a", "/public/b"] {
        let mut client = Wire::connect(world.gate).await;
        client.send(get(&world, path)).await;
        let mut server = upstream.accept().await;
        server.head().await;
        server.send(OK).await;
        client.head().await;
        client.exactly(2).await;
        clients.push((path, client, server));
    }
    for _ in 0..3 {
        for (path, client, server) in &mut clients {
            served(&world, client, path, server).await;
        }
    }
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn the_connection_that_rests_longest_gives_way() {
    let (world, upstream) = world(None).await;
    let mut held = Vec::new();
    for _ in 0..257 {
        let mut client = Wire::connect(world.gate).await;
        client.send(get(&world, "/public/x")).await;
        let mut server = upstream.accept().await;
        server.head().await;
        server.send(OK).await;
        client.head().await;
        client.exactly(2).await;
        held.push((client, server));
    }
    let (mut client, mut server) = held.pop().unwrap();
    served(&world, &mut client, "/public/x", &mut server).await;
    let (_, mut oldest) = held.remove(0);
    assert_eq!(oldest.rest().await, "", "the gate lets go of it");
}
