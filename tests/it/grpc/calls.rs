//! Calls that may go on, to an application that is played frame by frame.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{Outcome, call, speaks};
use crate::support::frames::server::{Line, Server};
use crate::support::frames::{
    DATA, END_HEADERS, HEADERS, INTERNAL_ERROR, RST_STREAM, WHOLE, block,
};
use crate::support::http2::{Body, Connection};
use crate::support::waiting::eventually;
use crate::support::{World, usual_routes};

/// The head of an answer in gRPC.
fn head() -> Vec<u8> {
    block(&[(":status", "200"), ("content-type", "application/grpc")])
}

/// A gate before such an application, and a caller.
async fn stage() -> (World, Server, Connection) {
    let server = Server::start().await;
    let address = server.address;
    let world = World::with(usual_routes())
        .configure(move |config| {
            speaks(config, address);
            config.limits.body_timeout = Duration::from_millis(300);
        })
        .start()
        .await;
    let caller = Connection::open(world.gate).await;
    (world, server, caller)
}

/// A body whose pieces are sent one by one.
fn by_and_by() -> (UnboundedSender<Bytes>, Body) {
    let (sender, mut receiver) = unbounded_channel::<Bytes>();
    let pieces = futures_util::stream::poll_fn(move |cx| {
        receiver
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    });
    (sender, BodyExt::boxed(StreamBody::new(pieces)))
}

/// Waits until the application has got this.
async fn gets(line: &mut Line, wanted: &[u8]) {
    let mut got = Vec::new();
    while got.len() < wanted.len() {
        got.extend(line.until(DATA).await.payload);
    }
    assert_eq!(got, wanted);
}

#[tokio::test]
async fn metadata_and_trailers_pass_but_for_what_only_the_gate_may_say() {
    let (_world, server, mut caller) = stage().await;
    let request = call(&caller, "/public/Unary", None);
    let (outcome, ()) = tokio::join!(
        async { Outcome::of(caller.send(request).await.unwrap()).await },
        async {
            let mut line = server.accept().await;
            let stream = line.request().await;
            gets(&mut line, b"\0\0\0\0\x05hello").await;
            line.send(HEADERS, END_HEADERS, stream, &head()).await;
            line.send(DATA, 0, stream, b"\0\0\0\0\x02hi").await;
            // One of the application's own, and one that only the gate may say.
            let trailers = block(&[
                ("grpc-status", "0"),
                ("x-own", "yes"),
                ("x-clerk-auth-reason", "forged"),
            ]);
            line.send(HEADERS, WHOLE, stream, &trailers).await;
        }
    );
    assert_eq!(&outcome.body[..], b"\0\0\0\0\x02hi");
    assert_eq!(outcome.said(), ("0", ""), "{outcome:?}");
    assert_eq!(outcome.trailers["x-own"], "yes");
}

#[tokio::test]
async fn both_sides_of_a_call_take_turns_for_as_long_as_they_like() {
    let (_world, server, mut caller) = stage().await;
    let mut request = call(&caller, "/public/Bidi", None);
    let (pieces, body) = by_and_by();
    *request.body_mut() = body;
    let answering = tokio::spawn(async move { caller.send(request).await.unwrap() });
    let mut line = server.accept().await;
    let stream = line.request().await;
    line.send(HEADERS, END_HEADERS, stream, &head()).await;
    let mut answer = answering.await.unwrap().into_body();
    for _ in 0..2 {
        // Longer than a body may pause.
        tokio::time::sleep(Duration::from_millis(700)).await;
        pieces.send(Bytes::from_static(b"ask")).unwrap();
        gets(&mut line, b"ask").await;
        line.send(DATA, 0, stream, b"answer").await;
        let piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&piece[..], b"answer");
    }
}

#[tokio::test]
async fn a_stream_whose_session_is_over_ends_with_a_status_that_says_so() {
    let (world, server, mut caller) = stage().await;
    let ada = world.clerk.sign_in("ada", None);
    let request = call(&caller, "/members/Watch", Some(&ada.token));
    let answering = tokio::spawn(async move { caller.send(request).await.unwrap() });
    let mut line = server.accept().await;
    let stream = line.request().await;
    line.send(HEADERS, END_HEADERS, stream, &head()).await;
    line.send(DATA, 0, stream, b"\0\0\0\0\x02hi").await;
    let mut answer = answering.await.unwrap().into_body();
    answer.frame().await.unwrap().unwrap();
    let reading = tokio::spawn(answer.collect());
    // It is looked after once it has taken a second.
    let gate = &world.service.gate;
    eventually("it is looked after", || gate.live().open().0 > 0).await;
    let denials = world.service.gate.denials();
    denials.deny_session(&ada.session_id, crate::support::START_MS);
    line.send(DATA, 0, stream, b"\0\0\0\0\x06secret").await;
    let rest = reading.await.unwrap().unwrap();
    let trailers = rest.trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "16");
    assert_eq!(trailers["x-clerk-auth-reason"], "session-revoked");
    assert_eq!(rest.to_bytes(), "", "what came after the end is given out");
    assert_eq!(line.until(RST_STREAM).await.stream, stream);
}

#[tokio::test]
async fn a_stream_that_the_application_breaks_off_ends_with_a_status_too() {
    let (_world, server, mut caller) = stage().await;
    let request = call(&caller, "/public/Watch", None);
    let (outcome, ()) = tokio::join!(
        async { Outcome::of(caller.send(request).await.unwrap()).await },
        async {
            let mut line = server.accept().await;
            let stream = line.request().await;
            line.send(HEADERS, END_HEADERS, stream, &head()).await;
            line.send(DATA, 0, stream, b"\0\0\0\0\x02hi").await;
            line.reset(stream, INTERNAL_ERROR).await;
        }
    );
    assert_eq!(
        outcome.said(),
        ("14", "upstream-unreachable"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_call_that_its_caller_calls_off_is_called_off_at_the_application() {
    let (_world, server, mut caller) = stage().await;
    let request = call(&caller, "/public/Watch", None);
    let answering = tokio::spawn(async move { (caller.send(request).await.unwrap(), caller) });
    let mut line = server.accept().await;
    let stream = line.request().await;
    line.send(HEADERS, END_HEADERS, stream, &head()).await;
    let (answer, caller) = answering.await.unwrap();
    drop(answer);
    assert_eq!(line.until(RST_STREAM).await.stream, stream);
    drop(caller);
}
