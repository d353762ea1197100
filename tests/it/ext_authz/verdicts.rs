//! What Envoy is told.

use clerk_gate::core::identity_headers::IDENTITY_HEADERS;
use clerk_gate::core::signed_assertion::ASSERTION_HEADER;

use super::*;
use crate::budgets::world_of;
use crate::support::{cookies as held, log};

#[tokio::test]
async fn a_yes_names_every_identity_header_and_takes_those_away_that_are_unknown() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let forged = |ask: Ask| {
        IDENTITY_HEADERS
            .iter()
            .chain([&ASSERTION_HEADER])
            .fold(ask, |ask, name| {
                let disguised = name.as_str().replace('-', "_");
                ask.header(name.as_str(), "root")
                    .header(name.as_str(), "root")
                    .header(&disguised, "root")
            })
    };
    for ask in [
        Ask::at(&world, "GET", "/public/x"),
        forged(Ask::at(&world, "GET", "/public/x")),
    ] {
        let stranger = ask.send(&world).await;
        assert_eq!(stranger.code, 0);
        let known = ask.clone().bearer(&ada.token).send(&world).await;
        for name in IDENTITY_HEADERS.iter().chain([&ASSERTION_HEADER]) {
            let name = name.as_str();
            assert_eq!(stranger.arrived(name), [""; 0], "{name}");
            // Named even where it has not come.
            assert!(
                stranger
                    .ok
                    .headers_to_remove
                    .iter()
                    .any(|gone| gone == name),
                "{name}"
            );
            let set = known
                .ok
                .headers
                .iter()
                .filter(|set| set.header.as_ref().unwrap().key == name);
            let gone = known
                .ok
                .headers_to_remove
                .iter()
                .filter(|gone| *gone == name);
            assert_eq!(set.count() + gone.count(), 1, "{name}");
            assert_eq!(known.arrived(&name.replace('-', "_")), [""; 0], "{name}");
        }
        assert_eq!(known.arrived("x-user-id"), [&*ada.user_id]);
        assert_eq!(known.arrived("x-token-type"), ["session_token"]);
        assert_eq!(known.arrived("authorization").len(), 1);
        assert_eq!(known.answer.header("cache-control"), Some("private"));
        assert_eq!(stranger.answer.header("cache-control"), None);
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn what_only_the_gate_may_say_is_taken_away_as_the_proxy_does() {
    let world = world().await;
    for name in [
        "x-original-url",
        "x_rewrite_url",
        "x-http-method-override",
        "x-middleware-subrequest",
        "x-clerk-auth-status",
        "x-clerk-gate-secret",
        "clerk-secret-key",
        "forwarded",
        "x-real-ip",
        "proxy-authorization",
        "keep-alive",
    ] {
        let told = Ask::at(&world, "GET", "/public/x")
            .header(name, "x")
            .send(&world)
            .await;
        assert_eq!(told.arrived(name), [""; 0], "{name}");
    }
    // How Envoy frames its own messages is its own affair.
    let framed = Ask::at(&world, "POST", "/public/x")
        .header("content-length", "5")
        .header("te", "trailers")
        .send(&world)
        .await;
    assert_eq!(framed.arrived("content-length"), ["5"]);
    assert_eq!(framed.arrived("te"), ["trailers"]);
}

#[tokio::test]
async fn a_refusal_is_the_one_of_the_proxy_over_grpc() {
    let world = world().await;
    let mel = world.clerk.sign_in("mel", None);
    let nobody = Ask::at(&world, "GET", "/members").send(&world).await;
    assert_eq!((nobody.status(), nobody.code), (401, 16));
    assert_eq!(nobody.answer.code(), "dev-browser-missing");
    assert!(
        nobody
            .answer
            .header("www-authenticate")
            .unwrap()
            .starts_with("Bearer ")
    );
    assert_eq!(
        nobody.answer.header("content-type"),
        Some("application/json")
    );
    let member = Ask::at(&world, "POST", "/admin/x")
        .bearer(&mel.token)
        .send(&world)
        .await;
    assert_eq!((member.status(), member.code), (403, 7));
    assert_eq!(member.answer.code(), "role-missing");
    let page = Ask::at(&world, "GET", "/_gate/me").bearer(&mel.token);
    let page = page.send(&world).await;
    assert_eq!(
        (page.status(), &*page.answer.code()),
        (421, "door-misdirected")
    );
    let path = Ask::at(&world, "GET", "/%61dmin").send(&world).await;
    assert_eq!(
        (path.status(), &*path.answer.code()),
        (400, "path-not-canonical")
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn envoy_sends_a_person_to_sign_in_and_back_with_the_cookies_of_a_handshake() {
    let world = world().await;
    let host = format!("localhost:{}", world.gate.port());
    let visit = |path: &str| {
        Ask::at(&world, "GET", path)
            .header("sec-fetch-dest", "document")
            .header("accept", "text/html")
            .cookie("__clerk_db_jwt=dvb_1")
    };
    let away = visit("/members?a=1&redirect_url=https://evil.example")
        .send(&world)
        .await;
    assert_eq!((away.status(), away.code), (307, 16));
    let location: url::Url = away.answer.header("location").unwrap().parse().unwrap();
    let back = location
        .query_pairs()
        .filter(|(name, _)| name == "redirect_url");
    let back: Vec<_> = back.map(|(_, value)| value.into_owned()).collect();
    assert_eq!(
        back,
        [format!(
            "http://{host}/members?a=1&redirect_url=https://evil.example"
        )]
    );

    let ada = world.clerk.sign_in("ada", None);
    let lines: Vec<String> = ["__session", "__client_uat", "__clerk_db_jwt"]
        .into_iter()
        .zip([&*ada.token, &ada.client_uat.to_string(), &ada.dev_browser])
        .map(|(name, value)| format!("{name}={value}; Path=/"))
        .collect();
    let token = world.clerk.handshake_token(&lines);
    let home = visit(&format!("/members?__clerk_handshake={token}"))
        .send(&world)
        .await;
    assert_eq!(home.status(), 307);
    let set = home.answer.all("set-cookie");
    for line in &lines {
        assert!(set.contains(line), "{line} is not among {set:?}");
    }
}

#[tokio::test]
async fn renewed_cookies_are_lines_of_their_own_and_not_to_be_stored() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(120_000);
    let (suffix, token) = (world.clerk.cookie_suffix(), ada.refresh_token.as_ref());
    let refresh = format!("{}; __refresh_{suffix}={}", held(&ada), token.unwrap());
    let told = Ask::at(&world, "POST", "/members")
        .cookie(&refresh)
        .send(&world)
        .await;
    assert_eq!(told.arrived("x-user-id"), [&*ada.user_id]);
    let set = told.answer.all("set-cookie");
    assert!(set.len() > 1, "{set:?}");
    assert!(
        set.iter().any(|line| line.starts_with("__session=ey")),
        "{set:?}"
    );
    assert_eq!(
        told.answer.header("cache-control"),
        Some("private, no-store")
    );
}

#[tokio::test]
async fn neither_cookies_nor_parameters_of_clerks_go_on_to_the_application() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let mine = format!(
        "a=1; {}; __client=c; __Host-clerk-gate-seal_x=s; b=2",
        held(&ada)
    );
    let told = Ask::at(&world, "GET", "/members")
        .cookie(&mine)
        .send(&world)
        .await;
    assert_eq!(told.arrived("cookie"), ["a=1; b=2"]);
    let told = Ask::at(&world, "GET", "/members")
        .cookie(&held(&ada))
        .send(&world)
        .await;
    assert_eq!(told.arrived("cookie"), [""; 0]);
    let told = Ask::at(
        &world,
        "GET",
        "/public/x?a=1&__dev_session=x&%5F_clerk_help=1",
    );
    let told = told.send(&world).await;
    assert_eq!(
        told.ok.query_parameters_to_remove,
        ["%5F_clerk_help", "__dev_session"]
    );
}

#[tokio::test]
async fn a_cookie_that_is_no_text_is_refused_where_it_would_have_to_be_written_anew() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let odd = |rest: &str| [b"a=\xff; ", rest.as_bytes()].concat();
    let ask = Ask::at(&world, "GET", "/members").bytes("cookie", &odd(&held(&ada)));
    let told = ask.send(&world).await;
    assert_eq!(
        (told.status(), &*told.answer.code()),
        (400, "header-not-text")
    );
    let ask = Ask::at(&world, "GET", "/public/x").bytes("cookie", &odd("b=2"));
    let told = ask.send(&world).await;
    assert_eq!(told.arrives.unwrap()["cookie"], &odd("b=2")[..]);
}

