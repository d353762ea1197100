//! Bodies on their way through: as they come, in both directions, and what happens when either end
//! misbehaves.

use std::time::Duration;

use clerk_gate::upstream::Reuse;
use http::{Method, StatusCode};

use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, usual_routes};

/// More than the sockets on the way can hold.
const LARGE: usize = 96 * 1024 * 1024;

/// A gate before an upstream that is held by hand, whose connections serve whoever comes next.
async fn world() -> (World, WireUpstream) {
    let upstream = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .before(upstream.address)
        .configure(|config| config.upstreams[0].reuse = Reuse::Always);
    (world.start().await, upstream)
}

/// The head of a request; `lines` each with its line break.
fn head(world: &World, request: &str, lines: &str) -> String {
    let port = world.gate.port();
    format!("{request} HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}\r\n")
}

fn get(world: &World) -> String {
    head(world, "GET /public/x", "")
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn trailers_that_are_announced_go_on_in_both_directions() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    let lines = "transfer-encoding: chunked\r\nte: gzip;q=0, Trailers\r\ntrailer: X-Sum, X-User-Id\r\ntrailer: cookie\r\n";
    let request = head(&world, "POST /public/x", lines);
    client.send(request).await;
    client
        .send("4\r\nbody\r\n0\r\nx-sum: 1\r\nx-user-id: forged\r\ncookie: forged\r\nx-other: 2\r\n\r\n")
        .await;
    let mut server = upstream.accept().await;
    let seen = server.head().await;
    assert!(seen.contains("te: trailers\r\n"), "{seen}");
    assert!(seen.contains("trailer: X-Sum\r\n"), "{seen}");
    assert_eq!(
        server.until("0\r\nx-sum: 1\r\n\r\n").await,
        "4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n"
    );
    server
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-own\r\n\r\n")
        .await;
    server
        .send("2\r\nok\r\n0\r\nx-own: 1\r\nset-cookie: a=1\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert!(answer.contains("trailer: x-own\r\n"), "{answer}");
    assert_eq!(
        client.until("\r\n\r\n").await,
        "2\r\nok\r\n0\r\nx-own: 1\r\n\r\n"
    );
}

#[tokio::test]
async fn a_client_that_waits_for_the_go_ahead_gets_it_once_the_upstream_is_there() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    let lines = "content-length: 4\r\nexpect: 100-continue\r\n";
    client.send(head(&world, "POST /public/x", lines)).await;
    let go_ahead = client.head().await;
    assert!(go_ahead.starts_with("HTTP/1.1 100 "), "{go_ahead}");
    client.send("body").await;
    let mut server = upstream.accept().await;
    let seen = server.head().await;
    assert!(
        !seen.contains("expect"),
        "the gate has answered that itself: {seen}"
    );
    assert_eq!(server.exactly(4).await, b"body");
    server.send(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_waits_for_the_go_ahead_is_refused_before_it_sends_its_body() {
    let world = World::start().await;
    let mut client = Wire::connect(world.gate).await;
    let smuggled = head(&world, "GET /public/smuggled", "");
    let lines = format!(
        "content-length: {}\r\nexpect: 100-continue\r\n",
        smuggled.len()
    );
    client.send(head(&world, "POST /members", &lines)).await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    // What was to be the body must not be taken for a request.
    client.try_send(smuggled).await;
    let rest = client.rest().await;
    assert!(!rest.contains("HTTP/1.1"), "{rest}");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_body_that_was_not_read_is_not_taken_for_a_request() {
    let world = World::start().await;
    let mut client = Wire::connect(world.gate).await;
    let smuggled = head(&world, "GET /public/smuggled", "");
    let lines = format!("content-length: {}\r\n", smuggled.len());
    client.send(head(&world, "POST /members", &lines)).await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    client.try_send(smuggled).await;
    client
        .try_send(head(&world, "GET /members", "connection: close\r\n"))
        .await;
    assert_eq!(client.rest().await.matches("smuggled").count(), 0);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn each_event_of_a_stream_arrives_before_the_next_is_made() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert!(answer.contains("text/event-stream"), "{answer}");
    for number in 0..5 {
        let event = format!("data: {number}\n\n");
        server
            .send(format!("{:x}\r\n{event}\r\n", event.len()))
            .await;
        assert!(client.until("\n\n").await.ends_with(&event));
    }
}

#[tokio::test]
async fn each_piece_of_an_upload_arrives_before_the_next_is_sent() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    let lines = "transfer-encoding: chunked\r\n";
    client.send(head(&world, "POST /public/x", lines)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    for number in 0..5 {
        let piece = format!("piece {number}");
        client.send(format!("7\r\n{piece}\r\n")).await;
        assert!(server.until("\r\n").await.starts_with('7'));
        assert_eq!(server.until("\r\n").await, format!("{piece}\r\n"));
    }
}

#[tokio::test]
async fn an_upload_waits_for_an_upstream_that_does_not_read() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    let lines = format!("content-length: {LARGE}\r\n");
    client.send(head(&world, "POST /public/x", &lines)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    tokio::time::pause();
    let taken = client.fill(LARGE).await;
    assert!(
        taken < LARGE / 2,
        "{taken} bytes are held for an upstream that reads none"
    );
}

#[tokio::test]
async fn a_download_waits_for_a_client_that_does_not_read() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n"
        ))
        .await;
    client.head().await;
    tokio::time::pause();
    let taken = server.fill(LARGE).await;
    assert!(
        taken < LARGE / 2,
        "{taken} bytes are held for a client that reads none"
    );
}

