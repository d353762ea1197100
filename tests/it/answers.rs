//! The answers of the gate itself: what they say, what they do not tell, and where they send people.

use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::{Disclosure, OnSignedOut, Preflight, Route};
use clerk_gate::core::requirement::Requirement;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::support::{Answer, World, WorldBuilder, ask, cookies, exchange, route, usual_routes};

/// The usual routes, with a change to the one for admins.
fn with_admin(change: impl FnOnce(&mut Route)) -> WorldBuilder {
    let mut routes = usual_routes();
    let admin = routes.iter_mut().find(|route| &*route.name == "admin");
    change(admin.unwrap());
    World::with(routes)
}

/// A world at `https://app.example.com`, behind a proxy of this machine if `trusted`.
fn public_world(trusted: bool) -> WorldBuilder {
    World::with(usual_routes()).configure(move |config| {
        config.edge.public =
            PublicAddress::Fixed(Origin::parse("https://app.example.com").unwrap());
        if trusted {
            config.edge.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        }
    })
}

fn parameters(location: &str, name: &str) -> Vec<String> {
    Url::parse(location)
        .unwrap()
        .query_pairs()
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .collect()
}

#[tokio::test]
async fn a_hidden_route_looks_like_a_page_that_is_not_there() {
    let world = with_admin(|admin| admin.disclosure = Disclosure::Hidden)
        .start()
        .await;
    let mel = world.clerk.sign_in("mel", None);
    for answer in [
        world.get("/admin/x").bearer(&mel.token).send().await,
        world.get("/admin/x").send().await,
        world.visit("/admin/x").cookie(&cookies(&mel)).send().await,
        world.request(Method::POST, "/admin/x").send().await,
    ] {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), None);
        let shown = format!("{answer:?}");
        for told in ["x-clerk", "role", "/sign-in", "dev-browser", "token"] {
            assert!(!shown.contains(told), "{told}: {shown}");
        }
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_hidden_route_still_leads_a_page_load_to_sign_in() {
    let world = with_admin(|admin| admin.disclosure = Disclosure::Hidden)
        .start()
        .await;
    let call = world.visit("/admin/x").cookie("__clerk_db_jwt=dvb_1");
    let answer = call.send().await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(
        answer
            .header("location")
            .unwrap()
            .starts_with(&world.clerk.sign_in_url())
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_route_may_answer_everybody_who_is_signed_out_with_a_401() {
    let world = with_admin(|admin| admin.on_signed_out = OnSignedOut::Unauthorized)
        .start()
        .await;
    let call = world.visit("/admin/x").cookie("__clerk_db_jwt=dvb_1");
    let answer = call.send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("location"), None);
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_route_may_send_page_loads_that_are_signed_out_to_an_address() {
    let world = with_admin(|admin| {
        admin.on_signed_out = OnSignedOut::Address("/welcome?from=admin".to_owned());
    })
    .start()
    .await;
    let welcome = format!("http://localhost:{}/welcome?from=admin", world.gate.port());
    let known = "__clerk_db_jwt=dvb_1";
    let answer = world.visit("/admin/x?y=1").cookie(known).send().await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.header("location"), Some(welcome.as_str()));
    // A program has no use for a page.
    let answer = world.get("/admin/x").cookie(known).send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_route_may_send_page_loads_that_are_forbidden_to_an_address() {
    let world = with_admin(|admin| admin.on_forbidden = Some("/public/sorry".to_owned()))
        .start()
        .await;
    let mel = world.clerk.sign_in("mel", None);
    let sorry = format!("http://localhost:{}/public/sorry", world.gate.port());
    let answer = world.visit("/admin/x").cookie(&cookies(&mel)).send().await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.header("location"), Some(sorry.as_str()));
    let answer = world.get("/admin/x").bearer(&mel.token).send().await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (StatusCode::FORBIDDEN, "role-missing")
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn head_is_answered_as_get_without_a_body() {
    let world = World::start().await;
    let port = world.gate.port();
    for (target, cookie) in [
        ("/public/x", ""),
        ("/members", ""),
        ("/members", "__clerk_db_jwt=dvb_1"),
        ("/_gate/nothing", ""),
        ("/a//../%2e%2e/%zz", ""),
    ] {
        let mut answers = Vec::new();
        for method in ["HEAD", "GET"] {
            let request = format!(
                "{method} {target} HTTP/1.1\r\nhost: localhost:{port}\r\ncookie: {cookie}\r\nx-request-id: one\r\nconnection: close\r\n\r\n"
            );
            let mut answer = exchange(world.gate, request.as_bytes()).await.remove(0);
            answer.headers.remove("date");
            answers.push(answer);
        }
        let (head, get) = (&answers[0], &answers[1]);
        assert_eq!((head.status, &head.headers), (get.status, &get.headers));
        assert_eq!(head.body, "", "{target}");
        assert_ne!(get.body, "", "{target}");
    }
    assert_eq!(world.upstream.received().len(), 2);
}

#[tokio::test]
async fn a_page_load_by_head_is_redirected_too() {
    let world = World::start().await;
    let call = world
        .request(Method::HEAD, "/members")
        .header("sec-fetch-dest", "document")
        .cookie("__clerk_db_jwt=dvb_1");
    let answer = call.send().await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(
        answer
            .header("location")
            .unwrap()
            .starts_with(&world.clerk.sign_in_url())
    );
    world.upstream.assert_untouched();
}

/// A CORS preflight with somebody's credentials and a body, neither of which browsers send.
async fn preflight(world: &World, target: &str) -> Answer {
    let ada = world.clerk.sign_in("ada", None);
    let call = world
        .request(Method::OPTIONS, target)
        .header("origin", "https://other.example")
        .header("access-control-request-method", "POST")
        .header("x-user-id", "forged");
    call.bearer(&ada.token).body("body").send().await
}

#[tokio::test]
async fn a_preflight_goes_on_without_identity_and_body_where_the_route_says_so() {
    let world = with_admin(|admin| admin.preflight = Preflight::Forward)
        .start()
        .await;
    let answer = preflight(&world, "/admin/x").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let received = world.upstream.only();
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("OPTIONS", "/admin/x")
    );
    for name in [
        "x-user-id",
        "x-session-id",
        "x-org-role",
        "content-length",
        "transfer-encoding",
    ] {
        assert_eq!(received.header(name), None, "{name}");
    }
    assert!(received.body.is_empty(), "{received:?}");
}

#[tokio::test]
async fn a_preflight_is_judged_like_any_request_elsewhere() {
    let world = World::start().await;
    let call = world
        .request(Method::OPTIONS, "/admin/x")
        .header("origin", "https://other.example")
        .header("access-control-request-method", "POST");
    let answer = call.send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    world.upstream.assert_untouched();
    assert_eq!(preflight(&world, "/admin/x").await.status, StatusCode::OK);
    let received = world.upstream.only();
    assert!(received.header("x-user-id").unwrap().starts_with("user_"));
}

#[tokio::test]
async fn options_that_are_no_preflight_are_judged_everywhere() {
    let world = with_admin(|admin| admin.preflight = Preflight::Forward)
        .start()
        .await;
    for header in ["origin", "access-control-request-method"] {
        let call = world
            .request(Method::OPTIONS, "/admin/x")
            .header(header, "https://other.example");
        assert_eq!(
            call.send().await.status,
            StatusCode::UNAUTHORIZED,
            "{header}"
        );
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_preflight_that_might_mean_another_route_is_judged() {
    let mut routes = usual_routes();
    routes[0].preflight = Preflight::Forward;
    let world = World::with(routes).start().await;
    for target in ["/public/..;/admin/x", "/public/%252e%252e/admin/x"] {
        let call = world
            .request(Method::OPTIONS, target)
            .header("origin", "https://other.example")
            .header("access-control-request-method", "POST");
        assert_eq!(
            call.send().await.status,
            StatusCode::UNAUTHORIZED,
            "{target}"
        );
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_navigation_by_any_other_method_gets_a_page_and_no_redirect() {
    let world = World::with(vec![{
        let mut away = route("away", &["/**"], Requirement::SignedIn);
        away.on_signed_out = OnSignedOut::Address("/elsewhere".to_owned());
        away
    }])
    .start()
    .await;
    let fresh = String::new();
    let uat = format!("__clerk_db_jwt=d; __client_uat={}", 1_700_000_000);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for cookie in [&fresh, &uat] {
            let call = world
                .request(method.clone(), "/form")
                .header("sec-fetch-dest", "document")
                .header("sec-fetch-mode", "navigate")
                .header("accept", "text/html");
            let answer = call.cookie(cookie).body("a=1").send().await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method}");
            assert_eq!(answer.header("location"), None, "{method}");
            assert_eq!(
                answer.header("content-type"),
                Some("text/html; charset=utf-8")
            );
            assert!(answer.header("www-authenticate").is_some());
            // The page says so, and can be loaded again: browsers then send the form once more.
            assert!(
                answer
                    .body
                    .contains("<p>nothing of what you sent was passed on. Sign in in a new tab")
            );
            assert!(
                answer
                    .body
                    .contains(r#"" target="_blank" rel="noopener">Sign in</a>"#)
            );
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    let page = world.visit("/form").cookie(&fresh).send().await;
    assert!(!page.body.contains("passed on"), "{page:?}");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn no_answer_of_ours_is_ever_stored() {
    let world = with_admin(|admin| admin.on_forbidden = Some("/public/sorry".to_owned()))
        .start()
        .await;
    let mel = world.clerk.sign_in("mel", None);
    let known = "__clerk_db_jwt=dvb_1";
    let answers = [
        world.get("/members").send().await,
        world.visit("/members").send().await,
        world.visit("/members").cookie(known).send().await,
        world.request(Method::POST, "/members").send().await,
        world.get("/admin/x").bearer(&mel.token).send().await,
        world.visit("/admin/x").cookie(&cookies(&mel)).send().await,
        world.get("/_gate/me").bearer(&mel.token).send().await,
        world.get("/_gate/me").send().await,
        world.get("/_gate/unauthorized").send().await,
        world.get("/_gate/sign-in").cookie(known).send().await,
        world.get("/_gate/nothing").send().await,
        world.request(Method::POST, "/_gate/me").send().await,
        world.get("/%zz").send().await,
        world
            .get("/public/x")
            .header("host", "evil.example")
            .send()
            .await,
        world.get("/public/x%2Fy").send().await,
    ];
    for answer in &answers {
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store"),
            "{answer:?}"
        );
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_request_id_is_kept_if_it_is_plain_and_made_anew_if_not() {
    let world = World::start().await;
    let long = "x".repeat(129);
    for given in ["", "a b", "a\"b", "<script>", "é", &long, "a, b"] {
        let call = world.get("/members").header("x-request-id", given);
        let answer = call.send().await;
        let made = answer.header("x-request-id").unwrap().to_owned();
        assert_ne!(made, given);
        assert_eq!(made.len(), 32, "{made}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["error"]["request_id"], made);
    }
    let call = world.get("/members").header("x-request-id", "Trace-1.a_B");
    assert_eq!(
        call.send().await.header("x-request-id"),
        Some("Trace-1.a_B")
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn answer_and_upstream_have_the_same_request_id() {
    let world = World::start().await;
    // Two are none: nobody can tell which one is meant.
    for given in [vec![], vec!["mine"], vec!["one", "two"]] {
        let mut call = world.get("/public/x");
        for id in &given {
            call = call.header("x-request-id", id);
        }
        let answer = call.header("X_Request_Id", "forged").send().await;
        let told = answer.header("x-request-id").unwrap().to_owned();
        let received = world.upstream.take_received().remove(0);
        assert_eq!(received.header("x-request-id"), Some(told.clone()));
        assert_eq!(received.header("x_request_id"), None);
        assert_eq!(told == "mine", given == ["mine"]);
    }
}

#[tokio::test]
async fn debug_headers_stand_on_every_answer_if_they_are_wanted() {
    let world = World::with(usual_routes())
        .configure(|config| config.debug_headers = true)
        .start()
        .await;
    let mel = world.clerk.sign_in("mel", None);
    let status = |answer: &Answer| answer.header("x-clerk-auth-status").map(str::to_owned);
    let members = world.get("/members").bearer(&mel.token).send().await;
    assert_eq!(status(&members).as_deref(), Some("signed-in"));
    let public = world.get("/public/x").send().await;
    assert_eq!(
        (
            status(&public).as_deref(),
            public.header("x-clerk-auth-reason")
        ),
        (Some("signed-out"), Some("dev-browser-missing"))
    );
    let forbidden = world.get("/admin/x").bearer(&mel.token).send().await;
    assert_eq!(
        (
            status(&forbidden).as_deref(),
            forbidden.header("x-clerk-auth-reason")
        ),
        (Some("signed-in"), Some("role-missing"))
    );
    let away = world.visit("/members").send().await;
    assert_eq!(status(&away).as_deref(), Some("handshake"));
}

#[tokio::test]
async fn debug_headers_tell_nothing_of_what_is_hidden() {
    let mut routes = usual_routes();
    routes[1].disclosure = Disclosure::Hidden;
    let world = World::with(routes)
        .configure(|config| config.debug_headers = true)
        .start()
        .await;
    let mel = world.clerk.sign_in("mel", None);
    let hidden = world.get("/admin/x").bearer(&mel.token).send().await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND);
    for name in ["status", "reason", "message"] {
        assert_eq!(hidden.header(&format!("x-clerk-auth-{name}")), None);
    }
}

#[tokio::test]
async fn nothing_is_told_of_a_session_on_answers_of_the_upstream_unless_it_is_wanted() {
    let world = World::start().await;
    let mel = world.clerk.sign_in("mel", None);
    for answer in [
        world.get("/public/x").send().await,
        world.get("/members").bearer(&mel.token).send().await,
    ] {
        for name in [
            "x-clerk-auth-status",
            "x-clerk-auth-reason",
            "x-clerk-auth-message",
        ] {
            assert_eq!(answer.header(name), None, "{name}");
        }
    }
}

#[tokio::test]
async fn the_way_back_is_one_value_whatever_is_in_the_query() {
    let world = World::start().await;
    let targets = [
        "/members?redirect_url=https://evil.example/",
        "/members?a=1&redirect_url=https%3A%2F%2Fevil.example%2F&__clerk_db_jwt=x",
        "/members?a=%26redirect_url=https://evil.example",
        "/members?a=1;redirect_url=https://evil.example",
        "/members%26redirect_url=https://evil.example",
        "/members?%72edirect_url=https://evil.example",
        "/members?sign_in_force_redirect_url=https://evil.example&after_sign_in_url=x",
    ];
    for target in targets {
        for cookie in ["", "__clerk_db_jwt=dvb_1"] {
            let answer = world.visit(target).cookie(cookie).send().await;
            assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT, "{target}");
            let location = answer.header("location").unwrap();
            let back = parameters(location, "redirect_url");
            let own = format!("http://localhost:{}/members", world.gate.port());
            assert_eq!(back.len(), 1, "{location}");
            assert!(back[0].starts_with(&own), "{location}");
            for name in ["sign_in_force_redirect_url", "after_sign_in_url"] {
                assert!(parameters(location, name).is_empty(), "{location}");
            }
        }
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn the_public_address_decides_where_people_land_and_not_the_host() {
    for trusted in [false, true] {
        let world = public_world(trusted).start().await;
        for host in [
            "app.example.com",
            "APP.example.com:8080",
            "app.example.com.",
        ] {
            let call = world
                .visit("/members?x=1")
                .header("host", host)
                .header("x-forwarded-proto", "http")
                .header("x-forwarded-port", "1234")
                .header("forwarded", "host=evil.example")
                .cookie("__clerk_db_jwt=dvb_1");
            let answer = call.send().await;
            let location = answer.header("location").unwrap();
            assert_eq!(
                parameters(location, "redirect_url"),
                ["https://app.example.com/members?x=1"],
                "{host}"
            );
        }
        world.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn a_host_that_is_not_the_public_one_is_not_served() {
    let world = public_world(false).start().await;
    for host in [
        "evil.example",
        "app.example.com.evil.example",
        "localhost",
        "127.0.0.1",
    ] {
        let call = world.visit("/public/x").header("host", host);
        assert_eq!(
            call.send().await.status,
            StatusCode::MISDIRECTED_REQUEST,
            "{host}"
        );
    }
    // Nor does a stranger's word change what host was asked for, either way.
    let call = world
        .get("/public/x")
        .header("host", "evil.example")
        .header("x-forwarded-host", "app.example.com");
    assert_eq!(call.send().await.status, StatusCode::MISDIRECTED_REQUEST);
    world.upstream.assert_untouched();
    let call = world
        .get("/public/x")
        .header("host", "app.example.com")
        .header("x-forwarded-host", "evil.example");
    assert_eq!(call.send().await.status, StatusCode::OK);
    assert_eq!(
        world.upstream.only().header("x-forwarded-host").as_deref(),
        Some("app.example.com")
    );
}

#[tokio::test]
async fn what_a_stranger_forwards_counts_for_nothing() {
    let world = public_world(false).start().await;
    let call = world
        .get("/public/x")
        .header("host", "app.example.com")
        .header("x-forwarded-for", "1.2.3.4, 5.6.7.8")
        .header("x-forwarded-proto", "gopher")
        .header("x-forwarded-host", "evil.example")
        .header("x-real-ip", "1.2.3.4");
    assert_eq!(call.send().await.status, StatusCode::OK);
    let received = world.upstream.only();
    for (name, value) in [
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("https")),
        ("x-forwarded-host", Some("app.example.com")),
        ("x-real-ip", None),
    ] {
        assert_eq!(received.header(name).as_deref(), value, "{name}");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_forwards_is_kept_and_added_to() {
    let world = public_world(true).start().await;
    let call = world
        .get("/public/x")
        .header("host", "10.0.0.7:8080")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-forwarded-host", "app.example.com")
        .header("x-forwarded-proto", "https");
    assert_eq!(call.send().await.status, StatusCode::OK);
    let received = world.upstream.only();
    assert_eq!(
        received.header("x-forwarded-for").as_deref(),
        Some("1.2.3.4, 10.0.0.1, 127.0.0.1")
    );
    assert_eq!(
        received.header("x-forwarded-host").as_deref(),
        Some("app.example.com")
    );
}

#[tokio::test]
async fn what_a_trusted_proxy_forwards_has_to_be_legible() {
    let world = public_world(true).start().await;
    for (name, value) in [
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-host", "user@app.example.com"),
        ("x-forwarded-host", "app.example.com/x"),
    ] {
        let call = world
            .get("/public/x")
            .header("host", "app.example.com")
            .header(name, value);
        let answer = call.send().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "host-invalid"),
            "{name}: {value}"
        );
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_page_shows_what_it_is_given_as_text_and_loads_nothing() {
    let world = World::with(usual_routes())
        .configure(|config| {
            let page = "https://accounts.example.com/sign-in?x=\"><script>alert(1)</script>";
            config.clerk.instance.sign_in_url = Some(page.to_owned());
        })
        .start()
        .await;
    let call = world
        .request(Method::POST, "/members?%22%3E%3Cscript%3E")
        .header("accept", "text/html")
        .header("x-request-id", "<script>");
    let answer = call.cookie("__clerk_db_jwt=\"><script>").send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.body.contains("https://accounts.example.com/sign-in"));
    assert!(!answer.body.contains("<script"), "{}", answer.body);
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("content-type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn the_style_of_a_page_is_the_one_that_its_policy_allows() {
    use base64::Engine as _;
    let world = World::start().await;
    let answer = world.get("/_gate/unauthorized").send().await;
    let (_, rest) = answer.body.split_once("<style>").unwrap();
    let (style, _) = rest.split_once("</style>").unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let digest = base64::engine::general_purpose::STANDARD.encode(digest.as_ref());
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.contains(&format!("style-src 'sha256-{digest}'")),
        "{policy}"
    );
}

#[tokio::test]
async fn a_refusal_for_a_program_is_json_of_one_shape() {
    let world = World::start().await;
    let answer = world
        .get("/members")
        .header("x-request-id", "one")
        .send()
        .await;
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let back = format!("http%3A%2F%2Flocalhost%3A{}%2F", world.gate.port());
    let sign_in = format!("{}?redirect_url={back}", world.clerk.sign_in_url());
    assert_eq!(
        body,
        json!({ "error": {
            "code": "dev-browser-missing",
            "message": "this browser is not known to the development instance yet",
            "sign_in_url": sign_in,
            "request_id": "one",
        }})
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn cookies_of_a_handshake_go_out_with_a_refusal_too() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let forbidden = world
        .clerk
        .mint(&ada.session_id, &json!({ "o": null, "sts": "pending" }));
    let line = format!("__session={forbidden}; Path=/");
    let handshake = world.clerk.handshake_token(std::slice::from_ref(&line));
    let request = format!(
        "GET /members?__clerk_handshake={handshake} HTTP/1.1\r\nhost: localhost:{}\r\naccept: text/html\r\ncookie: __clerk_db_jwt=d\r\n\r\n",
        world.gate.port()
    );
    let answer = ask(world.gate, request.as_bytes()).await;
    assert_eq!(answer.all("set-cookie"), [line], "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    world.upstream.assert_untouched();
}
