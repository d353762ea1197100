//! Each kind of token where it is taken and where it is not, and what the application learns.

use clerk_gate::standin::{MachineGrant, MachineKind};
use serde_json::json;

use super::*;

/// What each route says to each token, in the order of [`Tokens::all`] and then to none: `+`, or the
/// reason of a 401.
const TABLE: [(&str, [&str; 7]); 6] = [
    (
        "/keys/1",
        ["+", MISMATCH, MISMATCH, MISMATCH, MISMATCH, MISMATCH, NONE],
    ),
    (
        "/machines/1",
        [MISMATCH, "+", "+", MISMATCH, MISMATCH, MISMATCH, NONE],
    ),
    (
        "/mcp/1",
        [MISMATCH, MISMATCH, MISMATCH, "+", "+", MISMATCH, NONE],
    ),
    (
        "/workers/1",
        ["+", "+", "+", MISMATCH, MISMATCH, MISMATCH, MISMATCH],
    ),
    ("/anything/1", ["+", "+", "+", "+", "+", "+", NOBODY]),
    // No route says anything about this one.
    (
        "/members",
        [INVALID, INVALID, MISMATCH, INVALID, MISMATCH, "+", NOBODY],
    ),
];
const MISMATCH: &str = "token-type-mismatch";
const INVALID: &str = "token-invalid";
const NONE: &str = "no-token-in-header";
const NOBODY: &str = "dev-browser-missing";

/// What the application is told of: Ada's key, the organisation's, a machine, the same by JWT, Ada's
/// client, the same by JWT, and an operator who acts for Ada.
const TOLD: [&[(&str, &str)]; 7] = [
    &[
        ("x-user-id", ADA),
        ("x-token-type", "api_key"),
        ("x-token-subject", ADA),
        ("x-token-scopes", "read:invoices a%20b"),
        ("x-owner", ADA),
        ("x-tier", "gold"),
    ],
    &[
        ("x-org-id", ACME),
        ("x-token-type", "api_key"),
        ("x-token-subject", ACME),
        ("x-owner", ACME),
    ],
    &[
        ("x-token-type", "m2m_token"),
        ("x-token-subject", SENDER),
        ("x-token-scopes", "mch_2Receiver"),
        ("x-owner", SENDER),
    ],
    &[
        ("x-token-type", "m2m_token"),
        ("x-token-subject", SENDER),
        ("x-owner", SENDER),
    ],
    &[
        ("x-user-id", ADA),
        ("x-token-type", "oauth_token"),
        ("x-token-subject", ADA),
        ("x-token-scopes", "profile email"),
        ("x-client-id", CLIENT),
        ("x-owner", ADA),
    ],
    &[
        ("x-user-id", ADA),
        ("x-token-type", "oauth_token"),
        ("x-token-subject", ADA),
        ("x-token-scopes", "profile email"),
        ("x-client-id", CLIENT),
        ("x-owner", ADA),
        ("x-tier", "gold"),
    ],
    &[
        ("x-user-id", ADA),
        ("x-actor-id", "user_2Operator"),
        ("x-token-type", "oauth_token"),
        ("x-token-subject", ADA),
        ("x-token-scopes", "profile"),
        ("x-client-id", CLIENT),
        ("x-owner", ADA),
    ],
];
const CLIENT: &str = "client_2Standin0000000000000000001";

/// The end of a challenge that says where the resource is described.
fn metadata(world: &World, path: &str) -> String {
    let port = world.gate.port();
    format!(
        r#", resource_metadata="http://localhost:{port}/.well-known/oauth-protected-resource{path}""#
    )
}

#[tokio::test]
async fn each_kind_is_taken_where_it_is_listed_and_nowhere_else() {
    let world = world().await;
    let tokens = Tokens::of(&world);
    let mut tried = 0;
    for (target, expected) in TABLE {
        let sent = tokens.all().map(Some).into_iter().chain([None]);
        for (token, expected) in sent.zip(expected) {
            tried += 1;
            let call = world.get(target);
            let (name, call) = match token {
                Some((name, token)) => (name, call.bearer(token)),
                None => ("nothing", call),
            };
            let before = lookups(&world);
            let answer = call.send().await;
            let received = world.upstream.take_received();
            let asked = lookups(&world) - before;
            if expected == "+" {
                assert_eq!(answer.status, 200, "{name} at {target}: {answer:?}");
                assert_eq!(received.len(), 1, "{name} at {target}");
                continue;
            }
            assert_eq!(
                (told(&answer), answer.code()),
                ((401, Some(expected.to_owned())), expected.to_owned()),
                "{name} at {target}"
            );
            assert_eq!(
                asked, 0,
                "{name} at {target}: what is not taken is not looked up"
            );
            assert!(received.is_empty(), "{name} at {target}: {received:?}");
            let mut challenge = r#"Bearer realm="clerk""#.to_owned();
            if token.is_some() {
                challenge.push_str(r#", error="invalid_token""#);
            }
            if ["/mcp/1", "/anything/1"].contains(&target) {
                let root = target.trim_end_matches("/1");
                challenge.push_str(&metadata(&world, root));
            }
            assert_eq!(
                answer.header("www-authenticate"),
                Some(&*challenge),
                "{name} at {target}"
            );
        }
    }
    assert_eq!(tried, 42);
    // One lookup for each opaque token, whatever the number of routes.
    assert_eq!(lookups(&world), 3);
}

#[tokio::test]
async fn the_application_learns_who_the_machine_is_and_nothing_that_the_client_says() {
    let world = world().await;
    let tokens = Tokens::of(&world);
    let org = world
        .clerk
        .machine_token(MachineGrant::new(MachineKind::ApiKey, ACME, &[]));
    let acting = world.clerk.machine_token(MachineGrant {
        actor: json!({ "sub": "user_2Operator" }),
        ..MachineGrant::new(MachineKind::OAuth, ADA, &["profile"])
    });
    let tokens = [
        &tokens.key.secret,
        &org.secret,
        &tokens.m2m.secret,
        &tokens.m2m_jwt,
        &tokens.oauth.secret,
        &tokens.oauth_jwt,
        &acting.secret,
    ];
    for (token, expected) in tokens.into_iter().zip(TOLD) {
        let mut call = world.get("/anything/1").bearer(token);
        for name in IDENTITY_HEADERS.iter().map(http::HeaderName::as_str) {
            call = call
                .header(name, "forged")
                .header(&name.replace('-', "_"), "forged");
        }
        let answer = call
            .header("x-owner", "forged")
            .header("X-Tier", "forged")
            .send()
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("private"));
        let received = world.upstream.take_received();
        assert_eq!(identity(&received[0]), pairs(expected));
        let forged: Vec<_> = received[0]
            .headers
            .iter()
            .filter(|(_, value)| *value == "forged")
            .collect();
        assert!(forged.is_empty(), "{forged:?}");
    }
}

