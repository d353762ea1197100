//! What the Frontend API is told, and what comes back: the vectors of the protocol reference,
//! section 8.3, and what differs from them here.

use bytes::Bytes;
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use http::{Method, Response, StatusCode};

use super::{SECRET_KEY, before, proxy_url, world};
use crate::support::raw;
use crate::support::upstream::{Received, RecordingUpstream};

/// All headers of a request, a line each, in order of their names.
fn lines(received: &Received) -> Vec<String> {
    let mut lines: Vec<String> = received
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn the_frontend_api_is_told_this_and_nothing_else() {
    let (world, frontend_api) = world().await;
    let answer = world
        .request(
            Method::PATCH,
            "/__clerk/v1/me?_clerk_session_id=sess_1&__clerk_db_jwt=dvb_1&q=%zz",
        )
        .header("accept", "*/*")
        .header("accept-encoding", "gzip, br")
        .header("authorization", "Bearer of-the-client")
        .header("origin", "https://app.example.com")
        .header("user-agent", "browser")
        .header("x-clerk-client-id", "client_1")
        .header("clerk-api-version", "2026-05-12")
        .header("content-type", "application/json")
        .body("{\"a\":1}")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let received = frontend_api.only();
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        (
            "PATCH",
            "/v1/me?_clerk_session_id=sess_1&__clerk_db_jwt=dvb_1&q=%zz"
        )
    );
    let port = world.gate.port();
    assert_eq!(
        lines(&received),
        [
            "accept-encoding: gzip, br".to_owned(),
            "accept: */*".to_owned(),
            "authorization: Bearer of-the-client".to_owned(),
            "clerk-api-version: 2026-05-12".to_owned(),
            format!("clerk-proxy-url: {}", proxy_url(&world)),
            format!("clerk-secret-key: {SECRET_KEY}"),
            "content-length: 7".to_owned(),
            "content-type: application/json".to_owned(),
            format!("host: {}", frontend_api.address),
            "origin: https://app.example.com".to_owned(),
            "user-agent: browser".to_owned(),
            "x-clerk-client-id: client_1".to_owned(),
            "x-forwarded-for: 127.0.0.1".to_owned(),
            format!("x-forwarded-host: localhost:{port}"),
            "x-forwarded-proto: http".to_owned(),
        ]
    );
    assert_eq!(&received.body[..], b"{\"a\":1}");
    world.upstream.assert_untouched();
}

