//! The pages one signs in on, and the sample application.

use super::*;

#[tokio::test]
async fn nobody_is_sent_to_a_foreign_address() {
    let world = World::new().await;
    let query = form(&[("redirect_url", "https://evil.example/")]);
    for path in [
        "/v1/client/handshake",
        "/sign-in",
        "/sign-up",
        "/user",
        "/sign-in/choose",
    ] {
        let answer = world.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(!answer.headers().contains_key("location"), "{path}");
    }
    let fields = [("person", "ada"), ("redirect_url", "https://evil.example/")];
    for path in ["/sign-in", "/sign-out", "/sign-in/choose", "/sign-in/tasks"] {
        let answer = world.form(path, &fields).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(!answer.headers().contains_key("location"), "{path}");
    }
}

#[tokio::test]
async fn a_form_of_another_site_signs_nobody_in() {
    let world = World::new().await;
    let request = Request::post(world.standin.sign_in_url())
        .header("origin", "http://localhost:8080")
        .body(Full::from(form(&[("person", "ada")])));
    let answer = world.send(request.expect("a request")).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_pending_person_finishes_the_task_and_returns() {
    let world = World::new().await;
    let fields = [("person", "pia"), ("redirect_url", APP)];
    let answer = world.form("/sign-in", &fields).await;
    let tasks = answer.headers()["location"]
        .to_str()
        .expect("text")
        .to_owned();
    let page = text(world.get(&tasks).await).await;
    let session_id = page
        .split("name=\"session_id\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a session");
    let dev_browser = tasks.split("__clerk_db_jwt=").nth(1).expect("a browser");

    let lines = world.handshake(dev_browser, "").await;
    assert_eq!(claims(cookie(&lines, "__session"))["sts"], "pending");
    let answer = world
        .form(
            "/sign-in/tasks",
            &[
                ("session_id", session_id),
                ("organization_id", "acme"),
                ("redirect_url", APP),
                ("__clerk_db_jwt", dev_browser),
            ],
        )
        .await;
    assert!(location(&answer).as_str().starts_with(APP));
    let lines = world.handshake(dev_browser, "").await;
    let claims = claims(cookie(&lines, "__session"));
    assert_eq!(
        (&claims["sts"], &claims["o"]["slg"]),
        (&json!("active"), &json!("acme"))
    );
}

#[tokio::test]
async fn signing_out_is_seen_by_the_next_handshake() {
    let world = World::new().await;
    let session = world.standin.sign_in("ada", None);
    let page = text(
        world
            .get(&format!("/user?__clerk_db_jwt={}", session.dev_browser))
            .await,
    )
    .await;
    assert!(page.contains("You are Ada Admin."), "{page}");
    let fields = [("__clerk_db_jwt", &*session.dev_browser)];
    let answer = world.form("/sign-out", &fields).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let lines = world.handshake(&session.dev_browser, "").await;
    assert_eq!(
        (cookie(&lines, "__client_uat"), cookie(&lines, "__session")),
        ("0", "")
    );
}

#[tokio::test]
async fn the_sample_application_shows_what_it_received() {
    let app = SampleApp::start(([127, 0, 0, 1], 0).into())
        .await
        .expect("an app");
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let ask = async |path: &str| {
        let request = Request::get(format!("{}{path}", app.url()))
            .header("x-user-id", "user_<1>")
            .header("x-org-slug", "acme")
            .body(Full::default());
        let answer = client.request(request.expect("a request")).await;
        answer.expect("an answer")
    };
    for path in ["/", "/members", "/admin", "/form", "/headers"] {
        let answer = ask(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let policy = answer.headers()["content-security-policy"]
            .to_str()
            .expect("text");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let page = text(answer).await;
        assert!(page.contains("user_&#60;1&#62;"), "{page}");
        assert!(page.contains("Be somebody else"), "{page}");
    }
    let whoami = read(ask("/api/whoami").await).await;
    assert_eq!(
        (&whoami["x-user-id"], &whoami["x-org-role"]),
        (&json!("user_<1>"), &Value::Null)
    );
    assert_eq!(ask("/none").await.status(), StatusCode::NOT_FOUND);
}
