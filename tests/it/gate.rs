//! The main job: who gets through, with which identity, and what the upstream does not receive.

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{World, cookies};

#[tokio::test]
async fn a_public_route_is_open_to_everybody() {
    let world = World::start().await;
    let answer = world.get("/public/x?q=1").send().await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (StatusCode::OK, "upstream")
    );
    let received = world.upstream.only();
    assert_eq!(received.target, "/public/x?q=1");
    assert_eq!(received.header("x-user-id"), None);
    assert_eq!(
        received.header("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(
        received.header("x-forwarded-proto").as_deref(),
        Some("http")
    );
}

#[tokio::test]
async fn a_bearer_token_opens_a_protected_route_with_its_identity() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let answer = world.get("/admin/x").bearer(&ada.token).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let received = world.upstream.only();
    assert_eq!(received.header("x-user-id"), Some(ada.user_id));
    assert_eq!(received.header("x-session-id"), Some(ada.session_id));
    assert_eq!(received.header("x-org-slug").as_deref(), Some("acme"));
    assert_eq!(received.header("x-org-role").as_deref(), Some("org:admin"));
    assert_eq!(
        received.header("x-token-type").as_deref(),
        Some("session_token")
    );
    assert!(
        received
            .header("x-org-permissions")
            .unwrap()
            .contains("org:invoices:write")
    );
}

#[tokio::test]
async fn a_session_cookie_does_the_same_and_stays_here() {
    let world = World::start().await;
    let mel = world.clerk.sign_in("mel", None);
    let cookie = format!("{}; theme=dark", cookies(&mel));
    let answer = world.get("/members").cookie(&cookie).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("private"));
    let received = world.upstream.only();
    assert_eq!(received.header("x-user-id"), Some(mel.user_id));
    assert_eq!(received.header("cookie").as_deref(), Some("theme=dark"));
}

#[tokio::test]
async fn a_program_without_a_token_gets_a_401_with_a_challenge() {
    let world = World::start().await;
    let answer = world.get("/members").send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.code(), "dev-browser-missing");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer realm=\"clerk\"")
    );
    assert_eq!(
        answer.header("x-clerk-auth-reason"),
        Some("dev-browser-missing")
    );
    assert!(
        answer.body.contains(&world.clerk.sign_in_url()),
        "{}",
        answer.body
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_page_load_without_a_session_goes_to_sign_in() {
    let world = World::start().await;
    let answer = world
        .visit("/members?tab=1")
        .cookie("__clerk_db_jwt=dvb_1")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    let location = answer.header("location").unwrap();
    let back = format!(
        "redirect_url=http%3A%2F%2Flocalhost%3A{}%2Fmembers%3Ftab%3D1",
        world.gate.port()
    );
    assert!(
        location.starts_with(&world.clerk.sign_in_url()),
        "{location}"
    );
    assert!(
        location.contains(&back) && location.contains("__clerk_db_jwt=dvb_1"),
        "{location}"
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_form_post_without_a_session_is_never_redirected() {
    let world = World::start().await;
    let call = world
        .request(Method::POST, "/members")
        .cookie("__clerk_db_jwt=dvb_1");
    let answer = call
        .header("sec-fetch-dest", "document")
        .header("accept", "text/html")
        .body("a=1")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/html"),
        "{answer:?}"
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_member_may_not_enter_the_admin_pages() {
    let world = World::start().await;
    let mel = world.clerk.sign_in("mel", None);
    for target in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/ADMIN/x",
        "/public/..;/admin",
        "/admin.json",
        "/public/%252e%252e/admin/x",
    ] {
        let answer = world.get(target).bearer(&mel.token).send().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::FORBIDDEN, "role-missing"),
            "{target}"
        );
    }
    world.upstream.assert_untouched();
    let ada = world.clerk.sign_in("ada", None);
    assert_eq!(
        world.get("/ADMIN/x").bearer(&ada.token).send().await.status,
        StatusCode::OK
    );
    assert_eq!(world.upstream.only().target, "/ADMIN/x");
}

#[tokio::test]
async fn no_spelling_of_an_identity_header_arrives() {
    let world = World::start().await;
    let mut call = world.get("/public/x");
    for name in [
        "x-user-id",
        "X_User_Id",
        "x.user.id",
        "X-USER-ID",
        "x-org-role",
        "x_org_role",
        "x-clerk-auth-status",
        "X-Original-URL",
        "X-Forwarded-Host",
        "X-Real-IP",
    ] {
        call = call.header(name, "forged");
    }
    let answer = call
        .header("connection", "close, x-user-id, x-org-role")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let received = world.upstream.only();
    let forged: Vec<_> = received
        .headers
        .iter()
        .filter(|(_, value)| *value == "forged")
        .collect();
    assert!(forged.is_empty(), "{forged:?}");
}

#[tokio::test]
async fn naming_an_identity_header_in_connection_does_not_remove_it() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let call = world
        .get("/members")
        .bearer(&ada.token)
        .header("connection", "close, x-user-id")
        .header("x-user-id", "root");
    assert_eq!(call.send().await.status, StatusCode::OK);
    assert_eq!(world.upstream.only().header("x-user-id"), Some(ada.user_id));
}