/// A row of the table: what arrives, and what the Frontend API is told of it.
struct Vector {
    public: &'static str,
    trusted: &'static [&'static str],
    target: &'static str,
    lines: &'static str,
    expected: [&'static str; 4],
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "the table of section 8.3, in its order"
)]
async fn the_vectors_of_the_protocol_reference() {
    let example = Vector {
        public: "https://example.com",
        trusted: &[],
        target: "/__clerk/v1/client?x=1",
        lines: "host: example.com\r\n",
        expected: [
            "/v1/client?x=1",
            "https://example.com/__clerk",
            "127.0.0.1",
            "example.com https",
        ],
    };
    let table = [
        Vector { ..example },
        Vector {
            target: "/__clerk",
            expected: [
                "/",
                "https://example.com/__clerk",
                "127.0.0.1",
                "example.com https",
            ],
            ..example
        },
        Vector {
            target: "/__clerk/?y",
            expected: [
                "/?y",
                "https://example.com/__clerk",
                "127.0.0.1",
                "example.com https",
            ],
            ..example
        },
        // A trusted proxy says which address the public one is.
        Vector {
            public: "https://myapp.example.com",
            trusted: &["127.0.0.1"],
            target: "/__clerk/v1/client",
            lines: "host: localhost:3000\r\nx-forwarded-proto: https\r\nx-forwarded-host: myapp.example.com\r\nx-forwarded-for: 192.0.2.7\r\n",
            expected: [
                "/v1/client",
                "https://myapp.example.com/__clerk",
                "192.0.2.7",
                "myapp.example.com https",
            ],
        },
        // Of a chain, the last that no trusted proxy has.
        Vector {
            trusted: &["127.0.0.1", "10.0.0.0/8"],
            lines: "host: example.com\r\nx-forwarded-for: 203.0.113.9, 192.0.2.7, 10.0.0.1\r\n",
            expected: [
                "/v1/client?x=1",
                "https://example.com/__clerk",
                "192.0.2.7",
                "example.com https",
            ],
            ..example
        },
        // The SDK would believe a stranger in this, and in `x-real-ip`.
        Vector {
            lines: "host: example.com\r\ncf-connecting-ip: 1.2.3.4\r\nx-real-ip: 1.2.3.5\r\nx-forwarded-for: 10.0.0.1\r\n",
            ..example
        },
        Vector {
            trusted: &["127.0.0.1"],
            lines: "host: example.com\r\ncf-connecting-ip: 1.2.3.4\r\nx-real-ip: 1.2.3.5\r\n",
            ..example
        },
    ];
    for (number, vector) in table.into_iter().enumerate() {
        let Vector {
            public,
            trusted,
            target,
            lines,
            expected,
        } = vector;
        let frontend_api = RecordingUpstream::start().await;
        let world = before(&frontend_api)
            .configure(move |config| {
                config.edge.public = PublicAddress::Fixed(Origin::parse(public).unwrap());
                config.edge.trusted_proxies = trusted
                    .iter()
                    .map(|net| {
                        net.parse()
                            .unwrap_or_else(|_| net.parse::<std::net::IpAddr>().unwrap().into())
                    })
                    .collect();
            })
            .start()
            .await;
        let request = format!("GET {target} HTTP/1.1\r\n{lines}connection: close\r\n\r\n");
        let answer = raw(world.gate, request.as_bytes()).await;
        assert_eq!(answer.status, StatusCode::OK, "{number}");
        let received = frontend_api.only();
        let told = |name: &str| received.header(name).unwrap_or_default();
        let place = format!("{} {}", told("x-forwarded-host"), told("x-forwarded-proto"));
        assert_eq!(
            [
                received.target.as_str(),
                &told("clerk-proxy-url"),
                &told("x-forwarded-for"),
                &place
            ],
            expected,
            "{number}"
        );
        for other in ["cf-connecting-ip", "x-real-ip", "forwarded"] {
            assert_eq!(received.header(other), None, "{number}");
        }
        assert_eq!(told("host"), frontend_api.address.to_string(), "{number}");
    }
}

#[tokio::test]
async fn redirects_to_the_frontend_api_lead_to_the_proxy_and_others_stay_as_they_are() {
    let frontend_api = RecordingUpstream::start().await;
    let world = before(&frontend_api)
        .configure(|config| {
            config.edge.public =
                PublicAddress::Fixed(Origin::parse("https://example.com").unwrap());
        })
        .start()
        .await;
    let own = frontend_api.address;
    let table = [
        (
            format!("http://{own}/v1/oauth/callback?code=123"),
            "https://example.com/__clerk/v1/oauth/callback?code=123",
        ),
        (
            format!("https://{own}/v1/x#part"),
            "https://example.com/__clerk/v1/x#part",
        ),
        (format!("HTTP://{own}"), "https://example.com/__clerk/"),
        (format!("//{own}/v1/x"), "https://example.com/__clerk/v1/x"),
        (
            format!("http://{own}//evil.com/x"),
            "https://example.com/__clerk//evil.com/x",
        ),
        (
            format!("http://user:pass@{own}/v1/x"),
            "https://example.com/__clerk/v1/x",
        ),
        (
            "/v1/x?y=1".to_owned(),
            "https://example.com/__clerk/v1/x?y=1",
        ),
        ("v1/x".to_owned(), "https://example.com/__clerk/v1/x"),
        ("?y=1".to_owned(), "https://example.com/__clerk/?y=1"),
        (
            "https://accounts.google.com/o/oauth2/auth?client_id=1".to_owned(),
            "https://accounts.google.com/o/oauth2/auth?client_id=1",
        ),
        (format!("https://accounts.google.com/?to=http://{own}/"), ""),
        (format!("http://{own}.evil.com/x"), ""),
        ("http://127.0.0.1/x".to_owned(), ""),
        ("//evil.com/x".to_owned(), ""),
        ("myapp://callback?x=1".to_owned(), ""),
        (format!("ftp://{own}/x"), ""),
        ("http://[not-an-address/".to_owned(), ""),
    ];
    for (written, expected) in table {
        let expected = if expected.is_empty() {
            &*written
        } else {
            expected
        };
        let location = written.clone();
        frontend_api.answers(move |_| {
            let answer = Response::builder().status(303);
            answer
                .header("location", &location)
                .body(Bytes::new())
                .unwrap()
        });
        let answer = world
            .get("/__clerk/v1/x")
            .header("host", "example.com")
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.all("location"), [expected], "{written}");
    }
    // Nobody followed any of them.
    assert_eq!(frontend_api.received().len(), 17);
    assert!(frontend_api.received().iter().all(|r| r.target == "/v1/x"));
}

