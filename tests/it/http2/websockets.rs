//! WebSockets over HTTP/2 (RFC 8441): the application is asked for one in HTTP/1.1.

use std::time::Duration;

use clerk_gate::standin::TestSession;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::before;
use super::frames::line::{Line, Outcome};
use crate::support::frames::{CANCEL, END_HEADERS, HEADERS, block, frame};
use crate::support::http2::{Body, Connection, whole};
use crate::support::waiting::{DEADLINE, in_time};
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, cookies};

type Browser = WebSocketStream<TokioIo<Upgraded>>;

async fn world() -> (World, WireUpstream) {
    before(|world| world).await
}

/// A page of this origin asks for a WebSocket.
fn asked(world: &World, client: &Connection, origin: Option<&str>, cookies: &str) -> Request<Body> {
    let mut request = client.request(Method::CONNECT, "/socket");
    let port = world.gate.port();
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let headers = request.headers_mut();
    headers.insert("sec-websocket-version", "13".parse().unwrap());
    headers.insert("sec-websocket-protocol", "chat".parse().unwrap());
    headers.insert("cookie", cookies.parse().unwrap());
    let own = format!("http://localhost:{port}");
    if let Some(origin) = origin {
        let origin = if origin == "own" { &own } else { origin };
        headers.insert("origin", origin.parse().unwrap());
    }
    request
}

/// The application agrees, to the key that it was asked with or to another one.
async fn agrees(upstream: &WireUpstream, own_key: bool) -> (Wire, String) {
    let mut server = upstream.accept().await;
    let head = server.head().await;
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "))
        .unwrap();
    let key = if own_key { key } else { "x" };
    let accept = derive_accept_key(key.trim().as_bytes());
    server
        .send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\nsec-websocket-protocol: chat\r\n\r\n"
        ))
        .await;
    (server, head)
}

async fn websocket(
    world: &World,
    upstream: &WireUpstream,
    session: &TestSession,
) -> (Connection, Browser, Wire, String) {
    let mut client = Connection::open(world.gate).await;
    // The client knows by then that it may ask.
    let request = client.get("/a%00b");
    client.ask(request).await;
    let request = asked(world, &client, Some("own"), &cookies(session));
    let (answer, (server, head)) = tokio::join!(client.send(request), agrees(upstream, true));
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    for gone in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!answer.headers().contains_key(gone), "{gone}");
    }
    let stream = TokioIo::new(in_time(hyper::upgrade::on(answer)).await.unwrap());
    let browser = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    (client, browser, server, head)
}

async fn hears(browser: &mut Browser) -> Option<Message> {
    in_time(browser.next()).await.and_then(Result::ok)
}

#[tokio::test]
async fn a_websocket_over_http_2_is_one_over_http_1_to_the_application() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (mut client, mut browser, mut server, head) = websocket(&world, &upstream, &ada).await;
    for line in [
        "GET /socket HTTP/1.1\r\n",
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "sec-websocket-version: 13\r\n",
        &format!("x-user-id: {}\r\n", ada.user_id),
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert!(!head.contains("__session"), "{head}");
    server.send(b"\x81\x05hello").await;
    assert_eq!(
        hears(&mut browser).await,
        Some(Message::Text("hello".into()))
    );
    in_time(browser.send(Message::Text("and back".into())))
        .await
        .unwrap();
    assert_eq!(server.exactly(14).await[..2], [0x81, 0x88]);
    // Other requests go on beside it.
    let refused = client.get("/a%00b");
    assert_eq!(client.ask(refused).await.status, StatusCode::BAD_REQUEST);
    in_time(browser.close(None)).await.unwrap();
    assert_eq!(server.exactly(6).await[..2], [0x88, 0x80]);
    server.send(b"\x88\x00").await;
    drop(browser);
    assert!(server.heard(DEADLINE).await.1, "the tunnel has ended");
}

#[tokio::test]
async fn it_ends_with_its_session() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (_client, mut browser, mut server, _) = websocket(&world, &upstream, &ada).await;
    let denials = world.service.gate.denials();
    denials.deny_session(&ada.session_id, crate::support::START_MS);
    match hears(&mut browser).await {
        Some(Message::Close(Some(frame))) => {
            assert_eq!(u16::from(frame.code), 4401);
            assert_eq!(frame.reason, "session-revoked");
        }
        other => panic!("{other:?}"),
    }
    assert!(server.heard(DEADLINE).await.1, "the upstream's is closed");
}

