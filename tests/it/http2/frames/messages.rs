//! Requests as HTTP/2 writes them (RFC 9113, section 8), and what they must not bring to the
//! upstream.

use super::*;
use crate::support::frames::*;

/// A head with these lines, in place of the usual ones.
fn head(lines: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &block(lines))
}

/// A GET with further lines.
fn with(world: &World, further: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &request(world, "GET", further))
}

/// All on one connection, each on a stream of its own.
#[tokio::test]
async fn a_head_that_is_none_resets_its_stream_and_nothing_else() {
    let world = world().await;
    let authority = format!("localhost:{}", world.gate.port());
    let (method, scheme, path, authority) = (
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/public/x"),
        (":authority", authority.as_str()),
    );
    let and = |line| vec![method, scheme, path, authority, line];
    let cases = [
        // Section 8.1.1: a length of what does not come
        and(("content-length", "4")),
        // Section 8.2.2: what is about the connection
        and(("connection", "x-user-id")),
        and(("keep-alive", "timeout=5")),
        and(("proxy-connection", "close")),
        and(("transfer-encoding", "chunked")),
        and(("upgrade", "websocket")),
        and(("te", "gzip")),
        and(("te", "trailers, deflate")),
        // Section 8.3: what only answers have, what comes too late, what is missing or there twice
        and((":status", "200")),
        vec![method, scheme, ("x-test", "1"), path, authority],
        vec![scheme, path, authority],
        vec![method, path, authority],
        vec![method, scheme, authority],
        and(method),
        and(scheme),
        and((":path", "/members")),
        and((":authority", "evil.example")),
        // Section 8.3.1: paths that are none
        vec![method, scheme, (":path", ""), authority],
        vec![method, scheme, (":path", "public/x"), authority],
        vec![method, scheme, (":path", "/public/x HTTP/1.1"), authority],
        vec![method, scheme, (":path", "/public/x\r\nx: y"), authority],
        // Section 8.5, and RFC 8441
        vec![(":method", "CONNECT"), scheme, path, authority],
        vec![method, (":protocol", "websocket"), scheme, path, authority],
    ];
    assert_eq!(cases.len(), 23, "cases");
    let mut line = Line::open(&world).await;
    let mut stream = 1;
    for lines in &cases {
        line.send(&frame(HEADERS, WHOLE, stream, &block(lines)))
            .await;
        let outcome = line.outcome().await;
        assert_eq!(outcome, Outcome::Reset(stream, PROTOCOL_ERROR), "{lines:?}");
        stream += 2;
    }
    world.upstream.assert_untouched();
    line.send(&get(&world, stream)).await;
    assert_eq!(line.outcome().await, Outcome::Answered(stream, 200));
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test]
async fn names_and_values_that_cannot_be_end_the_connection() {
    let world = world().await;
    let authority = format!("localhost:{}", world.gate.port());
    let method = [
        (":method", "GET /admin"),
        (":scheme", "http"),
        (":path", "/public/x"),
        (":authority", authority.as_str()),
    ];
    let also = |name, line| dies(name, &[PROTOCOL_ERROR], with(&world, &[line]));
    let cases = vec![
        // Section 8.2
        also("an upper-case name", ("X-User-Id", "forged")),
        also("a name with a blank", ("x user id", "forged")),
        also("a name with a colon", ("x:test", "1")),
        also("a name of no length", ("", "1")),
        also(
            "a value with a line break",
            ("x-test", "1\r\nx-user-id: eve"),
        ),
        also(
            "a value with a bare line feed",
            ("x-test", "1\nx-user-id: eve"),
        ),
        also("a value with a zero", ("x-test", "1\0")),
        // Section 8.3
        also("an unknown pseudo-header", (":unheard-of", "forged")),
        dies("a method with a blank", &[PROTOCOL_ERROR], head(&method)),
    ];
    hold(&world, 9, cases).await;
}

#[tokio::test]
async fn malformed_requests_do_not_reach_the_upstream() {
    let world = world().await;
    let authority = format!("localhost:{}", world.gate.port());
    let host = authority.as_str();
    let (method, scheme, path, authority) = (
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/public/x"),
        (":authority", host),
    );
    let refused = |name, says| refuses(name, &[PROTOCOL_ERROR], says);
    let cases = vec![
        // Section 8.1
        refused(
            "trailers without an end",
            [
                post(&world, 1, &[]),
                frame(HEADERS, END_HEADERS, 1, &block(&[("x-trailer", "1")])),
            ]
            .concat(),
        ),
        // Section 8.3.1
        refused("no authority and no host", head(&[method, scheme, path])),
        refused(
            "an authority and another host",
            with(&world, &[("host", "evil.example")]),
        ),
        refused(
            "two hosts",
            with(&world, &[("host", host), ("host", "evil.example")]),
        ),
        refused(
            "an authority with a user",
            head(&[method, scheme, path, (":authority", "eve@localhost")]),
        ),
        // Section 8.5, and RFC 8441
        refused("a CONNECT", head(&[(":method", "CONNECT"), authority])),
        refused(
            "a CONNECT for something else",
            head(&[
                (":method", "CONNECT"),
                (":protocol", "connect-udp"),
                scheme,
                path,
                authority,
            ]),
        ),
        // Section 8.1.1
        refused(
            "less content than it says",
            [
                post(&world, 1, &[("content-length", "5")]),
                frame(DATA, END_STREAM, 1, b"four"),
            ]
            .concat(),
        ),
        refused(
            "more content than it says",
            [
                post(&world, 1, &[("content-length", "5")]),
                frame(DATA, 0, 1, b"five!"),
                frame(DATA, END_STREAM, 1, b"six"),
            ]
            .concat(),
        ),
        refused(
            "content where it says there is none",
            [
                post(&world, 1, &[("content-length", "0")]),
                frame(DATA, END_STREAM, 1, b"x"),
            ]
            .concat(),
        ),
        refused(
            "two lengths",
            [
                post(
                    &world,
                    1,
                    &[("content-length", "1"), ("content-length", "2")],
                ),
                frame(DATA, END_STREAM, 1, b"x"),
            ]
            .concat(),
        ),
    ];
    hold(&world, 11, cases).await;
}

