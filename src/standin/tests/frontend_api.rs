//! What browsers ask: handshakes, and scripts about their own client.

use super::*;

#[tokio::test]
async fn a_browser_is_met_signs_in_and_gets_a_session() {
    let world = World::new().await;
    let suffix = world.standin.cookie_suffix().to_owned();

    let lines = world
        .handshake("", "&__clerk_hs_reason=dev-browser-missing")
        .await;
    assert_eq!(cookie(&lines, "__client_uat"), "0");
    assert_eq!(cookie(&lines, "__session"), "");
    let dev_browser = cookie(&lines, "__clerk_db_jwt").to_owned();
    assert_eq!(
        cookie(&lines, &format!("__clerk_db_jwt_{suffix}")),
        dev_browser
    );

    let fields = [
        ("person", "ada"),
        ("redirect_url", APP),
        ("__clerk_db_jwt", &*dev_browser),
    ];
    let answer = world.form("/sign-in", &fields).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(
        location(&answer).as_str(),
        format!("{APP}&__clerk_db_jwt={dev_browser}")
    );

    let lines = world.handshake(&dev_browser, "").await;
    assert_eq!(cookie(&lines, "__client_uat"), "1700000000");
    let token = cookie(&lines, "__session");
    assert_eq!(cookie(&lines, &format!("__session_{suffix}")), token);
    let refresh = format!("__refresh_{suffix}=rt_2");
    let line = lines.iter().find(|line| line.starts_with(&refresh));
    assert!(
        line.is_some_and(|line| line.ends_with("; HttpOnly")),
        "{lines:?}"
    );

    let claims = claims(token);
    assert_eq!(claims["iss"], world.standin.issuer());
    assert_eq!(claims["exp"], 1_700_000_060);
    assert_eq!(claims["nbf"], 1_699_999_990);
    assert_eq!(
        (&claims["sts"], &claims["v"]),
        (&json!("active"), &json!(2))
    );
    assert_eq!(claims["fea"], "o:invoices");
    assert_eq!(
        claims["o"],
        json!({ "id": "org_2Acme0000000000000000000001", "slg": "acme", "rol": "admin",
                "per": "read,write", "fpm": "3" })
    );
    assert_eq!(claims.get("azp"), None, "page loads have no origin");
}

#[tokio::test]
async fn without_suffixed_cookies_only_the_plain_copies_are_written() {
    let world = World::new().await;
    let session = world.standin.sign_in("ada", None);
    let lines = world
        .handshake(&session.dev_browser, "&suffixed_cookies=false")
        .await;
    assert!(
        lines.len() > 4,
        "the first `suffixed_cookies` counts: {lines:?}"
    );

    let query = form(&[
        ("redirect_url", APP),
        ("__clerk_db_jwt", &session.dev_browser),
    ]);
    let answer = world.get(&format!("/v1/client/handshake?{query}")).await;
    let claims = claims(&param(&location(&answer), "__clerk_handshake"));
    let names: Vec<&str> = claims["handshake"]
        .as_array()
        .expect("directives")
        .iter()
        .filter_map(|line| line.as_str()?.split('=').next())
        .collect();
    let refresh = format!("__refresh_{}", world.standin.cookie_suffix());
    assert_eq!(
        names,
        ["__clerk_db_jwt", "__client_uat", &*refresh, "__session"]
    );
}

#[tokio::test]
async fn a_handshake_switches_to_an_organisation_of_ones_own_only() {
    let world = World::new().await;
    let session = world.standin.sign_in("ada", None);
    let active = async |more: &str| {
        let lines = world.handshake(&session.dev_browser, more).await;
        claims(cookie(&lines, "__session"))["o"]["slg"].clone()
    };
    assert_eq!(active("&organization_id=").await, Value::Null);
    assert_eq!(active("&organization_id=other").await, Value::Null);
    assert_eq!(active("&organization_id=acme").await, "acme");
    assert_eq!(active("").await, "acme");
}

#[tokio::test]
async fn a_script_gets_tokens_with_the_origin_of_its_page() {
    let world = World::new().await;
    let session = world.standin.sign_in("ada", None);
    let ask = async |origin: &str| {
        let uri = format!(
            "{}/v1/client/sessions/{}/tokens?__clerk_db_jwt={}",
            world.standin.url(),
            session.session_id,
            session.dev_browser
        );
        let request = Request::post(uri)
            .header("origin", origin)
            .body(Full::default());
        world.send(request.expect("a request")).await
    };
    let answer = ask("http://localhost:8080").await;
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "http://localhost:8080"
    );
    let jwt = read(answer).await["jwt"]
        .as_str()
        .expect("a token")
        .to_owned();
    assert_eq!(claims(&jwt)["azp"], "http://localhost:8080");

    let answer = ask("https://evil.example").await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_proxy_is_healthy_if_it_says_what_only_a_proxy_knows() {
    let world = World::new().await;
    let secret = world.standin.secret_key().to_owned();
    let proxy = "http://localhost:8080/__clerk".to_owned();
    let all = [
        ("clerk-secret-key", secret),
        ("clerk-proxy-url", proxy),
        ("x-forwarded-for", "192.0.2.7".to_owned()),
    ];
    for missing in [None, Some(0), Some(1), Some(2)] {
        let mut request = Request::get(format!("{}/v1/proxy-health", world.standin.url()));
        for (number, (name, value)) in all.iter().enumerate() {
            if Some(number) != missing {
                request = request.header(*name, value);
            }
        }
        let answer = world.send(request.body(Full::default()).expect("a request"));
        let answer = answer.await;
        let (status, body) = (answer.status(), read(answer).await);
        let expected = if missing.is_none() {
            let body = json!({ "status": "healthy", "x_forwarded_for": "192.0.2.7" });
            (StatusCode::OK, body)
        } else {
            let body = json!({ "status": "unhealthy" });
            (StatusCode::SERVICE_UNAVAILABLE, body)
        };
        assert_eq!((status, body), expected, "without {missing:?}");
    }
}

