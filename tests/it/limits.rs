//! What a stranger may cost: heads, bodies, time and connections, and what is left behind.

use std::fmt::Write as _;
use std::time::Duration;

use clerk_gate::config::Limits;
use clerk_gate::core::requirement::Requirement;
use http::{Method, StatusCode};

use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, WorldBuilder, ask, exchange, route, usual_routes};

fn limited(change: impl FnOnce(&mut Limits) + Send + 'static) -> WorldBuilder {
    World::with(usual_routes()).configure(|config| change(&mut config.limits))
}

fn head(world: &World, request: &str, lines: &str) -> String {
    let port = world.gate.port();
    format!("{request} HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}\r\n")
}

/// A request that must never be read as one: it stands behind one that was refused.
fn smuggled(world: &World) -> String {
    head(world, "GET /public/smuggled", "connection: close\r\n")
}

#[tokio::test]
async fn a_head_that_is_too_large_is_a_431_and_nothing_follows() {
    let world = limited(|limits| limits.head_bytes = 16 * 1024)
        .start()
        .await;
    let long = "x".repeat(20_000);
    let many = format!("x-own: {}\r\n", "x".repeat(1_000)).repeat(20);
    for (request, lines) in [
        ("GET /public/x", format!("x-own: {long}\r\n")),
        ("GET /public/x", format!("cookie: {long}\r\n")),
        ("GET /public/x", many),
        (&format!("GET /public/x?{long}"), String::new()),
    ] {
        let bytes = head(&world, request, &lines) + &smuggled(&world);
        let answers = exchange(world.gate, bytes.as_bytes()).await;
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(
            answers[0].status,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        );
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_head_that_just_fits_is_taken() {
    let world = limited(|limits| limits.head_bytes = 16 * 1024)
        .start()
        .await;
    let call = world.get("/public/x").header("x-own", &"x".repeat(15_000));
    assert_eq!(call.send().await.status, StatusCode::OK);
    assert_eq!(world.upstream.only().header("x-own").unwrap().len(), 15_000);
}

#[tokio::test]
async fn a_path_that_is_too_long_is_a_431_with_a_reason() {
    let world = World::start().await;
    let target = format!("/public/{}", "x".repeat(20_000));
    let answer = world.get(&target).send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large"
        )
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn too_many_header_lines_are_a_431_and_nothing_follows() {
    let world = limited(|limits| limits.head_count = 50).start().await;
    // `host` is one of them.
    for (count, status) in [(48, 200), (49, 200), (50, 431), (500, 431)] {
        let mut lines = String::new();
        for number in 0..count {
            write!(lines, "x-{number}: 1\r\n").unwrap();
        }
        let bytes = head(&world, "GET /public/x", &lines);
        let answer = ask(world.gate, bytes.as_bytes()).await;
        assert_eq!(answer.status, status, "{count}");
        if status == 431 {
            let bytes = bytes + &smuggled(&world);
            assert_eq!(exchange(world.gate, bytes.as_bytes()).await.len(), 1);
        }
    }
    assert_eq!(world.upstream.received().len(), 2);
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_cut_off() {
    let world = limited(|limits| limits.head_timeout = Duration::from_secs(10))
        .start()
        .await;
    for begun in [
        "",
        "GET /public/x HT",
        "GET /public/x HTTP/1.1\r\nhost: localhost\r\nx-",
    ] {
        let mut client = Wire::connect(world.gate).await;
        client.send(begun).await;
        tokio::time::pause();
        let rest = client.rest().await;
        tokio::time::resume();
        let silent = rest.is_empty() || rest.starts_with("HTTP/1.1 408 ");
        assert!(silent, "{begun:?}: {rest}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_head_that_dribbles_in_is_cut_off_all_the_same() {
    let world = limited(|limits| limits.head_timeout = Duration::from_secs(10))
        .start()
        .await;
    let mut client = Wire::connect(world.gate).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let dribble = async {
        client
            .send("GET /public/x HTTP/1.1\r\nhost: localhost\r\n")
            .await;
        loop {
            if client.closes_within(Duration::from_secs(3)).await {
                return;
            }
            client.try_send("x-own: 1\r\n").await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), dribble)
        .await
        .unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(14),
        "{:?}",
        began.elapsed()
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let world = limited(|limits| limits.head_timeout = Duration::from_secs(10))
        .start()
        .await;
    let mut client = Wire::connect(world.gate).await;
    client.send(head(&world, "GET /public/x", "")).await;
    client.until("upstream").await;
    tokio::time::pause();
    assert_eq!(client.rest().await, "");
}

/// A gate that takes bodies of ten bytes, or of twenty on one route.
fn ten_bytes() -> WorldBuilder {
    let mut wide = route("wide", &["/wide"], Requirement::Public);
    wide.max_body = Some(20);
    let mut routes = usual_routes();
    routes.push(wide);
    World::with(routes).configure(|config| config.limits.body_bytes = Some(10))
}

#[tokio::test]
async fn a_body_may_be_as_large_as_its_route_says_or_else_as_all_may_be() {
    let world = ten_bytes().start().await;
    for (target, length, status) in [
        ("/public/x", 10, StatusCode::OK),
        ("/public/x", 11, StatusCode::PAYLOAD_TOO_LARGE),
        ("/wide", 20, StatusCode::OK),
        ("/wide", 21, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let call = world.request(Method::POST, target);
        let answer = call.body("x".repeat(length)).send().await;
        assert_eq!(answer.status, status, "{target} {length}");
        let received: Vec<usize> = world
            .upstream
            .take_received()
            .iter()
            .map(|received| received.body.len())
            .collect();
        let forwarded = if status == StatusCode::OK {
            vec![length]
        } else {
            vec![]
        };
        assert_eq!(received, forwarded, "{target} {length}");
    }
}

#[tokio::test]
async fn a_body_of_chunks_that_grows_too_large_never_arrives_whole() {
    let upstream = WireUpstream::start().await;
    let world = ten_bytes().before(upstream.address).start().await;
    for chunks in [
        "b\r\n0123456789a\r\n0\r\n\r\n",
        "a\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n",
    ] {
        let mut client = Wire::connect(world.gate).await;
        let lines = "transfer-encoding: chunked\r\n";
        client
            .send(head(&world, "POST /public/x", lines) + chunks)
            .await;
        let seen = upstream.accept().await.rest().await;
        assert!(!seen.contains("0\r\n\r\n"), "{seen}");
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(
            answer.contains("x-clerk-auth-reason: body-too-large"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn nothing_that_follows_a_body_too_large_is_a_request() {
    let world = ten_bytes().start().await;
    let smuggled = smuggled(&world);
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for (lines, body) in [
        (
            format!("content-length: {}\r\n", smuggled.len()),
            smuggled.clone(),
        ),
        ("content-length: 1000000\r\n".to_owned(), smuggled.repeat(5)),
        ("transfer-encoding: chunked\r\n".to_owned(), chunk),
    ] {
        let bytes = head(&world, "POST /public/x", &lines) + &body;
        let answers = exchange(world.gate, bytes.as_bytes()).await;
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0].status, StatusCode::PAYLOAD_TOO_LARGE);
    }
    let targets: Vec<String> = world
        .upstream
        .received()
        .into_iter()
        .map(|received| received.target)
        .collect();
    assert!(
        !targets.contains(&"/public/smuggled".to_owned()),
        "{targets:?}"
    );
}

#[tokio::test]
async fn a_body_that_pauses_too_long_is_a_408_and_never_arrives_whole() {
    let upstream = WireUpstream::start().await;
    let world = limited(|limits| limits.body_timeout = Duration::from_secs(3))
        .before(upstream.address)
        .start()
        .await;
    for (lines, begun) in [
        ("content-length: 10\r\n", "01234"),
        ("transfer-encoding: chunked\r\n", "5\r\n01234\r\n"),
    ] {
        let mut client = Wire::connect(world.gate).await;
        client
            .send(head(&world, "POST /public/x", lines) + begun)
            .await;
        let mut server = upstream.accept().await;
        server.until("01234").await;
        tokio::time::pause();
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(
            answer.contains("x-clerk-auth-reason: body-timeout"),
            "{answer}"
        );
        tokio::time::resume();
        assert_eq!(server.rest().await.trim(), "");
        client.try_send(smuggled(&world)).await;
        assert!(!client.rest().await.contains("HTTP/1.1"));
    }
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn trailers_and_chunk_extensions_without_end_are_cut_off() {
    let upstream = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .before(upstream.address)
        .start()
        .await;
    let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(100_000));
    let trailer = format!("1\r\nx\r\n0\r\nx-own: {}\r\n\r\n", "x".repeat(100_000));
    let trailers = format!("1\r\nx\r\n0\r\n{}\r\n", "x-own: 1\r\n".repeat(5_000));
    for chunks in [extension, trailer, trailers] {
        let mut client = Wire::connect(world.gate).await;
        let lines = "transfer-encoding: chunked\r\ntrailer: x-own\r\n";
        client.send(head(&world, "POST /public/x", lines)).await;
        let mut server = upstream.accept().await;
        server.head().await;
        client.try_send(&chunks).await;
        let seen = server.rest().await;
        assert!(!seen.contains("0\r\n"), "{} bytes", seen.len());
        client.try_send(smuggled(&world)).await;
        let rest = client.rest().await;
        assert!(!rest.contains("HTTP/1.1 200"), "{rest}");
    }
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn a_further_connection_waits_for_a_place_and_the_operator_does_not() {
    let world = limited(|limits| limits.connections = 1).start().await;
    let mut first = Wire::connect(world.gate).await;
    first.send(head(&world, "GET /public/first", "")).await;
    first.until("upstream").await;
    let mut second = Wire::connect(world.gate).await;
    second.send(head(&world, "GET /public/second", "")).await;
    assert!(second.is_silent_for(Duration::from_millis(200)).await);
    let live = world.window("/livez").send().await;
    assert_eq!(live.status, StatusCode::OK);
    assert_eq!(world.upstream.received().len(), 1);
    drop(first);
    second.until("upstream").await;
    assert_eq!(world.upstream.received().len(), 2);
}

#[tokio::test]
async fn a_tunnel_keeps_the_place_of_its_connection() {
    let upstream = WireUpstream::start().await;
    let world = limited(|limits| limits.connections = 1)
        .before(upstream.address)
        .start()
        .await;
    let mut first = Wire::connect(world.gate).await;
    let lines = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n";
    first.send(head(&world, "GET /public/ws", lines)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")
        .await;
    first.until("hello").await;
    let mut second = Wire::connect(world.gate).await;
    second.send(head(&world, "GET /public/second", "")).await;
    assert!(second.is_silent_for(Duration::from_millis(200)).await);
    upstream.assert_nobody_waits().await;
    drop((first, server));
    let mut server = upstream.accept().await;
    assert!(server.head().await.starts_with("GET /public/second "));
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    // One place only: whoever comes next is served when the place is free again.
    let world = limited(|limits| {
        limits.write_timeout = Duration::from_millis(300);
        limits.connections = 1;
    })
    .start()
    .await;
    // More than the buffers of both ends hold.
    let size = 64 << 20;
    world.upstream.answers(move |received| {
        let size = if received.target == "/public/large" {
            size
        } else {
            1
        };
        http::Response::new(bytes::Bytes::from(vec![b'x'; size]))
    });
    let mut slow = tokio::net::TcpStream::connect(world.gate).await.unwrap();
    let request = head(&world, "GET /public/large", "");
    slow.write_all(request.as_bytes()).await.unwrap();
    let next = world.get("/public/small").send();
    let next = tokio::time::timeout(Duration::from_secs(10), next).await;
    assert_eq!(next.unwrap().status, StatusCode::OK);
    let mut received = Vec::new();
    let _ = slow.read_to_end(&mut received).await;
    assert!(received.len() < size, "{}", received.len());
}
