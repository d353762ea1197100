//! What people try at the proxy: to reach the application or another host by it, to speak in the
//! gate's name, and to see the secret key.

use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode};

use super::{SECRET_KEY, proxy_url, world};
use crate::support::{World, raw};

#[tokio::test]
async fn what_a_stranger_says_in_the_gates_name_does_not_pass() {
    let (world, frontend_api) = world().await;
    let port = world.gate.port();
    let request = format!(
        "GET /__clerk/v1/client HTTP/1.1\r\nhost: localhost:{port}\r\n\
         connection: close, clerk-secret-key, clerk-proxy-url, x-forwarded-for, x-forwarded-host, x-forwarded-proto, x-hop\r\n\
         clerk-secret-key: sk_test_forged\r\nclerk_secret_key: sk_test_forged\r\nClerk.Secret.Key: sk_test_forged\r\n\
         clerk-proxy-url: https://forged.example\r\nclerk_proxy_url: https://forged.example\r\n\
         x-forwarded-for: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\nx-forwarded-host: forged.example\r\nx-forwarded-proto: https\r\n\
         forwarded: for=6.6.6.6;host=forged.example\r\nx-forwarded-port: 666\r\nx-forwarded-prefix: /forged\r\n\
         cf-connecting-ip: 6.6.6.6\r\nx-real-ip: 6.6.6.6\r\ntrue-client-ip: 6.6.6.6\r\n\
         x-user-id: forged\r\nx_user_id: forged\r\nx-org-role: forged\r\n\
         x-http-method-override: TRACE\r\nx-original-url: /forged\r\nx-host: forged.example\r\n\
         x-hop: forged\r\nproxy-authorization: forged\r\nte: trailers\r\nupgrade: h2c\r\nx-request-id: forged\r\n\r\n"
    );
    let answer = raw(world.gate, request.as_bytes()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let received = frontend_api.only();
    let names: Vec<&str> = received.headers.keys().map(HeaderName::as_str).collect();
    let expected = [
        "host",
        "x-forwarded-host",
        "x-forwarded-proto",
        "clerk-proxy-url",
        "x-forwarded-for",
        "clerk-secret-key",
    ];
    assert_eq!(names, expected);
    let shown = format!("{received:?}");
    for forged in ["forged", "6.6.6.6"] {
        assert!(!shown.contains(forged), "{forged}: {shown}");
    }
    assert_eq!(received.header("clerk-secret-key").unwrap(), SECRET_KEY);
    assert_eq!(
        received.header("clerk-proxy-url").unwrap(),
        proxy_url(&world)
    );
    assert_eq!(received.header("x-forwarded-for").unwrap(), "127.0.0.1");
}

/// Every way in which a Frontend API could send the key back, but for a body, which is not read.
#[tokio::test]
async fn the_secret_key_is_in_no_answer() {
    let (world, frontend_api) = world().await;
    frontend_api.answers(|received| {
        let mut answer = Response::builder().status(307);
        for (name, value) in &received.headers {
            if !["host", "connection"].contains(&name.as_str()) {
                answer = answer.header(name, value);
            }
        }
        let secret = received.header("clerk-secret-key").unwrap_or_default();
        answer
            .header("location", format!("/v1/x?key={secret}"))
            .header("x-echo", format!("clerk-secret-key={secret};"))
            .header("set-cookie", format!("leak={secret}"))
            .header("set-cookie", "harmless=1")
            .header("trailer", "clerk-secret-key")
            .header("x-harmless", "1")
            .body(Bytes::from_static(b"ok"))
            .unwrap()
    });
    let answer = world.get("/__clerk/v1/x").send().await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (307, "ok"));
    let told = frontend_api.only().header("clerk-secret-key").unwrap();
    assert_eq!(told, SECRET_KEY, "the Frontend API itself is told");
    let shown = format!("{:?}", answer.headers);
    assert!(!shown.contains("neverSeen"), "{shown}");
    for gone in [
        "clerk-secret-key",
        "clerk-proxy-url",
        "x-echo",
        "trailer",
        "location",
    ] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("x-harmless"), Some("1"));
}