#[tokio::test]
async fn an_upload_may_take_longer_than_an_answer() {
    let upstream = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .before(upstream.address)
        .configure(|config| config.upstreams[0].response_timeout = Duration::from_secs(5))
        .start()
        .await;
    let mut client = Wire::connect(world.gate).await;
    let lines = "content-length: 10\r\n";
    client.send(head(&world, "POST /public/x", lines)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    tokio::time::pause();
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(3)).await;
        client.send("x").await;
        assert_eq!(server.exactly(1).await, b"x");
    }
    server.send(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_upstream_that_pauses_in_reading_is_not_the_clients_fault() {
    let upstream = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .before(upstream.address)
        .configure(|config| {
            config.limits.body_timeout = Duration::from_secs(2);
            config.upstreams[0].response_timeout = Duration::from_mins(1);
        })
        .start()
        .await;
    let mut client = Wire::connect(world.gate).await;
    let lines = format!("content-length: {LARGE}\r\n");
    client.send(head(&world, "POST /public/x", &lines)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    tokio::time::pause();
    // Until all is full; then the upstream reads on after a pause, and the client sends on.
    let taken = client.fill(LARGE).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    // A clock that stands still runs ahead of what is on its way.
    tokio::time::resume();
    let rest = vec![b'x'; LARGE - taken];
    let ((), received) = tokio::join!(client.send(rest), server.exactly(LARGE));
    assert_eq!(received.len(), LARGE);
    server.send(OK).await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Lets one request be answered, so that the gate keeps the connection.
async fn used_connection(world: &World, upstream: &WireUpstream) -> Wire {
    let mut client = Wire::connect(world.gate).await;
    client.send(get(world)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server.send(OK).await;
    client.head().await;
    assert_eq!(client.exactly(2).await, b"ok");
    server
}

#[tokio::test]
async fn a_get_is_asked_once_more_if_a_kept_connection_closes_under_it() {
    for method in ["GET", "HEAD"] {
        let (world, upstream) = world().await;
        let mut kept = used_connection(&world, &upstream).await;
        let mut client = Wire::connect(world.gate).await;
        client
            .send(head(&world, &format!("{method} /public/y"), ""))
            .await;
        kept.until("/public/y").await;
        drop(kept);
        let mut fresh = upstream.accept().await;
        let seen = fresh.head().await;
        assert!(seen.starts_with(&format!("{method} /public/y")), "{seen}");
        fresh.send(OK).await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        upstream.assert_nobody_waits().await;
    }
}

#[tokio::test]
async fn a_get_is_not_asked_a_third_time() {
    let (world, upstream) = world().await;
    let mut kept = used_connection(&world, &upstream).await;
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world)).await;
    kept.head().await;
    drop(kept);
    let mut fresh = upstream.accept().await;
    fresh.head().await;
    drop(fresh);
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn what_may_have_an_effect_is_never_asked_twice() {
    for (request, lines, body) in [
        ("POST /public/y", "content-length: 4\r\n", "body"),
        ("POST /public/y", "content-length: 0\r\n", ""),
        ("DELETE /public/y", "", ""),
        (
            "PUT /public/y",
            "transfer-encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        ("GET /public/y", "content-length: 4\r\n", "body"),
    ] {
        let (world, upstream) = world().await;
        let mut kept = used_connection(&world, &upstream).await;
        let mut client = Wire::connect(world.gate).await;
        client.send(head(&world, request, lines) + body).await;
        kept.head().await;
        drop(kept);
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{request}: {answer}");
        upstream.assert_nobody_waits().await;
    }
}

#[tokio::test]
async fn a_get_is_not_asked_again_once_an_answer_has_begun() {
    let (world, upstream) = world().await;
    let mut kept = used_connection(&world, &upstream).await;
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world)).await;
    kept.head().await;
    kept.send("HTTP/1.1 2").await;
    drop(kept);
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn a_get_on_a_fresh_connection_is_not_asked_again() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    drop(server);
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn a_second_answer_is_given_to_nobody() {
    let (world, upstream) = world().await;
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for behind in [poison, "x"] {
        let mut client = Wire::connect(world.gate).await;
        client.send(get(&world)).await;
        let mut server = upstream.accept().await;
        server.head().await;
        server.send(format!("{OK}{behind}")).await;
        client.head().await;
        assert_eq!(client.exactly(2).await, b"ok");
        assert_eq!(server.rest().await, "", "the gate lets go of it");
    }
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server.send(OK).await;
    client.head().await;
    assert_eq!(client.exactly(2).await, b"ok");
}

#[tokio::test]
async fn an_answer_that_comes_unasked_on_a_kept_connection_is_given_to_nobody() {
    let (world, upstream) = world().await;
    let mut kept = used_connection(&world, &upstream).await;
    kept.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        .await;
    assert_eq!(kept.rest().await, "", "the gate lets go of it");
    used_connection(&world, &upstream).await;
}

#[tokio::test]
async fn an_upgrade_to_http_2_is_not_passed_on() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    let lines = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
    client.send(head(&world, "GET /public/x", lines)).await;
    let mut server = upstream.accept().await;
    let seen = server.head().await.to_ascii_lowercase();
    for gone in ["upgrade", "h2c", "http2-settings"] {
        assert!(!seen.contains(gone), "{seen}");
    }
    server.send(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn only_a_get_opens_a_tunnel() {
    let world = World::start().await;
    for (method, lines) in [
        (
            Method::POST,
            "connection: upgrade\r\nupgrade: websocket\r\n",
        ),
        (Method::GET, "connection: close\r\nupgrade: websocket\r\n"),
        (
            Method::GET,
            "connection: upgrade\r\nupgrade: websocket, h2c\r\n",
        ),
    ] {
        let mut client = Wire::connect(world.gate).await;
        client
            .send(head(&world, &format!("{method} /public/x"), lines))
            .await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_tunnel_to_another_protocol_than_asked_for_is_not_opened() {
    let (world, upstream) = world().await;
    for upgrade in ["upgrade: h2c\r\n", "upgrade: websocket, h2c\r\n", ""] {
        let mut client = Wire::connect(world.gate).await;
        let lines = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n";
        client.send(head(&world, "GET /public/x", lines)).await;
        let mut server = upstream.accept().await;
        server.head().await;
        server
            .send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n{upgrade}\r\n"
            ))
            .await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        client.try_send("through the tunnel").await;
        assert!(!server.rest().await.contains("tunnel"));
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nx-long: ").await;
    let taken = server.fill(LARGE).await;
    assert!(taken < LARGE, "{taken}");
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn interim_answers_without_end_are_no_answer() {
    let upstream = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .before(upstream.address)
        .configure(|config| config.upstreams[0].response_timeout = Duration::from_millis(200))
        .start()
        .await;
    let mut client = Wire::connect(world.gate).await;
    client.send(get(&world)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    let dribble = async {
        loop {
            server.try_send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::select! {
        () = dribble => unreachable!("it never ends"),
        answer = client.head() => answer,
    };
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

#[tokio::test]
async fn an_upload_that_breaks_off_never_looks_whole() {
    let (world, upstream) = world().await;
    for (lines, begun) in [
        ("transfer-encoding: chunked\r\n", "4\r\nbody\r\n"),
        ("content-length: 8\r\n", "body"),
        ("transfer-encoding: chunked\r\n", "4\r\nbody\r\nxyz\r\n"),
    ] {
        let mut client = Wire::connect(world.gate).await;
        client
            .send(head(&world, "POST /public/x", lines) + begun)
            .await;
        let mut server = upstream.accept().await;
        server.until("body").await;
        drop(client);
        let rest = server.rest().await;
        assert!(!rest.contains("0\r\n") && rest.len() < 4, "{rest:?}");
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_never_looks_whole() {
    let (world, upstream) = world().await;
    for (lines, begun) in [
        ("transfer-encoding: chunked\r\n", "4\r\nbody\r\n"),
        ("content-length: 8\r\n", "body"),
    ] {
        let mut client = Wire::connect(world.gate).await;
        client.send(get(&world)).await;
        let mut server = upstream.accept().await;
        server.head().await;
        server
            .send(format!("HTTP/1.1 200 OK\r\n{lines}\r\n{begun}"))
            .await;
        client.until("body").await;
        drop(server);
        let rest = client.rest().await;
        assert!(!rest.contains("0\r\n") && rest.len() < 4, "{rest:?}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_arrives() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    let lines = "content-length: 1000000\r\n";
    client
        .send(head(&world, "POST /public/x", lines) + "begin")
        .await;
    let mut server = upstream.accept().await;
    server.until("begin").await;
    server
        .send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!")
        .await;
    drop(server);
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // The rest of the upload must not be taken for requests.
    client
        .try_send(head(&world, "GET /public/smuggled", ""))
        .await;
    assert!(client.rest().await.starts_with("no!"));
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_what_it_can_read() {
    let (world, upstream) = world().await;
    let mut client = Wire::connect(world.gate).await;
    let port = world.gate.port();
    client
        .send(format!(
            "GET /public/x HTTP/1.0\r\nhost: localhost:{port}\r\n\r\n"
        ))
        .await;
    let mut server = upstream.accept().await;
    let seen = server.head().await;
    assert!(seen.starts_with("GET /public/x HTTP/1.1\r\n"), "{seen}");
    server
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert!(!answer.contains("chunked"), "{answer}");
    assert_eq!(client.rest().await, "body");
}

#[tokio::test]
async fn an_answer_without_a_body_stays_without_one() {
    let (world, upstream) = world().await;
    for (method, status, lines) in [
        ("HEAD", "200 OK", "content-length: 1000\r\n"),
        ("HEAD", "200 OK", "transfer-encoding: chunked\r\n"),
        ("GET", "204 No Content", ""),
        (
            "GET",
            "304 Not Modified",
            "content-length: 1000\r\netag: \"1\"\r\n",
        ),
    ] {
        let mut client = Wire::connect(world.gate).await;
        client
            .send(head(&world, &format!("{method} /public/x"), ""))
            .await;
        let mut server = upstream.accept().await;
        server.head().await;
        server
            .send(format!(
                "HTTP/1.1 {status}\r\n{lines}connection: close\r\n\r\n"
            ))
            .await;
        drop(server);
        let answer = client.head().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{answer}"
        );
        if method == "HEAD" && lines.starts_with("content-length") {
            assert!(answer.contains("content-length: 1000\r\n"), "{answer}");
        }
        // The connection goes on behind it.
        client.send(head(&world, "GET /members", "")).await;
        let next = client.head().await;
        assert!(next.starts_with("HTTP/1.1 401 "), "{next}");
    }
}

#[tokio::test]
async fn failures_of_the_upstream_tell_nothing_of_it() {
    let upstream = WireUpstream::start().await;
    let world = async |patience: Duration| {
        World::with(usual_routes())
            .before(upstream.address)
            .configure(move |config| config.upstreams[0].response_timeout = patience)
            .start()
            .await
    };
    let patient = world(Duration::from_secs(20)).await;
    let hasty = world(Duration::from_millis(100)).await;
    let port = upstream.address.port().to_string();
    for (says, status) in [
        (Some("HTTP/9.9 what\r\n\r\n"), 502),
        (Some(""), 502),
        (None, 504),
    ] {
        let world = if says.is_some() { &patient } else { &hasty };
        let call = tokio::spawn(world.get("/public/x").header("x-request-id", "one").send());
        let mut server = upstream.accept().await;
        server.head().await;
        if let Some(says) = says {
            server.send(says).await;
            drop(server);
        } else {
            assert_eq!(server.rest().await, "", "the gate lets go of it");
        }
        let mut answer = call.await.unwrap();
        assert_eq!(answer.status, StatusCode::from_u16(status).unwrap());
        answer.headers.remove("date");
        let shown = format!("{answer:?}").to_ascii_lowercase();
        for internal in [
            "127.0.0.1",
            &port,
            "hyper",
            "tokio",
            "connect error",
            "os error",
        ] {
            assert!(!shown.contains(internal), "{internal}: {shown}");
        }
    }
}
