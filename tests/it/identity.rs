//! Identity towards the upstream: it comes from the gate alone, whatever a client or a claim says.

use clerk_gate::config::ClerkCookies;
use clerk_gate::core::identity_headers::{IDENTITY_HEADERS, MappedHeader};
use clerk_gate::core::policy::{CredentialUse, Preflight};
use clerk_gate::core::requirement::Requirement;
use http::{HeaderName, Method, StatusCode};
use serde_json::{Value, json};

use crate::support::upstream::Received;
use crate::support::{Call, World, WorldBuilder, ask, exchange, route, usual_routes};

/// A header that takes its value from the claim at this path.
fn mapped(name: &'static str, claim: &[&str]) -> MappedHeader {
    MappedHeader {
        name: HeaderName::from_static(name),
        claim: claim.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// The usual routes, one that looks at no credentials and one that lets preflights through.
fn world() -> WorldBuilder {
    let mut routes = usual_routes();
    let mut assets = route("assets", &["/assets/**"], Requirement::Public);
    assets.credentials = CredentialUse::Ignore;
    let mut api = route("api", &["/api/**"], Requirement::SignedIn);
    api.preflight = Preflight::Forward;
    routes.extend([assets, api]);
    World::with(routes).configure(|config| {
        config.identity.headers = vec![
            mapped("remote-user", &["email"]),
            mapped("x-forwarded-user", &["email"]),
            mapped("x-team", &["meta", "team"]),
        ];
    })
}

/// Who the upstream is told of on a way through the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nobody,
    Ada,
}

/// Every way through the gate, with the token of Ada on each but the first.
fn ways(world: &World) -> Vec<(Call, Told)> {
    let ada = world.clerk.sign_in("ada", None);
    let claims = json!({ "email": "ada@example.com", "meta": { "team": "red" } });
    let token = world.clerk.mint(&ada.session_id, &claims);
    vec![
        (world.get("/public/x"), Told::Nobody),
        (world.get("/assets/x").bearer(&token), Told::Nobody),
        (
            world
                .request(Method::OPTIONS, "/api/x")
                .header("origin", "https://other.example")
                .header("access-control-request-method", "GET")
                .bearer(&token),
            Told::Nobody,
        ),
        (world.get("/public/x").bearer(&token), Told::Ada),
        (world.get("/members").bearer(&token), Told::Ada),
    ]
}

/// Every header that the gate may set for somebody.
fn ours() -> Vec<&'static str> {
    IDENTITY_HEADERS
        .iter()
        .map(HeaderName::as_str)
        .chain(["remote-user", "x-forwarded-user", "x-team"])
        .collect()
}

/// Spellings that some server writes into the same variable, or takes for the same header.
fn spellings(name: &str) -> Vec<String> {
    let capital = |separator: &str| {
        let words: Vec<String> = name
            .split('-')
            .map(|word| word[..1].to_ascii_uppercase() + &word[1..])
            .collect();
        words.join(separator)
    };
    vec![
        name.to_owned(),
        name.to_ascii_uppercase(),
        name.replace('-', "_"),
        name.replacen('-', "_", 1),
        name.replace('-', "."),
        name.replace('-', ""),
        name.replace('-', "--"),
        capital("-"),
        capital("_"),
        capital("."),
    ]
}

