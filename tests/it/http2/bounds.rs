//! What one connection may cost, and how it ends.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};

use super::frames::line::{Line, Outcome};
use super::{OK, answering, before, world, world_with};
use crate::support::World;
use crate::support::frames::{CANCEL, DATA, HEADERS, PREFACE, WHOLE, block, frame, window_update};
use crate::support::http2::{Body, Connection, full, none, whole};
use crate::support::waiting::{DEADLINE, in_time};
use crate::support::wire::Wire;

const SOON: Duration = Duration::from_millis(400);

/// A body that begins and never goes on.
fn begun() -> Body {
    let begin = http_body::Frame::data(Bytes::from_static(b"begun"));
    let begin = futures_util::stream::iter([Ok(begin)]);
    let frames = futures_util::StreamExt::chain(begin, futures_util::stream::pending());
    BodyExt::boxed(StreamBody::new(frames))
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_cut_off_and_the_others_go_on() {
    let (world, upstream) =
        before(|world| world.configure(|config| config.limits.write_timeout = SOON)).await;
    let mut client = Connection::open(world.gate).await;
    let request = client.get("/public/large");
    let length = 64 * 1024 * 1024;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let filling = async {
        let mut server = answering(&upstream, &head).await;
        server.fill(length).await;
        server
    };
    let (unread, mut server) = tokio::join!(client.send(request), filling);
    let unread = unread.unwrap();
    assert!(server.heard(DEADLINE).await.1, "the upstream is let go of");
    let request = client.get("/public/x");
    let (answer, _) = tokio::join!(client.send(request), answering(&upstream, OK));
    assert_eq!(whole(answer.unwrap()).await.body, "ok");
    let rest = in_time(unread.into_body().collect()).await;
    assert!(rest.is_err(), "half a body is not taken for a whole one");
}

/// What a client says that asks for a page of everybody's on this stream.
fn get(world: &World, stream: u32) -> Vec<u8> {
    let authority = format!("localhost:{}", world.gate.port());
    let head = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/public/x"),
        (":authority", &authority),
    ];
    frame(HEADERS, WHOLE, stream, &block(&head))
}

/// The window of a stream before anything is said of it.
const INITIAL_WINDOW: u16 = 4;

#[tokio::test]
async fn an_answer_in_one_piece_that_nobody_takes_is_cut_off() {
    let world =
        world_with(|world| world.configure(|config| config.limits.write_timeout = SOON)).await;
    for size in [5_000, 60_000] {
        world
            .upstream
            .answers(move |_| Response::new(vec![b'x'; size].into()));
        let mut line = Line::open_with(&world, &[(INITIAL_WINDOW, 1)]).await;
        let streams = [1, 3, 5];
        for stream in streams {
            line.send(&get(&world, stream)).await;
        }
        let mut cut_off = Vec::new();
        while cut_off.len() < streams.len() {
            match line.outcome().await {
                Outcome::Answered(_, 200) => {}
                Outcome::Reset(stream, CANCEL) => cut_off.push(stream),
                other => panic!("{size} bytes: {other:?}"),
            }
        }
        cut_off.sort_unstable();
        assert_eq!(cut_off, streams, "{size} bytes");
        line.ping().await;
        assert_eq!(line.outcome().await, Outcome::Lived);
    }
}

#[tokio::test]
async fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let patience = Duration::from_secs(2);
    let world = world_with(move |world| {
        world.configure(move |config| config.limits.write_timeout = patience)
    })
    .await;
    let size = 60_000;
    world
        .upstream
        .answers(move |_| Response::new(vec![b'x'; size].into()));
    let mut line = Line::open_with(&world, &[(INITIAL_WINDOW, 1)]).await;
    line.send(&get(&world, 1)).await;
    assert_eq!(line.outcome().await, Outcome::Answered(1, 200));
    let mut taken = 0;
    // Longer than it may take nothing.
    for _ in 0..4 {
        let piece = line.frame().await.unwrap();
        assert_eq!((piece.kind, piece.payload.len()), (DATA, 1));
        taken += 1;
        let more = tokio::time::timeout(patience / 2, line.frame()).await;
        assert!(more.is_err(), "{more:?}");
        line.send(&window_update(1, 1)).await;
    }
    line.send(&window_update(1, 100_000)).await;
    taken += line.body(1).await.len();
    assert_eq!(taken, size);
}

