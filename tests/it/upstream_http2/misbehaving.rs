//! Applications that speak HTTP/2 badly, or not at all.

use std::time::Duration;

use clerk_gate::config::Config;
use http::{Method, StatusCode};

use super::{before, changed};
use crate::support::frames::server::{Line, Server, saying};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, HTTP_1_1_REQUIRED, INTERNAL_ERROR,
    NO_ERROR, OK, REFUSED_STREAM, WHOLE, block, frame,
};
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{Call, World};

/// What comes of a call that the application answers like this.
async fn outcome<F: Future<Output = ()>>(
    call: impl FnOnce(&World) -> Call,
    plays: impl FnOnce(Server) -> F,
) -> (u16, String) {
    let server = Server::start().await;
    let world = before(server.address).await;
    let call = call(&world);
    let (answer, ()) = tokio::join!(call.send(), plays(server));
    let code = match answer.status {
        StatusCode::OK => answer.body,
        _ => answer.code(),
    };
    (answer.status.as_u16(), code)
}

fn get(world: &World) -> Call {
    world.get("/public/x")
}

fn post(world: &World) -> Call {
    world.request(Method::POST, "/public/x").body("form")
}

fn answered(body: &str) -> (u16, String) {
    (200, body.to_owned())
}

fn failed(code: &str) -> (u16, String) {
    (502, code.to_owned())
}

#[tokio::test]
async fn a_request_that_was_not_looked_at_is_sent_again_if_it_changes_nothing() {
    for goes_away in [true, false] {
        let refuse = async |line: &mut Line, stream| {
            if goes_away {
                line.go_away(0, NO_ERROR).await;
            } else {
                line.reset(stream, REFUSED_STREAM).await;
            }
        };
        let again = outcome(get, async |server| {
            let mut line = server.accept().await;
            let stream = line.request().await;
            refuse(&mut line, stream).await;
            let mut line = if goes_away {
                server.accept().await
            } else {
                line
            };
            let stream = line.request().await;
            line.answer(stream, b"again").await;
        });
        assert_eq!(again.await, answered("again"));
        let once = outcome(post, async |server| {
            let mut line = server.accept().await;
            let stream = line.request().await;
            refuse(&mut line, stream).await;
            server.assert_nobody_waits().await;
        });
        assert_eq!(once.await, failed("upstream-unreachable"));
        // Once more, and no further.
        let twice = outcome(get, async |server| {
            let mut line = server.accept().await;
            let stream = line.request().await;
            refuse(&mut line, stream).await;
            let mut line = if goes_away {
                server.accept().await
            } else {
                line
            };
            let stream = line.request().await;
            refuse(&mut line, stream).await;
        });
        assert_eq!(twice.await, failed("upstream-unreachable"));
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_looked_at_is_not_sent_again() {
    let reset = outcome(get, async |server| {
        let mut line = server.accept().await;
        let stream = line.request().await;
        line.reset(stream, INTERNAL_ERROR).await;
        server.assert_nobody_waits().await;
    });
    assert_eq!(reset.await, failed("upstream-unreachable"));
    let closed = outcome(get, async |server| {
        let mut line = server.accept().await;
        line.request().await;
        drop(line);
        server.assert_nobody_waits().await;
    });
    assert_eq!(closed.await, failed("upstream-unreachable"));
    let went = outcome(get, async |server| {
        let mut line = server.accept().await;
        let stream = line.request().await;
        line.go_away(stream, NO_ERROR).await;
        drop(line);
        server.assert_nobody_waits().await;
    });
    assert_eq!(went.await, failed("upstream-unreachable"));
}

#[tokio::test]
async fn a_connection_that_closes_between_requests_costs_nobody_anything() {
    let server = Server::start().await;
    let world = before(server.address).await;
    for method in [Method::GET, Method::POST] {
        for number in 0..2 {
            let call = world.request(method.clone(), &format!("/public/{number}"));
            let (answer, ()) = tokio::join!(call.send(), async {
                let mut line = server.accept().await;
                let stream = line.request().await;
                line.answer(stream, b"done").await;
                line.go_away(stream, NO_ERROR).await;
                // Until the gate has closed its end.
                line.0.heard(Duration::from_secs(20)).await;
            });
            assert_eq!(answer.body, "done");
        }
    }
}

#[tokio::test]
async fn an_application_that_speaks_something_else_is_a_502_that_says_so() {
    for says in [
        &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..],
        // The head of an alert of TLS.
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"SSH-2.0-x\r\n",
    ] {
        let world = before(saying(says).await).await;
        let answer = world.get("/public/x").send().await;
        let outcome = (answer.status.as_u16(), answer.code());
        assert_eq!(outcome, failed("upstream-protocol"), "{says:?}");
    }
    let wants = outcome(get, async |server| {
        let mut line = server.accept().await;
        let stream = line.request().await;
        line.reset(stream, HTTP_1_1_REQUIRED).await;
    });
    assert_eq!(wants.await, failed("upstream-protocol"));
    let silent = outcome(get, async |server| {
        drop(server.accept_silently().await);
    });
    assert_eq!(silent.await, failed("upstream-unreachable"));
}

#[tokio::test]
async fn an_application_that_never_says_how_much_it_takes_is_sent_nothing() {
    let server = Server::start().await;
    let brief = |config: &mut Config| {
        config.upstreams[0].connect_timeout = Duration::from_millis(200);
    };
    let world = changed(server.address, brief).await;
    let (answer, mut line) = tokio::join!(world.get("/public/x").send(), server.accept_silently());
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.code(), "upstream-timeout");
    let (mut said, _) = line.0.heard(Duration::from_millis(100)).await;
    while let Some(frame) = Frame::take(&mut said) {
        assert_ne!(frame.kind, HEADERS, "a request has gone out");
    }
    assert!(said.is_empty(), "half a frame: {said:?}");
}