/// Fails if anything in `received` says `forged`, or if it names anybody but whom it should.
#[track_caller]
fn assert_tells(received: &Received, told: Told) {
    let forged: Vec<_> = received
        .headers
        .iter()
        .chain(&received.trailers)
        .filter(|(_, value)| String::from_utf8_lossy(value.as_bytes()).contains("forged"))
        .collect();
    assert!(forged.is_empty(), "{} {forged:?}", received.target);
    let expected = match told {
        Told::Nobody => [None; 5],
        Told::Ada => [
            Some("session_token"),
            Some("org:admin"),
            Some("ada@example.com"),
            Some("ada@example.com"),
            Some("red"),
        ],
    };
    let names = [
        "x-token-type",
        "x-org-role",
        "remote-user",
        "x-forwarded-user",
        "x-team",
    ];
    for (name, value) in names.into_iter().zip(expected) {
        assert_eq!(
            received.header(name).as_deref(),
            value,
            "{name} of {received:?}"
        );
    }
    for name in ["x-user-id", "x-session-id", "x-org-id"] {
        let is_there = received.header(name).is_some();
        assert_eq!(is_there, told == Told::Ada, "{name} of {received:?}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_header_of_ours_passes_on_any_way() {
    let world = world().start().await;
    for name in ours() {
        for (call, told) in ways(&world) {
            let call = spellings(name).iter().fold(call, |call, spelling| {
                call.header(spelling, "forged").header(spelling, "forged 2")
            });
            let answer = call.send().await;
            assert_eq!(answer.status, StatusCode::OK, "{name}: {answer:?}");
            assert_tells(&world.upstream.take_received()[0], told);
        }
    }
}

#[tokio::test]
async fn naming_our_headers_in_connection_neither_removes_them_nor_lets_others_in() {
    let world = world().start().await;
    for (call, told) in ways(&world) {
        let call = ours().iter().fold(call, |call, name| {
            call.header(name, "forged").header("connection", name)
        });
        let call = call
            .header("connection", "close, X-User-Id, REMOTE-USER")
            .header(
                "connection",
                "x-request-id, x-forwarded-for, x-forwarded-host",
            );
        assert_eq!(call.send().await.status, StatusCode::OK);
        let received = world.upstream.take_received().remove(0);
        assert_tells(&received, told);
        for name in [
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-host",
            "host",
        ] {
            assert!(received.header(name).is_some(), "{name}");
        }
    }
}

#[tokio::test]
async fn naming_what_the_upstream_needs_in_connection_does_not_remove_it() {
    let world = world().start().await;
    let call = world
        .request(Method::POST, "/public/x")
        .header(
            "connection",
            "close, host, cookie, content-length, authorization, x-own",
        )
        .header("x-own", "1")
        .header("authorization", "Basic x")
        .cookie("a=1");
    assert_eq!(call.body("body").send().await.status, StatusCode::OK);
    let received = world.upstream.only();
    for (name, value) in [
        ("cookie", Some("a=1")),
        ("content-length", Some("4")),
        ("authorization", Some("Basic x")),
        ("x-own", None),
    ] {
        assert_eq!(received.header(name).as_deref(), value, "{name}");
    }
}

#[tokio::test]
async fn trailers_of_a_client_carry_no_identity() {
    let world = world().start().await;
    let names: Vec<String> = ours().into_iter().flat_map(spellings).collect();
    let more = [
        "x-clerk-auth-status",
        "x-original-url",
        "x-forwarded-for",
        "cookie",
        "host",
    ];
    let more = more.map(str::to_owned);
    let all: Vec<&str> = names.iter().chain(&more).map(String::as_str).collect();
    let lines = all.join(": forged\r\n") + ": forged\r\n";
    for (call, told) in ways(&world) {
        let call = call
            .header("transfer-encoding", "chunked")
            .header("te", "trailers")
            .header("trailer", &all.join(", "))
            .body(format!("4\r\nbody\r\n0\r\n{lines}\r\n"));
        assert_eq!(call.send().await.status, StatusCode::OK);
        let received = world.upstream.take_received().remove(0);
        assert_tells(&received, told);
        assert!(received.trailers.is_empty(), "{received:?}");
        let declared = received.header("trailer").unwrap_or_default();
        assert_eq!(declared, "", "{received:?}");
    }
}

#[tokio::test]
async fn headers_that_override_the_request_stay_here() {
    let world = world().start().await;
    let names = [
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Prefix",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Middleware-Subrequest",
        "X-Middleware-Rewrite",
        "X-Middleware-Anything",
        "X-Clerk-Auth-Token",
        "X-Clerk-Request-Data",
        "X-Clerk-Clerk-Url",
        "Clerk-Secret-Key",
        "Clerk-Proxy-Url",
        "X-Real-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "Forwarded",
        "X-Forwarded-For",
    ];
    for (call, told) in ways(&world) {
        let call = names.iter().fold(call, |call, name| {
            call.header(name, "forged")
                .header(&name.replace('-', "_"), "forged")
                .header(&name.replace('-', "."), "forged")
        });
        assert_eq!(call.send().await.status, StatusCode::OK);
        assert_tells(&world.upstream.take_received()[0], told);
    }
}

#[tokio::test]
async fn one_connection_is_not_one_person() {
    let world = world().start().await;
    let (ada, mel) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("mel", None),
    );
    let request = |authorization: &str| {
        let port = world.gate.port();
        format!("GET /members HTTP/1.1\r\nhost: localhost:{port}\r\n{authorization}\r\n")
    };
    let bearer = |token: &str| request(&format!("authorization: Bearer {token}\r\n"));
    // All at once, so that the gate has the next request before it has answered the last.
    let pipeline = [
        bearer(&ada.token),
        request(""),
        bearer(&mel.token),
        request(""),
        bearer(&ada.token),
        request("connection: close\r\n"),
    ];
    let answers = exchange(world.gate, pipeline.concat().as_bytes()).await;
    let statuses: Vec<_> = answers
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert_eq!(statuses, [200, 401, 200, 401, 200, 401]);
    let users: Vec<_> = world
        .upstream
        .received()
        .iter()
        .map(|received| received.header("x-user-id").unwrap())
        .collect();
    assert_eq!(users, [&*ada.user_id, &*mel.user_id, &*ada.user_id]);
}

#[tokio::test]
async fn claims_become_headers_by_their_path() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.identity.headers = vec![
                mapped("x-mail", &["email"]),
                mapped("x-team", &["meta", "team", "name"]),
                mapped("x-groups", &["groups"]),
                mapped("x-level", &["meta", "level"]),
                mapped("x-beta", &["meta", "beta"]),
                mapped("x-object", &["meta"]),
                mapped("x-null", &["meta", "none"]),
                mapped("x-missing", &["meta", "team", "name", "further"]),
                mapped("x-mixed", &["mixed"]),
            ];
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let claims = json!({
        "email": "ada@example.com", "groups": ["a", "b,c", "100%"], "mixed": ["a", { "b": 1 }],
        "meta": { "team": { "name": "red team" }, "level": 7, "beta": true, "none": null },
    });
    let token = world.clerk.mint(&ada.session_id, &claims);
    assert_eq!(
        world.get("/members").bearer(&token).send().await.status,
        StatusCode::OK
    );
    let received = world.upstream.only();
    for (name, value) in [
        ("x-mail", Some("ada@example.com")),
        ("x-team", Some("red team")),
        ("x-groups", Some("a,b%2Cc,100%")),
        ("x-level", Some("7")),
        ("x-beta", Some("true")),
        ("x-object", None),
        ("x-null", None),
        ("x-missing", None),
        ("x-mixed", None),
    ] {
        assert_eq!(received.header(name).as_deref(), value, "{name}");
    }
}