#[tokio::test]
async fn an_answer_that_waits_for_the_application_is_not_cut_off() {
    let (world, upstream) =
        before(|world| world.configure(|config| config.limits.write_timeout = SOON)).await;
    let mut client = Connection::open(world.gate).await;
    let request = client.get("/public/events");
    let begin = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst";
    let (answer, mut server) = tokio::join!(client.send(request), answering(&upstream, begin));
    let mut body = answer.unwrap().into_body();
    let frame = in_time(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    // Longer than a client may take nothing.
    assert!(server.is_silent_for(3 * SOON).await, "the upstream is kept");
    server.send("other").await;
    let rest = in_time(body.collect()).await.unwrap().to_bytes();
    assert_eq!(rest, "other");
}

#[tokio::test]
async fn a_body_that_pauses_too_long_is_refused() {
    let world =
        world_with(|world| world.configure(|config| config.limits.body_timeout = SOON)).await;
    let mut client = Connection::open(world.gate).await;
    let mut request = client.request(Method::POST, "/public/x");
    *request.body_mut() = begun();
    let answer = client.ask(request).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT, "{answer:?}");
    assert_eq!(answer.code(), "body-timeout");
    let received = world.upstream.received();
    assert!(received.iter().all(|one| one.body == "(broken off)"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_either_form() {
    let world =
        world_with(|world| world.configure(|config| config.limits.body_bytes = Some(3))).await;
    let mut client = Connection::open(world.gate).await;
    let mut told = client.request(Method::POST, "/public/x");
    *told.body_mut() = full("body");
    let mut untold = client.request(Method::POST, "/public/x");
    *untold.body_mut() = crate::support::http2::with_trailers(b"body", http::HeaderMap::new());
    for request in [told, untold] {
        let answer = client.ask(request).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{answer:?}");
        assert_eq!(answer.code(), "body-too-large");
    }
    let received = world.upstream.received();
    assert!(received.iter().all(|one| one.body == "(broken off)"));
}

#[tokio::test]
async fn a_head_of_too_many_lines_or_bytes_is_refused_and_cookies_count_as_one_line() {
    let world = world_with(|world| {
        world.configure(|config| {
            config.limits.head_count = 20;
            config.limits.head_bytes = 8 * 1024;
        })
    })
    .await;
    let mut client = Connection::open(world.gate).await;
    let mut lines = client.get("/public/x");
    for _ in 0..30 {
        let value = HeaderValue::from_static("1");
        lines.headers_mut().append("x-one", value);
    }
    let mut bytes = client.get("/public/x");
    let value = "x".repeat(9 * 1024).parse().unwrap();
    bytes.headers_mut().insert("x-one", value);
    for request in [lines, bytes] {
        let answer = client.ask(request).await;
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    world.upstream.assert_untouched();
    let mut crumbs = client.get("/public/x");
    for number in 0..60 {
        let crumb = format!("a{number}=1").parse().unwrap();
        crumbs.headers_mut().append("cookie", crumb);
    }
    assert_eq!(client.ask(crumbs).await.status, StatusCode::OK);
    let cookies = world.upstream.only().header("cookie").unwrap();
    assert_eq!(cookies.split("; ").count(), 60);
}

#[tokio::test]
async fn an_idle_connection_is_closed_politely_and_one_that_waits_is_not() {
    let (world, upstream) =
        before(|world| world.configure(|config| config.limits.head_timeout = SOON)).await;
    let mut busy = Connection::open(world.gate).await;
    let request = busy.get("/public/x");
    let asking = busy.send(request);
    let idling = async {
        let mut server = upstream.accept().await;
        server.head().await;
        // Three of them, one after the other, idle away while the first one waits.
        for _ in 0..3 {
            let idle = Connection::open(world.gate).await;
            let ended = in_time(idle.ended).await.unwrap();
            assert!(ended.is_ok(), "it is told before it is closed: {ended:?}");
        }
        server.send(OK).await;
    };
    let (answer, ()) = tokio::join!(asking, idling);
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert!(in_time(busy.ended).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_preface_that_does_not_end_is_cut_off() {
    let world =
        world_with(|world| world.configure(|config| config.limits.head_timeout = SOON)).await;
    for length in [0, 1, PREFACE.len() - 2, PREFACE.len()] {
        let beginning = &PREFACE[..length];
        let mut wire = Wire::connect(world.gate).await;
        wire.send(beginning).await;
        assert!(wire.closes_within(DEADLINE).await, "{beginning:?}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn only_so_many_streams_are_open_at_once() {
    let (world, upstream) =
        before(|world| world.configure(|config| config.http2.max_streams = 2)).await;
    let mut client = Connection::open(world.gate).await;
    // Its settings are known by then.
    let request = client.get("/a%00b");
    assert_eq!(client.ask(request).await.status, StatusCode::BAD_REQUEST);
    let sender = &client.sender;
    let ask = |target: &str| {
        let (mut sender, request) = (sender.clone(), client.get(target));
        tokio::spawn(async move { sender.send_request(request).await.unwrap().status() })
    };
    let answers = [ask("/public/1"), ask("/public/2"), ask("/public/3")];
    let (mut one, mut two) = (upstream.accept().await, upstream.accept().await);
    one.head().await;
    two.head().await;
    upstream.assert_nobody_waits().await;
    one.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        .await;
    let _three = answering(&upstream, OK).await;
    two.send(OK).await;
    for answer in answers {
        assert_eq!(in_time(answer).await.unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_gate_that_stops_says_so_and_finishes_what_is_open() {
    let (world, upstream) = before(|world| world).await;
    let mut client = Connection::open(world.gate).await;
    let idle = Connection::open(world.gate).await;
    let request = client.get("/public/x");
    let finishing = async {
        let begin = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfi";
        let mut server = answering(&upstream, begin).await;
        world.begin_to_stop();
        assert!(in_time(idle.ended).await.unwrap().is_ok());
        server.send("ne").await;
    };
    let asking = async { whole(client.send(request).await.unwrap()).await };
    let (answer, ()) = tokio::join!(asking, finishing);
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "fine"));
    assert!(in_time(client.ended).await.unwrap().is_ok());
    in_time(world.stop()).await;
}

#[tokio::test]
async fn what_the_application_reports_behind_its_body_arrives() {
    let (world, upstream) = before(|world| world).await;
    // As little as is handed over at once, and more.
    for body in ["ok".to_owned(), "x".repeat(60_000)] {
        let mut client = Connection::open(world.gate).await;
        let mut request = client.get("/public/x");
        let trailers = HeaderValue::from_static("trailers");
        request.headers_mut().insert("te", trailers);
        let reporting = async {
            let mut server = upstream.accept().await;
            let head = server.head().await;
            assert!(head.contains("te: trailers\r\n"), "{head}");
            server
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-own\r\nkeep-alive: timeout=1\r\n\r\n")
                .await;
            server
                .send(format!(
                    "{:x}\r\n{body}\r\n0\r\nx-own: 1\r\nx-clerk-auth-status: forged\r\n\r\n",
                    body.len()
                ))
                .await;
        };
        let (answer, ()) = tokio::join!(client.send(request), reporting);
        let answer = whole(answer.unwrap()).await;
        assert_eq!(answer.body, body);
        assert_eq!(answer.header("x-own"), Some("1"));
        for gone in ["keep-alive", "transfer-encoding", "x-clerk-auth-status"] {
            assert_eq!(answer.header(gone), None, "{gone}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_gives_up_what_it_asks_for_is_closed() {
    let (world, upstream) = before(|world| world).await;
    let client = Connection::open(world.gate).await;
    let (mut asked, mut unanswered) = (0, Vec::new());
    while !client.ended.is_finished() && asked < 300 {
        let mut sender = client.sender.clone();
        let request = client.get("/public/x");
        let asking = tokio::spawn(async move { sender.send_request(request).await.is_ok() });
        let ended = async {
            while !client.ended.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            mut server = upstream.accept() => { server.next_head().await;
                unanswered.push(server); }
            () = ended => {}
        }
        asking.abort();
        asked += 1;
    }
    assert!((100..300).contains(&asked), "{asked} requests");
}

#[tokio::test]
async fn a_connection_that_changes_its_mind_now_and_then_is_kept() {
    let world = world_with(|world| {
        world
            .clerk(|_| {})
            .configure(|config| config.limits.head_count = 200)
    })
    .await;
    world
        .upstream
        .answers(|_| Response::new(Bytes::from_static(b"ok")));
    let mut client = Connection::open(world.gate).await;
    for number in 0..400 {
        let request = client.get("/public/x");
        if number % 3 == 0 {
            let mut sender = client.sender.clone();
            in_time(sender.ready()).await.unwrap();
            drop(sender.send_request(request));
        } else {
            assert_eq!(client.ask(request).await.status, StatusCode::OK);
        }
    }
    assert!(!client.ended.is_finished());
}

#[tokio::test]
async fn a_request_that_asks_for_the_whole_server_or_for_a_tunnel_of_bytes_is_refused() {
    let world = world().await;
    let mut client = Connection::open(world.gate).await;
    let mut request = client.request(Method::CONNECT, "/");
    *request.uri_mut() = format!("localhost:{}", world.gate.port()).parse().unwrap();
    *request.body_mut() = none();
    let answer = client.ask(request).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    assert_eq!(answer.code(), "target-unsupported");
    world.upstream.assert_untouched();
}
