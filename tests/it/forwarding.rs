//! Forwarding: what goes on, what comes back, and what happens when the upstream fails.

use std::time::Duration;

use bytes::Bytes;
use clerk_gate::core::requirement::Requirement;
use http::{Method, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{World, exchange, route, usual_routes};

#[tokio::test]
async fn a_body_goes_on_as_it_is() {
    let world = World::start().await;
    let answer = world
        .request(Method::POST, "/public/form")
        .body("name=x&y=%20")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let received = world.upstream.only();
    assert_eq!(
        (received.method.as_str(), &received.body[..]),
        ("POST", &b"name=x&y=%20"[..])
    );
}

#[tokio::test]
async fn an_answer_comes_back_as_it_is() {
    let world = World::start().await;
    world.upstream.answers(|_| {
        let answer = Response::builder()
            .status(418)
            .header("x-own", "1")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2");
        answer
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .body(Bytes::from_static(b"teapot"))
            .unwrap()
    });
    let answer = world.get("/public/x").send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (418, "teapot")
    );
    assert_eq!(answer.header("x-own"), Some("1"));
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.header("x-hop"), None);
    assert!(answer.header("x-request-id").is_some());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let mut upload = route("upload", &["/upload"], Requirement::Public);
    upload.max_body = Some(10);
    let world = World::with(vec![upload]).start().await;
    let answer = world
        .request(Method::POST, "/upload")
        .body("0123456789a")
        .send()
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large")
    );
    world.upstream.assert_untouched();
    let chunked = world
        .request(Method::POST, "/upload")
        .header("transfer-encoding", "chunked");
    let answer = chunked.body("b\r\n0123456789a\r\n0\r\n\r\n").send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large")
    );
    assert_eq!(
        world
            .request(Method::POST, "/upload")
            .body("0123456789")
            .send()
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502_with_a_reason() {
    let world = World::with(usual_routes())
        .configure(|config| {
            // A port that was just given back.
            let free = std::net::TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap();
            config.upstreams[0].url =
                clerk_gate::core::origin::Origin::parse(&format!("http://{free}"))
                    .unwrap()
                    .into();
        })
        .start()
        .await;
    let answer = world.get("/public/x").send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::BAD_GATEWAY, "upstream-unreachable")
    );
    assert!(!answer.body.contains("127.0.0.1"), "{}", answer.body);
}

/// An upstream that says these bytes to whoever asks, or nothing at all.
async fn raw_upstream(says: Option<&'static [u8]>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0_u8; 4096];
                let _ = stream.read(&mut bytes).await;
                match says {
                    Some(answer) => drop(stream.write_all(answer).await),
                    None => std::future::pending::<()>().await,
                }
            });
        }
    });
    address
}

/// Longer than any answer takes here.
const PATIENT: Duration = Duration::from_secs(20);

async fn world_before(upstream: std::net::SocketAddr, patience: Duration) -> World {
    World::with(usual_routes())
        .configure(move |config| {
            config.upstreams[0].url =
                clerk_gate::core::origin::Origin::parse(&format!("http://{upstream}"))
                    .unwrap()
                    .into();
            config.upstreams[0].response_timeout = patience;
        })
        .start()
        .await
}

#[tokio::test]
async fn a_silent_upstream_is_a_504() {
    let world = world_before(raw_upstream(None).await, Duration::from_millis(200)).await;
    let answer = world.get("/public/x").send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::GATEWAY_TIMEOUT, "upstream-timeout")
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http_is_a_502() {
    for says in [
        &b"SSH-2.0-OpenSSH\r\n"[..],
        b"",
        b"HTTP/1.1 200 OK\r\nbroken",
    ] {
        let world = world_before(raw_upstream(Some(says)).await, PATIENT).await;
        let answer = world.get("/public/x").send().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_GATEWAY, "upstream-malformed"),
            "{says:?}"
        );
    }
}

