//! What stays open in somebody's name, and how it ends: tunnels, event streams, long answers and
//! uploads, before a scripted upstream.

mod checks;
mod ends;
mod frames;
mod machines;
mod registry;

use std::time::Duration;

use clerk_gate::core::decide::Decision;
use clerk_gate::gate::live::Ticket;
use clerk_gate::standin::TestSession;
use futures_util::StreamExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::support::waiting::{DEADLINE, eventually, in_time};
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, WorldBuilder, cookies, usual_routes};

/// More than a request may take before it is looked after.
const A_WHILE: Duration = Duration::from_millis(1100);

/// Longer than a token and its leeway live.
const A_TOKENS_LIFE_MS: u64 = 70_000;

/// A gate before an upstream that is held by hand.
async fn world() -> (World, WireUpstream) {
    world_with(|world| world).await
}

async fn world_with(change: impl FnOnce(WorldBuilder) -> WorldBuilder) -> (World, WireUpstream) {
    let upstream = WireUpstream::start().await;
    let world = World::with(usual_routes()).before(upstream.address);
    (change(world).start().await, upstream)
}

/// A ticket as a request of this session for this path gets one.
pub async fn ticket_for(world: &World, target: &str, session: &TestSession) -> Ticket {
    let gate = &world.service.gate;
    let snapshot = world.service.snapshot.load_full();
    let (method, target) = (http::Method::GET, target.parse().unwrap());
    let mut headers = http::HeaderMap::new();
    headers.insert("cookie", cookies(session).parse().unwrap());
    headers.insert("host", "localhost".parse().unwrap());
    let wire = clerk_gate::core::facts::WireRequest {
        method: &method,
        target: &target,
        version: http::Version::HTTP_11,
        headers: &headers,
        peer: "127.0.0.1".parse().unwrap(),
        scheme: clerk_gate::core::origin::Scheme::Http,
    };
    let facts = clerk_gate::core::facts::RequestFacts::read(wire, &snapshot.edge).unwrap();
    let verdict = gate.decide(&snapshot, &facts).await.verdict;
    let Decision::Forward(permit) = &verdict.decision else {
        panic!("{verdict:?}");
    };
    gate.ticket(&snapshot, permit).unwrap()
}

/// What a browser sends along.
fn lines(session: &TestSession) -> String {
    format!("cookie: {}\r\n", cookies(session))
}

/// The head of a request.
fn head(world: &World, request: &str, lines: &str) -> String {
    let port = world.gate.port();
    format!("{request} HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}\r\n")
}

/// How many connections the registry has.
fn open(world: &World) -> usize {
    world.service.gate.live().open().0
}

/// Somebody learns that a session is over.
fn revoke(world: &World, session: &TestSession) {
    let denials = world.service.gate.denials();
    denials.deny_session(&session.session_id, START);
}

const START: u64 = crate::support::START_MS;

type Browser = WebSocketStream<TcpStream>;

/// A page opens a WebSocket, and the upstream agrees.
async fn websocket(
    world: &World,
    upstream: &WireUpstream,
    session: &TestSession,
) -> (Browser, Wire) {
    let port = world.gate.port();
    let address = format!("ws://localhost:{port}/socket");
    let mut request = address.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("cookie", cookies(session).parse().unwrap());
    let origin = format!("http://localhost:{port}");
    headers.insert("origin", origin.parse().unwrap());
    let stream = TcpStream::connect(world.gate).await.unwrap();
    let opening = tokio_tungstenite::client_async(request, stream);
    let agreeing = async {
        let mut server = upstream.accept().await;
        let head = server.head().await;
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-key: "))
            .unwrap();
        let accept = derive_accept_key(key.trim().as_bytes());
        server
            .send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
            ))
            .await;
        server
    };
    let (opened, server) = tokio::join!(opening, agreeing);
    (opened.unwrap().0, server)
}

/// The next thing that a page hears.
async fn hears(browser: &mut Browser) -> Option<Message> {
    in_time(browser.next()).await.and_then(Result::ok)
}

/// The code and the text that a connection was closed with.
async fn closed_with(browser: &mut Browser) -> (u16, String) {
    match hears(browser).await {
        Some(Message::Close(Some(frame))) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("{other:?}"),
    }
}

/// A frame of a server: its first byte, and its payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..=125 => frame.push(u8::try_from(length).unwrap()),
        length @ ..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A page asks for events, and has got one.
async fn events(world: &World, upstream: &WireUpstream, lines: &str) -> (Wire, Wire) {
    let mut client = Wire::connect(world.gate).await;
    client.send(head(world, "GET /events", lines)).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
        .await;
    client.head().await;
    client.until("data: 1\n\n\r\n").await;
    (client, server)
}

/// The frames that a client has sent, each with its first byte.
fn unmasked(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while let [first, length, key @ ..] = rest {
        assert!(*length & 0x80 != 0, "a client masks what it sends");
        let length = usize::from(*length & 0x7f);
        assert!(length < 126, "short frames only");
        let (key, payload) = key.split_at(4);
        let payload = &payload[..length];
        let payload = payload.iter().zip(key.iter().cycle());
        frames.push((*first, payload.map(|(byte, mask)| byte ^ mask).collect()));
        rest = &rest[6 + length..];
    }
    frames
}
