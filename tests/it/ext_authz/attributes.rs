//! What Envoy has to say of a request, and how it is read.

use super::*;
use crate::attacks::{assert_none, table};
use clerk_gate::core::path::CanonicalPath;

/// What is made of a request that is well said.
type Change = fn(&mut Ask);

#[tokio::test]
async fn what_envoy_has_to_say_is_there_or_the_request_is_refused() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let well = Ask::at(&world, "GET", "/public/x").bearer(&ada.token);
    assert_eq!(well.send(&world).await.status(), 200);
    let changes: [(&str, Change); 21] = [
        ("no method", |ask| ask.http.method.clear()),
        ("a method that is none", |ask| {
            "GE T".clone_into(&mut ask.http.method);
        }),
        ("another method", |ask| {
            "POST".clone_into(&mut ask.http.method);
        }),
        ("no path", |ask| ask.http.path.clear()),
        ("another path", |ask| {
            "/public/y".clone_into(&mut ask.http.path);
        }),
        ("a whole address", |ask| {
            "http://localhost/public/x".clone_into(&mut ask.http.path);
        }),
        ("no slash", |ask| "public/x".clone_into(&mut ask.http.path)),
        ("a star", |ask| "*".clone_into(&mut ask.http.path)),
        ("no host", |ask| ask.http.host.clear()),
        ("another host", |ask| {
            "127.0.0.1".clone_into(&mut ask.http.host);
        }),
        ("no scheme", |ask| ask.http.scheme.clear()),
        ("a scheme that is none", |ask| {
            "ftp".clone_into(&mut ask.http.scheme);
        }),
        ("no protocol", |ask| ask.http.protocol.clear()),
        ("a protocol that is none", |ask| {
            "HTTP/9".clone_into(&mut ask.http.protocol);
        }),
        ("no client", |ask| ask.client.clear()),
        ("a client with a port", |ask| {
            "203.0.113.7:80".clone_into(&mut ask.client);
        }),
        ("a client of no network", |ask| {
            "/run/envoy.sock".clone_into(&mut ask.client);
        }),
        ("a second host", |ask| {
            *ask = ask.clone().header("host", "evil.example");
        }),
        ("a name that is none", |ask| {
            *ask = ask.clone().header("x y", "z");
        }),
        ("a value that is none", |ask| {
            *ask = ask.clone().bytes("x-y", b"a\r\nx-user-id: root");
        }),
        ("two lists of headers", |ask| {
            ask.http
                .headers
                .insert("x-user-id".to_owned(), "root".to_owned());
        }),
    ];
    for (what, change) in changes {
        let mut ask = well.clone();
        change(&mut ask);
        let told = ask.send(&world).await;
        assert_eq!(
            (told.status(), &*told.answer.code()),
            (400, "door-metadata"),
            "{what}"
        );
        assert_eq!(told.code, 7, "{what}");
        assert!(told.arrives.is_none());
    }
    // Whole messages that say nothing.
    let mut caller = Caller::connect(world.check.unwrap()).await;
    let nothing = caller.check(CheckRequest::default(), None).await.unwrap();
    assert_eq!(well.told(nothing).answer.code(), "door-metadata");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_head_that_is_too_large_for_the_proxy_is_too_large_for_envoy() {
    let world = world().await;
    let large = Ask::at(&world, "GET", "/public/x").header("x-large", &"x".repeat(70_000));
    let many = (0..201).fold(Ask::at(&world, "GET", "/public/x"), |ask, number| {
        ask.header(&format!("x-{number}"), "")
    });
    for ask in [large, many] {
        let told = ask.send(&world).await;
        assert_eq!(
            (told.status(), &*told.answer.code()),
            (431, "head-too-large")
        );
    }
}

