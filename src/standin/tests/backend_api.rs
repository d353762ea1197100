//! What a server asks with the secret key.

use super::*;

#[tokio::test]
async fn a_nonce_is_exchanged_once() {
    let world = World::with(|options| options.nonce_handshakes = true).await;
    let query = form(&[("redirect_url", APP), ("format", "nonce")]);
    let answer = world.get(&format!("/v1/client/handshake?{query}")).await;
    let nonce = param(&location(&answer), "__clerk_handshake_nonce");
    let path = format!("clients/handshake_payload?nonce={nonce}");

    let (status, body) = world.api(Method::GET, &path, json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        body["directives"]
            .as_array()
            .is_some_and(|lines| lines.len() == 4)
    );
    let (status, body) = world.api(Method::GET, &path, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body["errors"][0]["code"], "resource_not_found");
}

#[tokio::test]
async fn an_expired_token_is_refreshed_until_the_session_is_revoked() {
    let world = World::new().await;
    let session = world.standin.sign_in("mel", None);
    world.pass(61);

    let (status, body) = world.refresh(&session).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["object"], "cookies");
    let first = body["cookies"][0].as_str().unwrap_or_default();
    let token = first.split(['=', ';']).nth(1).unwrap_or_default();
    assert_eq!(claims(token)["iat"], 1_700_000_061);

    let mut other = world.standin.sign_in("ada", None);
    other.session_id.clone_from(&session.session_id);
    let (status, body) = world.refresh(&other).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "the token is another's");
    assert_eq!(body["errors"][0]["code"], "expired_token_invalid");
    other.token.clone_from(&session.token);
    let (_, body) = world.refresh(&other).await;
    assert_eq!(body["errors"][0]["code"], "refresh_token_invalid");

    let path = format!("sessions/{}/revoke", session.session_id);
    let (status, body) = world.api(Method::POST, &path, json!({})).await;
    assert_eq!(
        (status, &body["status"]),
        (StatusCode::OK, &json!("revoked"))
    );
    let (status, body) = world.refresh(&session).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let code = "session_refresh_session_token_ineligible";
    assert_eq!(body["errors"][0]["code"], code);
}

#[tokio::test]
async fn sessions_are_listed_newest_first_and_counted_when_asked() {
    let world = World::new().await;
    let first = world.standin.sign_in("ada", None);
    let second = world.standin.sign_in("ada", None);
    world.standin.revoke(&first.session_id);

    let path = format!("sessions?user_id={}&paginated=true&limit=1", first.user_id);
    let (_, body) = world.api(Method::GET, &path, json!({})).await;
    assert_eq!(body["total_count"], 2);
    assert_eq!(body["data"][0]["id"], second.session_id);

    let path = format!("sessions?user_id={}&status=revoked", first.user_id);
    let (_, body) = world.api(Method::GET, &path, json!({})).await;
    assert_eq!(body[0]["id"], first.session_id);
    let (status, _) = world.api(Method::GET, "sessions", json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn tokens_are_minted_with_the_asked_lifetime_for_live_sessions_only() {
    let world = World::new().await;
    let session = world.standin.sign_in("sol", None);
    let path = format!("sessions/{}/tokens", session.session_id);

    let (_, body) = world
        .api(Method::POST, &path, json!({ "expires_in_seconds": 300 }))
        .await;
    assert_eq!(
        claims(body["jwt"].as_str().expect("a token"))["exp"],
        1_700_000_300
    );
    let (status, _) = world
        .api(Method::POST, &path, json!({ "expires_in_seconds": 5 }))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, body) = world
        .api(Method::POST, &format!("{path}/app"), json!({}))
        .await;
    assert_eq!(
        claims(body["jwt"].as_str().expect("a token"))["email"],
        "sol@example.com"
    );
    let (status, _) = world
        .api(Method::POST, &format!("{path}/none"), json!({}))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    world.standin.revoke(&session.session_id);
    let (status, _) = world.api(Method::POST, &path, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_backend_api_wants_the_secret_key() {
    let world = World::new().await;
    let answer = world.get("/v1/jwks").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(read(answer).await["errors"][0]["code"], "clerk_key_invalid");
    let answer = world.get("/.well-known/jwks.json").await;
    assert_eq!(read(answer).await["keys"][0]["kid"], world.standin.kid());
}
