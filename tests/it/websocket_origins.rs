//! Whose pages may open a WebSocket in a person's name.

use clerk_gate::core::instance::Continuity;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::{CredentialUse, Disclosure, Route};
use clerk_gate::core::requirement::Requirement;
use http::StatusCode;

use crate::support::{Answer, World, cookies, route};

/// A route of each kind.
fn routes() -> Vec<Route> {
    vec![
        route("public", &["/public/**"], Requirement::Public),
        Route {
            credentials: CredentialUse::Ignore,
            ..route("ignoring", &["/ignoring/**"], Requirement::Public)
        },
        Route {
            disclosure: Disclosure::Hidden,
            ..route("hidden", &["/hidden/**"], Requirement::SignedIn)
        },
    ]
}

async fn world() -> World {
    let listed = Origin::parse("https://docs.example.com").unwrap();
    World::with(routes())
        .configure(|config| config.clerk.instance.websocket_origins = vec![listed])
        .start()
        .await
}

/// Asks for a WebSocket, with the cookies of a session or with its token alone.
async fn asks(world: &World, path: &str, origins: &[&str], by_cookie: bool) -> Answer {
    let ada = world.clerk.sign_in("ada", None);
    let mut call = world
        .get(path)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for origin in origins {
        call = call.header("origin", origin);
    }
    if by_cookie {
        call = call.cookie(&cookies(&ada));
    } else {
        call = call.bearer(&ada.token);
    }
    call.send().await
}

#[tokio::test]
async fn a_page_of_another_site_opens_no_websocket_with_the_cookies_of_a_session() {
    let world = world().await;
    let port = world.gate.port();
    let (own, secure) = (
        format!("http://localhost:{port}"),
        format!("https://localhost:{port}"),
    );
    let other_port = format!("http://localhost:{}", u32::from(port) + 1);
    let foreign: [&[&str]; 10] = [
        &[],
        &["null"],
        &[""],
        &["http://evil.example"],
        &["http://localhost"],
        &["http://localhost.evil.example"],
        &[&secure],
        &[&other_port],
        &[&own, "http://evil.example"],
        &["https://docs.example.com.evil.example"],
    ];
    for origins in foreign {
        let refused = asks(&world, "/members", origins, true).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origins:?}");
        assert_eq!(refused.code(), "origin-not-allowed", "{origins:?}");
        let hidden = asks(&world, "/hidden/x", origins, true).await;
        assert_eq!(hidden.status, StatusCode::NOT_FOUND, "{origins:?}");
        assert!(!hidden.body.contains("origin"), "{hidden:?}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn in_faithful_mode_whatever_names_no_page_is_let_through_and_a_foreign_page_is_not() {
    let world = World::with(routes())
        .configure(|config| config.clerk.instance.continuity = Continuity::Faithful)
        .start()
        .await;
    let none = asks(&world, "/members", &[], true).await;
    assert_eq!(none.status, StatusCode::OK, "{none:?}");
    assert_eq!(world.upstream.take_received().len(), 1);
    for origins in [&["http://evil.example"][..], &["null"], &[""]] {
        let refused = asks(&world, "/members", origins, true).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origins:?}");
        assert_eq!(refused.code(), "origin-not-allowed", "{origins:?}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_page_of_this_site_or_of_a_listed_one_does() {
    let world = world().await;
    let own = format!("http://localhost:{}", world.gate.port());
    for origin in [own.as_str(), "https://docs.example.com"] {
        let answer = asks(&world, "/members", &[origin], true).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let received = world.upstream.take_received();
        assert_eq!(received.len(), 1);
        assert!(received[0].header("x-user-id").is_some(), "{origin}");
    }
}

#[tokio::test]
async fn a_token_in_a_header_needs_no_page() {
    let world = world().await;
    for origins in [&[][..], &["http://evil.example"]] {
        let answer = asks(&world, "/members", origins, false).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let received = world.upstream.take_received();
        assert!(received[0].header("x-user-id").is_some());
    }
}

#[tokio::test]
async fn what_is_open_to_everybody_is_open_to_other_pages_without_an_identity() {
    let world = world().await;
    for path in ["/public/x", "/ignoring/x"] {
        for origins in [&[][..], &["http://evil.example"]] {
            let answer = asks(&world, path, origins, true).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            let received = world.upstream.take_received();
            assert_eq!(received.len(), 1);
            for name in ["x-user-id", "x-session-id", "x-org-id", "cookie"] {
                assert_eq!(received[0].header(name), None, "{path}: {name}");
            }
        }
    }
    let own = format!("http://localhost:{}", world.gate.port());
    asks(&world, "/public/x", &[&own], true).await;
    assert!(world.upstream.only().header("x-user-id").is_some());
}

#[tokio::test]
async fn a_request_that_is_none_for_a_websocket_needs_no_origin() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let call = world
        .get("/members")
        .header("origin", "http://evil.example");
    let answer = call.cookie(&cookies(&ada)).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}