#[tokio::test]
async fn a_body_that_is_said_to_be_too_large_is_refused_over_grpc() {
    let world = World::with(usual_routes())
        .configure(|config| config.limits.body_bytes = Some(10))
        .with_ext_authz()
        .start()
        .await;
    for (length, wanted) in [("10", 200), ("11", 413)] {
        let ask = Ask::at(&world, "POST", "/public/x").header("content-length", length);
        assert_eq!(ask.send(&world).await.status(), wanted, "{length}");
    }
}

#[tokio::test]
async fn whoever_asks_for_too_much_through_envoy_gets_429_with_its_fields() {
    let limited = r#"
[[route]]
name    = "members"
path    = "/members/**"
require = "signed-in"
limit   = { requests = 1, window = "10s" }
"#;
    let world = world_of(limited).with_ext_authz().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let ask = Ask::at(&world, "GET", "/members/x").bearer(&ada.token);
    let first = ask.send(&world).await;
    assert_eq!(first.status(), 200);
    assert_eq!(
        first.answer.header("ratelimit"),
        Some("\"members\";r=0;t=10")
    );
    let second = ask.send(&world).await;
    assert_eq!(
        (second.status(), &*second.answer.code()),
        (429, "rate-limited")
    );
    assert_eq!(
        second.answer.all("ratelimit-policy"),
        ["\"members\";q=1;w=10"]
    );
    assert!(second.answer.header("retry-after").is_some());
    assert_eq!(second.code, 7);
}