#[tokio::test]
async fn a_bad_bearer_token_is_never_rescued_by_a_good_cookie() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    for bad in ["garbage", "a.b.c", &ada.token[..ada.token.len() - 4]] {
        let answer = world
            .get("/members")
            .bearer(bad)
            .cookie(&cookies(&ada))
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{bad}");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"clerk\", error=\"invalid_token\"")
        );
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn an_expired_token_is_refused_although_it_was_verified_before() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    assert_eq!(
        world.get("/members").bearer(&ada.token).send().await.status,
        StatusCode::OK
    );
    world.clock.advance_ms(66_000);
    let answer = world.get("/members").bearer(&ada.token).send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::UNAUTHORIZED, "session-token-expired")
    );
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn claims_that_are_no_header_text_cannot_inject_anything() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let evil = world.clerk.mint(
        &ada.session_id,
        &json!({ "sub": "user_1\r\nx-org-role: org:admin" }),
    );
    assert_eq!(
        world.get("/members").bearer(&evil).send().await.status,
        StatusCode::OK
    );
    let received = world.upstream.only();
    assert_eq!(
        received.header("x-user-id").as_deref(),
        Some("user_1%0D%0Ax-org-role:%20org:admin")
    );
}

#[tokio::test]
async fn what_a_browser_does_from_the_first_visit_to_the_members_page() {
    let world = World::start().await;
    // Nothing is known of this browser: off to the handshake.
    let first = world.visit("/members").send().await;
    assert_eq!(first.status, StatusCode::TEMPORARY_REDIRECT);
    let location = first.header("location").unwrap();
    assert!(
        location.contains("__clerk_hs_reason=dev-browser-missing"),
        "{location}"
    );
    let cookies = first.all("set-cookie");
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert_eq!(
        cookies[0],
        "__clerk_redirect_count=1; SameSite=Lax; HttpOnly; Max-Age=2"
    );
    let (name, _) = cookies[1].split_once('=').unwrap();
    let state = name.strip_prefix("__Host-clerk-gate-state_").unwrap();
    let suffix = format!("_{}", world.clerk.cookie_suffix());
    let journey = state.strip_suffix(&suffix).unwrap();
    assert!(location.contains(&format!("__clerk_gate_state%3D{journey}&")));
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn our_own_prefix_never_reaches_the_upstream() {
    let world = World::start().await;
    let answer = world.get("/_gate/nothing").send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::NOT_FOUND, "page-unknown")
    );
    let mel = world.clerk.sign_in("mel", None);
    let me = world.get("/_gate/me").bearer(&mel.token).send().await;
    assert_eq!(me.status, StatusCode::OK);
    assert!(
        me.body.contains(&mel.user_id) && !me.body.contains(&mel.token),
        "{}",
        me.body
    );
    assert_eq!(
        world.get("/_gate/me").send().await.status,
        StatusCode::UNAUTHORIZED
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_foreign_return_address_is_not_taken() {
    let world = World::start().await;
    let port = world.gate.port();
    let front = format!("redirect_url=http%3A%2F%2Flocalhost%3A{port}%2F&");
    for back in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "http://localhost:1/",
        "javascript:alert(1)",
    ] {
        let encoded: String = url::form_urlencoded::byte_serialize(back.as_bytes()).collect();
        let answer = world
            .get(&format!("/_gate/sign-in?redirect_url={encoded}"))
            .cookie("__clerk_db_jwt=d")
            .send()
            .await;
        let location = answer.header("location").unwrap_or_default().to_owned() + "&";
        assert!(location.contains(&front), "{back}: {location}");
    }
}