#[tokio::test]
async fn a_tunnel_that_nobody_asked_for_is_not_opened() {
    let says = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nsecret";
    let world = world_before(raw_upstream(Some(says)).await, PATIENT).await;
    let answer = world.get("/public/x").send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::BAD_GATEWAY, "upstream-malformed")
    );
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_after_the_101_and_ends_with_the_gate() {
    let says = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\nhello";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0_u8; 4096];
        let _ = stream.read(&mut bytes).await;
        stream.write_all(says).await.unwrap();
        let mut bytes = [0_u8; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let _ = stream.read(&mut bytes).await;
    });
    let world = world_before(address, PATIENT).await;
    let mut stream = TcpStream::connect(world.gate).await.unwrap();
    let request = format!(
        "GET /public/ws HTTP/1.1\r\nhost: localhost:{}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n",
        world.gate.port()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"hello") {
        let mut chunk = [0_u8; 512];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&chunk[..count]);
    }
    assert!(
        received.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&received)
    );
    stream.write_all(b"ping").await.unwrap();
    let mut echo = [0_u8; 4];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
    world.stop().await;
    assert_eq!(stream.read(&mut echo).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_nothing_follows() {
    let world = World::start().await;
    let host = format!("localhost:{}", world.gate.port());
    for head in [
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: ,chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "content-length: 9223372036854775808\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "transfer-encoding: identity\r\n",
    ] {
        let bytes = format!(
            "POST /public/x HTTP/1.1\r\nhost: {host}\r\n{head}\r\n0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        );
        let answers = exchange(world.gate, bytes.as_bytes()).await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.status == StatusCode::BAD_REQUEST),
            "{head}: {answers:?}"
        );
    }
    world.upstream.assert_untouched();
}

/// RFC 9112, section 6.1: the coding wins, the length goes, and the connection ends.
#[tokio::test]
async fn a_length_beside_chunks_is_dropped_and_nothing_follows() {
    let world = World::start().await;
    let host = format!("localhost:{}", world.gate.port());
    let bytes = format!(
        "POST /public/x HTTP/1.1\r\nhost: {host}\r\ncontent-length: 40\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nhost: {host}\r\n\r\n"
    );
    let answers = exchange(world.gate, bytes.as_bytes()).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].header("connection"), Some("close"));
    let received = world.upstream.only();
    assert_eq!(received.target, "/public/x");
    assert_eq!(received.header("content-length"), None);
    assert!(received.body.is_empty());
}

#[tokio::test]
async fn a_host_that_is_not_served_or_not_one_is_refused() {
    let world = World::start().await;
    for (host, status) in [
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("user@localhost", 400),
        ("localhost:0080", 400),
        ("local host", 400),
        ("", 400),
    ] {
        assert_eq!(
            world
                .get("/public/x")
                .header("host", host)
                .send()
                .await
                .status
                .as_u16(),
            status,
            "{host}"
        );
    }
    let two = b"GET /public/x HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(
        exchange(world.gate, two).await[0].status,
        StatusCode::BAD_REQUEST
    );
    let none = b"GET /public/x HTTP/1.1\r\nconnection: close\r\n\r\n";
    assert_eq!(
        exchange(world.gate, none).await[0].status,
        StatusCode::BAD_REQUEST
    );
    let other = b"GET http://evil.example/public/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(
        exchange(world.gate, other).await[0].status,
        StatusCode::BAD_REQUEST
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_request_in_flight_finishes_while_the_gate_drains() {
    let (begun, told) = tokio::sync::oneshot::channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0_u8; 4096];
        let _ = stream.read(&mut bytes).await;
        begun.send(()).unwrap();
        wait.await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
            .await
            .unwrap();
    });
    let world = World::with(usual_routes())
        .configure(move |config| {
            config.upstreams[0].url =
                clerk_gate::core::origin::Origin::parse(&format!("http://{address}"))
                    .unwrap()
                    .into();
        })
        .start()
        .await;
    let call = tokio::spawn(world.get("/public/slow").send());
    told.await.unwrap();
    let gate = world.gate;
    world.begin_to_stop();
    let unready = async {
        loop {
            let ready = world.window("/readyz").send().await;
            if ready.status == StatusCode::SERVICE_UNAVAILABLE {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), unready)
        .await
        .unwrap();
    let closed = async { while TcpStream::connect(gate).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), closed)
        .await
        .expect("no new connection is accepted");
    go.send(()).unwrap();
    let answer = call.await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (StatusCode::OK, "done")
    );
    world.stop().await;
}
