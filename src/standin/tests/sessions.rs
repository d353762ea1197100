//! What a session tells of itself, several of them in one browser, and their ends.

use super::*;

async fn shown(world: &World, session: &TestSession) -> Value {
    let path = format!("sessions/{}", session.session_id);
    let (status, body) = world.api(Method::GET, &path, json!({})).await;
    assert_eq!(status, StatusCode::OK);
    body
}

#[tokio::test]
async fn a_session_tells_of_the_browser_that_signed_in() {
    let world = World::new().await;
    let request = Request::post(world.standin.sign_in_url())
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
        )
        .body(Full::from(form(&[("person", "ada")])));
    world.send(request.expect("a request")).await;
    let user = world.standin.sign_in("ada", None).user_id;
    let path = format!("sessions?user_id={user}&status=active&paginated=true");
    let (_, body) = world.api(Method::GET, &path, json!({})).await;
    assert_eq!(body["total_count"], 2);
    let seed = &body["data"][0]["latest_activity"];
    let own = &body["data"][1]["latest_activity"];
    let told = |activity: &Value| {
        [
            "device_type",
            "is_mobile",
            "browser_name",
            "browser_version",
            "ip_address",
            "city",
            "country",
        ]
        .map(|name| activity[name].clone())
    };
    let expected = json!(["Linux", false, "Firefox", "133.0", "127.0.0.1", null, null]);
    assert_eq!(json!(told(own)), expected);
    let expected = json!([
        "Macintosh",
        false,
        "Chrome",
        "131.0.0.0",
        "203.0.113.7",
        "Vienna",
        "AT"
    ]);
    assert_eq!(json!(told(seed)), expected);
    assert_ne!(seed["id"], own["id"]);
}

#[tokio::test]
async fn a_session_tells_when_it_was_used_and_when_it_ends() {
    let world = World::new().await;
    let at = "198.51.100.9".parse().expect("an address");
    let session = world.standin.sign_in_from("mel", "curl/8.5.0", at);
    let began = 1_700_000_000_000_u64;
    world.pass(60);
    let path = format!("sessions/{}/tokens", session.session_id);
    world.api(Method::POST, &path, json!({})).await;
    let before = shown(&world, &session).await;
    assert_eq!(
        before["last_active_at"], began,
        "what a server does is no use of it"
    );
    assert_eq!(before["latest_activity"]["city"], "Lisbon");
    world.handshake(&session.dev_browser, "").await;
    let after = shown(&world, &session).await;
    assert_eq!(after["last_active_at"], began + 60_000);
    assert_eq!(after["expire_at"], began + 7 * 86_400_000);
    assert!(after["abandon_at"].as_u64() > after["expire_at"].as_u64());
}

#[tokio::test]
async fn the_factors_grow_older_with_the_session() {
    let world = World::new().await;
    let session = world.standin.sign_in("sol", None);
    for (minutes, seconds) in [(0, 59), (1, 1), (11, 600)] {
        world.pass(seconds);
        let lines = world.handshake(&session.dev_browser, "").await;
        assert_eq!(
            claims(cookie(&lines, "__session"))["fva"],
            json!([minutes, -1])
        );
    }
    let (_, body) = world.script(&session.dev_browser, "GET client", "").await;
    let ages = &body["response"]["sessions"][0]["factor_verification_age"];
    assert_eq!(*ages, json!([11, -1]));
}

#[tokio::test]
async fn two_people_share_a_browser_and_change_places() {
    let world = World::new().await;
    let ada = world.standin.sign_in("ada", None);
    let browser = &ada.dev_browser;
    world.pass(10);
    let fields = [
        ("person", "mel"),
        ("redirect_url", APP),
        ("__clerk_db_jwt", browser),
    ];
    let answer = world.form("/sign-in", &fields).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);

    let (_, body) = world.script(browser, "GET client", "").await;
    let sessions = body["response"]["sessions"].as_array().expect("sessions");
    let names: Vec<_> = sessions
        .iter()
        .map(|s| s["user"]["first_name"].clone())
        .collect();
    assert_eq!(json!(names), json!(["Mel", "Ada"]));
    assert_eq!(
        body["response"]["last_active_session_id"],
        sessions[0]["id"]
    );
    let who = async || {
        let lines = world.handshake(browser, "").await;
        claims(cookie(&lines, "__session"))["sid"].clone()
    };
    assert_eq!(who().await, sessions[0]["id"]);

    // The script brings the first one back, and the page the second one.
    let touch = format!("POST client/sessions/{}/touch", ada.session_id);
    world.script(browser, &touch, "").await;
    assert_eq!(who().await, ada.session_id);
    let query = form(&[("redirect_url", APP), ("__clerk_db_jwt", browser)]);
    let page = text(world.get(&format!("/sign-in?{query}")).await).await;
    assert!(page.contains("href=\"/sign-in/choose?"), "{page}");
    let page = text(world.get(&format!("/sign-in/choose?{query}")).await).await;
    let mel = sessions[0]["id"].as_str().expect("an id");
    assert!(
        page.contains(mel) && page.contains(&ada.session_id),
        "{page}"
    );
    let fields = [
        ("session_id", mel),
        ("redirect_url", APP),
        ("__clerk_db_jwt", browser),
    ];
    let answer = world.form("/sign-in/choose", &fields).await;
    assert!(location(&answer).as_str().starts_with(APP));
    assert_eq!(who().await, sessions[0]["id"]);
}

