//! What a test may do to a stand-in, and where one listens.

use super::*;

#[tokio::test]
async fn a_foreign_host_name_is_not_served() {
    let world = World::new().await;
    let request = Request::get(world.standin.sign_in_url())
        .header("host", "rebound.example")
        .body(Full::default());
    let answer = world.send(request.expect("a request")).await;
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    for listen in ["0.0.0.0:0", "[::1]:0"] {
        let mut options = StandInOptions::new(Arc::new(|| 0));
        options.listen = listen.parse().expect("an address");
        let refused = StandIn::start(options).await.err().expect("an error");
        assert!(refused.to_string().contains(listen), "{refused}");
    }
}

#[tokio::test]
async fn faults_last_until_told_to_behave_and_calls_are_counted() {
    let world = World::new().await;
    let jwks = "/.well-known/jwks.json";
    let uri = format!("{}{jwks}", world.standin.url());

    world
        .standin
        .misbehave(Endpoint::Jwks, Fault::StatusWithRetryAfter(429, 7));
    let answer = world.get(jwks).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "7");

    world.standin.misbehave(Endpoint::Jwks, Fault::Close);
    let request = Request::get(&uri).body(Full::default()).expect("a request");
    assert!(world.client.request(request).await.is_err());
    let other = world.get("/sign-in").await;
    assert_eq!(other.status(), StatusCode::OK, "other endpoints are well");

    world.standin.misbehave(Endpoint::All, Fault::Status(500));
    world.standin.misbehave(Endpoint::Jwks, Fault::Empty);
    assert_eq!(read(world.get(jwks).await).await, json!({ "keys": [] }));
    world
        .standin
        .misbehave(Endpoint::Jwks, Fault::Huge(100_000));
    assert!(text(world.get(jwks).await).await.len() > 100_000);
    world.standin.misbehave(Endpoint::Jwks, Fault::Garbage);
    assert!(text(world.get(jwks).await).await.starts_with('<'));
    let other = world.get("/sign-in").await;
    assert_eq!(other.status(), StatusCode::INTERNAL_SERVER_ERROR);
    world.standin.misbehave(Endpoint::Jwks, Fault::Page);
    let answer = world.get(jwks).await;
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    world.standin.misbehave(Endpoint::Jwks, Fault::PlainText);
    let answer = world.get(jwks).await;
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert!(text(answer).await.contains("\"kid\""));
    world.standin.misbehave(Endpoint::Jwks, Fault::HalfWay);
    let answer = world.get(jwks).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.into_body().collect().await.is_err());

    world.standin.behave();
    assert_eq!(world.get(jwks).await.status(), StatusCode::OK);
    assert_eq!(world.standin.calls(Endpoint::Jwks), 9);
    assert_eq!(world.standin.calls_total(), 11);
}

#[tokio::test]
async fn claims_are_overridden_and_removed_at_will() {
    let world = World::new().await;
    let session = world.standin.sign_in("ada", Some("http://localhost:8080"));
    assert_eq!(claims(&session.token)["azp"], "http://localhost:8080");
    let token = world.standin.mint(
        &session.session_id,
        &json!({ "sub": "user_x", "nbf": null }),
    );
    let claims = claims(&token);
    assert_eq!(
        (&claims["sub"], claims.get("nbf")),
        (&json!("user_x"), None)
    );
}

#[tokio::test]
async fn it_is_gone_after_a_shutdown() {
    let world = World::new().await;
    let uri = world.standin.sign_in_url();
    assert_eq!(world.get("/sign-in").await.status(), StatusCode::OK);
    world.standin.shutdown().await;
    let request = Request::get(uri).body(Full::<Bytes>::default());
    assert!(
        world
            .client
            .request(request.expect("a request"))
            .await
            .is_err()
    );
}