#[tokio::test]
async fn a_websocket_is_judged_by_its_origin_over_grpc() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let own = format!("http://localhost:{}", world.gate.port());
    for (origin, wanted) in [(own.as_str(), 200), ("https://evil.example", 403)] {
        let told = Ask::at(&world, "GET", "/members")
            .cookie(&held(&ada))
            .header("origin", origin)
            .header("upgrade", "websocket")
            .header("connection", "Upgrade, x-user-id")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .send(&world)
            .await;
        assert_eq!(told.status(), wanted, "{origin}");
        if wanted == 200 {
            assert_eq!(told.arrived("upgrade"), ["websocket"]);
            assert_eq!(told.arrived("x-user-id"), [&*ada.user_id]);
        }
    }
}

#[tokio::test]
async fn without_keys_nobody_gets_in_and_envoys_client_hears_503() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.clerk.keys = clerk_gate::config::KeySource::FrontendApi {
                url: "http://127.0.0.1:1".parse().unwrap(),
            };
        })
        .with_ext_authz()
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let told = Ask::at(&world, "GET", "/members")
        .bearer(&ada.token)
        .send(&world)
        .await;
    assert_eq!((told.status(), told.code), (503, 7));
    assert_eq!(told.answer.code(), "jwk-remote-failed-to-load");
    assert!(told.arrives.is_none());
}

/// What Envoy shows.
const SECRET: &str = "0123456789abcdef-metadata-secret";

#[tokio::test]
async fn what_envoy_asks_about_has_a_line_in_the_log_without_credentials() {
    let (log, _listening) = log::listen();
    let world = World::with(usual_routes())
        .configure(|config| config.ext_authz = Some(doors(&[], Some(SECRET))))
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let ask = Ask::at(&world, "GET", "/members?secret=hidden").bearer(&ada.token);
    let mut caller = Caller::connect(world.check.unwrap()).await;
    let told = caller.check(ask.message(), Some(SECRET)).await.unwrap();
    assert_eq!(ask.told(told).status(), 200);
    let ask = Ask::at(&world, "GET", "/%61dmin");
    let told = caller.check(ask.message(), Some(SECRET)).await.unwrap();
    assert_eq!(ask.told(told).status(), 400);
    let text = log.text();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("clerk_gate::access"))
        .collect();
    let [well, badly] = &*lines else {
        panic!("two lines: {lines:?}");
    };
    for said in [
        "method=\"GET\"",
        "path=\"/members\"",
        "client=203.0.113.7",
        "decision=\"forward\"",
        "status=200",
        &*ada.user_id,
    ] {
        assert!(well.contains(said), "{said}: {well}");
    }
    assert!(badly.contains("reason=\"path-not-canonical\""), "{badly}");
    // By no library either.
    for secret in ["hidden", &*ada.token, SECRET] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}
