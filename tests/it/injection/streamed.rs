//! Pages that pass through a real gate: what the application is asked, what arrives when, and what
//! becomes of a page that breaks off.

use bytes::Bytes;
use clerk_gate::core::machine::{TokenType, TokenTypes};
use clerk_gate::core::policy::{CredentialUse, Pages, Route};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{MachineGrant, MachineKind};
use http::{Method, Response, StatusCode};

use crate::support::pages::injection;
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, WorldBuilder, cookies, refreshable, route};

/// `/plain/**` as it is; `/pages/**`, without a look at who asks, and everything behind a session with
/// clerk-js.
fn builder() -> WorldBuilder {
    let with_clerk_js = |route: Route| Route {
        pages: Pages::WithClerkJs,
        ..route
    };
    let open = |route: Route| Route {
        credentials: CredentialUse::Ignore,
        ..route
    };
    let routes = vec![
        open(route("plain", &["/plain/**"], Requirement::Public)),
        open(with_clerk_js(route(
            "pages",
            &["/pages/**"],
            Requirement::Public,
        ))),
        with_clerk_js(route("members", &["/**"], Requirement::SignedIn)),
    ];
    World::with(routes).configure(|config| {
        let instance = &mut config.clerk.instance;
        instance.injection = Some(injection());
        "/__clerk".clone_into(&mut instance.frontend_api);
    })
}

const PAGE: &str = "<!doctype html><html><head><title>A</title></head><body><p>x</p></body></html>";

fn html(body: impl Into<Bytes>) -> Response<Bytes> {
    let response = Response::builder()
        .header("content-type", "text/html; charset=utf-8")
        .header("etag", "\"a\"")
        .header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
    response.body(body.into()).unwrap()
}

/// The page as browsers get it, cut at what was put in.
#[track_caller]
fn put_in(body: &str) -> String {
    let (before, rest) = body.split_once("<script defer crossorigin").unwrap();
    let (inside, after) = rest.rsplit_once("</script>").unwrap();
    assert_eq!(format!("{before}{after}"), PAGE);
    assert!(
        before.ends_with("</title>") && after.starts_with("</head>"),
        "{body}"
    );
    inside.to_owned()
}

