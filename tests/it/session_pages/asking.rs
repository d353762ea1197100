//! Who may ask for a change, and from where.

use std::time::Duration;

use clerk_gate::standin::{Endpoint, Fault};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

use super::{assert_kept_close, form, from_here, gets_in, script, status_of};
use crate::support::{Call, World, cookies, sealed, usual_routes};

/// Every address that changes something, for a session of the caller's own and another one.
fn changes(own: &str, other: &str) -> Vec<String> {
    vec![
        "/_gate/sign-out".to_owned(),
        "/_gate/sign-out/all".to_owned(),
        format!("/_gate/sessions/{own}/revoke"),
        format!("/_gate/sessions/{other}/revoke"),
        format!("/_gate/sessions/{other}/switch"),
        "/_gate/sessions/revoke-others".to_owned(),
        "/_gate/token".to_owned(),
        "/_gate/token/app".to_owned(),
    ]
}

/// A world with a template, so that each address above is one.
async fn world() -> World {
    World::with(usual_routes())
        .configure(|config| super::tokens::add_template(config, "app", |_| {}))
        .start()
        .await
}

#[tokio::test]
async fn no_other_site_asks_for_anything_in_a_browsers_name() {
    let world = world().await;
    let port = world.gate.port();
    let (ada, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    let calls = world.clerk.calls_total();
    let own = format!("http://localhost:{port}");
    let foreign: Vec<Vec<(&str, String)>> = vec![
        vec![],
        vec![("origin", "null".to_owned())],
        vec![("origin", String::new())],
        vec![("origin", "https://evil.example".to_owned())],
        vec![("origin", format!("https://localhost:{port}"))],
        vec![("origin", format!("http://localhost:{}", port ^ 1))],
        vec![("origin", "http://localhost".to_owned())],
        vec![("origin", format!("http://sibling.localhost:{port}"))],
        vec![("origin", format!("http://LOCALHOST:{port}"))],
        vec![("origin", format!("{own}/"))],
        vec![("origin", format!("{own}.evil.example"))],
        vec![
            ("origin", own.clone()),
            ("origin", "https://evil.example".to_owned()),
        ],
        vec![("origin", own.clone()), ("origin", own.clone())],
        // What a browser says of the origin counts before what it says of the site.
        vec![
            ("origin", "null".to_owned()),
            ("sec-fetch-site", "same-origin".to_owned()),
        ],
        vec![("sec-fetch-site", "same-site".to_owned())],
        vec![("sec-fetch-site", "cross-site".to_owned())],
        vec![("sec-fetch-site", "none".to_owned())],
        vec![("sec-fetch-site", "same-origin, same-origin".to_owned())],
        vec![("referer", format!("{own}/_gate/sessions"))],
        vec![
            ("x-forwarded-host", "evil.example".to_owned()),
            ("origin", "http://evil.example".to_owned()),
        ],
    ];
    let mut asked = 0;
    for path in changes(&ada.session_id, &there.session_id) {
        for headers in &foreign {
            for page in [false, true] {
                let mut call = world
                    .request(Method::POST, &path)
                    .cookie(&sealed(&world, &ada));
                for (name, value) in headers {
                    call = call.header(name, value);
                }
                if page {
                    call = call
                        .header("sec-fetch-dest", "document")
                        .header("accept", "text/html");
                }
                let answer = call.send().await;
                asked += 1;
                assert_eq!(
                    answer.status,
                    StatusCode::FORBIDDEN,
                    "{path} {headers:?}: {answer:?}"
                );
                assert_eq!(
                    answer.header("x-clerk-auth-reason"),
                    Some("origin-not-allowed")
                );
                assert_eq!(answer.all("set-cookie"), [""; 0], "{path} {headers:?}");
                assert_kept_close(&answer);
            }
        }
    }
    assert_eq!(asked, 8 * 20 * 2);
    assert_eq!(world.clerk.calls_total(), calls);
    assert!(gets_in(&world, &ada).await && gets_in(&world, &there).await);
    assert_eq!(status_of(&world, &ada).await, "active");
}

#[tokio::test]
async fn a_browser_that_names_no_origin_may_say_that_it_is_the_same() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let call = world
        .request(Method::POST, "/_gate/sign-out")
        .cookie(&sealed(&world, &ada));
    let answer = call.header("sec-fetch-site", "same-origin").send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn the_origin_is_that_of_the_site_whatever_host_is_written() {
    use clerk_gate::core::edge::PublicAddress;
    use clerk_gate::core::origin::Origin;
    let world = World::with(usual_routes())
        .configure(|config| {
            let origin = Origin::parse("https://app.example.com").unwrap();
            config.edge.public = PublicAddress::Fixed(origin);
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let ask = |origin: &str| {
        world
            .request(Method::POST, "/_gate/token")
            .cookie(&sealed(&world, &ada))
            .header("host", "app.example.com")
            .header("origin", origin)
            .send()
    };
    assert_eq!(
        ask("http://app.example.com").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        ask("https://app.example.com:444").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(ask("https://app.example.com").await.status, StatusCode::OK);
}

#[tokio::test]
async fn nothing_changes_by_a_link_and_pages_take_no_odd_method() {
    let world = world().await;
    let (ada, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    let calls = world.clerk.calls_total();
    for path in changes(&ada.session_id, &there.session_id) {
        let read = path == "/_gate/sign-out";
        let methods = if read { "GET, HEAD, POST" } else { "POST" };
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "post"] {
            if read && matches!(method, "GET" | "HEAD") {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let call = world
                .request(method.clone(), &path)
                .cookie(&sealed(&world, &ada));
            let answer = from_here(&world, call).send().await;
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(answer.header("allow"), Some(methods), "{method} {path}");
        }
    }
    let call = world
        .request(Method::POST, "/_gate/sessions")
        .cookie(&sealed(&world, &ada));
    let answer = from_here(&world, call).send().await;
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    assert_eq!(world.clerk.calls_total(), calls);
    let head = world
        .request(Method::HEAD, "/_gate/sessions")
        .cookie(&sealed(&world, &ada));
    let head = head.header("accept", "text/html").send().await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    assert_kept_close(&head);
    assert!(gets_in(&world, &ada).await && gets_in(&world, &there).await);
}

#[tokio::test]
async fn a_method_that_is_written_in_a_header_is_none() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let call = world
        .get("/_gate/sign-out/all")
        .cookie(&sealed(&world, &ada));
    let answer = from_here(&world, call)
        .header("x-http-method-override", "POST")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(gets_in(&world, &ada).await);
}

#[tokio::test]
async fn tokens_in_headers_change_nothing_whoever_they_are_of() {
    let world = world().await;
    let (ada, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    let calls = world.clerk.calls_total();
    let machine = "ak_live_0123456789abcdef";
    for path in changes(&ada.session_id, &there.session_id) {
        for token in [ada.token.as_str(), machine, "mt_abc", "oat_abc", "x"] {
            // With the cookies of the same person beside it, too.
            for with_cookies in [false, true] {
                let mut call = world.request(Method::POST, &path).bearer(token);
                if with_cookies {
                    call = call.cookie(&sealed(&world, &ada));
                }
                let answer = from_here(&world, call).send().await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {token}");
                assert_eq!(answer.code(), "cookie-session-needed");
            }
        }
    }
    let answer = world.get("/_gate/sessions").bearer(&ada.token).send().await;
    assert_eq!(answer.code(), "cookie-session-needed");
    assert_eq!(world.clerk.calls_total(), calls);
    assert!(gets_in(&world, &ada).await && gets_in(&world, &there).await);
}

#[tokio::test]
async fn whoever_acts_in_somebodys_name_looks_and_ends_nothing_of_theirs() {
    let world = world().await;
    let (mut ada, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    let act = json!({ "act": { "sub": "user_operator" } });
    ada.token = world.clerk.mint(&ada.session_id, &act);
    let ends = world.clerk.calls(Endpoint::Revoke);
    for path in [
        "/_gate/sign-out/all".to_owned(),
        "/_gate/sessions/revoke-others".to_owned(),
        format!("/_gate/sessions/{}/revoke", there.session_id),
        format!("/_gate/sessions/{}/revoke", ada.session_id),
        format!("/_gate/sessions/{}/switch", there.session_id),
    ] {
        for call in [script(&world, &path, &ada), form(&world, &path, &ada)] {
            let answer = call.send().await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {answer:?}");
            assert_eq!(answer.header("x-clerk-auth-reason"), Some("impersonated"));
        }
    }
    assert_eq!(world.clerk.calls(Endpoint::Revoke), ends);
    assert_eq!(status_of(&world, &there).await, "active");
    let page = world
        .visit("/_gate/sessions")
        .cookie(&sealed(&world, &ada))
        .send()
        .await;
    assert!(
        page.body.contains("You are acting in this person"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("<form"), "{}", page.body);
    // The way out of the other person's name stays open.
    let page = world
        .visit("/_gate/sign-out")
        .cookie(&sealed(&world, &ada))
        .send()
        .await;
    assert!(
        page.body.contains(r#"action="/_gate/sign-out""#),
        "{}",
        page.body
    );
    assert!(!page.body.contains("sign-out/all"), "{}", page.body);
    let answer = script(&world, "/_gate/sign-out", &ada).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(status_of(&world, &ada).await, "revoked");
    assert_eq!(status_of(&world, &there).await, "active");
}

#[tokio::test]
async fn a_body_is_neither_needed_nor_read() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let call: Call = form(&world, "/_gate/sign-out", &ada)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("then=sign-in&redirect_url=https://evil.example/");
    let answer = call.send().await;
    assert_eq!(answer.header("location"), Some("/_gate/sign-out?done"));
}

#[tokio::test]
async fn a_session_that_is_ended_by_many_at_once_is_ended_once() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let there = world.clerk.sign_in("ada", None);
    world
        .clerk
        .misbehave(Endpoint::Revoke, Fault::Hang(Duration::from_millis(300)));
    let one = format!("/_gate/sessions/{}/revoke", there.session_id);
    let mut calls = JoinSet::new();
    for number in 0..30 {
        let others = "/_gate/sessions/revoke-others";
        let path = if number % 2 == 0 {
            one.as_str()
        } else {
            others
        };
        calls.spawn(script(&world, path, &ada).send());
    }
    for answer in calls.join_all().await {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert_eq!(world.clerk.calls(Endpoint::Revoke), 1);
    assert_eq!(status_of(&world, &there).await, "revoked");
}

#[tokio::test]
async fn whoever_has_a_token_and_no_seal_fetches_one_or_is_refused() {
    let world = world().await;
    let (ada, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    assert!(gets_in(&world, &ada).await && gets_in(&world, &there).await);
    let calls = world.clerk.calls_total();
    for page in ["/_gate/sessions", "/_gate/sign-out"] {
        let answer = world.visit(page).cookie(&cookies(&ada)).send().await;
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT, "{page}");
        assert_eq!(answer.header("x-clerk-auth-reason"), Some("seal-missing"));
        let location = answer.header("location").unwrap();
        assert!(location.contains("/v1/client/handshake?"), "{location}");
        let program = world.get(page).cookie(&cookies(&ada)).send().await;
        let expected = match page {
            "/_gate/sessions" => StatusCode::FORBIDDEN,
            _ => StatusCode::OK,
        };
        assert_eq!(program.status, expected, "{page}: {program:?}");
    }
    // A token alone is given back, and ends its own session.
    let enough = [
        "/_gate/sign-out".to_owned(),
        format!("/_gate/sessions/{}/revoke", ada.session_id),
        "/_gate/token".to_owned(),
    ];
    let mut refused = 0;
    let mut asked = changes(&ada.session_id, &there.session_id);
    asked.push("/_gate/token?fresh".to_owned());
    for path in asked.iter().filter(|path| !enough.contains(path)) {
        for document in [false, true] {
            let call = world.request(Method::POST, path).cookie(&cookies(&ada));
            let mut call = from_here(&world, call);
            if document {
                call = call.header("sec-fetch-dest", "document");
            }
            let answer = call.send().await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {answer:?}");
            assert_eq!(answer.header("x-clerk-auth-reason"), Some("seal-missing"));
            assert_eq!(answer.all("set-cookie"), [""; 0], "{path}");
            refused += 1;
        }
    }
    assert_eq!(refused, 12);
    assert_eq!(world.clerk.calls_total(), calls);
    assert!(gets_in(&world, &ada).await && gets_in(&world, &there).await);
    // With a seal each of these is more than a refusal.
    for path in asked.iter().filter(|path| !enough.contains(path)) {
        let answer = script(&world, path, &ada).send().await;
        assert_ne!(answer.code(), "seal-missing", "{path}");
    }
}
