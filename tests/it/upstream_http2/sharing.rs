//! How requests share connections.

use std::time::Duration;

use http::{Method, StatusCode};

use super::{before, changed};
use crate::support::frames::server::Server;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, NO_ERROR, OK, PING, RST_STREAM,
};
use crate::support::wire::Wire;
use crate::support::{Call, World};

/// `SETTINGS_MAX_CONCURRENT_STREAMS`.
const MOST_STREAMS: u16 = 3;

/// Asks for a page beside whatever else goes on.
fn ask(world: &World, target: &str) -> tokio::task::JoinHandle<(StatusCode, String)> {
    asked(world.get(target))
}

fn asked(call: Call) -> tokio::task::JoinHandle<(StatusCode, String)> {
    tokio::spawn(async move {
        let answer = call.send().await;
        (answer.status, answer.body)
    })
}

#[tokio::test]
async fn requests_share_a_connection_and_none_waits_for_another() {
    let server = Server::start().await;
    let world = before(server.address).await;
    let first = ask(&world, "/public/1");
    let mut line = server.accept().await;
    let one = line.request().await;
    let second = ask(&world, "/public/2");
    let two = line.request().await;
    assert!(two > one);
    line.answer(two, b"two").await;
    assert_eq!(second.await.unwrap(), (StatusCode::OK, "two".into()));
    line.answer(one, b"one").await;
    assert_eq!(first.await.unwrap(), (StatusCode::OK, "one".into()));
    server.assert_nobody_waits().await;
}

#[tokio::test]
async fn a_connection_that_is_full_has_another_one_beside_it() {
    let server = Server::start().await;
    let world = before(server.address).await;
    let mut waiting = Vec::new();
    let mut lines = Vec::new();
    for number in 0..4 {
        waiting.push(ask(&world, &format!("/public/{number}")));
        let mut line = server.accept_with(&[(MOST_STREAMS, 1)]).await;
        let stream = line.request().await;
        lines.push((line, stream));
    }
    for (line, stream) in lines.iter_mut().rev() {
        line.answer(*stream, b"done").await;
    }
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), (StatusCode::OK, "done".into()));
    }
    // What is free again is used again, the oldest first.
    let again = ask(&world, "/public/again");
    let (line, _) = &mut lines[0];
    let stream = line.request().await;
    line.answer(stream, b"again").await;
    assert_eq!(again.await.unwrap().1, "again");
    server.assert_nobody_waits().await;
}

#[tokio::test]
async fn an_application_that_takes_fewer_at_once_than_before_gets_no_more_than_that() {
    let server = Server::start().await;
    let world = before(server.address).await;
    let first = ask(&world, "/public/1");
    let mut line = server.accept_with(&[(MOST_STREAMS, 2)]).await;
    let one = line.request().await;
    line.settings(&[(MOST_STREAMS, 1)]).await;
    line.send(PING, 0, 0, &[0; 8]).await;
    // Settings that came before are in force once this is answered.
    line.until(PING).await;
    let second = ask(&world, "/public/2");
    let mut other = server.accept().await;
    let two = other.request().await;
    other.answer(two, b"two").await;
    assert_eq!(second.await.unwrap().1, "two");
    line.answer(one, b"one").await;
    assert_eq!(first.await.unwrap().1, "one");
}

#[tokio::test]
async fn many_at_once_open_as_few_connections_as_they_need() {
    let server = Server::start().await;
    let world = before(server.address).await;
    let waiting: Vec<_> = (0..20)
        .map(|n| ask(&world, &format!("/public/{n}")))
        .collect();
    let mut line = server.accept().await;
    let mut streams = Vec::new();
    while streams.len() < 20 {
        streams.push(line.request().await);
    }
    for stream in streams {
        line.answer(stream, b"done").await;
    }
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), (StatusCode::OK, "done".into()));
    }
    server.assert_nobody_waits().await;
}

#[tokio::test]
async fn a_connection_that_goes_away_finishes_what_it_has_and_gets_nothing_new() {
    let server = Server::start().await;
    let world = before(server.address).await;
    let first = ask(&world, "/public/1");
    let mut line = server.accept().await;
    let one = line.request().await;
    line.send(HEADERS, END_HEADERS, one, OK).await;
    line.send(DATA, 0, one, b"half").await;
    line.go_away(one, NO_ERROR).await;
    line.send(PING, 0, 0, &[0; 8]).await;
    line.until(PING).await;
    let second = asked(world.request(Method::POST, "/public/2").body("form"));
    let mut other = server.accept().await;
    let two = other.request().await;
    other.answer(two, b"two").await;
    assert_eq!(second.await.unwrap(), (StatusCode::OK, "two".into()));
    line.send(DATA, END_STREAM, one, b" and half").await;
    let whole = (StatusCode::OK, "half and half".into());
    assert_eq!(first.await.unwrap(), whole);
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_politely_after_a_while() {
    let server = Server::start().await;
    let idle = |config: &mut clerk_gate::config::Config| {
        config.upstreams[0].idle_timeout = Duration::from_millis(100);
    };
    let world = changed(server.address, idle).await;
    let first = ask(&world, "/public/1");
    let mut line = server.accept().await;
    let stream = line.request().await;
    line.answer(stream, b"done").await;
    assert_eq!(first.await.unwrap().1, "done");
    let farewell = line.until(GOAWAY).await;
    assert_eq!(farewell.code(), NO_ERROR);
}

#[tokio::test]
async fn a_client_that_reads_nothing_keeps_nothing_from_the_others() {
    let server = Server::start().await;
    let world = before(server.address).await;
    // Nobody reads this answer, which is much more than fits on the way.
    let mut lazy = Wire::connect(world.gate).await;
    let host = format!("localhost:{}", world.gate.port());
    lazy.send(format!(
        "GET /public/large HTTP/1.1\r\nhost: {host}\r\n\r\n"
    ))
    .await;
    let mut line = server.accept().await;
    let large = line.request().await;
    line.send(HEADERS, END_HEADERS, large, OK).await;
    // As much as the window of one stream takes.
    for _ in 0..4 {
        line.send(DATA, 0, large, &[b'x'; 16 * 1024 - 1]).await;
    }
    let other = ask(&world, "/public/small");
    let small = line.request().await;
    line.answer(small, &[b'y'; 16 * 1024]).await;
    assert_eq!(other.await.unwrap().1.len(), 16 * 1024);
    server.assert_nobody_waits().await;
}

#[tokio::test]
async fn what_a_client_has_turned_its_back_on_is_called_off() {
    let server = Server::start().await;
    let world = before(server.address).await;
    let mut leaving = Wire::connect(world.gate).await;
    let host = format!("localhost:{}", world.gate.port());
    leaving
        .send(format!("GET /public/1 HTTP/1.1\r\nhost: {host}\r\n\r\n"))
        .await;
    let mut line = server.accept().await;
    let one = line.request().await;
    drop(leaving);
    let called_off = line.until(RST_STREAM).await;
    assert_eq!(called_off.stream, one);
    let other = ask(&world, "/public/2");
    let two = line.request().await;
    line.answer(two, b"two").await;
    assert_eq!(other.await.unwrap().1, "two");
}
