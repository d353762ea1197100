//! What the application is told does not depend on the version that a request came in.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{world, world_with};
use crate::attacks::{assert_none, table};
use crate::support::http2::{Connection, ask_as, with_trailers};
use crate::support::upstream::Received;
use crate::support::{World, cookies, raw};

/// Requests that a browser or a program sends, without host and cookies; and whether somebody sends
/// them who is signed in.
const REQUESTS: [(&str, bool); 12] = [
    ("GET /public/x HTTP/1.1\r\n", false),
    (
        "GET /public/x?a=1&b=%20&__clerk_db_jwt=x HTTP/1.1\r\n",
        true,
    ),
    ("HEAD /public/x HTTP/1.1\r\n", true),
    ("GET /members HTTP/1.1\r\naccept: text/html\r\n", true),
    ("GET /public/%7Ex/../y HTTP/1.1\r\n", true),
    (
        "POST /members HTTP/1.1\r\ncontent-type: text/plain\r\n",
        true,
    ),
    ("PUT /members/1 HTTP/1.1\r\nx-one: 1\r\nx-one: 2\r\n", true),
    ("DELETE /members/1 HTTP/1.1\r\n", true),
    (
        "OPTIONS /public/x HTTP/1.1\r\norigin: http://a.example\r\n",
        false,
    ),
    (
        "GET /members HTTP/1.1\r\nx-user-id: forged\r\nx_user_id: forged\r\n",
        true,
    ),
    (
        "GET /members HTTP/1.1\r\nx-forwarded-for: 8.8.8.8\r\nx-forwarded-proto: https\r\n",
        true,
    ),
    (
        "GET /members HTTP/1.1\r\nte: trailers\r\naccept-encoding: gzip, br\r\n",
        true,
    ),
];

fn request(world: &World, line: &str, cookies: &str, body: &str) -> Vec<u8> {
    let port = world.gate.port();
    let cookies = match cookies {
        "" => String::new(),
        cookies => format!("cookie: {cookies}\r\n"),
    };
    let length = match body.len() {
        0 => String::new(),
        length => format!("content-length: {length}\r\n"),
    };
    format!("{line}host: localhost:{port}\r\nx-request-id: one\r\n{cookies}{length}connection: close\r\n\r\n{body}").into_bytes()
}

/// What reached the application, but for how bodies are framed.
fn told(received: &Received) -> (String, String, BTreeMap<String, Vec<String>>, Vec<u8>) {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &received.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        // This client says so of what has no body.
        if name == "content-length" && value == "0" {
            continue;
        }
        headers.entry(name.to_string()).or_default().push(value);
    }
    let body = received.body.to_vec();
    (
        received.method.clone(),
        received.target.clone(),
        headers,
        body,
    )
}

#[tokio::test]
async fn the_application_is_told_the_same_in_either_version() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut count = 0;
    for (line, signed_in) in REQUESTS {
        let own = format!("{}; theme=dark", cookies(&ada));
        let cookies = if signed_in { &*own } else { "" };
        let body = if line.starts_with('P') { "body" } else { "" };
        let bytes = request(&world, line, cookies, body);
        let first = raw(world.gate, &bytes).await;
        let one = world.upstream.take_received();
        let second = ask_as(world.gate, &bytes).await.unwrap();
        let two = world.upstream.take_received();
        assert_eq!(
            (one.len(), two.len()),
            (1, 1),
            "{line}: {first:?} {second:?}"
        );
        assert_eq!(told(&one[0]), told(&two[0]), "{line}");
        assert_eq!((first.status, &first.body), (second.status, &second.body));
        count += 1;
    }
    assert_eq!(count, 12);
}

#[tokio::test]
async fn what_is_refused_is_refused_with_the_same_reason_in_either_version() {
    let world = world().await;
    let paths = table("paths.txt", 500);
    let mut faults = Vec::new();
    let mut compared = 0;
    for case in paths {
        // Of any other target hyper itself says in HTTP/1.1 that it is none.
        let target = std::str::from_utf8(&case.input).ok();
        let Some(target) = target.filter(|text| text.starts_with('/') && !text.contains(' '))
        else {
            continue;
        };
        let line = format!("GET {target} HTTP/1.1\r\n");
        let bytes = request(&world, &line, "", "");
        let Some(second) = ask_as(world.gate, &bytes).await else {
            // No such target can be sent in HTTP/2 by this client.
            continue;
        };
        let two = world.upstream.take_received();
        let first = raw(world.gate, &bytes).await;
        let one = world.upstream.take_received();
        compared += 1;
        let alike = (first.status, first.code()) == (second.status, second.code());
        let same: Vec<_> = one.iter().map(told).collect();
        if !alike || same != two.iter().map(told).collect::<Vec<_>>() {
            faults.push(case.fault(format!("{first:?} {second:?}")));
        }
    }
    assert_none(&faults);
    println!("paths.txt in both versions: {compared}");
    assert!(compared >= 400, "only {compared}");
}

#[tokio::test]
async fn crumbs_of_cookies_are_read_and_passed_on_as_one_line() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut client = Connection::open(world.gate).await;
    let mut request = client.get("/members");
    let own = cookies(&ada);
    for crumb in own.split("; ").chain(["theme=dark", "b=\"2\""]) {
        request
            .headers_mut()
            .append("cookie", crumb.parse().unwrap());
    }
    let answer = client.ask(request).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let received = world.upstream.only();
    assert_eq!(received.header("x-user-id").unwrap(), ada.user_id);
    assert_eq!(received.header("cookie").unwrap(), "theme=dark; b=\"2\"");
}

