//! Calls of gRPC that are refused, and how long their bodies may pause.

use std::collections::BTreeMap;
use std::time::Duration;

use clerk_gate::config::Protocol;
use clerk_gate::core::decide::RefusalKind;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::Disclosure;
use clerk_gate::core::reason::Reason;
use clerk_gate::core::reply;
use clerk_gate::core::reply::call::{Code, code};
use clerk_gate::core::requirement::Requirement;
use http::{Method, StatusCode};

use crate::docs::{one_at_all, part, read, rows};
use crate::support::frames::server::Server;
use crate::support::frames::{DATA, END_HEADERS, HEADERS, OK, RST_STREAM};
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{Answer, Call, World, doors, route, usual_routes};

/// A call of this method, with a message.
fn call(world: &World, method: &str, bearer: Option<&str>) -> Call {
    let call = world
        .request(Method::POST, method)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(&b"\0\0\0\0\x05hello"[..]);
    match bearer {
        Some(token) => call.bearer(token),
        None => call,
    }
}

/// The number of the status, and the reason.
fn said(answer: &Answer) -> (&str, &str) {
    let text = |name| answer.header(name).unwrap_or_default();
    (text("grpc-status"), text("x-clerk-auth-reason"))
}

#[tokio::test]
async fn a_refused_call_is_told_in_terms_of_grpc_and_reaches_nobody() {
    let mut routes = usual_routes();
    let mut hidden = route("hidden", &["/hidden.Service/**"], Requirement::SignedIn);
    hidden.disclosure = Disclosure::Hidden;
    let mut small = route("small", &["/small.Service/**"], Requirement::Public);
    small.max_body = Some(3);
    routes.extend([hidden, small]);
    let world = World::with(routes).start().await;
    let mel = world.clerk.sign_in("mel", None).token;
    for (method, bearer, code, reason) in [
        ("/members.Service/List", None, "16", "dev-browser-missing"),
        (
            "/members.Service/List",
            Some("x.y.z"),
            "16",
            "token-invalid",
        ),
        ("/admin/List", Some(&*mel), "7", "role-missing"),
        ("/hidden.Service/List", None, "12", ""),
        ("/%zz", None, "3", "path-malformed"),
        ("/small.Service/List", None, "8", "body-too-large"),
    ] {
        let answer = call(&world, method, bearer).send().await;
        assert_eq!(said(&answer), (code, reason), "{method} {answer:?}");
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, ""));
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert!(!answer.header("grpc-message").unwrap().is_empty());
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(answer.header("location"), None);
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_caller_that_looks_like_a_browser_is_told_the_same() {
    let world = World::start().await;
    for kind in ["application/grpc", "application/grpc-web+proto"] {
        let call = world
            .request(Method::POST, "/members")
            .header("content-type", kind)
            .header("accept", "text/html")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-mode", "navigate");
        let answer = call.body("x").send().await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, ""));
        assert_eq!(answer.header("grpc-status"), Some("16"));
        assert!(answer.header("www-authenticate").is_some());
    }
    // A page load is none, whatever it says that it brings.
    let page = world
        .visit("/members")
        .header("content-type", "application/grpc");
    assert_eq!(page.send().await.status, StatusCode::TEMPORARY_REDIRECT);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_gateway_that_asks_about_a_call_is_never_told_200_where_it_may_not_go_on() {
    let world = World::with(usual_routes())
        .configure(|config| config.forward_auth = Some(doors(&["127.0.0.0/8"], None)))
        .start()
        .await;
    let door = world.doors.unwrap();
    for (gateway, method) in [("nginx", "/auth/nginx"), ("traefik", "/auth/traefik")] {
        let asked = Call::new(door, Method::GET, method)
            .header("content-type", "application/grpc")
            .header("x-original-method", "POST")
            .header("x-original-uri", "/members")
            .header("x-original-url", "http://localhost/members")
            .header("x-forwarded-method", "POST")
            .header("x-forwarded-uri", "/members")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-host", "localhost");
        let answer = asked.send().await;
        assert!(!answer.status.is_success(), "{gateway}: {answer:?}");
        assert_eq!(answer.header("grpc-status"), None, "{gateway}");
    }
}

