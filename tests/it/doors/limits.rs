//! Limits at a door: what is charged, and what the client is told of it.

use clerk_gate::core::door::Dialect;
use http::StatusCode;

use super::{ask, code, question, said, status};
use crate::budgets::world_of;
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{Answer, World, cookies as held};

const MEMBERS: &str = r#"
[[route]]
name    = "members"
path    = "/members/**"
require = "signed-in"
limit   = { requests = 2, window = "10s" }
"#;

/// `ratelimit-policy`, `ratelimit` and `retry-after`, each of which is there once or not at all.
fn fields(answer: &Answer) -> [Option<&str>; 3] {
    ["ratelimit-policy", "ratelimit", "retry-after"].map(|name| {
        assert!(answer.all(name).len() <= 1, "{answer:?}");
        answer.header(name)
    })
}

#[tokio::test]
async fn whoever_asks_for_too_much_gets_429_with_its_fields_through_each_door() {
    for dialect in Dialect::ALL {
        let world = world_of(MEMBERS).with_doors().start().await;
        let ada = world.clerk.sign_in("ada", None);
        let asked = || ask(&world, dialect, "GET", "/members/x").bearer(&ada.token);
        let policy = Some("\"members\";q=2;w=10");
        for left in ["\"members\";r=1;t=10", "\"members\";r=0;t=10"] {
            let answer = asked().send().await;
            assert_eq!(answer.status, StatusCode::OK, "{dialect:?}");
            assert_eq!(fields(&answer), [policy, Some(left), None], "{dialect:?}");
        }
        let spent = [policy, Some("\"members\";r=0;t=11"), Some("11")];
        let answer = asked().send().await;
        assert_eq!(status(dialect, &answer), 429, "{dialect:?} {answer:?}");
        assert_eq!(code(dialect, &answer), "rate-limited");
        assert_eq!(fields(&answer), spent, "{dialect:?}");
        assert_eq!(answer.header("x-user-id"), None, "{dialect:?}");

        let page = ask(&world, dialect, "GET", "/members/x")
            .cookie(&held(&ada))
            .header("sec-fetch-dest", "document")
            .header("accept", "text/html");
        let page = page.send().await;
        assert_eq!(status(dialect, &page), 429, "{dialect:?} {page:?}");
        assert_eq!(fields(&page), spent, "{dialect:?}");
        let body = match dialect {
            Dialect::Nginx => page.header("x-clerk-gate-body").unwrap(),
            _ => &page.body,
        };
        assert!(body.contains("<h1"), "{dialect:?} {body}");

        world.clock.advance_ms(20_000);
        assert_eq!(asked().send().await.status, StatusCode::OK, "{dialect:?}");
        world.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn a_question_is_charged_once_and_where_the_proxy_charges() {
    let text = MEMBERS.replace("requests = 2", "requests = 20");
    let world = world_of(&text).with_doors().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut left = 20;
    let mut charged = |answer: &Answer| {
        left -= 1;
        let limit = format!("\"members\";r={left};t=10");
        assert_eq!(answer.header("ratelimit"), Some(limit.as_str()));
    };
    for dialect in Dialect::ALL {
        let asked = ask(&world, dialect, "GET", "/members/x").bearer(&ada.token);
        charged(&asked.send().await);
        charged(&world.get("/members/x").bearer(&ada.token).send().await);
    }
    assert_eq!(left, 20 - 2 * 5);
    assert_eq!(world.upstream.take_received().len(), 5);
}

#[tokio::test]
async fn who_may_not_pass_a_door_is_not_charged_and_told_nothing_of_limits() {
    let world = world_of(MEMBERS).with_doors().start().await;
    let ada = world.clerk.sign_in("ada", None);
    for dialect in Dialect::ALL {
        let stranger = ask(&world, dialect, "GET", "/members/x").send().await;
        assert_eq!(status(dialect, &stranger), 401);
        assert_eq!(fields(&stranger), [None; 3], "{dialect:?}");
        let misread = ask(&world, dialect, "GET", "/members//x").bearer(&ada.token);
        let misread = misread.send().await;
        assert_eq!(status(dialect, &misread), 400);
        assert_eq!(fields(&misread), [None; 3], "{dialect:?}");
        let page = ask(&world, dialect, "GET", "/_gate/me").bearer(&ada.token);
        let page = page.send().await;
        assert_eq!(status(dialect, &page), 421);
        assert_eq!(fields(&page), [None; 3], "{dialect:?}");
    }
    let answer = ask(&world, Dialect::Nginx, "GET", "/members/x");
    let answer = answer.bearer(&ada.token).send().await;
    assert_eq!(answer.header("ratelimit"), Some("\"members\";r=1;t=10"));
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_limit_by_address_counts_the_client_that_the_gateway_names() {
    let text = r#"
[[route]]
name    = "all"
path    = "/**"
require = "public"
limit   = { requests = 1, window = "10s", by = "address" }
"#;
    for dialect in Dialect::ALL {
        let world = world_of(text).with_doors().start().await;
        let host = format!("localhost:{}", world.gate.port());
        let from = |client: &str, hearsay: &str| {
            let mut said = said(dialect, "GET", "/x", &host);
            let words = said.iter_mut();
            for (_, value) in words.filter(|(_, value)| *value == super::CLIENT) {
                *value = format!("{hearsay}{client}");
            }
            question(world.doors.unwrap(), dialect, "GET", "/x", &said)
        };
        for (client, hearsay, wanted) in [
            ("203.0.113.1", "", 200),
            ("203.0.113.2", "", 200),
            ("203.0.113.1", "", 429),
            // What a client says of itself makes nobody else of it.
            ("203.0.113.1", "198.51.100.9, ", 429),
            ("203.0.113.3", "203.0.113.1, ", 200),
        ] {
            let answer = from(client, hearsay).send().await;
            assert_eq!(status(dialect, &answer), wanted, "{dialect:?} {client}");
        }
        world.upstream.assert_untouched();
    }
}

/// A world with one place for requests at once, in front of this upstream.
async fn with_one_place(upstream: &WireUpstream) -> World {
    let text = r#"
[[route]]
name    = "all"
path    = "/**"
require = "public"
limit   = { in-flight = 1 }
"#;
    let world = world_of(text).with_doors().before(upstream.address);
    world.start().await
}

#[tokio::test]
async fn a_question_takes_a_place_only_until_it_is_answered() {
    let upstream = WireUpstream::start().await;
    let world = with_one_place(&upstream).await;
    for dialect in Dialect::ALL {
        for _ in 0..3 {
            let answer = ask(&world, dialect, "GET", "/x").send().await;
            assert_eq!(answer.status, StatusCode::OK, "{dialect:?} {answer:?}");
        }
    }
    upstream.assert_nobody_waits().await;
}

#[tokio::test]
async fn a_question_finds_no_place_while_the_proxy_has_given_it_away() {
    let upstream = WireUpstream::start().await;
    let world = with_one_place(&upstream).await;
    let mut client = Wire::connect(world.gate).await;
    let port = world.gate.port();
    let head = format!("GET /x HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n");
    client.send(head).await;
    let mut server = upstream.accept().await;
    server.head().await;
    for dialect in Dialect::ALL {
        let host = format!("localhost:{port}");
        let mut said = said(dialect, "GET", "/x", &host);
        for (_, value) in said.iter_mut().filter(|(_, value)| value == super::CLIENT) {
            "127.0.0.1".clone_into(value);
        }
        let answer = question(world.doors.unwrap(), dialect, "GET", "/x", &said);
        let answer = answer.send().await;
        assert_eq!(status(dialect, &answer), 429, "{dialect:?} {answer:?}");
        assert_eq!(code(dialect, &answer), "too-many-in-flight");
        let wanted = [
            Some("\"all-in-flight\";q=1;qu=\"concurrent-requests\""),
            Some("\"all-in-flight\";r=0"),
            Some("1"),
        ];
        assert_eq!(fields(&answer), wanted, "{dialect:?}");
    }
    upstream.assert_nobody_waits().await;
}
