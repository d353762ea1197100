//! What gateways are told.

use std::sync::Arc;

use clerk_gate::core::door::Dialect;
use clerk_gate::core::identity_headers::IDENTITY_HEADERS;
use clerk_gate::core::requirement::Requirement;
use clerk_gate::core::signed_assertion::ASSERTION_HEADER;
use clerk_gate::core::template::Template;
use http::HeaderName;

use super::{ask, code, cookies, status};
use crate::support::{World, cookies as held, route, usual_routes};

async fn world() -> World {
    World::with(usual_routes()).with_doors().start().await
}

#[tokio::test]
async fn a_yes_has_every_identity_header_empty_where_nothing_is_known() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    for dialect in Dialect::ALL {
        let stranger = ask(&world, dialect, "GET", "/public/x").send().await;
        assert_eq!((stranger.status.as_u16(), &*stranger.body), (200, ""));
        let known = ask(&world, dialect, "GET", "/public/x").bearer(&ada.token);
        let known = known.send().await;
        assert_eq!(known.status, 200);
        for name in IDENTITY_HEADERS.iter().chain([&ASSERTION_HEADER]) {
            assert_eq!(stranger.all(name.as_str()), [""], "{dialect:?} {name}");
            assert_eq!(known.all(name.as_str()).len(), 1, "{dialect:?} {name}");
        }
        assert_eq!(known.header("x-user-id"), Some(&*ada.user_id));
        assert_eq!(known.header("x-token-type"), Some("session_token"));
        assert_eq!(known.header("x-actor-id"), Some(""));
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_overwritten() {
    let world = world().await;
    for dialect in Dialect::ALL {
        let call = ask(&world, dialect, "GET", "/public/x");
        let call = call
            .header("x-user-id", "root")
            .header("X-User-Id", "user_2");
        let answer = call.send().await;
        assert_eq!(answer.all("x-user-id"), [""], "{dialect:?}");
    }
}

#[tokio::test]
async fn a_header_that_an_application_may_take_for_one_of_ours_is_refused() {
    let world = world().await;
    for name in [
        "x_user_id",
        "X_User-Id",
        "x.user.id",
        "x_clerk_gate_assertion",
        "x_forwarded_for",
        "x-original-url",
        "x_original_url",
        "x-rewrite-url",
        "x-http-method-override",
        "x-http-method",
        "x_method_override",
        "x-middleware-subrequest",
        "x-clerk-auth-status",
        "x_real_ip",
        "clerk_secret_key",
        "x_request_id",
        "x_forwarded_prefix",
        "x-clerk-gate-status",
    ] {
        for dialect in Dialect::ALL {
            let call = ask(&world, dialect, "GET", "/public/x");
            let answer = call.header(name, "x").send().await;
            assert_eq!(status(dialect, &answer), 400, "{dialect:?} {name}");
            assert_eq!(code(dialect, &answer), "header-disguised");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_the_one_of_the_proxy() {
    let world = world().await;
    let mel = world.clerk.sign_in("mel", None);
    for dialect in Dialect::ALL {
        let answer = ask(&world, dialect, "GET", "/members").send().await;
        assert_eq!(status(dialect, &answer), 401);
        assert_eq!(code(dialect, &answer), "dev-browser-missing");
        let answer = ask(&world, dialect, "POST", "/admin/x").bearer(&mel.token);
        let answer = answer.send().await;
        assert_eq!(status(dialect, &answer), 403, "{dialect:?}");
        assert_eq!(code(dialect, &answer), "role-missing");
        let answer = ask(&world, dialect, "GET", "/%zz").send().await;
        assert_eq!(status(dialect, &answer), 400);
        assert_eq!(code(dialect, &answer), "path-malformed");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn somebody_who_is_signed_out_is_sent_to_sign_in_and_back() {
    let world = world().await;
    for dialect in Dialect::ALL {
        let call = ask(
            &world,
            dialect,
            "GET",
            "/members?a=1&redirect_url=https://evil.example",
        );
        let call = call
            .header("sec-fetch-dest", "document")
            .header("cookie", "__clerk_db_jwt=dvb_1");
        let answer = call.header("accept", "text/html").send().await;
        assert_eq!(status(dialect, &answer), 307, "{answer:?}");
        let location = match dialect {
            Dialect::Nginx => answer.header("x-clerk-gate-location"),
            _ => answer.header("location"),
        };
        let location: url::Url = location.unwrap().parse().unwrap();
        let back: Vec<_> = location
            .query_pairs()
            .filter(|(name, _)| name == "redirect_url")
            .map(|(_, value)| value.into_owned())
            .collect();
        let port = world.gate.port();
        let wanted =
            format!("http://localhost:{port}/members?a=1&redirect_url=https://evil.example");
        assert_eq!(back, [wanted]);
    }
}

#[tokio::test]
async fn a_path_that_the_gateway_would_send_on_otherwise_than_judged_is_refused() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    for (uri, wanted) in [
        ("/public/x", 200),
        ("/public/a%20b?q=%2F", 200),
        ("/public/../admin/x", 400),
        ("/public/%2e%2e/admin/x", 400),
        ("//admin/x", 400),
        ("/%61dmin/x", 400),
        ("/public/./x", 400),
        ("/public/a%2fb", 400),
        ("/public/a%C3%A9", 200),
        ("/public/a%c3%a9", 400),
    ] {
        for dialect in Dialect::ALL {
            let call = ask(&world, dialect, "GET", uri).bearer(&ada.token);
            let answer = call.send().await;
            assert_eq!(status(dialect, &answer), wanted, "{dialect:?} {uri}");
        }
    }
    // What is canonical is read as strictly as it is in the proxy.
    for dialect in Dialect::ALL {
        let answer = ask(&world, dialect, "GET", "/public/..;/admin")
            .send()
            .await;
        assert_eq!(status(dialect, &answer), 401);
    }
}

#[tokio::test]
async fn renewed_cookies_travel_as_the_gateway_can_carry_them() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(120_000);
    for dialect in Dialect::ALL {
        let (suffix, token) = (world.clerk.cookie_suffix(), ada.refresh_token.as_ref());
        let refresh = format!("{}; __refresh_{suffix}={}", held(&ada), token.unwrap());
        let call = ask(&world, dialect, "POST", "/members").cookie(&refresh);
        let answer = call.send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let set = cookies(&answer);
        assert!(
            set.iter().any(|cookie| cookie.starts_with("__session=ey")),
            "{dialect:?} {set:?}"
        );
        let native = !answer.all("set-cookie").is_empty();
        assert_eq!(native, matches!(dialect, Dialect::Traefik | Dialect::Envoy));
        assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    }
}

#[tokio::test]
async fn no_cookie_of_clerks_or_ours_goes_on_to_the_application() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let mine = format!(
        "a=1; {}; __client=c; __refresh_x=r; __Host-clerk-gate-seal_x=s; b=2",
        held(&ada)
    );
    for dialect in Dialect::ALL {
        let answer = ask(&world, dialect, "GET", "/members")
            .cookie(&mine)
            .send()
            .await;
        assert_eq!(answer.all("cookie"), ["a=1; b=2"], "{dialect:?}");
        let answer = ask(&world, dialect, "GET", "/public/x").send().await;
        assert_eq!(answer.all("cookie"), [""], "{dialect:?}");
    }
}

#[tokio::test]
async fn more_cookies_than_a_gateway_can_carry_are_a_refusal() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let further = (0..8).map(|number| format!("further_{number}=x; Path=/"));
    let lines: Vec<String> = std::iter::once(format!("__session={}; Path=/", ada.token))
        .chain(further)
        .collect();
    let token = world.clerk.handshake_token(&lines);
    for dialect in Dialect::ALL {
        let uri = format!("/members?__clerk_handshake={token}");
        let call = ask(&world, dialect, "GET", &uri)
            .header("sec-fetch-dest", "document")
            .header("accept", "text/html")
            .cookie("__clerk_db_jwt=dvb_1");
        let answer = call.send().await;
        let wanted = match dialect {
            Dialect::Nginx => 503,
            _ => 307,
        };
        assert_eq!(status(dialect, &answer), wanted, "{dialect:?} {answer:?}");
        if wanted == 503 {
            assert_eq!(cookies(&answer), [""; 0]);
        }
    }
}

#[tokio::test]
async fn pages_of_the_gates_own_are_not_behind_a_door() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    for dialect in Dialect::ALL {
        for uri in ["/_gate/me", "/_gate/unauthorized"] {
            let answer = ask(&world, dialect, "GET", uri)
                .bearer(&ada.token)
                .send()
                .await;
            assert_eq!(status(dialect, &answer), 421, "{answer:?}");
            assert_eq!(code(dialect, &answer), "door-misdirected");
        }
    }
}

#[tokio::test]
async fn nginx_is_told_a_page_in_one_line_whose_style_its_policy_allows() {
    let world = world().await;
    let call = ask(&world, Dialect::Nginx, "POST", "/members");
    let call = call
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate");
    let answer = call.send().await;
    assert_eq!(
        (answer.status.as_u16(), status(Dialect::Nginx, &answer)),
        (401, 401)
    );
    let page = answer.header("x-clerk-gate-body").unwrap();
    let kind = answer.header("x-clerk-gate-content-type");
    assert_eq!(kind, Some("text/html; charset=utf-8"));
    let style = page.split("<style>").nth(1).unwrap();
    let style = style.split("</style>").next().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let digest =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.as_ref());
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains(&format!("'sha256-{digest}'")), "{policy}");
}

