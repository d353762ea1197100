//! Who may ask, and what a call may cost.

use std::time::Duration;

use clerk_gate::modes::ext_authz::proto::{CHECK, CheckRequest, CheckResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::support::frames::{PREFACE, settings};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn asked_by(peers: &'static [&'static str], secret: Option<&'static str>) -> World {
    World::with(usual_routes())
        .configure(move |config| config.ext_authz = Some(doors(peers, secret)))
        .start()
        .await
}

#[tokio::test]
async fn a_stranger_hears_nothing_but_that_it_may_not_ask_envoy() {
    let world = asked_by(&["10.0.0.0/8"], None).await;
    let ada = world.clerk.sign_in("ada", None);
    let ask = Ask::at(&world, "GET", "/members").bearer(&ada.token);
    let mut caller = Caller::connect(world.check.unwrap()).await;
    let refused = caller
        .check(ask.message(), Some(SECRET))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::PermissionDenied, "")
    );
    assert_eq!(code(caller.health("").await), Code::PermissionDenied);
    let unknown: Result<CheckResponse, Status> = caller.call("/a.b.C/D", ask.message(), None).await;
    assert_eq!(code(unknown), Code::PermissionDenied);
    // Keys are fetched where a token is judged.
    assert_eq!(world.clerk.calls_total(), 0);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn whoever_shows_the_secret_may_ask_over_grpc_and_nobody_else() {
    let world = asked_by(&[], Some(SECRET)).await;
    let message = || Ask::at(&world, "GET", "/public/x").message();
    let mut caller = Caller::connect(world.check.unwrap()).await;
    for secret in [None, Some("x"), Some(&SECRET[1..])] {
        let refused = caller.check(message(), secret).await;
        assert_eq!(code(refused), Code::PermissionDenied, "{secret:?}");
    }
    let mut twice = tonic::Request::new(message());
    for _ in 0..2 {
        let metadata = twice.metadata_mut();
        metadata.append("x-clerk-gate-secret", SECRET.parse().unwrap());
    }
    let refused: Result<CheckResponse, Status> = caller.send(CHECK, twice).await;
    assert_eq!(code(refused), Code::PermissionDenied);
    let told = caller.check(message(), Some(SECRET)).await.unwrap();
    assert_eq!(told.status.unwrap().code, 0);
}

#[tokio::test]
async fn where_envoy_has_peers_and_a_secret_both_have_to_hold() {
    for (peers, holds) in [(&["127.0.0.1/32"], true), (&["10.0.0.0/8"], false)] {
        let world = asked_by(peers, Some(SECRET)).await;
        let message = Ask::at(&world, "GET", "/public/x").message();
        let mut caller = Caller::connect(world.check.unwrap()).await;
        let without = caller.check(message.clone(), None).await;
        assert_eq!(code(without), Code::PermissionDenied);
        assert_eq!(caller.check(message, Some(SECRET)).await.is_ok(), holds);
    }
}

#[tokio::test]
async fn what_a_request_says_of_the_secret_admits_nobody() {
    let world = asked_by(&[], Some(SECRET)).await;
    let ask = Ask::at(&world, "GET", "/public/x").header("x-clerk-gate-secret", SECRET);
    let mut caller = Caller::connect(world.check.unwrap()).await;
    assert_eq!(
        code(caller.check(ask.message(), None).await),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn only_check_and_health_are_served() {
    let world = world().await;
    let mut caller = Caller::connect(world.check.unwrap()).await;
    for path in [
        "/envoy.service.auth.v2.Authorization/Check",
        "/envoy.service.auth.v3.Authorization/Other",
        "/grpc.health.v1.Health/Watch",
        "/",
    ] {
        let message = CheckRequest::default();
        let answer: Result<CheckResponse, Status> = caller.call(path, message, None).await;
        assert_eq!(code(answer), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_before_it_is_read() {
    let world = world().await;
    let mut caller = Caller::connect(world.check.unwrap()).await;
    let large = Ask::at(&world, "GET", "/public/x").header("x-large", &"x".repeat(300_000));
    let refused = caller.check(large.message(), None).await;
    assert_eq!(code(refused), Code::ResourceExhausted);
    // And the connection is still good.
    let small = Ask::at(&world, "GET", "/public/x");
    assert!(caller.check(small.message(), None).await.is_ok());
}

#[tokio::test]
async fn health_is_that_of_the_gate_and_ends_with_it() {
    let world = world().await;
    let address = world.check.unwrap();
    let mut caller = Caller::connect(address).await;
    for service in ["", "envoy.service.auth.v3.Authorization"] {
        assert_eq!(
            caller.health(service).await.unwrap(),
            ServingStatus::Serving
        );
    }
    assert_eq!(code(caller.health("other").await), Code::NotFound);
    world.stop().await;
    // The connection was told to end, and the port is closed.
    assert!(caller.health("").await.is_err());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn whoever_says_nothing_or_may_not_ask_keeps_no_connection() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.ext_authz = Some(doors(&["10.0.0.0/8"], None));
            config.limits.head_timeout = Duration::from_millis(200);
        })
        .start()
        .await;
    let begun = [PREFACE, &settings(&[])].concat();
    for said in [&b""[..], &PREFACE[..8], &begun] {
        let mut stream = TcpStream::connect(world.check.unwrap()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest));
        assert!(end.await.is_ok(), "{said:?}: the connection stays open");
    }
}
