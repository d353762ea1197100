//! How each kind of connection ends when its session does.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::{
    A_WHILE, DEADLINE, START, closed_with, events, eventually, frame, head, hears, in_time, lines,
    open, revoke, unmasked, websocket, world,
};
use crate::support::wire::Wire;
use crate::support::{Call, cookies};

/// Half a mebibyte in eight pieces, each whole; the message they are of goes on.
fn half_a_message() -> Vec<u8> {
    let piece = vec![b'x'; 64 * 1024];
    let mut bytes = frame(0x02, &piece);
    for _ in 1..8 {
        bytes.extend_from_slice(&frame(0x00, &piece));
    }
    bytes
}

#[tokio::test]
async fn a_websocket_whose_session_is_revoked_ends_at_once_in_the_middle_of_a_message() {
    let (world, upstream) = world().await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let ada = world.clerk.sign_in("ada", None);
        let (mut browser, mut server) = websocket(&world, &upstream, &ada).await;
        server.send(half_a_message()).await;
        // All of it is on its way once something behind it has come.
        server.send(frame(0x89, b"ping")).await;
        assert_eq!(
            hears(&mut browser).await,
            Some(Message::Ping("ping".into()))
        );
        let told = Instant::now();
        revoke(&world, &ada);
        let heard = closed_with(&mut browser).await;
        fastest = fastest.min(told.elapsed());
        assert_eq!(heard, (4401, "session-revoked".to_owned()));
        let (bytes, closed) = server.heard(DEADLINE).await;
        assert!(closed, "the upstream's connection is closed");
        let last = unmasked(&bytes).pop().unwrap();
        let mut going_away = 1001_u16.to_be_bytes().to_vec();
        going_away.extend_from_slice(b"session-revoked");
        assert_eq!(last, (0x88, going_away));
        assert_eq!(hears(&mut browser).await, None, "nothing comes behind it");
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    eventually("nothing is open", || open(&world) == 0).await;
}

#[tokio::test]
async fn both_ends_of_a_websocket_are_told_that_the_gate_goes() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (mut browser, mut server) = websocket(&world, &upstream, &ada).await;
    world.begin_to_stop();
    assert_eq!(closed_with(&mut browser).await, (1001, String::new()));
    let (bytes, closed) = server.heard(DEADLINE).await;
    assert!(closed, "the upstream's connection is closed");
    let last = unmasked(&bytes).pop().unwrap();
    assert_eq!(last, (0x88, 1001_u16.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn a_frame_that_has_begun_to_arrive_arrives_before_the_end() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (browser, mut server) = websocket(&world, &upstream, &ada).await;
    let mut client = browser.into_inner();
    let whole = frame(0x82, &vec![b'y'; 70_000]);
    let (begun, rest) = whole.split_at(30_000);
    server.send(begun).await;
    let mut arrived = vec![0; begun.len()];
    in_time(client.read_exact(&mut arrived)).await.unwrap();
    revoke(&world, &ada);
    server.send(rest).await;
    server.try_send(frame(0x81, b"too late")).await;
    in_time(client.read_to_end(&mut arrived)).await.unwrap();
    let (frames, last) = arrived.split_at(whole.len());
    assert!(frames == whole, "the frame is not whole");
    assert_eq!(last, b"\x88\x11\x11\x31session-revoked");
}

#[tokio::test]
async fn a_frame_that_stays_half_is_cut_off() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (browser, mut server) = websocket(&world, &upstream, &ada).await;
    let mut client = browser.into_inner();
    server.send(&frame(0x82, &[b'y'; 1000])[..500]).await;
    in_time(client.read_exact(&mut [0; 500])).await.unwrap();
    revoke(&world, &ada);
    let mut rest = Vec::new();
    in_time(client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"", "no frame can stand behind half a frame");
    assert!(server.heard(DEADLINE).await.1, "the upstream's is closed");
    eventually("nothing is open", || open(&world) == 0).await;
}

#[tokio::test]
async fn nothing_that_a_client_says_after_the_end_reaches_the_upstream() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (browser, mut server) = websocket(&world, &upstream, &ada).await;
    let mut client = browser.into_inner();
    revoke(&world, &ada);
    let mut told = [0; 4];
    in_time(client.read_exact(&mut told)).await.unwrap();
    assert_eq!(told, [0x88, 17, 0x11, 0x31], "4401 is 0x1131");
    let says = b"\x81\x86\0\0\0\0secret";
    let _ = client.write_all(says).await;
    let (heard, _) = server.heard(DEADLINE).await;
    let frames = unmasked(&heard);
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!(frames[0].0, 0x88);
}

#[tokio::test]
async fn what_others_have_open_lives_on() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let mel = world.clerk.sign_in("mel", None);
    let (mut of_ada, _server) = websocket(&world, &upstream, &ada).await;
    let (mut of_mel, mut server) = websocket(&world, &upstream, &mel).await;
    let (mut client, mut stream) = events(&world, &upstream, &lines(&mel)).await;
    revoke(&world, &ada);
    assert_eq!(closed_with(&mut of_ada).await.0, 4401);
    server.send(frame(0x81, b"still here")).await;
    let heard = hears(&mut of_mel).await;
    assert_eq!(heard, Some(Message::Text("still here".into())));
    stream.send("9\r\ndata: 2\n\n\r\n").await;
    client.until("data: 2\n\n\r\n").await;
    assert_eq!(open(&world), 2);
}

