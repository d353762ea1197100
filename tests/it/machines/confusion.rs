//! A machine never passes for a person, nor a person for a machine, in whichever place its token
//! stands; and one request has one identity.

use super::*;
use crate::support::cookies;

#[tokio::test]
async fn a_machine_token_in_a_cookie_is_no_session() {
    let world = world().await;
    let mel = world.clerk.sign_in("mel", None);
    let suffix = world.clerk.cookie_suffix().to_owned();
    let tokens = Tokens::of(&world);
    for (name, token) in tokens.all().into_iter().take(5) {
        let own = cookies(&mel).replace(&mel.token, token);
        let suffixed = own
            .replace("__session=", &format!("__session_{suffix}="))
            .replace("__client_uat=", &format!("__client_uat_{suffix}="));
        for cookie in [&own, &suffixed, &format!("{own}; {suffixed}")] {
            for target in [
                "/members",
                "/keys/1",
                "/machines/1",
                "/mcp/1",
                "/workers/1",
                "/anything/1",
            ] {
                let answer = world.get(target).cookie(cookie).send().await;
                assert_eq!(answer.status, 401, "{name} at {target}: {answer:?}");
                world.upstream.assert_untouched();
            }
        }
    }
    assert_eq!(lookups(&world), 0);
}

#[tokio::test]
async fn a_session_in_a_cookie_opens_no_route_of_machines() {
    let world = world().await;
    let ada = world.clerk.sign_in("ada", None);
    for (target, reason) in [
        ("/keys/1", "no-token-in-header"),
        ("/machines/1", "no-token-in-header"),
        ("/mcp/1", "no-token-in-header"),
        ("/workers/1", "token-type-mismatch"),
    ] {
        // Nor is a page load sent to sign in: that would lead back here.
        for call in [world.get(target), world.visit(target)] {
            let answer = call.cookie(&cookies(&ada)).send().await;
            assert_refused(&world, &answer, 401, reason);
            assert_eq!(answer.all("set-cookie"), Vec::<String>::new());
        }
    }
    let answer = world.get("/anything/1").cookie(&cookies(&ada)).send().await;
    assert_eq!(answer.status, 200);
    let received = world.upstream.only();
    assert_eq!(
        received.header("x-token-type").as_deref(),
        Some("session_token")
    );
    assert_eq!(received.header("x-token-subject"), None);
}