#[tokio::test]
async fn whole_requests_are_answered() {
    let world = world().await;
    let cases = vec![
        answers("te of trailers", 200, with(&world, &[("te", "trailers")])),
        answers(
            "content of the length that it says, in pieces",
            200,
            [
                post(&world, 1, &[("content-length", "4")]),
                frame(DATA, 0, 1, b"fo"),
                frame(DATA, PADDED, 1, &[2, b'u', 0, 0]),
                frame(DATA, END_STREAM, 1, b"r"),
            ]
            .concat(),
        ),
        answers(
            "content and trailers",
            200,
            [
                post(&world, 1, &[]),
                frame(DATA, 0, 1, b"x"),
                frame(HEADERS, WHOLE, 1, &block(&[("x-checksum", "1")])),
            ]
            .concat(),
        ),
        answers("a host that is the authority", 200, {
            let authority = format!("localhost:{}", world.gate.port());
            with(&world, &[("host", &authority)])
        }),
        answers("a host in place of the authority", 200, {
            let authority = format!("localhost:{}", world.gate.port());
            let lines = [
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/public/x"),
                ("host", authority.as_str()),
            ];
            head(&lines)
        }),
    ];
    hold(&world, 5, cases).await;
}

/// What a client says of its own identity does not arrive, however HTTP/2 lets it be said.
#[tokio::test]
async fn identity_headers_of_clients_do_not_arrive() {
    let world = world().await;
    let mut line = Line::open(&world).await;
    let forged = [
        ("x-user-id", "eve"),
        ("x_user_id", "eve"),
        ("x-user-id", "mallory"),
        ("x-session-id", "sess_eve"),
        ("x-original-url", "/admin"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let told = [
        post(&world, 1, &forged),
        frame(DATA, 0, 1, b"x"),
        frame(
            HEADERS,
            WHOLE,
            1,
            &block(&[("x-user-id", "eve"), ("x_org_role", "org:admin")]),
        ),
    ];
    line.send(&told.concat()).await;
    assert_eq!(line.outcome().await, Outcome::Answered(1, 200));
    let received = world.upstream.only();
    let whole = format!("{:?} {:?}", received.headers, received.trailers);
    for forged in ["eve", "mallory", "org:admin", "/admin", "10.0.0.1"] {
        assert!(!whole.contains(forged), "{forged} in {whole}");
    }
}

/// h2 drops what section 8.1 forbids in trailers: it says nothing more about the request.
#[tokio::test]
async fn pseudo_headers_in_trailers_do_not_arrive() {
    let world = world().await;
    let mut line = Line::open(&world).await;
    let told = [
        post(&world, 1, &[]),
        frame(DATA, 0, 1, b"x"),
        frame(
            HEADERS,
            WHOLE,
            1,
            &block(&[(":path", "/admin"), (":authority", "evil.example")]),
        ),
    ];
    line.send(&told.concat()).await;
    let outcome = line.outcome().await;
    let received = world.upstream.received();
    if outcome == Outcome::Answered(1, 200) {
        let received = world.upstream.only();
        assert_eq!(received.target, "/public/x");
        assert!(received.trailers.is_empty(), "{received:?}");
        assert!(!format!("{received:?}").contains("evil"), "{received:?}");
    } else {
        assert!(received.iter().all(|one| one.body == "(broken off)"));
    }
}

/// A cookie in crumbs is one cookie (section 8.2.3).
#[tokio::test]
async fn cookies_in_crumbs_are_read_whole() {
    let world = world().await;
    let cookies = crate::support::cookies(&world.clerk.sign_in("mel", None));
    let crumbs: Vec<(&str, &str)> = cookies.split("; ").map(|crumb| ("cookie", crumb)).collect();
    assert!(crumbs.len() > 1, "{cookies}");
    let mut lines = lines(&world, "GET");
    lines[2].1 = "/mine".to_owned();
    let mut all: Vec<(&str, &str)> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
    all.extend(&crumbs);
    let mut line = Line::open(&world).await;
    line.send(&frame(HEADERS, WHOLE, 1, &block(&all))).await;
    assert_eq!(line.outcome().await, Outcome::Answered(1, 200));
    assert!(world.upstream.only().header("x-user-id").is_some());
}