#[tokio::test]
async fn a_websocket_is_known_by_its_key_where_gateways_take_the_upgrade_away() {
    let world = world().await;
    for dialect in Dialect::ALL {
        let call = ask(&world, dialect, "POST", "/public/x");
        let call = call.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = call.send().await;
        assert_eq!(status(dialect, &answer), 400, "{dialect:?}");
        assert_eq!(code(dialect, &answer), "upgrade-unsupported");
        let call = ask(&world, dialect, "GET", "/public/x");
        let call = call.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(call.send().await.status, 200, "{dialect:?}");
    }
}

#[tokio::test]
async fn no_protocol_but_a_websocket_passes_a_door() {
    let world = world().await;
    for dialect in Dialect::ALL {
        for lines in [
            &[("upgrade", "h2c")][..],
            &[("upgrade", "h2c, websocket")],
            &[("upgrade", "websocket, h2c")],
            &[("upgrade", "h2c"), ("upgrade", "websocket")],
            &[("upgrade", "websocket"), ("upgrade", "h2c")],
            &[("upgrade", "websocket/13")],
            &[("upgrade", "TLS/1.0")],
            &[("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA")],
        ] {
            let call = ask(&world, dialect, "GET", "/public/x");
            let call = lines
                .iter()
                .fold(call, |call, (name, value)| call.header(name, value));
            let answer = call.send().await;
            assert_eq!(status(dialect, &answer), 400, "{dialect:?} {lines:?}");
            assert_eq!(code(dialect, &answer), "upgrade-unsupported");
            assert_eq!(answer.header("cookie"), None, "{dialect:?} {lines:?}");
        }
        let call = ask(&world, dialect, "GET", "/public/x").header("upgrade", "WebSocket");
        assert_eq!(call.send().await.status, 200, "{dialect:?}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_page_of_another_site_opens_no_websocket_through_a_door() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let own = format!("http://localhost:{}", world.gate.port());
    for dialect in Dialect::ALL {
        for (origin, wanted) in [(own.as_str(), 200), ("https://evil.example", 403)] {
            // In HTTP/2 there is no key.
            for (name, value) in [
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("sec-websocket-version", "13"),
            ] {
                let call = ask(&world, dialect, "GET", "/members")
                    .cookie(&held(&ada))
                    .header("origin", origin)
                    .header(name, value);
                let answer = call.send().await;
                let said = status(dialect, &answer);
                assert_eq!(said, wanted, "{dialect:?} {origin} {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_of_a_template_takes_the_place_of_what_the_client_sent_on_its_routes_alone() {
    let mut template = Template::new("app");
    template.header = HeaderName::from_static("x-app-token");
    let template = Arc::new(template);
    let mut templated = route("templated", &["/api/**"], Requirement::Public);
    templated.template = Some(Arc::clone(&template));
    let mut routes = usual_routes();
    routes.push(templated);
    let world = World::with(routes).with_doors().start().await;
    let ada = world.clerk.sign_in("ada", None);
    for dialect in Dialect::ALL {
        let asked = |uri: &str| ask(&world, dialect, "GET", uri).header("x-app-token", "mine");
        let known = asked("/api/x").cookie(&held(&ada)).send().await;
        let token = known.header("x-app-token").unwrap();
        assert!(token.starts_with("ey"), "{dialect:?} {known:?}");
        let stranger = asked("/api/x").send().await;
        assert_eq!(stranger.all("x-app-token"), [""], "{dialect:?}");
        let elsewhere = asked("/public/x").send().await;
        assert_eq!(elsewhere.all("x-app-token"), ["mine"], "{dialect:?}");
    }
}
