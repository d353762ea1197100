//! Memory, whatever strangers and applications send.

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Kept, figure, healthy, in_time, process, process_of, resident, soak};
use crate::support::program::program;
use crate::support::site::clerk;
use crate::support::upstream::RecordingUpstream;
use crate::support::{Call, cookies};

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_whatever_strangers_send() {
    let clerk = clerk().await;
    let upstream = RecordingUpstream::start().await;
    let (running, gate) = process(&clerk, upstream.address, "memory", "").await;
    let flood = async |round: usize| {
        for n in 0..500 {
            let header = json!({ "alg": "RS256", "typ": "JWT", "kid": format!("ins_{round}_{n}") });
            let claims = json!({ "sub": "user_1", "pad": "x".repeat(6_000), "n": n });
            let token = clerk.sign(&header, &claims);
            let call = Call::new(gate, Method::GET, &format!("/{round}/{n}"))
                .header("x-own", &"y".repeat(20_000))
                .bearer(&token);
            let status = in_time(call.send()).await.status;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
    };
    // The first round pays for what is allocated once.
    flood(0).await;
    let before = resident(running.id());
    for round in 1..=3 * soak() {
        flood(round).await;
    }
    let grown = resident(running.id()).saturating_sub(before);
    figure(
        "KiB more after all strange tokens than after the first",
        grown >> 10,
    );
    assert!(grown < 16 << 20, "{} KiB more", grown >> 10);
    upstream.assert_untouched();
}

/// Policy for strangers who never come twice: a limit by address, and a route for keys.
const FOR_STRANGERS: &str = r#"
[[limit]]
name     = "door"
requests = 5
window   = "1h"
by       = "address"

[[route]]
name    = "keys"
path    = "/keys/**"
require = { token = "api_key" }
"#;

/// Sends requests of many addresses over one connection, each with a key or a token of its own.
async fn strangers(gate: SocketAddr, numbers: std::ops::Range<usize>) {
    const AT_ONCE: usize = 100;
    let mut connection = TcpStream::connect(gate).await.unwrap();
    let mut seen = vec![0; 64 * 1024];
    let numbers: Vec<usize> = numbers.collect();
    for batch in numbers.chunks(AT_ONCE) {
        let mut text = String::new();
        for n in batch {
            let [_, a, b, c] = u32::try_from(*n).unwrap().to_be_bytes();
            let shown = match n % 3 {
                0 => format!("/keys/{n} HTTP/1.1\r\nauthorization: Bearer ak_{n:032}"),
                1 => format!("/{n} HTTP/1.1\r\nauthorization: Bearer {n}.e30.x"),
                _ => format!("/{n} HTTP/1.1\r\ncookie: __session={n}.e30.x"),
            };
            let lines = format!("x-forwarded-for: 10.{a}.{b}.{c}\r\nhost: localhost");
            write!(text, "HEAD {shown}\r\n{lines}:{}\r\n\r\n", gate.port()).unwrap();
        }
        connection.write_all(text.as_bytes()).await.unwrap();
        let (mut heads, mut tail) = (0, Vec::new());
        while heads < batch.len() {
            let count = connection.read(&mut seen).await.unwrap();
            assert!(count > 0, "the gate has closed the connection");
            tail.extend_from_slice(&seen[..count]);
            let text = String::from_utf8_lossy(&tail);
            heads += text.matches("\r\n\r\n").count();
            assert!(!text.contains(" 200 OK"), "{text}");
            let kept = text.rsplit("\r\n\r\n").next().unwrap_or_default().len();
            tail.drain(..tail.len() - kept);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_strangers_with_addresses_keys_and_tokens_of_their_own_take_a_fixed_room() {
    const CONNECTIONS: usize = 4;
    let clerk = clerk().await;
    let upstream = RecordingUpstream::start().await;
    let mut command = program();
    command.env("CLERK_GATE_TRUSTED_PROXIES", "127.0.0.1");
    let started = process_of(
        command,
        &clerk,
        upstream.address,
        "strangers",
        FOR_STRANGERS,
    );
    let (running, gate) = started.await;
    // A long run has all of them.
    let each = if soak() > 1 { 250_000 } else { 5_000 };
    let before = resident(running.id());
    let senders = (0..CONNECTIONS).map(|n| strangers(gate, n * each..(n + 1) * each));
    let senders: Vec<_> = senders.map(tokio::spawn).collect();
    for sender in senders {
        sender.await.unwrap();
    }
    // Whoever comes again is counted beside all of them.
    for seen in 1..=6 {
        let call = Call::new(gate, Method::GET, "/x").header("x-forwarded-for", "10.255.0.1");
        let limited = call.send().await.status == StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(limited, seen > 5, "request {seen}");
    }
    let grown = resident(running.id()).saturating_sub(before);
    figure(
        &format!("KiB more after {} strangers", CONNECTIONS * each),
        grown >> 10,
    );
    // The table of addresses is 32 MiB long; what is left is kept keys, tokens and buffers.
    assert!(grown < 64 << 20, "{} KiB more", grown >> 10);
    upstream.assert_untouched();
}

/// An application whose answers never end: its body under `/body`, its chunks under `/chunks`, its
/// head under `/head`, its interim answers under `/interim`. Under anything else it behaves.
async fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let many = "x".repeat(64 << 10);
                let (first, rest) = match head.split(['/', ' ']).nth(2) {
                    Some("body") => ("HTTP/1.1 200 OK\r\n\r\n", many),
                    Some("chunks") => (
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                        format!("10000\r\n{many}\r\n"),
                    ),
                    Some("head") => ("HTTP/1.1 200 OK\r\nx-long: ", many),
                    Some("interim") => ("", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100)),
                    _ => {
                        let own = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nupstream";
                        let _ = stream.write_all(own.as_bytes()).await;
                        return;
                    }
                };
                let mut taken = stream.write_all(first.as_bytes()).await;
                while taken.is_ok() {
                    taken = stream.write_all(rest.as_bytes()).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end_go_by_without_being_held() {
    let clerk = clerk().await;
    let upstream = endless().await;
    let times = "response-timeout = \"1s\"";
    let upstream_times = format!(
        "[[route]]\nname = \"interim\"\npath = \"/interim/**\"\nrequire = \"signed-in\"\n{times}"
    );
    let (running, gate) = process(&clerk, upstream, "endless", &upstream_times).await;
    let mel = clerk.sign_in("mel", None);
    healthy(gate, &mel, 50).await;
    let before = resident(running.id());
    let megabytes = 32 * soak();
    let readers: Vec<_> = (0..16)
        .map(|n| {
            let cookies = cookies(&mel);
            tokio::spawn(async move {
                let kind = ["body", "chunks", "head", "interim"][n % 4];
                let mut kept = Kept::open(gate).await;
                let request = format!(
                    "GET /{kind}/{n} HTTP/1.1\r\nhost: localhost:{}\r\ncookie: {cookies}\r\nconnection: close\r\n\r\n",
                    gate.port()
                );
                assert!(kept.say(request.as_bytes()).await);
                let mut chunk = vec![0; 64 << 10];
                let (mut first, mut read) = (String::new(), 0);
                while read < megabytes << 20 {
                    let count = in_time(kept.stream.read(&mut chunk)).await.unwrap_or(0);
                    if count == 0 {
                        break;
                    }
                    if first.is_empty() {
                        first = String::from_utf8_lossy(&chunk[..count.min(16)]).into_owned();
                    }
                    read += count;
                }
                (kind, first, read)
            })
        })
        .collect();
    let longest = healthy(gate, &mel, 20).await;
    let mut gone_by = 0;
    for reader in readers {
        let (kind, first, read) = reader.await.unwrap();
        let status = match kind {
            "head" => "HTTP/1.1 502",
            "interim" => "HTTP/1.1 504",
            _ => "HTTP/1.1 200",
        };
        assert!(first.starts_with(status), "{kind}: {first}");
        assert_eq!(
            read >= megabytes << 20,
            status == "HTTP/1.1 200",
            "{kind}: {read}"
        );
        gone_by += read;
    }
    let grown = resident(running.id()).saturating_sub(before);
    figure("MiB of answers without end that went by", gone_by >> 20);
    figure("KiB more in memory", grown >> 10);
    figure("longest answer beside them", format!("{longest:?}"));
    assert!(grown < 24 << 20, "{} KiB more", grown >> 10);
}

/// An application that begins a stream of events on each connection, and keeps it.
async fn eventful() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let says = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
            let _ = stream.write_all(says.as_bytes()).await;
            kept.push(stream);
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn to_be_bound_to_its_session_costs_a_stream_little() {
    const STREAMS: usize = 2_000;
    super::many_files();
    let clerk = clerk().await;
    let upstream = eventful().await;
    let public = "[[route]]\npath = \"/public/**\"\nrequire = \"public\"";
    let (running, gate) = process(&clerk, upstream, "eventful", public).await;
    let people: Vec<_> = (0..100).map(|_| clerk.sign_in("mel", None)).collect();
    let open = async |path: &str, named: bool, count: usize| {
        let mut kept = Vec::new();
        for n in 0..count {
            let mut stream = Kept::open(gate).await;
            let cookies = cookies(&people[n % people.len()]);
            let cookies = if named {
                format!("cookie: {cookies}\r\n")
            } else {
                String::new()
            };
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: localhost:{}\r\n{cookies}\r\n",
                gate.port()
            );
            assert!(stream.say(request.as_bytes()).await);
            while !stream.received.ends_with(b"data: 1\n\n\r\n") {
                let read = in_time(stream.stream.read_buf(&mut stream.received)).await;
                assert!(
                    read.unwrap() > 0,
                    "{:?}",
                    String::from_utf8_lossy(&stream.received)
                );
            }
            kept.push(stream);
        }
        kept
    };
    // Whatever is allocated once.
    let padding = open("/public/x", true, 100).await;
    let before = resident(running.id());
    let of_nobody = open("/public/x", false, STREAMS).await;
    let between = resident(running.id());
    let of_people = open("/x", true, STREAMS).await;
    let after = resident(running.id());
    let each = |grown: u64| grown / STREAMS as u64;
    let (plain, bound) = (each(between - before), each(after - between));
    figure("bytes for a stream of nobody's", plain);
    figure("bytes for a stream that is bound to a session", bound);
    assert!(
        bound < plain + 4096,
        "{bound} bytes, and {plain} for nobody's"
    );
    drop((padding, of_nobody, of_people));
}