#[tokio::test]
async fn doubled_headers_are_read_as_the_proxy_reads_them() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let mel = world.clerk.sign_in("mel", None);
    let (ada, mel) = (
        format!("Bearer {}", ada.token),
        format!("Bearer {}", mel.token),
    );
    let session = |line: &str| format!("__session={}", line.trim_start_matches("Bearer "));
    let cookies = [session(&ada), session(&mel)];
    let cases = [
        ("authorization", [ada.as_str(), mel.as_str()]),
        ("authorization", [mel.as_str(), ada.as_str()]),
        ("cookie", [&*cookies[0], &*cookies[1]]),
        ("cookie", [&*cookies[1], &*cookies[0]]),
        ("cookie", ["a=1", &*cookies[0]]),
    ];
    for (name, lines) in cases {
        let proxied = lines
            .iter()
            .fold(world.get("/admin/x"), |call, line| call.header(name, line));
        let proxied = proxied.send().await;
        let ask = lines
            .iter()
            .fold(Ask::at(&world, "GET", "/admin/x"), |ask, line| {
                ask.header(name, line)
            });
        let told = ask.send(&world).await;
        assert_eq!(told.status(), proxied.status.as_u16(), "{name} {lines:?}");
        // Joined to one line, nobody can tell.
        let told = ask.joined().send(&world).await;
        assert_eq!(
            (told.status(), &*told.answer.code()),
            (400, "door-metadata"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn lines_that_are_joined_are_read_where_there_is_one_of_each() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let ask = Ask::at(&world, "GET", "/admin/x")
        .cookie(&format!("a=1; {}", crate::support::cookies(&ada)))
        .header("accept", "text/html")
        .header("accept", "application/json")
        .joined();
    let told = ask.send(&world).await;
    assert_eq!(told.arrived("x-user-id"), [&*ada.user_id]);
    assert_eq!(told.arrived("cookie"), ["a=1"]);
    assert_eq!(told.arrived("accept"), ["text/html,application/json"]);
    // Names that are one but for their case have no order.
    let mut twice = Ask::at(&world, "GET", "/public/x").joined();
    for name in ["X-Forwarded-For", "x-forwarded-for"] {
        let value = "1.2.3.4".to_owned();
        twice.http.headers.insert(name.to_owned(), value);
    }
    let told = twice.send(&world).await;
    assert_eq!(told.answer.code(), "door-metadata");
}

#[tokio::test]
async fn the_client_is_whom_envoy_has_seen_unless_that_is_a_trusted_proxy() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.edge.trusted_proxies = vec!["198.51.100.0/24".parse().unwrap()];
        })
        .with_ext_authz()
        .start()
        .await;
    for (client, said, wanted) in [
        (CLIENT, "1.2.3.4", CLIENT),
        (CLIENT, "1.2.3.4,203.0.113.7", CLIENT),
        ("198.51.100.9", "1.2.3.4", "1.2.3.4, 198.51.100.9"),
        (
            "198.51.100.9",
            "1.2.3.4, 198.51.100.9",
            "1.2.3.4, 198.51.100.9",
        ),
        ("198.51.100.9", "198.51.100.9", "198.51.100.9"),
        (
            "::ffff:198.51.100.9",
            "1.2.3.4, 198.51.100.9",
            "1.2.3.4, 198.51.100.9",
        ),
    ] {
        let mut ask = Ask::at(&world, "GET", "/public/x").header("x-forwarded-for", said);
        client.clone_into(&mut ask.client);
        let told = ask.send(&world).await;
        assert_eq!(told.arrived("x-forwarded-for"), [wanted], "{client} {said}");
    }
    // A stranger's other words of forwarding count for nothing either.
    let ask = Ask::at(&world, "GET", "/public/x")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-uri", "/admin");
    let told = ask.send(&world).await;
    let host = format!("localhost:{}", world.gate.port());
    assert_eq!(told.arrived("x-forwarded-host"), [host]);
    assert_eq!(told.arrived("x-forwarded-proto"), ["http"]);
    assert_eq!(told.arrived("x-forwarded-uri"), [""; 0]);
}

#[tokio::test]
async fn no_spelling_of_a_path_is_judged_otherwise_over_grpc() {
    let world = world().await;
    let people = [
        (None, 401),
        (Some(world.clerk.sign_in("mel", None).token), 403),
        (Some(world.clerk.sign_in("ada", None).token), 200),
    ];
    let mut faults = Vec::new();
    let (mut same, mut refused) = (0, 0);
    let mut caller = Caller::connect(world.check.unwrap()).await;
    for case in table("paths.txt", 500) {
        // Messages carry text.
        let Ok(target) = String::from_utf8(case.at(&world)) else {
            continue;
        };
        let path = target.split('?').next().unwrap_or_default();
        let canonical = CanonicalPath::parse(path).is_ok_and(|read| read.as_str() == path);
        for (token, judged) in &people {
            let mut ask = Ask::at(&world, "GET", &target);
            if let Some(token) = token {
                ask = ask.bearer(token);
            }
            let told = ask.told(caller.check(ask.message(), None).await.unwrap());
            let expected = case.expected.parse::<u16>().ok();
            let wanted = if canonical {
                expected.unwrap_or(*judged)
            } else {
                400
            };
            if told.status() != wanted {
                faults.push(case.fault(format!("{} and not {wanted}", told.status())));
            }
        }
        if canonical {
            same += 1;
        } else {
            refused += 1;
        }
    }
    world.upstream.assert_untouched();
    assert_none(&faults);
    assert!(same > 100 && refused > 100, "{same} and {refused}");
}
