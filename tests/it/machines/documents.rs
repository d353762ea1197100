//! What OAuth clients read before they have a token: where the resource is described, and what
//! stands there.

use http::Method;
use serde_json::Value;

use super::*;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

async fn described(world: &World, target: &str) -> Option<Value> {
    let answer = world.get(target).send().await;
    let arrived = world.upstream.take_received();
    if !arrived.is_empty() {
        assert_eq!(answer.body, "upstream");
        return None;
    }
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    Some(serde_json::from_str(&answer.body).unwrap())
}

/// The description of a path that these scopes are asked for at.
fn expected(world: &World, path: &str, scopes: &[&str]) -> Value {
    json!({
        "resource": format!("http://localhost:{}{path}", world.gate.port()),
        "authorization_servers": [world.clerk.url()],
        "bearer_methods_supported": ["header"],
        "scopes_supported": scopes,
    })
}

#[tokio::test]
async fn the_401_leads_to_the_description_of_what_was_asked_for() {
    let world = world().await;
    for (target, path) in [
        ("/mcp", "/mcp"),
        ("/mcp/deep/er?x=1", "/mcp"),
        ("/anything/x", "/anything"),
    ] {
        let answer = world.request(Method::POST, target).send().await;
        assert_eq!(answer.status, 401, "{answer:?}");
        let challenge = answer.header("www-authenticate").unwrap();
        let address = challenge
            .split("resource_metadata=\"")
            .nth(1)
            .unwrap()
            .trim_end_matches('"');
        let origin = format!("http://localhost:{}", world.gate.port());
        let there = address.strip_prefix(&origin).unwrap();
        let told = described(&world, there).await.unwrap();
        assert_eq!(told["resource"], format!("{origin}{path}"));
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_description_stands_for_each_path_and_for_all_of_the_application() {
    // The catch-all makes whatever falls through visible.
    let routes =
        format!("{ROUTES}\n[[route]]\nname = \"rest\"\npath = \"/**\"\nrequire = \"public\"\n");
    let world = world_of(&routes).start().await;
    for (target, path, scopes) in [
        ("", "", vec!["profile"]),
        ("/", "", vec!["profile"]),
        ("/mcp", "/mcp", vec!["profile"]),
        ("/mcp/", "/mcp/", vec!["profile"]),
        ("/mcp/a/b", "/mcp/a/b", vec!["profile"]),
        ("/anything/1", "/anything/1", vec![]),
    ] {
        let told = described(&world, &format!("{WELL_KNOWN}{target}")).await;
        assert_eq!(told, Some(expected(&world, path, &scopes)), "{target}");
    }
    // What takes no OAuth tokens, and what only begins alike, is the application's.
    for target in [
        "/keys",
        "/workers/1",
        "/public/x",
        "/elsewhere",
        "x",
        "x/mcp",
        "/invoices",
    ] {
        assert_eq!(
            described(&world, &format!("{WELL_KNOWN}{target}")).await,
            None,
            "{target}"
        );
    }
    // So is any other method.
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let answer = world
            .request(method, &format!("{WELL_KNOWN}/mcp"))
            .send()
            .await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, "upstream"));
    }
}

#[tokio::test]
async fn without_a_route_for_oauth_tokens_every_description_is_the_applications() {
    let world = world_of("[[route]]\nname = \"all\"\npath = \"/**\"\nrequire = \"public\"\n")
        .start()
        .await;
    for target in ["", "/", "/mcp"] {
        assert_eq!(
            described(&world, &format!("{WELL_KNOWN}{target}")).await,
            None,
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_browsers_client_may_read_it_from_anywhere() {
    let world = world().await;
    let target = format!("{WELL_KNOWN}/mcp");
    let preflight = world
        .request(Method::OPTIONS, &target)
        .header("origin", "https://inspector.example.com")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "mcp-protocol-version");
    let get = world
        .get(&target)
        .header("origin", "https://inspector.example.com");
    let head = world.request(Method::HEAD, &target);
    for (what, call) in [("preflight", preflight), ("get", get), ("head", head)] {
        let answer = call.send().await;
        assert!(answer.status.is_success(), "{what}: {answer:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("*"),
            "{what}"
        );
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("*"),
            "{what}"
        );
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            None,
            "{what}"
        );
        assert_eq!(
            answer.header("cache-control"),
            Some("private, max-age=300"),
            "{what}"
        );
        assert_eq!(answer.body.is_empty(), what == "head", "{what}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_description_says_nothing_about_who_asks() {
    let world = world().await;
    let tokens = Tokens::of(&world);
    let target = format!("{WELL_KNOWN}/mcp");
    let plain = world.get(&target).send().await.body;
    for (_, token) in tokens.all() {
        let answer = world.get(&target).bearer(token).send().await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &plain));
        assert_eq!(answer.all("set-cookie"), Vec::<String>::new());
    }
    assert_eq!(lookups(&world), 0);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_route_of_one_host_is_described_on_that_host() {
    let routes = r#"
[[route]]
name    = "mcp"
path    = "/mcp/**"
host    = "mcp.localhost"
require = { token = "oauth_token", scope = "profile" }

[[route]]
name    = "rest"
path    = "/**"
require = "public"
"#;
    let world = world_of(routes).start().await;
    let port = world.gate.port();
    for (target, path) in [("", ""), ("/mcp", "/mcp")] {
        let target = format!("{WELL_KNOWN}{target}");
        assert_eq!(described(&world, &target).await, None, "{target}");
        let host = format!("mcp.localhost:{port}");
        let answer = world.get(&target).header("host", &host).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(told["resource"], format!("http://{host}{path}"));
        world.upstream.assert_untouched();
    }
    let answer = world
        .get("/mcp/x")
        .header("host", &format!("mcp.localhost:{port}"))
        .send()
        .await;
    let challenge = answer.header("www-authenticate").unwrap();
    let address = format!("resource_metadata=\"http://mcp.localhost:{port}{WELL_KNOWN}/mcp\"");
    assert!(challenge.ends_with(&address), "{challenge}");
    world.upstream.assert_untouched();
}