/// Counts at the operator's window, zeros left out.
async fn counts(world: &World) -> Vec<String> {
    let answer = world.window("/injections").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    let lines = answer.body.lines().filter(|line| !line.ends_with(" 0"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_page_of_an_application_without_clerk_loads_it_and_starts_it() {
    let world = builder().start().await;
    world.upstream.answers(|_| html(PAGE));
    let ada = world.clerk.sign_in("ada", None);
    let page = world.visit("/accounts").cookie(&cookies(&ada)).send().await;
    assert_eq!(page.status, StatusCode::OK);
    let scripts = put_in(&page.body);
    let origin = format!("http://localhost:{}", world.gate.port());
    for part in [
        format!(
            "data-clerk-publishable-key=\"{}\"",
            world.clerk.publishable_key()
        ),
        format!("data-clerk-proxy-url=\"{origin}/__clerk\""),
        format!("src=\"{origin}/__clerk/npm/@clerk/clerk-js@6.29.3/dist/clerk.browser.js\""),
        format!("data-sign-in-url=\"{}\"", world.clerk.sign_in_url()),
    ] {
        assert!(scripts.contains(&part), "{part}: {scripts}");
    }
    for gone in ["etag", "last-modified", "content-length"] {
        assert_eq!(page.header(gone), None, "{gone}");
    }
    assert_eq!(page.header("vary"), Some("sec-fetch-dest"));
    assert_eq!(counts(&world).await, ["injected 1"]);

    let (_, start) = scripts.rsplit_once(&origin).unwrap();
    let (start, _) = start.split_once('"').unwrap();
    let script = world.get(start).send().await;
    assert_eq!(script.status, StatusCode::OK);
    assert!(script.body.contains("clerk.load("), "{}", script.body);
    for (name, value) in [
        ("content-type", "text/javascript; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "public, max-age=31536000, immutable"),
    ] {
        assert_eq!(script.header(name), Some(value));
    }
    assert_eq!(
        world.upstream.received().len(),
        1,
        "the script is the gate's own"
    );
}

#[tokio::test]
async fn the_start_script_is_kept_by_its_version_alone_and_only_read() {
    let world = builder().start().await;
    for stale in ["/_gate/inject/start.js", "/_gate/inject/start.js?v=other"] {
        let script = world.get(stale).send().await;
        assert_eq!(script.status, StatusCode::OK);
        assert_eq!(script.header("cache-control"), Some("no-cache"), "{stale}");
    }
    let posted = world.request(Method::POST, "/_gate/inject/start.js");
    assert_eq!(posted.send().await.status, StatusCode::METHOD_NOT_ALLOWED);
    let head = world.request(Method::HEAD, "/_gate/inject/start.js");
    assert_eq!(head.send().await.status, StatusCode::OK);
    world.upstream.assert_untouched();

    let off = builder()
        .configure(|config| config.clerk.instance.injection = None)
        .start()
        .await;
    let script = off.get("/_gate/inject/start.js").send().await;
    assert_eq!(script.status, StatusCode::NOT_FOUND);
    off.upstream.assert_untouched();
}

#[tokio::test]
async fn an_application_is_asked_for_the_whole_page_and_not_compressed() {
    let world = builder().start().await;
    world.upstream.answers(|_| html(PAGE));
    let held = [
        ("accept-encoding", "gzip, br"),
        ("if-none-match", "\"a\""),
        ("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("if-range", "\"a\""),
        ("range", "bytes=0-9"),
    ];
    let call = held
        .iter()
        .fold(world.visit("/pages/a"), |call, (name, value)| {
            call.header(name, value)
        });
    assert_eq!(call.send().await.status, StatusCode::OK);
    let asked = world.upstream.only();
    assert_eq!(asked.header("accept-encoding").as_deref(), Some("identity"));
    for (name, _) in &held[1..] {
        assert_eq!(asked.header(name), None, "{name}");
    }
    world.upstream.take_received();

    // A script's request, and a route that says nothing, are none of it.
    for call in [
        world.get("/pages/a").header("sec-fetch-dest", "empty"),
        world.visit("/plain/a"),
    ] {
        let call = held
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value));
        let answer = call.send().await;
        assert_eq!(answer.body, PAGE);
        assert_eq!(answer.header("etag"), Some("\"a\""));
        let asked = world.upstream.take_received().remove(0);
        for (name, value) in held {
            assert_eq!(asked.header(name).as_deref(), Some(value));
        }
    }
    assert_eq!(counts(&world).await, ["injected 1"]);
}

#[tokio::test]
async fn only_browsers_that_go_to_a_page_get_it_with_clerk() {
    let world = builder().start().await;
    world.upstream.answers(|_| html(PAGE));
    for (lines, expected) in [
        (&[("sec-fetch-dest", "document")][..], true),
        (&[("sec-fetch-dest", "iframe")], true),
        (&[("sec-fetch-dest", "frame")], true),
        (&[("accept", "text/html,*/*;q=0.8")], true),
        (&[], false),
        (&[("accept", "*/*")], false),
        (
            &[
                ("accept", "text/html"),
                ("x-requested-with", "XMLHttpRequest"),
            ],
            false,
        ),
        (
            &[("accept", "text/html"), ("sec-fetch-dest", "empty")],
            false,
        ),
        (
            &[("accept", "text/html"), ("sec-fetch-dest", "embed")],
            false,
        ),
        (
            &[("accept", "text/html"), ("sec-fetch-mode", "cors")],
            false,
        ),
    ] {
        let call = lines
            .iter()
            .fold(world.get("/pages/a"), |call, (name, value)| {
                call.header(name, value)
            });
        let answer = call.send().await;
        assert_eq!(answer.body != PAGE, expected, "{lines:?}");
    }
    let post = world
        .request(Method::POST, "/pages/a")
        .header("sec-fetch-dest", "document")
        .header("accept", "text/html");
    assert_eq!(post.send().await.body, PAGE, "the answer to a form");
    assert_eq!(counts(&world).await, ["injected 4"]);
}

#[tokio::test]
async fn a_machine_gets_the_page_as_it_is() {
    let world = World::with(vec![Route {
        pages: Pages::WithClerkJs,
        ..route(
            "keys",
            &["/**"],
            Requirement::Token(TokenTypes::of(&[TokenType::ApiKey])),
        )
    }])
    .configure(|config| config.clerk.instance.injection = Some(injection()))
    .start()
    .await;
    world.upstream.answers(|_| html(PAGE));
    let grant = MachineGrant::new(MachineKind::ApiKey, "user_2Ada00000000000000000000001", &[]);
    let key = world.clerk.machine_token(grant);
    let answer = world.visit("/pages/a").bearer(&key.secret).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, PAGE);
}

#[tokio::test]
async fn a_page_that_is_left_alone_goes_on_as_it_is_and_is_counted() {
    let world = builder().start().await;
    for (name, value, counted) in [
        ("content-encoding", "gzip", "left-encoding 1"),
        (
            "content-security-policy",
            "script-src 'self'",
            "left-csp-worker 1",
        ),
        (
            "content-security-policy",
            "script-src 'none'",
            "left-csp-script 1",
        ),
        ("cache-control", "no-transform", "left-no-transform 1"),
        ("content-disposition", "attachment", "left-attachment 1"),
    ] {
        world.upstream.answers(move |_| {
            let mut answer = html(PAGE);
            answer.headers_mut().insert(name, value.parse().unwrap());
            answer
        });
        let before = counts(&world).await;
        let page = world.visit("/pages/a").send().await;
        assert_eq!(page.body, PAGE, "{value}");
        assert_eq!(page.header(name), Some(value));
        assert_eq!(page.header("etag"), Some("\"a\""));
        let length = PAGE.len().to_string();
        assert_eq!(page.header("content-length"), Some(length.as_str()));
        let counts = counts(&world).await;
        assert!(counts.contains(&counted.to_owned()), "{counts:?}");
        assert_eq!(counts.len(), before.len() + 1);
    }
}

#[tokio::test]
async fn a_page_that_must_not_be_changed_is_not_where_the_gate_sets_cookies() {
    let world = builder().start().await;
    world.upstream.answers(|_| {
        let mut answer = html(PAGE);
        let headers = answer.headers_mut();
        headers.insert("cache-control", "no-transform".parse().unwrap());
        answer
    });
    let ada = world.clerk.sign_in("ada", None);
    let refresh = refreshable(&world, &ada);
    world.clock.advance_ms(70_000);
    let page = world.visit("/accounts").cookie(&refresh).send().await;
    assert_eq!(page.status, StatusCode::OK);
    let cookies = page.all("set-cookie");
    assert!(cookies.iter().any(|line| line.starts_with("__session=")));
    assert_eq!(page.body, PAGE);
    assert_eq!(page.header("cache-control"), Some("private, no-store"));
    assert_eq!(counts(&world).await, ["left-no-transform 1"]);
}

#[tokio::test]
async fn the_answer_to_a_head_has_no_length_that_would_be_wrong() {
    let world = builder().start().await;
    world.upstream.answers(|_| {
        let mut answer = html("");
        answer
            .headers_mut()
            .insert("content-length", "79".parse().unwrap());
        answer
    });
    let head = |path| {
        let call = world.request(Method::HEAD, path);
        call.header("sec-fetch-dest", "document").send()
    };
    let page = head("/pages/a").await;
    assert_eq!(page.status, StatusCode::OK);
    for gone in ["content-length", "etag", "last-modified"] {
        assert_eq!(page.header(gone), None, "{gone}");
    }
    let plain = head("/plain/a").await;
    assert_eq!(plain.header("etag"), Some("\"a\""));
    assert_eq!(counts(&world).await, Vec::<String>::new());
}

/// A gate before an upstream that is held by hand, which has been asked for a page.
async fn asked() -> (World, Wire, Wire) {
    let upstream = WireUpstream::start().await;
    let world = builder().before(upstream.address).start().await;
    let mut client = Wire::connect(world.gate).await;
    let port = world.gate.port();
    client
        .send(format!(
            "GET /pages/a HTTP/1.1\r\nhost: localhost:{port}\r\nsec-fetch-dest: document\r\n\r\n"
        ))
        .await;
    let mut server = upstream.accept().await;
    server.head().await;
    (world, client, server)
}

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn each_piece_of_a_page_arrives_before_the_next_is_made() {
    let (world, mut client, mut server) = asked().await;
    server.send(CHUNKED).await;
    client.head().await;
    for (piece, seen) in [
        ("<html><head><title>Slow", "Slow"),
        ("ly</title>", "ly</title>"),
        ("</head><body>", "</head><body>"),
        ("<p>one", "<p>one"),
        (" two</p>", " two</p>"),
    ] {
        server.send(chunk(piece)).await;
        client.until(seen).await;
    }
    server.send("0\r\n\r\n").await;
    client.until("0\r\n\r\n").await;
    assert_eq!(counts(&world).await, ["injected 1"]);
}

#[tokio::test]
async fn a_page_of_64_mebibytes_streams_through_a_client_that_reads_slowly() {
    const SIZE: usize = 64 * 1024 * 1024;
    let (world, mut client, mut server) = asked().await;
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {SIZE}\r\n\r\n");
    server.send(head + "<head></head>").await;
    let seen = client.head().await;
    assert!(!seen.contains("content-length"), "{seen}");
    client.until("</head>").await;
    // A client that reads nothing stops the upstream: nobody holds the page for it.
    let left = SIZE - "<head></head>".len();
    let taken = server.fill(left).await;
    assert!(
        taken < SIZE / 2,
        "{taken} bytes are held for a client that reads none"
    );
    let rest = vec![b'x'; left - taken];
    let (received, ()) = tokio::join!(
        async {
            let mut received = 0;
            loop {
                let size = client.until("\r\n").await;
                let size = size.trim();
                if size.is_empty() {
                    continue;
                }
                let size = usize::from_str_radix(size, 16).unwrap();
                if size == 0 {
                    break;
                }
                let piece = client.exactly(size).await;
                assert!(piece.iter().all(|byte| *byte == b'x'));
                received += size;
            }
            received
        },
        server.send(rest)
    );
    assert_eq!(received, left);
    assert_eq!(counts(&world).await, ["injected 1"]);
}

#[tokio::test]
async fn a_tag_without_end_goes_on_as_it_is() {
    let (world, mut client, mut server) = asked().await;
    server.send(CHUNKED).await;
    client.head().await;
    let filling = "x".repeat(16 * 1024);
    server.send(chunk("<head><link href=\"")).await;
    for _ in 0..40 {
        server.send(chunk(&filling)).await;
    }
    server.send(chunk("\"></head><p>end") + "0\r\n\r\n").await;
    let page = client.until("0\r\n\r\n").await;
    assert_eq!(page.matches('x').count(), 40 * filling.len());
    assert!(!page.contains("<script"));
    assert!(page.contains("</head><p>end"));
    assert_eq!(counts(&world).await, ["left-too-long 1"]);
}

#[tokio::test]
async fn a_page_that_breaks_off_is_not_taken_for_a_whole_one() {
    for (piece, passed_on) in [
        ("<html><head><title>A</title><link", "</title>"),
        ("<html><head></head><body><p", "</head><body><p"),
    ] {
        let (_world, mut client, mut server) = asked().await;
        server.send(CHUNKED).await;
        client.head().await;
        server.send(chunk(piece)).await;
        client.until(passed_on).await;
        drop(server);
        let rest = client.rest().await;
        assert!(!rest.contains("0\r\n\r\n"), "{rest}");
    }
}

#[tokio::test]
async fn trailers_behind_a_page_go_on() {
    let upstream = WireUpstream::start().await;
    let world = builder().before(upstream.address).start().await;
    for page in ["<head></head><p>x", "no page"] {
        let mut client = Wire::connect(world.gate).await;
        let port = world.gate.port();
        client
            .send(format!(
                "GET /pages/a HTTP/1.1\r\nhost: localhost:{port}\r\nte: trailers\r\nconnection: te\r\naccept: text/html\r\n\r\n"
            ))
            .await;
        let mut server = upstream.accept().await;
        server.head().await;
        server
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\ntrailer: x-own, content-digest\r\n\r\n")
            .await;
        server
            .send(
                chunk(page)
                    + "0\r\ncontent-digest: sha-256=:AAAA:\r\nx-own: 1\r\nx-clerk-a: 2\r\n\r\n",
            )
            .await;
        client.head().await;
        let seen = client.until("x-own: 1\r\n\r\n").await;
        assert!(seen.contains(&page[page.len() - 3..]), "{seen}");
        assert!(!seen.contains("sha-256"), "{seen}");
        // The connection of the upstream is not used again: the next comes over a fresh one.
        drop(server);
    }
}