#[tokio::test]
async fn the_first_of_two_session_cookies_counts_in_crumbs_too() {
    let world = world().await;
    let (ada, mel) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("mel", None),
    );
    for (first, second) in [(&ada, &mel), (&mel, &ada)] {
        let mut client = Connection::open(world.gate).await;
        let mut request = client.get("/members");
        for crumb in [
            format!("__client_uat={}", first.client_uat),
            format!("__session={}", first.token),
            format!("__session={}", second.token),
        ] {
            request
                .headers_mut()
                .append("cookie", crumb.parse().unwrap());
        }
        let joined = format!(
            "__client_uat={}; __session={}; __session={}",
            first.client_uat, first.token, second.token
        );
        let over_two = client.ask(request).await.status;
        let two = world.upstream.take_received();
        let over_one = world.get("/members").cookie(&joined).send().await.status;
        let one = world.upstream.take_received();
        assert_eq!(over_one, over_two);
        let user = |received: &[Received]| received.first().and_then(|r| r.header("x-user-id"));
        assert_eq!(user(&one), user(&two));
    }
}

#[tokio::test]
async fn an_authority_that_is_not_the_host_is_refused() {
    let world = world().await;
    let own = format!("localhost:{}", world.gate.port());
    for (host, allowed) in [
        (own.as_str(), true),
        ("localhost", false),
        ("evil.example", false),
        ("localhost:1", false),
        ("", false),
    ] {
        let mut client = Connection::open(world.gate).await;
        let mut request = client.get("/public/x");
        request.headers_mut().insert("host", host.parse().unwrap());
        let answer = client.ask(request).await;
        if allowed {
            assert_eq!(answer.status, StatusCode::OK, "{host}: {answer:?}");
            assert_eq!(world.upstream.take_received().len(), 1);
        } else {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{host}");
            assert_eq!(answer.code(), "host-invalid", "{host}");
            world.upstream.assert_untouched();
        }
    }
}

#[tokio::test]
async fn a_host_that_is_not_served_is_refused() {
    let world = world().await;
    let mut client = Connection::open(world.gate).await;
    let mut request = client.get("/public/x");
    *request.uri_mut() = "http://evil.example/public/x".parse().unwrap();
    let answer = client.ask(request).await;
    assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(answer.code(), "host-not-served");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_to_other_requests() {
    let world = world().await;
    let mut client = Connection::open(world.gate).await;
    let refused = client.get("/a%00b");
    assert_eq!(client.ask(refused).await.status, StatusCode::BAD_REQUEST);
    let request = client.get("/public/x");
    assert_eq!(client.ask(request).await.status, StatusCode::OK);
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn an_answer_to_head_has_the_length_of_a_body_and_none() {
    let world = world().await;
    let mut client = Connection::open(world.gate).await;
    for target in ["/a%00b", "/members", "/_gate/me"] {
        let request = client.request(Method::HEAD, target);
        let answer = client.ask(request).await;
        assert_eq!(answer.body, "", "{target}");
        let in_http1 = world.request(Method::HEAD, target).send().await;
        let length = answer.header("content-length");
        assert_eq!(length, in_http1.header("content-length"), "{target}");
        assert!(length.is_some(), "{target}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_body_whose_length_is_not_told_arrives_whole() {
    let world = world().await;
    let mut client = Connection::open(world.gate).await;
    let mut request = client.request(Method::POST, "/public/x");
    *request.body_mut() = with_trailers(b"body", HeaderMap::new());
    assert_eq!(client.ask(request).await.status, StatusCode::OK);
    let received = world.upstream.only();
    assert_eq!(&*received.body, b"body");
    assert_eq!(received.header("transfer-encoding").unwrap(), "chunked");
}

#[tokio::test]
async fn trailers_go_on_as_they_do_in_http_1() {
    let world = world().await;
    let mut client = Connection::open(world.gate).await;
    let mut request = client.request(Method::POST, "/public/x");
    let names = HeaderValue::from_static("x-sum, x-user-id, cookie");
    request.headers_mut().insert("trailer", names);
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "x-user-id", "cookie", "x-other"] {
        trailers.insert(name, HeaderValue::from_static("forged"));
    }
    *request.body_mut() = with_trailers(b"body", trailers);
    assert_eq!(client.ask(request).await.status, StatusCode::OK);
    let received = world.upstream.only();
    let names: Vec<&HeaderName> = received.trailers.keys().collect();
    assert_eq!(names, ["x-sum"]);
}

#[tokio::test]
async fn http_1_goes_on_beside_http_2_on_the_same_listener() {
    let world = world().await;
    for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH] {
        let answer = world.request(method, "/public/x").send().await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert_eq!(world.upstream.received().len(), 4);
}

#[tokio::test]
async fn http_2_is_not_taken_where_it_is_switched_off() {
    let world = world_with(|world| world.configure(|config| config.http2.cleartext = false)).await;
    let stream = tokio::net::TcpStream::connect(world.gate).await.unwrap();
    let mut wire = crate::support::wire::Wire::over(stream);
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    let heard = wire.rest().await;
    assert!(
        heard.is_empty() || heard.starts_with("HTTP/1.1 "),
        "{heard:?}"
    );
    world.upstream.assert_untouched();
}