#[tokio::test]
async fn a_script_chooses_and_ends_the_sessions_of_its_own_browser_only() {
    let world = World::new().await;
    let stranger = world.standin.sign_in("mel", None);
    let own = world.standin.sign_in("ada", None);
    let ask = async |session: &str, what: &str, body: &'static str| {
        world
            .script(
                &own.dev_browser,
                &format!("POST client/sessions/{session}/{what}"),
                body,
            )
            .await
    };

    let globex = "active_organization_id=globex&intent=select_org";
    let (status, body) = ask(&own.session_id, "touch", globex).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let token = body["response"]["last_active_token"]["jwt"].as_str();
    assert_eq!(claims(token.expect("a token"))["o"]["slg"], "globex");
    assert_eq!(
        body["client"]["last_active_session_id"],
        own.session_id.as_str()
    );
    let none = "active_organization_id=";
    let (_, body) = ask(&own.session_id, "touch", none).await;
    assert_eq!(body["response"]["last_active_organization_id"], Value::Null);

    for what in ["touch", "tokens", "end", "remove"] {
        let (status, _) = ask(&stranger.session_id, what, "").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{what}");
    }
    let (status, body) = ask(&own.session_id, "remove", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["response"]["status"], "removed");
    assert_eq!(body["client"]["sessions"], json!([]));
    let (status, _) = ask(&own.session_id, "tokens", "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let lines = world.handshake(&stranger.dev_browser, "").await;
    assert_ne!(cookie(&lines, "__session"), "", "the other is still there");
}

#[tokio::test]
async fn a_script_is_told_the_organisations_of_its_own_person_only() {
    let world = World::new().await;
    let own = world.standin.sign_in("ada", None);
    let stranger = world.standin.sign_in("mel", None);
    let ask = async |session: &str, more: &str| {
        let path = format!("GET me/organization_memberships?_clerk_session_id={session}{more}");
        world.script(&own.dev_browser, &path, "").await
    };

    let (status, body) = ask(&own.session_id, "&paginated=true&limit=1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["response"]["total_count"], 2);
    assert_eq!(body["response"]["data"][0]["organization"]["slug"], "acme");
    let (_, body) = ask(&own.session_id, "&offset=1").await;
    assert_eq!(body["response"][0]["organization"]["slug"], "globex");

    for session in ["", &*stranger.session_id] {
        let (status, body) = ask(session, "").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
    }
}

#[tokio::test]
async fn every_call_of_a_script_on_another_machines_page_is_refused() {
    let world = World::new().await;
    let own = world.standin.sign_in("ada", None);
    let session = format!("client/sessions/{}", own.session_id);
    for (method, path) in [
        (Method::GET, "environment"),
        (Method::POST, "environment?_method=PATCH"),
        (Method::POST, "dev_browser"),
        (Method::GET, "client"),
        (Method::DELETE, "client/sessions"),
        (Method::GET, "me/organization_memberships"),
        (Method::POST, &format!("{session}/touch")),
        (Method::POST, &format!("{session}/tokens")),
        (Method::POST, &format!("{session}/remove")),
        (Method::OPTIONS, "client"),
    ] {
        let mark = if path.contains('?') { '&' } else { '?' };
        let known = format!(
            "__clerk_db_jwt={}&_clerk_session_id={}",
            own.dev_browser, own.session_id
        );
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}{mark}{known}", world.standin.url()))
            .header("origin", "https://evil.example")
            .body(Full::default());
        let answer = world.send(request.expect("a request")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
        assert_eq!(read(answer).await["errors"][0]["code"], "origin_invalid");
    }
    let lines = world.handshake(&own.dev_browser, "").await;
    assert_ne!(cookie(&lines, "__session"), "", "nothing was done");
}

#[tokio::test]
async fn a_script_reads_the_environment_and_asks_for_it_to_be_touched() {
    let world = World::new().await;
    let read_it = read(world.get("/v1/environment").await).await;
    assert_eq!(
        read_it["display_config"]["instance_environment_type"],
        "development"
    );
    let answer = world.form("/v1/environment?_method=PATCH", &[]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(read(answer).await, read_it);
}
