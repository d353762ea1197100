//! A Frontend API that does not answer, and clients that send too much.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::net::TcpListener;

use super::{SECRET_KEY, before};
use crate::support::upstream::RecordingUpstream;
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{Answer, World, usual_routes};

/// Fails unless an answer is an error in the shape of Clerk's own.
#[track_caller]
fn assert_clerk_error(answer: &Answer, status: u16, message: &str) {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (answer.status.as_u16(), &body),
        (
            status,
            &serde_json::json!({ "errors": [{ "code": "proxy_request_failed", "message": message }] })
        )
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("x-request-id").is_some());
    assert!(!format!("{answer:?}").contains(SECRET_KEY));
}

/// Longer than any answer takes here.
const PATIENT: Duration = Duration::from_secs(20);

/// A gate before a Frontend API that is held by hand, and waits so long for its answers.
async fn world(frontend_api: std::net::SocketAddr, patience: Duration) -> World {
    World::with(usual_routes())
        .relaying_to(frontend_api)
        .configure(move |config| {
            config.clerk.secret_key = Some(SECRET_KEY.into());
            config.upstreams[0].response_timeout = patience;
        })
        .start()
        .await
}

#[tokio::test]
async fn a_frontend_api_that_cannot_be_reached_is_a_502() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let world = world(nobody, PATIENT).await;
    let answer = world.get("/__clerk/v1/client").send().await;
    assert_clerk_error(&answer, 502, "clerk's frontend api cannot be reached");
    // A page load gets the same: it is Clerk's answer that is missing, not a page of ours.
    let answer = world.visit("/__clerk/v1/client/handshake").send().await;
    assert_clerk_error(&answer, 502, "clerk's frontend api cannot be reached");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_frontend_api_that_takes_too_long_is_a_504() {
    let frontend_api = WireUpstream::start().await;
    let world = world(frontend_api.address, Duration::from_millis(200)).await;
    let (answer, mut server) = tokio::join!(
        world.get("/__clerk/v1/client").send(),
        frontend_api.accept()
    );
    assert!(server.head().await.contains("clerk-secret-key: "));
    assert_clerk_error(&answer, 504, "clerk's frontend api did not answer in time");
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_502() {
    for nonsense in [
        "this is no HTTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-len",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ] {
        let frontend_api = WireUpstream::start().await;
        let world = world(frontend_api.address, PATIENT).await;
        let call = world.request(Method::POST, "/__clerk/v1/client");
        let serve = async {
            let mut server = frontend_api.accept().await;
            server.head().await;
            server.send(nonsense).await;
        };
        let (answer, ()) = tokio::join!(call.send(), serve);
        assert_clerk_error(
            &answer,
            502,
            "the answer of clerk's frontend api cannot be understood",
        );
    }
}

#[tokio::test]
async fn a_body_that_is_said_to_be_too_large_opens_no_connection() {
    let frontend_api = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .relaying_to(frontend_api.address)
        .configure(|config| config.limits.body_bytes = Some(10))
        .start()
        .await;
    let call = world.request(Method::POST, "/__clerk/v1/x");
    let answer = call.body("0123456789a").send().await;
    assert_clerk_error(&answer, 413, "the body of the request is too large");
    frontend_api.assert_nobody_waits().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_does_not_arrive() {
    let frontend_api = RecordingUpstream::start().await;
    let world = before(&frontend_api)
        .configure(|config| config.limits.body_bytes = Some(10))
        .start()
        .await;
    let chunked = world
        .request(Method::POST, "/__clerk/v1/x")
        .header("transfer-encoding", "chunked");
    let answer = chunked.body("b\r\n0123456789a\r\n0\r\n\r\n").send().await;
    assert_clerk_error(&answer, 413, "the body of the request is too large");
    let whole = |body: &[u8]| body.len() > 10;
    assert!(
        !frontend_api
            .received()
            .iter()
            .any(|r| whole(&r.body) && &r.body[..] != b"(broken off)")
    );
    let fits = world
        .request(Method::POST, "/__clerk/v1/x")
        .body("0123456789");
    assert_eq!(fits.send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_stops_is_a_408() {
    let frontend_api = WireUpstream::start().await;
    let world = World::with(usual_routes())
        .relaying_to(frontend_api.address)
        .configure(|config| config.limits.body_timeout = Duration::from_millis(200))
        .start()
        .await;
    let mut client = Wire::connect(world.gate).await;
    let port = world.gate.port();
    client
        .send(format!(
            "POST /__clerk/v1/x HTTP/1.1\r\nhost: localhost:{port}\r\ncontent-length: 10\r\n\r\n01234"
        ))
        .await;
    let mut server = frontend_api.accept().await;
    assert!(server.head().await.contains("content-length: 10\r\n"));
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(server.rest().await, "01234");
}