#[tokio::test]
async fn the_gates_own_pages_are_for_sessions() {
    let world = world().await;
    for (name, token) in Tokens::of(&world).all().into_iter().take(5) {
        let answer = world.get("/_gate/me").bearer(token).send().await;
        assert_eq!(answer.status, 401, "{name}: {answer:?}");
        assert!(!answer.body.contains(ADA), "{name}: {}", answer.body);
    }
    assert_eq!(lookups(&world), 0);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_token_in_the_header_leaves_the_cookie_without_a_say() {
    let world = world().await;
    let mel = world.clerk.sign_in("mel", None);
    let tokens = Tokens::of(&world);
    for (name, token) in tokens.all().into_iter().take(5) {
        let call = world
            .get("/anything/1")
            .bearer(token)
            .cookie(&format!("{}; theme=dark", cookies(&mel)));
        assert_eq!(call.send().await.status, 200, "{name}");
        let received = world.upstream.take_received();
        let told = identity(&received[0]);
        assert!(
            !told.values().any(|value| value.contains(&mel.user_id)),
            "{name}: {told:?}"
        );
        assert_eq!(told.get("x-session-id"), None, "{name}");
        assert_eq!(told.get("x-org-role"), None, "{name}");
        assert_eq!(
            received[0].header("cookie").as_deref(),
            Some("theme=dark"),
            "{name}"
        );
    }
    // What the header says does not hold: the cookie does not step in.
    for token in [
        "ak_made_up",
        "mt_made_up",
        "oat_made_up",
        "made-up",
        "a.b.c",
    ] {
        let answer = world
            .get("/anything/1")
            .bearer(token)
            .cookie(&cookies(&mel))
            .send()
            .await;
        assert_refused(&world, &answer, 401, "token-invalid");
    }
}

#[tokio::test]
async fn what_is_almost_a_machine_token_is_none() {
    let world = world().await;
    let tokens = Tokens::of(&world);
    let key = &*tokens.key.secret;
    let payload = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    let parts: Vec<String> = tokens.oauth_jwt.split('.').map(str::to_owned).collect();
    let swapped = format!("{}.{}.{}", parts[0], payload(&tokens.m2m_jwt), parts[2]);
    let header = |typ: &str, cat: Option<&str>| {
        let mut header = json!({ "alg": "RS256", "kid": world.clerk.kid(), "typ": typ });
        if let Some(cat) = cat {
            header["cat"] = cat.into();
        }
        header
    };
    let seconds = crate::support::START_MS / 1000;
    let claims =
        |sub: &str| json!({ "sub": sub, "iat": seconds, "exp": seconds + 60, "jti": "t1" });
    let sign = |header: &serde_json::Value, sub: &str| world.clerk.sign(header, &claims(sub));
    for (what, token) in [
        ("another case", key.replacen("ak_", "AK_", 1)),
        ("a prefix before it", format!("x{key}")),
        ("cut off", key[..key.len() - 1].to_owned()),
        ("longer", format!("{key}x")),
        ("of another kind", key.replacen("ak_", "oat_", 1)),
        ("of a third kind", key.replacen("ak_", "mt_", 1)),
        ("its id", tokens.key.id.clone()),
        ("twice", format!("{key},{key}")),
        ("the claims of another", swapped),
        (
            "a machine with the category of a session",
            sign(&header("JWT", Some("cl_B7d4PD111AAA")), SENDER),
        ),
        (
            "a machine with the type of an access token",
            sign(&header("at+jwt", None), SENDER),
        ),
        (
            "a session with the category of a machine",
            sign(&header("JWT", Some("cl_B7d4PD333AAA")), ADA),
        ),
        (
            "a session from a template",
            sign(&header("JWT", Some("cl_B7d4PD222AAA")), ADA),
        ),
        (
            "an access token in capitals",
            sign(&header("AT+JWT", None), ADA),
        ),
    ] {
        for target in [
            "/keys/1",
            "/machines/1",
            "/mcp/1",
            "/workers/1",
            "/anything/1",
            "/members",
        ] {
            let answer = world.get(target).bearer(&token).send().await;
            assert_eq!(answer.status, 401, "{what} at {target}: {answer:?}");
            world.upstream.assert_untouched();
        }
    }
    // The same with a bearer that is none.
    for value in [
        format!("bearer {key}"),
        format!("Basic {key}"),
        format!("Bearer  {key}x"),
    ] {
        let answer = world
            .get("/keys/1")
            .header("authorization", &value)
            .send()
            .await;
        assert_eq!(answer.status, 401, "{value}: {answer:?}");
        world.upstream.assert_untouched();
    }
    let twice = world
        .get("/keys/1")
        .bearer(key)
        .bearer("ak_made_up")
        .send()
        .await;
    assert_ne!(twice.status, 200, "{twice:?}");
    world.upstream.assert_untouched();
}

const CLAIMING: &str = r#"
[identity.headers]
"remote-user" = "email"
"x-owner"     = "sub"

[[route]]
name    = "scope"
path    = "/scope/**"
require = { token = "m2m_token", scope = "write" }

[[route]]
name    = "claim"
path    = "/claim/**"
require = { token = "m2m_token", claim = { path = "tier", equals = "gold" } }

[[route]]
name    = "one"
path    = "/one/**"
require = { token = "m2m_token", claim = { path = "sub", equals = "mch_2Sender" } }

[[route]]
name    = "machines"
path    = "/machines/**"
require = { token = "m2m_token", not-impersonated = true }
"#;

#[tokio::test]
async fn what_a_machine_claims_of_itself_opens_nothing_and_is_told_to_nobody() {
    let world = world_of(CLAIMING).start().await;
    let claimed = |subject: &str| MachineGrant {
        claims: json!({
            "scopes": "write", "aud": ["write"], "tier": "gold", "email": "ceo@example.com",
            "act": { "sub": "user_1" },
        }),
        ..MachineGrant::new(MachineKind::M2m, subject, &["mch_2Receiver"])
    };
    for token in [
        world.clerk.machine_jwt(&claimed(SENDER)),
        world.clerk.machine_token(claimed(SENDER)).secret,
    ] {
        for (target, status) in [("/scope/1", 403), ("/claim/1", 401)] {
            let answer = world.get(target).bearer(&token).send().await;
            assert_eq!(answer.status, status, "{target}: {answer:?}");
            world.upstream.assert_untouched();
        }
        for target in ["/one/1", "/machines/1"] {
            let answer = world.get(target).bearer(&token).send().await;
            assert_eq!(answer.status, 200, "{target}: {answer:?}");
            let received = world.upstream.take_received();
            assert_eq!(received[0].header("remote-user"), None, "{target}");
            assert_eq!(received[0].header("x-owner").as_deref(), Some(SENDER));
            assert_eq!(received[0].header("x-actor-id"), None, "{target}");
        }
    }
    let other = world.clerk.machine_jwt(&claimed("mch_2Other"));
    let answer = world.get("/one/1").bearer(&other).send().await;
    assert_eq!(answer.status, 401, "{answer:?}");
    world.upstream.assert_untouched();
}