#[tokio::test]
async fn everything_of_a_person_ends_whose_claims_have_changed() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (mut browser, _server) = websocket(&world, &upstream, &ada).await;
    let denials = world.service.gate.denials();
    denials.expire_tokens(ada.user_id.as_str(), START / 1000 + 1, START);
    let heard = closed_with(&mut browser).await;
    assert_eq!(heard, (4401, "session-token-outdated".to_owned()));
}

#[tokio::test]
async fn an_event_stream_ends_whole_and_the_page_is_refused_when_it_comes_back() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (mut client, mut server) = events(&world, &upstream, &lines(&ada)).await;
    revoke(&world, &ada);
    assert_eq!(client.until("\r\n\r\n").await, "0\r\n\r\n");
    assert!(server.heard(DEADLINE).await.1, "the upstream's is closed");
    client.send(head(&world, "GET /events", &lines(&ada))).await;
    let again = client.head().await;
    assert!(again.starts_with("HTTP/1.1 401 "), "{again}");
    upstream.assert_nobody_waits().await;
    eventually("nothing is open", || open(&world) == 0).await;
}

/// A download that has begun, and takes longer than anybody goes without a look.
async fn download(
    world: &super::World,
    upstream: &super::WireUpstream,
    session: &super::TestSession,
    framing: &str,
    begun: &str,
) -> (Wire, Wire) {
    let mut client = Wire::connect(world.gate).await;
    client.send(head(world, "GET /file", &lines(session))).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n{begun}"))
        .await;
    client.head().await;
    client.until("begun").await;
    tokio::time::pause();
    tokio::time::advance(A_WHILE).await;
    tokio::time::resume();
    (client, server)
}

#[tokio::test]
async fn a_download_is_cut_off_and_never_looks_whole() {
    let (world, upstream) = world().await;
    for (framing, begun) in [
        ("content-length: 1000000\r\n", "begun"),
        ("transfer-encoding: chunked\r\n", "5\r\nbegun\r\n"),
    ] {
        let ada = world.clerk.sign_in("ada", None);
        let (mut client, mut server) = download(&world, &upstream, &ada, framing, begun).await;
        eventually("it is open", || open(&world) == 1).await;
        revoke(&world, &ada);
        let rest = client.rest().await;
        assert!(!rest.contains("0\r\n") && rest.len() < 4, "{rest:?}");
        assert!(server.heard(DEADLINE).await.1, "the upstream's is closed");
    }
    eventually("nothing is open", || open(&world) == 0).await;
}

#[tokio::test]
async fn a_piece_that_is_there_when_the_session_ends_is_not_given_out() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (framing, begun) = ("transfer-encoding: chunked\r\n", "5\r\nbegun\r\n");
    let (mut client, mut server) = download(&world, &upstream, &ada, framing, begun).await;
    // Nobody has looked since: the first thing that moves is the next piece.
    revoke(&world, &ada);
    server.send("6\r\nsecret\r\n").await;
    let rest = client.rest().await;
    assert!(!rest.contains("secret"), "{rest:?}");
}

#[tokio::test]
async fn an_answer_that_says_it_is_small_and_one_for_nobody_are_left_alone() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let small = "content-length: 9\r\n";
    let (mut client, mut server) = download(&world, &upstream, &ada, small, "begun").await;
    assert_eq!(open(&world), 0);
    revoke(&world, &ada);
    server.send("rest").await;
    assert_eq!(client.exactly(4).await, b"rest");

    client.send(head(&world, "GET /public/events", "")).await;
    server.head().await;
    let events = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
    server
        .send(format!("HTTP/1.1 200 OK\r\n{events}\r\n1\r\nx\r\n"))
        .await;
    client.until("1\r\nx\r\n").await;
    assert_eq!(open(&world), 0);
}

#[tokio::test]
async fn an_upload_is_cut_off_and_its_sender_told_why() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut client = Wire::connect(world.gate).await;
    let with_length = format!("{}content-length: 1000\r\n", lines(&ada));
    client
        .send(head(&world, "POST /upload", &with_length) + "begun")
        .await;
    let mut server = upstream.accept().await;
    server.until("begun").await;
    tokio::time::pause();
    tokio::time::advance(A_WHILE).await;
    tokio::time::resume();
    eventually("it is open", || open(&world) == 1).await;
    revoke(&world, &ada);
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    client.until("session-revoked").await;
    client.try_send("more of it").await;
    let (heard, closed) = server.heard(DEADLINE).await;
    assert_eq!((heard.as_slice(), closed), (&b""[..], true));
    eventually("nothing is open", || open(&world) == 0).await;
}

#[tokio::test]
async fn who_signs_in_again_opens_another_connection() {
    let (world, upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let (mut browser, _server) = websocket(&world, &upstream, &ada).await;
    revoke(&world, &ada);
    assert_eq!(closed_with(&mut browser).await.0, 4401);
    let refused = Call::new(world.gate, http::Method::GET, "/members");
    let refused = refused.cookie(&cookies(&ada)).send().await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let again = world.clerk.sign_in("ada", None);
    let (mut browser, mut server) = websocket(&world, &upstream, &again).await;
    server.send(frame(0x81, b"welcome back")).await;
    let heard = hears(&mut browser).await;
    assert_eq!(heard, Some(Message::Text("welcome back".into())));
}
