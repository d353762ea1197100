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