#[tokio::test]
async fn a_test_can_have_two_people_share_a_browser_too() {
    let world = World::new().await;
    let ada = world.standin.sign_in("ada", None);
    let mel = world.standin.sign_in_beside(&ada, "mel");
    assert_eq!(
        (&mel.dev_browser, &mel.client),
        (&ada.dev_browser, &ada.client)
    );
    let lines = world.handshake(&ada.dev_browser, "").await;
    assert_eq!(claims(cookie(&lines, "__session"))["sid"], mel.session_id);
    assert_eq!(shown(&world, &ada).await["status"], "active");
}

#[tokio::test]
async fn a_minted_token_has_no_party_and_an_ended_session_none_at_all() {
    let world = World::new().await;
    let session = world.standin.sign_in("ada", Some("http://localhost:8080"));
    assert_eq!(claims(&session.token)["azp"], "http://localhost:8080");
    let path = format!("sessions/{}/tokens", session.session_id);
    let (_, body) = world.api(Method::POST, &path, json!({})).await;
    let minted = claims(body["jwt"].as_str().expect("a token"));
    assert_eq!(
        (minted.get("azp"), &minted["sid"]),
        (None, &json!(session.session_id))
    );

    let revoke = format!("sessions/{}/revoke", session.session_id);
    for _ in 0..2 {
        let (status, body) = world.api(Method::POST, &revoke, json!({})).await;
        assert_eq!(
            (status, &body["status"]),
            (StatusCode::OK, &json!("revoked"))
        );
    }
    let (status, body) = world.api(Method::POST, &path, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body["errors"][0]["code"], "resource_not_found");
}

#[tokio::test]
async fn who_is_banned_has_no_session_and_gets_none() {
    let world = World::new().await;
    let mel = world.standin.sign_in("mel", None);
    let path = format!("users/{}", mel.user_id);
    let (status, body) = world
        .api(Method::POST, &format!("{path}/ban"), json!({}))
        .await;
    assert_eq!((status, &body["banned"]), (StatusCode::OK, &json!(true)));
    assert_eq!(shown(&world, &mel).await["status"], "revoked");
    let answer = world.form("/sign-in", &[("person", "mel")]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(!answer.headers().contains_key("location"));

    let (_, body) = world
        .api(Method::POST, &format!("{path}/unban"), json!({}))
        .await;
    assert_eq!(body["banned"], false);
    let answer = world.form("/sign-in", &[("person", "mel")]).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let (status, _) = world
        .api(Method::POST, "users/user_none/ban", json!({}))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn each_kind_of_call_about_sessions_is_counted_and_may_be_too_many() {
    let world = World::new().await;
    let ada = world.standin.sign_in("ada", None);
    let session = format!("sessions/{}", ada.session_id);
    let calls = [
        (
            Endpoint::SessionList,
            Method::GET,
            format!("sessions?user_id={}", ada.user_id),
        ),
        (Endpoint::Session, Method::GET, session.clone()),
        (
            Endpoint::MintedTokens,
            Method::POST,
            format!("{session}/tokens"),
        ),
        (Endpoint::Revoke, Method::POST, format!("{session}/revoke")),
    ];
    for (number, (endpoint, method, path)) in calls.iter().enumerate() {
        let (status, _) = world.api(method.clone(), path, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        let counts = calls
            .each_ref()
            .map(|(endpoint, ..)| world.standin.calls(*endpoint));
        let expected = [0, 1, 2, 3].map(|other| usize::from(other <= number));
        assert_eq!(counts, expected, "{endpoint:?}");
    }
    let both = [Endpoint::Sessions, Endpoint::Tokens].map(|group| world.standin.calls(group));
    assert_eq!((both, world.standin.calls_total()), ([3, 1], 4));

    // The fault of one leaves the others alone; that of all of them does not.
    let limited = Fault::StatusWithRetryAfter(429, 3);
    world.standin.misbehave(Endpoint::Revoke, limited);
    let statuses = async || {
        let mut statuses = Vec::new();
        for (_, method, path) in &calls {
            statuses.push(world.api(method.clone(), path, json!({})).await.0.as_u16());
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 200, 404, 429]);
    world.standin.misbehave(Endpoint::Sessions, limited);
    assert_eq!(statuses().await, [429, 429, 404, 429]);
    world.standin.behave();
    assert_eq!(statuses().await, [200, 200, 404, 200]);
}