#[tokio::test]
async fn a_page_of_another_site_opens_none() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    for origin in [None, Some("null"), Some("http://evil.example")] {
        let mut client = Connection::open(world.gate).await;
        client.ask(client.get("/a%00b")).await;
        let request = asked(&world, &client, origin, &cookies(&ada));
        let answer = client.ask(request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin:?}");
        assert_eq!(answer.code(), "origin-not-allowed", "{origin:?}");
    }
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn nobody_opens_one_who_is_not_signed_in() {
    let (world, upstream) = world().await;
    let mut client = Connection::open(world.gate).await;
    client.ask(client.get("/a%00b")).await;
    let request = asked(&world, &client, Some("own"), "a=1");
    let answer = client.ask(request).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn any_other_protocol_is_refused() {
    let (world, upstream) = world().await;
    let mut client = Connection::open(world.gate).await;
    client.ask(client.get("/a%00b")).await;
    for protocol in ["connect-udp", "WebSocket", "h2c"] {
        let mut request = asked(&world, &client, Some("own"), "a=1");
        let protocol = Protocol::from_static(protocol);
        request.extensions_mut().insert(protocol);
        let answer = client.ask(request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.code(), "upgrade-unsupported");
    }
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn an_application_that_answers_something_else_opens_none() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    for (said, status, code) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            400,
            "upgrade-unsupported",
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            400,
            "upgrade-unsupported",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
            502,
            "upstream-malformed",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            502,
            "upstream-malformed",
        ),
    ] {
        let mut client = Connection::open(world.gate).await;
        client.ask(client.get("/a%00b")).await;
        let request = asked(&world, &client, Some("own"), &cookies(&ada));
        let answering = async {
            let mut server = upstream.accept().await;
            server.head().await;
            server.send(said).await;
            server
        };
        let (answer, server) = tokio::join!(client.send(request), answering);
        let answer = whole(answer.unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{said}");
        assert_eq!(answer.code(), code, "{said}");
        drop(server);
    }
    assert_eq!(world.service.tunnels.open(), 0);
}

#[tokio::test]
async fn an_application_that_did_not_read_the_key_opens_none() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut client = Connection::open(world.gate).await;
    client.ask(client.get("/a%00b")).await;
    let request = asked(&world, &client, Some("own"), &cookies(&ada));
    let (answer, (mut server, _)) = tokio::join!(client.send(request), agrees(&upstream, false));
    let answer = whole(answer.unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.code(), "upstream-malformed");
    assert!(server.heard(DEADLINE).await.1, "it is let go of");
}

#[tokio::test]
async fn a_refusal_of_the_application_goes_on_as_it_is() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut client = Connection::open(world.gate).await;
    client.ask(client.get("/a%00b")).await;
    let request = asked(&world, &client, Some("own"), &cookies(&ada));
    let answering = async {
        let mut server = upstream.accept().await;
        server.head().await;
        server
            .send("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 5\r\n\r\nother")
            .await;
    };
    let (answer, ()) = tokio::join!(client.send(request), answering);
    let answer = whole(answer.unwrap()).await;
    assert_eq!(answer.status, StatusCode::UPGRADE_REQUIRED);
    assert_eq!(answer.body, "other");
}

#[tokio::test]
async fn a_page_that_takes_nothing_of_it_is_cut_off() {
    let (world, upstream) = before(|world| {
        world.configure(|config| config.limits.write_timeout = Duration::from_millis(400))
    })
    .await;
    let ada = world.clerk.sign_in("ada", None);
    let (_client, _browser, mut server, _) = websocket(&world, &upstream, &ada).await;
    server.fill(64 * 1024 * 1024).await;
    assert!(server.heard(DEADLINE).await.1, "the tunnel has ended");
}

/// How long a client may take nothing of it.
const SOON: Duration = Duration::from_millis(400);

/// A page opens one, and takes so many bytes of what is said on a stream.
async fn hardly_read(world: &World, upstream: &WireUpstream, window: u32) -> (Line, Wire) {
    const INITIAL_WINDOW: u16 = 4;
    let mut line = Line::open_with(world, &[(INITIAL_WINDOW, window)]).await;
    let authority = format!("localhost:{}", world.gate.port());
    let head = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/public/socket"),
        (":authority", &authority),
        ("sec-websocket-version", "13"),
    ];
    let asked = frame(HEADERS, END_HEADERS, 1, &block(&head));
    line.send(&asked).await;
    let (server, _) = agrees(upstream, true).await;
    assert_eq!(line.outcome().await, Outcome::Answered(1, 200));
    (line, server)
}

async fn impatient() -> (World, WireUpstream) {
    before(|world| world.configure(|config| config.limits.write_timeout = SOON)).await
}

#[tokio::test]
async fn one_that_is_cut_off_leaves_nothing_on_its_connection() {
    let (world, upstream) = impatient().await;
    let (mut line, mut server) = hardly_read(&world, &upstream, 0).await;
    server.fill(64 * 1024 * 1024).await;
    assert!(server.heard(DEADLINE).await.1, "the tunnel has ended");
    assert_eq!(line.outcome().await, Outcome::Reset(1, CANCEL));
    line.ping().await;
    assert_eq!(line.outcome().await, Outcome::Lived);
}

#[tokio::test]
async fn an_open_one_does_not_keep_a_gate_from_stopping() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (client, browser, mut server, _) = websocket(&world, &upstream, &ada).await;
    let deadline = world.config.shutdown.drain;
    let stopped = tokio::time::timeout(deadline, world.stop()).await;
    assert!(stopped.is_ok(), "it waits for a tunnel");
    assert!(server.heard(DEADLINE).await.1, "the upstream's is closed");
    drop((client, browser));
}