#[tokio::test]
async fn heads_without_end_and_heads_that_are_no_answer_are_502() {
    let endless = outcome(get, async |server| {
        let mut line = server.accept().await;
        let stream = line.request().await;
        line.send(HEADERS, 0, stream, OK).await;
        let piece = block(&[("x", &"y".repeat(127))]);
        let piece = frame(CONTINUATION, 0, stream, &piece);
        let mut sent = 0;
        while line.0.sends(&piece).await {
            sent += piece.len();
            assert!(sent < 64 << 20, "the gate takes it all");
        }
    });
    assert_eq!(endless.await.0, 502);
    let ok = (":status", "200");
    for lines in [
        // No status.
        &[("x", "y")][..],
        // What says where a body ends in HTTP/1.1.
        &[ok, ("transfer-encoding", "chunked")],
        &[ok, ("connection", "close")],
        // Letters that no name has.
        &[ok, ("X-Own", "1")],
        // Two statuses.
        &[ok, ok],
        // Another protocol, unasked.
        &[(":status", "101")],
    ] {
        let (status, code) = outcome(get, async |server| {
            let mut line = server.accept().await;
            let stream = line.request().await;
            line.send(HEADERS, WHOLE, stream, &block(lines)).await;
            line.0.heard(Duration::from_millis(300)).await;
        })
        .await;
        assert_eq!(
            (status, code.as_str()),
            (502, "upstream-malformed"),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_do_no_harm() {
    let hinted = outcome(get, async |server| {
        let mut line = server.accept().await;
        let stream = line.request().await;
        let hint = block(&[(":status", "103"), ("link", "</x>")]);
        for _ in 0..100 {
            line.send(HEADERS, END_HEADERS, stream, &hint).await;
        }
        line.answer(stream, b"at last").await;
    });
    assert_eq!(hinted.await, answered("at last"));
}

#[tokio::test]
async fn an_answer_of_another_length_than_it_says_is_never_taken_for_a_whole_one() {
    for body in [&b"abc"[..], b"abcdefg"] {
        let server = Server::start().await;
        let world = before(server.address).await;
        let mut client = Wire::connect(world.gate).await;
        let host = format!("localhost:{}", world.gate.port());
        client
            .send(format!("GET /public/x HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        let (answer, ()) = tokio::join!(client.heard(Duration::from_secs(2)), async {
            let mut line = server.accept().await;
            let stream = line.request().await;
            let head = block(&[(":status", "200"), ("content-length", "5")]);
            line.send(HEADERS, END_HEADERS, stream, &head).await;
            line.send(DATA, END_STREAM, stream, body).await;
            line.0.heard(Duration::from_millis(300)).await;
        });
        assert!(answer.1, "the connection stays open");
        let answer = String::from_utf8(answer.0).unwrap();
        assert!(answer.contains("content-length: 5"), "{answer}");
        let (_, got) = answer.split_once("\r\n\r\n").unwrap();
        assert!(got.len() < 5, "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_has_gone_dead_takes_no_further_request() {
    let server = Server::start().await;
    let world = changed(server.address, |config| {
        config.upstreams[0].response_timeout = Duration::from_millis(1100);
    });
    let world = world.await;
    let lost = world.get("/public/lost");
    let (answer, line) = tokio::join!(lost.send(), async {
        let mut line = server.accept().await;
        line.request().await;
        // And not another word.
        line
    });
    assert_eq!(answer.code(), "upstream-timeout");
    let (answer, ()) = tokio::join!(world.get("/public/next").send(), async {
        let mut next = server.accept().await;
        let stream = next.request().await;
        next.answer(stream, b"next").await;
    });
    assert_eq!(answer.body, "next");
    drop(line);
}

#[tokio::test]
async fn what_has_just_failed_is_not_tried_again_for_each_who_waits() {
    let server = WireUpstream::start().await;
    let world = changed(server.address, |config| {
        config.upstreams[0].connect_timeout = Duration::from_millis(700);
        config.upstreams[0].response_timeout = Duration::from_secs(20);
    });
    let world = world.await;
    let began = tokio::time::Instant::now();
    let calls = (0..20).map(|n| {
        let call = world.get(&format!("/public/{n}"));
        tokio::spawn(async move { call.send().await.code() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), "upstream-timeout");
    }
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_websocket_goes_to_the_application_in_http11() {
    let server = WireUpstream::start().await;
    let world = before(server.address).await;
    let call = world
        .get("/public/socket")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let (answer, head) = tokio::join!(call.send(), async {
        let mut line = server.accept().await;
        let head = line.head().await;
        line.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
            .await;
        head
    });
    assert!(
        head.starts_with("GET /public/socket HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("upgrade: websocket"), "{head}");
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (403, "no"));
}