#[tokio::test]
async fn every_method_goes_on_with_its_body_and_without_a_look_at_who_asks() {
    let (world, frontend_api) = world().await;
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = world
            .request(method.clone(), "/__clerk/v1/x")
            .bearer("not.a.token")
            .cookie("__session=not.a.token; __client_uat=1")
            .header("origin", "https://elsewhere.example")
            .header("access-control-request-method", "POST")
            .body("body")
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{method}");
        assert!(answer.all("x-clerk-auth-status").is_empty(), "{method}");
        let received = frontend_api.take_received().remove(0);
        assert_eq!(
            (received.method.as_str(), &received.body[..]),
            (method.as_str(), &b"body"[..])
        );
    }
    assert_eq!(world.clerk.calls_total(), 0);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn cookies_of_clerk_go_to_clerk_and_no_others() {
    let (world, frontend_api) = world().await;
    let request = format!(
        "GET /__clerk/v1/client HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\n\
         cookie: app=1; __client=c; __client_uat=1; __client_uat_abc=2; __clients=x\r\n\
         cookie: __session=s; __session_abc=t; __sessions=x; __refresh_abc=r; __Host-clerk-gate=g\r\n\
         cookie: __clerk_db_jwt=d; __clerk_db_jwt_abc=e; __clerk_handshake_nonce=n; clerk_active_context=a; __CLIENT=x; csrf=2\r\n\r\n",
        world.gate.port()
    );
    assert_eq!(raw(world.gate, request.as_bytes()).await.status, 200);
    assert_eq!(
        frontend_api.only().header("cookie").unwrap(),
        "__client=c; __client_uat=1; __client_uat_abc=2; __session=s; __session_abc=t; __refresh_abc=r; __clerk_db_jwt=d; __clerk_db_jwt_abc=e; __clerk_handshake_nonce=n; clerk_active_context=a"
    );
    let none = world.get("/__clerk/v1/client").cookie("app=1").send().await;
    assert_eq!(none.status, StatusCode::OK);
    assert_eq!(frontend_api.received()[1].header("cookie"), None);
}

#[tokio::test]
async fn an_answer_comes_back_as_it_is() {
    let (world, frontend_api) = world().await;
    frontend_api.answers(|_| {
        Response::builder()
            .status(422)
            .header("set-cookie", "__client=c; HttpOnly; SameSite=Lax; Path=/")
            .header("set-cookie", "__client_uat=5; Domain=example.com, odd")
            .header("content-encoding", "gzip")
            .header("content-type", "application/json")
            .header("cache-control", "public, max-age=60")
            .header("cf-ray", "1")
            .header("clerk-db-jwt", "dvb_1")
            .header("access-control-allow-origin", "https://app.example.com")
            .header("connection", "x-hop, keep-alive")
            .header("keep-alive", "timeout=5")
            .header("proxy-authenticate", "Basic")
            .header("x-hop", "1")
            .body(Bytes::from_static(b"not really gzip"))
            .unwrap()
    });
    let answer = world.get("/__clerk/v1/x").send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (422, "not really gzip")
    );
    assert_eq!(
        answer.all("set-cookie"),
        [
            "__client=c; HttpOnly; SameSite=Lax; Path=/",
            "__client_uat=5; Domain=example.com, odd"
        ]
    );
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("content-length", "15"),
        ("content-type", "application/json"),
        ("cache-control", "public, max-age=60"),
        ("cf-ray", "1"),
        ("clerk-db-jwt", "dvb_1"),
        ("access-control-allow-origin", "https://app.example.com"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    for gone in ["x-hop", "keep-alive", "proxy-authenticate"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert!(answer.header("x-request-id").is_some());
}