/// TRACE would send the key back in a body.
#[tokio::test]
async fn trace_websockets_and_encoded_slashes_are_refused() {
    let (world, frontend_api) = world().await;
    let trace = world.request(Method::TRACE, "/__clerk/v1/x").send().await;
    assert_eq!(
        (trace.status.as_u16(), trace.code().as_str()),
        (400, "target-unsupported")
    );
    let upgrade = world
        .get("/__clerk/v1/x")
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    let upgrade = upgrade.send().await;
    assert_eq!(
        (upgrade.status.as_u16(), upgrade.code().as_str()),
        (400, "upgrade-unsupported")
    );
    for target in [
        "/__clerk/v1%2Fx",
        "/__clerk/%2F%2Fevil.com",
        "/__clerk/x%2f..%2fy",
    ] {
        let answer = world.get(target).send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "path-encoded-slash"),
            "{target}"
        );
    }
    frontend_api.assert_untouched();
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn no_path_or_host_leads_the_key_elsewhere() {
    let (world, frontend_api) = world().await;
    for (written, expected) in [
        ("/__clerk//evil.com/steal", "/evil.com/steal"),
        ("/__clerk///evil.com", "/evil.com"),
        ("//__clerk//evil.com", "/evil.com"),
        ("/__clerk/@evil.com/", "/@evil.com/"),
        ("/__clerk/:80@evil.com/", "/:80@evil.com/"),
        ("/__clerk/.evil.com/", "/.evil.com/"),
        ("/__clerk/http://evil.com/", "/http:/evil.com/"),
        ("/__clerk/;@evil.com/", "/;@evil.com/"),
        ("/__clerk/..;/admin", "/..;/admin"),
        ("/%5f%5fclerk/v1/x", "/v1/x"),
        ("/public/../__clerk/v1/x", "/v1/x"),
        ("/__clerk/x/../../__clerk/v1/y", "/v1/y"),
        ("/__clerk?@evil.com/", "/?@evil.com/"),
        ("/__clerk/?url=http://evil.com", "/?url=http://evil.com"),
    ] {
        let answer = world.get(written).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{written}");
        let received = frontend_api.take_received();
        assert_eq!(received.len(), 1, "{written}");
        assert_eq!(received[0].target, expected, "{written}");
        let host = frontend_api.address.to_string();
        assert_eq!(received[0].header("host"), Some(host), "{written}");
    }
    let port = world.gate.port();
    for head in [
        "GET http://evil.com/__clerk/v1/x HTTP/1.1\r\nhost: evil.com\r\n".to_owned(),
        "GET /__clerk/v1/x HTTP/1.1\r\nhost: evil.com\r\n".to_owned(),
        format!("GET http://evil.com/__clerk/v1/x HTTP/1.1\r\nhost: localhost:{port}\r\n"),
        format!("GET /__clerk/v1/x HTTP/1.1\r\nhost: localhost:{port}\r\nhost: evil.com\r\n"),
        format!("GET /__clerk\\evil.com HTTP/1.1\r\nhost: localhost:{port}\r\n"),
        format!("GET /__clerk/%5cevil.com HTTP/1.1\r\nhost: localhost:{port}\r\n"),
    ] {
        let request = format!("{head}connection: close\r\n\r\n");
        let answer = raw(world.gate, request.as_bytes()).await;
        assert!(answer.status.is_client_error(), "{head}: {}", answer.status);
    }
    frontend_api.assert_untouched();
    world.upstream.assert_untouched();
}

/// Paths that some server would take for one below the proxy path, and paths beside it, need what
/// any path of the application needs.
#[tokio::test]
async fn no_other_reading_of_a_path_opens_the_proxy_or_the_application() {
    let (world, frontend_api) = world().await;
    for target in [
        "/__CLERK/v1/x",
        "/__Clerk",
        "/__clerkfoo",
        "/__clerk.json",
        "/__clerk;x=1/v1/x",
        "/__clerk;/v1/x",
        "/__clerk%20/v1/x",
        "/__clerk./v1/x",
        "/__clerk%3b/v1/x",
        "/%255f_clerk/v1/x",
        "/x/..;/__clerk/v1/x",
        "/;/__clerk/v1/x",
        "/index.php/__clerk/v1/x",
        "/__clerk/../members",
        "/__clerk/v1/../../members",
        "/__clerk%3f/v1/x",
        "/__clerk%23/v1/x",
        "/x/__clerk/v1/x",
        "/\u{ff3f}_clerk/v1/x",
    ] {
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\n\r\n",
            world.gate.port()
        );
        let answer = raw(world.gate, request.as_bytes()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{target}");
    }
    let slash = world.get("/__clerk%2Fv1/x").send().await;
    assert_eq!(slash.status, StatusCode::BAD_REQUEST);
    frontend_api.assert_untouched();
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn nothing_below_the_proxy_path_reaches_the_application() {
    let open = crate::support::route(
        "all",
        &["/**"],
        clerk_gate::core::requirement::Requirement::Public,
    );
    let world = World::with(vec![open]).relaying().start().await;
    let ada = world.clerk.sign_in("ada", None);
    for target in [
        "/__clerk",
        "/__clerk/",
        "/__clerk/admin",
        "/__clerk/..;/admin",
        "/__clerk/_gate/me",
        "/__clerk/v1/environment",
    ] {
        let call = world.get(target).bearer(&ada.token);
        let answer = call.send().await;
        assert_ne!(answer.body, "upstream", "{target}");
    }
    world.upstream.assert_untouched();
    assert_eq!(world.get("/x").send().await.body, "upstream");
}