/// The claims that headers are made of, all with this text.
fn claims_of(text: &str) -> Value {
    json!({
        "sub": text, "sid": text, "email": text, "list": [text, text], "act": { "sub": text },
        "v": 1, "o": null, "org_id": text, "org_slug": text, "org_role": text,
        "org_permissions": [text],
    })
}

#[tokio::test]
async fn no_text_in_a_claim_makes_a_line_of_its_own_or_an_error() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.identity.headers =
                vec![mapped("x-mail", &["email"]), mapped("x-list", &["list"])];
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let injections = [
        "a\r\nx-injected: 1",
        "a\nx-injected: 1",
        "a\rx-injected: 1",
        "a\r\n\r\nGET /admin HTTP/1.1\r\nx-injected: 1",
        "nul\0byte",
        "\u{7f}\u{1b}[31m",
        "naïve",
        "日本語",
        "\u{2028}\u{85}\u{a0}",
        "\u{10ffff}",
        " padded ",
        "\ttab\t",
        "%0d%0ax-injected: 1",
        "",
    ];
    for text in injections {
        let token = world.clerk.mint(&ada.session_id, &claims_of(text));
        let answer = world.get("/members").bearer(&token).send().await;
        let received = world.upstream.take_received();
        if text.is_empty() {
            // Nobody: D7 of the deviations.
            assert_eq!(
                (answer.status, received.len()),
                (StatusCode::UNAUTHORIZED, 0)
            );
            continue;
        }
        assert_eq!(answer.status, StatusCode::OK, "{text:?}: {answer:?}");
        assert_eq!((received.len(), &*received[0].target), (1, "/members"));
        assert_eq!(received[0].header("x-injected"), None, "{text:?}");
        let names = [
            "x-user-id",
            "x-session-id",
            "x-org-id",
            "x-org-slug",
            "x-org-role",
        ];
        for name in names
            .into_iter()
            .chain(["x-org-permissions", "x-actor-id", "x-mail", "x-list"])
        {
            let value = received[0].headers.get(name).unwrap();
            let legal = value.as_bytes().iter().all(|b| (0x20..0x7f).contains(b));
            assert!(legal, "{name} of {text:?}: {value:?}");
        }
    }
}

#[tokio::test]
async fn text_that_is_too_long_for_a_header_is_left_out() {
    let world = World::with(usual_routes())
        .configure(|config| config.identity.headers = vec![mapped("x-mail", &["email"])])
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let token = world
        .clerk
        .mint(&ada.session_id, &json!({ "email": "x".repeat(9_000) }));
    assert_eq!(
        world.get("/members").bearer(&token).send().await.status,
        StatusCode::OK
    );
    let received = world.upstream.only();
    assert_eq!(received.header("x-user-id"), Some(ada.user_id));
    assert_eq!(received.header("x-mail"), None);
}

