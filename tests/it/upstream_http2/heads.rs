//! What the application is told in HTTP/2 is what it is told in HTTP/1.1.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response, StatusCode, Version};

use super::before;
use crate::support::upstream::{Received, RecordingUpstream};
use crate::support::{World, cookies, usual_routes};

/// What arrived, with the lines of each header.
fn common(received: Received) -> (String, String, BTreeMap<String, Vec<Vec<u8>>>, Bytes) {
    let received = received.in_either_version();
    let headers = &received.headers;
    let headers = headers.keys().map(|name| {
        let lines = headers.get_all(name).iter();
        let lines = lines.map(|line| line.as_bytes().to_vec()).collect();
        (name.to_string(), lines)
    });
    let headers = headers.collect();
    (received.method, received.target, headers, received.body)
}

type Line = (&'static str, &'static str);

/// Requests that have something to them: method, target, headers, body.
const REQUESTS: [(&str, &str, &[Line], &str); 22] = [
    ("GET", "/public/x", &[], ""),
    ("GET", "/public/x?a=%20b&&c=%zz", &[], ""),
    ("GET", "/public/a%2eb/%C3%A9", &[], ""),
    ("HEAD", "/public/x", &[], ""),
    ("DELETE", "/public/x", &[], ""),
    (
        "POST",
        "/public/x",
        &[("content-type", "text/plain")],
        "body",
    ),
    ("POST", "/public/x", &[], ""),
    ("PUT", "/public/x", &[("expect", "100-continue")], "body"),
    ("GET", "/public/x", &[("te", "trailers")], ""),
    ("GET", "/public/x", &[("te", "gzip, trailers;q=1")], ""),
    (
        "GET",
        "/public/x",
        &[("connection", "x-user-id, x-own"), ("x-own", "1")],
        "",
    ),
    ("GET", "/public/x", &[("x-user-id", "user_forged")], ""),
    ("GET", "/public/x", &[("x_user_id", "user_forged")], ""),
    ("GET", "/public/x", &[("x.user.id", "user_forged")], ""),
    (
        "GET",
        "/public/x",
        &[("x-org-role", "org:admin"), ("x-org-role", "org:admin")],
        "",
    ),
    (
        "GET",
        "/public/x",
        &[("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=x")],
        "",
    ),
    ("GET", "/public/x", &[("x-original-url", "/admin")], ""),
    (
        "GET",
        "/public/x",
        &[("upgrade", "h2c"), ("connection", "upgrade")],
        "",
    ),
    (
        "GET",
        "/public/x",
        &[("keep-alive", "5"), ("proxy-connection", "x")],
        "",
    ),
    (
        "GET",
        "/public/x",
        &[("cookie", "a=1; __client=c"), ("cookie", "b=2")],
        "",
    ),
    (
        "GET",
        "/public/x",
        &[("accept", "a"), ("accept", "b"), ("x-bytes", "\u{e9}")],
        "",
    ),
    (
        "GET",
        "/public/x",
        &[("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA")],
        "",
    ),
];

#[tokio::test]
async fn the_application_is_told_the_same_in_either_version() {
    let upstream = RecordingUpstream::start_in_either_version().await;
    let old = World::with(usual_routes()).start().await;
    let new = before(upstream.address).await;
    for (method, target, headers, body) in REQUESTS {
        let (mut told, mut versions) = (Vec::new(), Vec::new());
        for (world, upstream) in [(&old, &old.upstream), (&new, &upstream)] {
            let method: Method = method.parse().unwrap();
            let mut call = world
                .request(method, target)
                .header("host", "localhost")
                .header("x-request-id", "0123456789abcdef");
            for (name, value) in headers {
                call = call.header(name, value);
            }
            if !body.is_empty() {
                call = call.body(body);
            }
            assert_eq!(call.send().await.status, StatusCode::OK, "{target}");
            let mut received = upstream.take_received();
            assert_eq!(received.len(), 1, "{target} {headers:?}");
            versions.push(received[0].version);
            told.push(common(received.remove(0)));
        }
        assert_eq!(versions, [Version::HTTP_11, Version::HTTP_2]);
        assert_eq!(told[0], told[1], "{method} {target} {headers:?}");
        assert!(!format!("{told:?}").contains("user_forged"), "{told:?}");
    }
}

#[tokio::test]
async fn who_somebody_is_arrives_and_who_may_not_does_not() {
    let upstream = RecordingUpstream::start_in_either_version().await;
    let world = before(upstream.address).await;
    let session = world.clerk.sign_in("ada", None);
    let page = world.get("/members").cookie(&cookies(&session));
    assert_eq!(page.send().await.status, StatusCode::OK);
    let received = upstream.take_received().remove(0);
    assert_eq!(received.header("x-user-id").unwrap(), session.user_id);
    for target in ["/members", "/admin/x"] {
        let page = world.get(target).header("x-user-id", &session.user_id);
        assert_eq!(page.send().await.status, StatusCode::UNAUTHORIZED);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways_by_the_same_rules() {
    let upstream = RecordingUpstream::start_in_either_version().await;
    let world = before(upstream.address).await;
    upstream.answers(|_| {
        let answer = Response::builder().header("connection-id", "x");
        answer.body(Bytes::from(vec![b'x'; 300_000])).unwrap()
    });
    let body = "4\r\nbody\r\n0\r\nx-own: 1\r\nx-user-id: user_forged\r\ncookie: a=1\r\n\r\n";
    let call = world
        .request(Method::POST, "/public/x")
        .header("transfer-encoding", "chunked")
        .header("trailer", "x-own, x-user-id");
    let answer = call.body(body).send().await;
    assert_eq!(answer.body.len(), 300_000);
    let received = upstream.only();
    assert_eq!(&received.body[..], b"body");
    assert_eq!(received.header("trailer").as_deref(), Some("x-own"));
    assert_eq!(received.trailers.len(), 1, "{:?}", received.trailers);
    assert_eq!(received.trailers["x-own"], "1");
}
