//! Walks through a running stand-in over HTTP, as a gate and a browser would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use url::Url;

use super::*;

const APP: &str = "http://localhost:8080/private?x=a%20b";

/// A stand-in on a free port, a clock that stands still, and a browser without cookies.
struct World {
    standin: StandIn,
    clock: Arc<AtomicU64>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut StandInOptions)) -> Self {
        let clock = Arc::new(AtomicU64::new(1_700_000_000_000));
        let told = Arc::clone(&clock);
        let mut options = StandInOptions::new(Arc::new(move || told.load(Ordering::SeqCst)));
        change(&mut options);
        Self {
            standin: StandIn::start(options).await.expect("a stand-in"),
            clock,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.client.request(request).await.expect("an answer")
    }

    async fn get(&self, path: &str) -> Response<Incoming> {
        let uri = format!("{}{path}", self.standin.url());
        let request = Request::get(uri).body(Full::default());
        self.send(request.expect("a request")).await
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Response<Incoming> {
        let body = form(fields);
        let request = Request::post(format!("{}{path}", self.standin.url()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(body));
        self.send(request.expect("a request")).await
    }

    /// Calls the Backend API with the secret key.
    async fn api(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.standin.url()))
            .header(
                "authorization",
                format!("Bearer {}", self.standin.secret_key()),
            )
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()));
        let answer = self.send(request.expect("a request")).await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        (answer.status(), read(answer).await)
    }

    /// The `Set-Cookie` lines of a handshake.
    async fn handshake(&self, dev_browser: &str, more: &str) -> Vec<String> {
        let query = form(&[("redirect_url", APP), ("__clerk_db_jwt", dev_browser)]);
        let path = format!("/v1/client/handshake?{query}&suffixed_cookies=true{more}");
        let answer = self.get(&path).await;
        assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
        let location = location(&answer);
        assert!(location.as_str().starts_with(APP), "{location}");
        let claims = claims(&param(&location, "__clerk_handshake"));
        let lines = claims["handshake"].as_array().expect("directives").iter();
        lines
            .map(|line| line.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    async fn refresh(&self, session: &TestSession) -> (StatusCode, Value) {
        let path = format!(
            "sessions/{}/refresh?suffixed_cookies=true",
            session.session_id
        );
        let body = json!({
            "format": "cookie",
            "expired_token": session.token,
            "refresh_token": session.refresh_token,
            "request_origin": "http://localhost:8080",
            "request_headers": {},
        });
        self.api(Method::POST, &path, body).await
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

async fn read(answer: Response<Incoming>) -> Value {
    serde_json::from_str(&text(answer).await).expect("JSON")
}

async fn text(answer: Response<Incoming>) -> String {
    let body = answer.into_body().collect().await.expect("a body");
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

fn location(answer: &Response<Incoming>) -> Url {
    let location = answer.headers()["location"].to_str().expect("text");
    Url::parse(location).expect("an address")
}

fn param(url: &Url, name: &str) -> String {
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a token");
    let json = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&json).expect("JSON")
}

fn cookie<'a>(lines: &'a [String], name: &str) -> &'a str {
    let start = format!("{name}=");
    lines
        .iter()
        .find_map(|line| line.strip_prefix(&start)?.split(';').next())
        .unwrap_or("absent")
}

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

    world.standin.behave();
    assert_eq!(world.get(jwks).await.status(), StatusCode::OK);
    assert_eq!(world.standin.calls(Endpoint::Jwks), 6);
    assert_eq!(world.standin.calls_total(), 8);
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