#[tokio::test]
async fn a_token_that_is_too_long_is_no_token() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    for (length, status) in [(20_000, 401), (100_000, 431)] {
        let token = world
            .clerk
            .mint(&ada.session_id, &json!({ "email": "x".repeat(length) }));
        let request = format!(
            "GET /members HTTP/1.1\r\nhost: localhost:{}\r\nauthorization: Bearer {token}\r\n\r\n",
            world.gate.port()
        );
        assert_eq!(ask(world.gate, request.as_bytes()).await.status, status);
    }
    world.upstream.assert_untouched();
}

/// The `Cookie` line that the upstream sees for these lines of a client, as bytes.
async fn cookies_seen(world: &World, lines: &[&[u8]]) -> Option<Vec<u8>> {
    let mut request = format!(
        "GET /public/x HTTP/1.1\r\nhost: localhost:{}\r\n",
        world.gate.port()
    )
    .into_bytes();
    for line in lines {
        request.extend_from_slice(b"cookie: ");
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    assert_eq!(ask(world.gate, &request).await.status, StatusCode::OK);
    let received = world.upstream.take_received().remove(0);
    let mut cookies = received.headers.get_all("cookie").iter();
    let first = cookies.next().map(|value| value.as_bytes().to_vec());
    assert!(cookies.next().is_none(), "one line is enough");
    first
}

#[tokio::test]
async fn cookies_of_clerk_stay_here_and_all_others_go_on_byte_for_byte() {
    let world = World::start().await;
    let clerks = [
        "__session=x",
        "__session_AbC-_12=x",
        "__refresh=x",
        "__refresh_AbC=x",
        "__client_uat=1",
        "__client_uat_AbC=1",
        "__client=x",
        "__clerk_db_jwt=x",
        "__clerk_db_jwt_AbC=x",
        "__clerk_handshake_nonce=x",
        "__clerk_redirect_count=1",
        "clerk_active_context=sess_1:org_1",
        "__Host-clerk-gate-seal=x",
    ];
    let alone = clerks.join("; ");
    assert_eq!(cookies_seen(&world, &[alone.as_bytes()]).await, None);
    let own: [&[u8]; 12] = [
        b"a=1",
        b"A=%20%3B",
        b"quoted=\"a b\"",
        b"empty=",
        b"=nameless",
        b"bare",
        b"json={\"a\":[1,2]}",
        b"two=1=2==",
        b"bytes=\xff\xfe",
        b"a=again",
        b"__sessions=mine",
        b"my__session=mine",
    ];
    let mut mixed = Vec::new();
    for (at, cookie) in own.iter().enumerate() {
        mixed.extend_from_slice(clerks[at].as_bytes());
        mixed.extend_from_slice(b"; ");
        mixed.extend_from_slice(cookie);
        mixed.extend_from_slice(b" ;");
    }
    let kept = cookies_seen(&world, &[&mixed]).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&kept),
        String::from_utf8_lossy(&own.join(&b"; "[..]))
    );
    assert_eq!(kept, own.join(&b"; "[..]));
}

#[tokio::test]
async fn several_cookie_lines_become_one_without_clerks() {
    let world = World::start().await;
    let lines: [&[u8]; 3] = [b"a=1; __session=x", b"__client_uat=1", b"b=2"];
    assert_eq!(
        cookies_seen(&world, &lines).await.as_deref(),
        Some(&b"a=1; b=2"[..])
    );
}

#[tokio::test]
async fn secrets_of_clerk_stay_here_even_if_its_cookies_are_kept() {
    let world = World::with(usual_routes())
        .configure(|config| config.identity.clerk_cookies = ClerkCookies::Keep)
        .start()
        .await;
    let line = b"__session=x; __refresh_a=r; __client_uat=1; __client=c; __clerk_db_jwt=d; __clerk_handshake_nonce=n; a=1";
    assert_eq!(
        cookies_seen(&world, &[line]).await.as_deref(),
        Some(&b"__session=x; __client_uat=1; a=1"[..])
    );
}

#[tokio::test]
async fn parameters_of_clerk_stay_here_and_all_others_go_on_as_they_are() {
    let world = World::start().await;
    for (asked, seen) in [
        ("?a=1&b=%20+%zz&&c", "?a=1&b=%20+%zz&&c"),
        ("?__clerk_help=1&a=1", "?a=1"),
        ("?a=1&__clerk_synced=true&b=2", "?a=1&b=2"),
        ("?__dev_session=x&%5f%5fdev_session=y", ""),
        ("?__clerk%5fhelp=1&a", "?a"),
        ("?__clerk_helpful=1", "?__clerk_helpful=1"),
        ("?", "?"),
    ] {
        assert_eq!(
            world.get(&format!("/public/x{asked}")).send().await.status,
            StatusCode::OK,
            "{asked}"
        );
        let received = world.upstream.take_received().remove(0);
        assert_eq!(received.target, format!("/public/x{seen}"), "{asked}");
    }
}