#[tokio::test]
async fn a_machines_token_never_stands_for_a_person_or_an_organisation() {
    let world = world().await;
    for subject in [ADA, ACME] {
        let grant = MachineGrant::new(MachineKind::M2m, subject, &[]);
        let token = world.clerk.machine_token(grant).secret;
        let answer = world.get("/machines/1").bearer(&token).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let received = world.upstream.take_received();
        let expected = [
            ("x-token-type", "m2m_token"),
            ("x-token-subject", subject),
            ("x-owner", subject),
        ];
        assert_eq!(identity(&received[0]), pairs(&expected));
    }
}

#[tokio::test]
async fn a_missing_scope_is_a_403_that_names_the_scopes() {
    let world = world().await;
    for (target, kind, scopes, wanted) in [
        (
            "/invoices/1",
            MachineKind::ApiKey,
            vec!["read:invoices"],
            "read:invoices list:invoices",
        ),
        (
            "/invoices/1",
            MachineKind::ApiKey,
            vec![],
            "read:invoices list:invoices",
        ),
        (
            "/invoices/1",
            MachineKind::ApiKey,
            vec!["read:invoices list:invoices"],
            "read:invoices list:invoices",
        ),
        (
            "/mcp/1",
            MachineKind::OAuth,
            vec!["Profile", "profile:read"],
            "profile",
        ),
    ] {
        let token = world
            .clerk
            .machine_token(MachineGrant::new(kind, ADA, &scopes));
        let answer = world.get(target).bearer(&token.secret).send().await;
        assert_refused(&world, &answer, 403, "scope-missing");
        assert_eq!(answer.code(), "scope-missing");
        let mut challenge =
            format!(r#"Bearer realm="clerk", error="insufficient_scope", scope="{wanted}""#);
        if kind == MachineKind::OAuth {
            challenge.push_str(&metadata(&world, "/mcp"));
        }
        assert_eq!(answer.header("www-authenticate"), Some(&*challenge));
    }
    let both = api_key(&world, &["list:invoices", "x", "read:invoices"], None);
    let answer = world.get("/invoices/1").bearer(&both.secret).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.upstream.take_received().len(), 1);
}

#[tokio::test]
async fn a_hidden_route_is_not_there_for_a_machine_without_the_scope() {
    let world = world().await;
    let lacking = api_key(&world, &["write:invoices"], None);
    let answer = world.get("/hidden/1").bearer(&lacking.secret).send().await;
    assert_eq!((told(&answer), &*answer.code()), ((404, None), "not-found"));
    assert_eq!(answer.header("www-authenticate"), None);
    assert!(!answer.body.contains("scope"), "{}", answer.body);
    world.upstream.assert_untouched();

    let having = api_key(&world, &["read:invoices"], None);
    let answer = world.get("/hidden/1").bearer(&having.secret).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_machines_own_key_checks_the_tokens_that_are_meant_for_it() {
    // The stand-in has its keys only once it runs, so a first gate is asked for them.
    let world = world().await;
    let url = world.clerk.url().parse().unwrap();
    let (secret, own) = (
        world.clerk.secret_key().to_owned(),
        world.clerk.machine_secret_key().to_owned(),
    );
    let behind = world_of(ROUTES)
        .configure(move |config| {
            config.clerk.api_url = url;
            config.clerk.secret_key = Some(secret.into());
            config.clerk.machine_secret_key = Some(own.into());
        })
        .start()
        .await;
    let token = |scope: &str| {
        let grant = MachineGrant::new(MachineKind::M2m, SENDER, &[scope]);
        world.clerk.machine_token(grant).secret
    };
    let answer = behind
        .get("/machines/1")
        .bearer(&token("mch_2Other"))
        .send()
        .await;
    assert_refused(&behind, &answer, 401, "token-invalid");
    let answer = behind
        .get("/machines/1")
        .bearer(&token(world.clerk.machine_id()))
        .send()
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Other kinds are asked about with the secret key of the instance.
    let key = api_key(&world, &[], None);
    let answer = behind.get("/keys/1").bearer(&key.secret).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(lookups(&behind), 0, "its own stand-in was not asked");
    assert_eq!(lookups(&world), 3);
}