#[tokio::test]
async fn a_limit_and_an_application_that_fails_are_told_in_terms_of_grpc() {
    let server = WireUpstream::start().await;
    let address = server.address;
    let world = World::with(usual_routes())
        .configure(move |config| {
            config.upstreams[0].url = Origin::parse(&format!("http://{address}")).unwrap().into();
            config.upstreams[0].protocol = Protocol::Http2;
            config.upstreams[0].connect_timeout = Duration::from_millis(100);
            config.policy = config.policy.clone().limited_by(&[one_at_all()]);
        })
        .start()
        .await;
    // Nobody accepts, so the first comes to nothing.
    let first = call(&world, "/public/List", None).send().await;
    assert_eq!(said(&first), ("4", "upstream-timeout"), "{first:?}");
    let second = call(&world, "/public/List", None).send().await;
    assert_eq!(said(&second), ("8", "rate-limited"), "{second:?}");
    assert!(second.header("retry-after").is_some());
}

#[tokio::test]
async fn a_call_may_pause_for_longer_than_a_body_where_the_application_speaks_http2() {
    for (kind, goes_on) in [("application/grpc", true), ("text/plain", false)] {
        let server = Server::start().await;
        let address = server.address;
        let world = World::with(usual_routes())
            .configure(move |config| {
                config.upstreams[0].url =
                    Origin::parse(&format!("http://{address}")).unwrap().into();
                config.upstreams[0].protocol = Protocol::Http2;
                config.limits.body_timeout = Duration::from_millis(300);
            })
            .start()
            .await;
        let mut caller = Wire::connect(world.gate).await;
        let host = format!("localhost:{}", world.gate.port());
        caller
            .send(format!(
                "POST /public/Bidi HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\n\
                 transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
            ))
            .await;
        let mut line = server.accept().await;
        let stream = line.request().await;
        line.send(HEADERS, END_HEADERS, stream, OK).await;
        assert_eq!(line.until(DATA).await.payload, b"first");
        caller.head().await;
        // Longer than a body may pause: what is shown is what becomes of it then.
        tokio::time::sleep(Duration::from_millis(700)).await;
        caller.try_send("6\r\nsecond\r\n0\r\n\r\n").await;
        if goes_on {
            assert_eq!(line.until(DATA).await.payload, b"second");
        } else {
            assert_eq!(line.until(RST_STREAM).await.stream, stream);
        }
    }
}

/// The table of the reference: name, number, and the reasons that have it where they are no matter of
/// a session.
#[test]
fn every_status_of_grpc_is_in_the_reference() {
    let reference = read("docs/reference/reasons.md");
    let documented: BTreeMap<(String, String), Vec<String>> =
        rows(part(&reference, "Calls of gRPC"))
            .into_iter()
            .map(|row| {
                let reasons = row[2].split('`');
                let reasons = reasons.filter(|text| text.contains('-')).map(str::to_owned);
                ((row[0].clone(), row[1].clone()), reasons.collect())
            })
            .collect();
    let matters_of_requests = Reason::ALL.iter().filter(|reason| {
        let status = reply::status(RefusalKind::Request, **reason);
        status != StatusCode::INTERNAL_SERVER_ERROR
    });
    let mut codes: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for code in Code::ALL {
        codes.insert(
            (code.name().to_owned(), code.number().to_owned()),
            Vec::new(),
        );
    }
    for reason in matters_of_requests {
        let code = code(RefusalKind::Request, *reason);
        let key = (code.name().to_owned(), code.number().to_owned());
        codes.get_mut(&key).unwrap().push(reason.code().to_owned());
    }
    assert_eq!(documented, codes);
}
