//! Machine tokens and the authorisation server, over HTTP.

use super::*;
use crate::standin::machines::{MachineGrant, MachineKind};

const ADA: &str = "user_2Ada00000000000000000000001";
const CALLBACK: &str = "http://localhost:9000/callback?kept=1";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

impl World {
    /// Asks the Backend API about a machine token.
    async fn verify(&self, path: &str, key: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::post(format!("{}{path}", self.standin.url()))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()));
        let answer = self.send(request.expect("a request")).await;
        (answer.status(), read(answer).await)
    }

    async fn api_key(&self, secret: &str) -> (StatusCode, Value) {
        let key = self.standin.secret_key().to_owned();
        self.verify("/api_keys/verify", &key, json!({ "secret": secret }))
            .await
    }

    async fn register(&self, client: Value) -> (StatusCode, Value) {
        let request = Request::post(format!("{}/oauth/register", self.standin.url()))
            .header("content-type", "application/json")
            .body(Full::from(client.to_string()));
        let answer = self.send(request.expect("a request")).await;
        (answer.status(), read(answer).await)
    }

    /// A registered client that has got as far as a code.
    async fn code(&self) -> (String, String) {
        let (status, client) = self.register(json!({ "redirect_uris": [CALLBACK] })).await;
        assert_eq!(status, StatusCode::CREATED, "{client}");
        let id = client["client_id"].as_str().expect("an id").to_owned();
        let fields = asked(&id, &[("person", "ada")]);
        let answer = self.form("/oauth/authorize", &borrowed(&fields)).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let back = location(&answer);
        assert!(back.as_str().starts_with(CALLBACK), "{back}");
        assert_eq!(param(&back, "state"), "s1");
        (id, param(&back, "code"))
    }

    async fn exchange(
        &self,
        id: &str,
        code: &str,
        changed: &[(&str, &str)],
    ) -> (StatusCode, Value) {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", id),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        for (name, value) in changed {
            fields.retain(|(known, _)| known != name);
            fields.push((name, value));
        }
        let answer = self.form("/oauth/token", &fields).await;
        (answer.status(), read(answer).await)
    }
}

/// The parameters of an authorisation, some of them changed.
fn asked(id: &str, changed: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = [
        ("response_type", "code"),
        ("client_id", id),
        ("redirect_uri", CALLBACK),
        ("state", "s1"),
        ("scope", "profile"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for (name, value) in changed {
        fields.retain(|(known, _)| known != name);
        fields.push(((*name).to_owned(), (*value).to_owned()));
    }
    fields
}

fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect()
}

#[tokio::test]
async fn each_kind_of_machine_token_is_told_in_its_shape() {
    let world = World::new().await;
    let secret_key = world.standin.secret_key().to_owned();
    for (kind, path, field, object, prefix, expiration) in [
        (
            MachineKind::ApiKey,
            "/api_keys/verify",
            "secret",
            "api_key",
            "ak_",
            1_700_000_060_000_u64,
        ),
        (
            MachineKind::M2m,
            "/m2m_tokens/verify",
            "token",
            "machine_to_machine_token",
            "mt_",
            1_700_000_060_000,
        ),
        (
            MachineKind::OAuth,
            "/oauth_applications/access_tokens/verify",
            "access_token",
            "clerk_idp_oauth_access_token",
            "oat_",
            1_700_000_060,
        ),
    ] {
        let token = world.standin.machine_token(MachineGrant {
            claims: json!({ "tier": "gold" }),
            lifetime: Some(Duration::from_mins(1)),
            ..MachineGrant::new(kind, ADA, &["read", "write"])
        });
        assert!(token.secret.starts_with(prefix) && token.id.starts_with(prefix));
        for prefix in ["", "/v1"] {
            let body = json!({ field: token.secret });
            let (status, told) = world
                .verify(&format!("{prefix}{path}"), &secret_key, body)
                .await;
            assert_eq!(status, StatusCode::OK, "{told}");
            assert_eq!(told["object"], object);
            assert_eq!(told["id"], *token.id);
            assert_eq!(told["subject"], ADA);
            assert_eq!(told["scopes"], json!(["read", "write"]));
            assert_eq!(told["expiration"], expiration);
            assert_eq!(
                (&told["revoked"], &told["expired"]),
                (&json!(false), &json!(false))
            );
        }
        let (status, told) = world
            .verify(path, &secret_key, json!({ field: "ak_made_up" }))
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(told["errors"][0]["code"], "resource_not_found");
        let (status, _) = world.verify(path, &secret_key, json!({})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        let (status, _) = world
            .verify(path, "sk_test_wrong", json!({ field: token.secret }))
            .await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.standin.calls(Endpoint::MachineTokens), 15);
}

#[tokio::test]
async fn a_key_is_told_as_expired_and_as_revoked() {
    let world = World::new().await;
    let grant = MachineGrant::new(MachineKind::ApiKey, ADA, &[]);
    let key = world.standin.machine_token(MachineGrant {
        lifetime: Some(Duration::from_mins(1)),
        ..grant.clone()
    });
    world.pass(59);
    assert_eq!(world.api_key(&key.secret).await.1["expired"], false);
    world.pass(1);
    assert_eq!(world.api_key(&key.secret).await.1["expired"], true);

    let key = world.standin.machine_token(grant);
    world.standin.expire_machine_token(&key.id);
    assert_eq!(world.api_key(&key.secret).await.1["expired"], true);
    world.standin.revoke_machine_token(&key.id);
    assert_eq!(world.api_key(&key.secret).await.1["revoked"], true);
}

#[tokio::test]
async fn a_machine_knows_the_tokens_that_are_meant_for_it() {
    let world = World::new().await;
    let own_key = world.standin.machine_secret_key().to_owned();
    let own_id = world.standin.machine_id().to_owned();
    let mut statuses = Vec::new();
    for scope in [&*own_id, "mch_other"] {
        let grant = MachineGrant::new(MachineKind::M2m, "mch_2sender", &[scope]);
        let token = world.standin.machine_token(grant).secret;
        let body = json!({ "token": token });
        statuses.push(world.verify("/m2m_tokens/verify", &own_key, body).await.0);
    }
    assert_eq!(statuses, [StatusCode::OK, StatusCode::NOT_FOUND]);
    let key = world
        .standin
        .machine_token(MachineGrant::new(MachineKind::ApiKey, ADA, &[]));
    let body = json!({ "secret": key.secret });
    let (status, _) = world.verify("/api_keys/verify", &own_key, body).await;
    assert_eq!(
        status,
        StatusCode::UNAUTHORIZED,
        "it knows nothing of API keys"
    );
}

#[tokio::test]
async fn a_machines_jwt_has_the_mark_of_its_kind() {
    let world = World::new().await;
    let header = |token: &str| -> Value {
        let part = token.split('.').next().expect("a token");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    let granted = MachineGrant {
        claims: json!({ "aud": "mch_4" }),
        ..MachineGrant::new(MachineKind::M2m, "mch_1", &["mch_2", "mch_3"])
    };
    let m2m = world.standin.machine_jwt(&granted);
    assert_eq!(header(&m2m)["cat"], "cl_B7d4PD333AAA");
    assert_eq!(claims(&m2m)["scopes"], Value::Null);
    assert_eq!(claims(&m2m)["aud"], "mch_4");
    let oauth =
        world
            .standin
            .machine_jwt(&MachineGrant::new(MachineKind::OAuth, ADA, &["profile"]));
    assert_eq!(header(&oauth)["typ"], "at+jwt");
    assert_eq!(claims(&oauth)["scope"], "profile");
    assert_eq!(claims(&oauth)["exp"], 1_700_003_600);
    assert!(world.standin.instance.keys().verify(&oauth).is_some());
}

#[tokio::test]
async fn an_oauth_client_registers_and_gets_a_token_for_a_person() {
    let world = World::new().await;
    let metadata = read(world.get("/.well-known/oauth-authorization-server").await).await;
    assert_eq!(metadata["issuer"], world.standin.url());
    assert_eq!(
        metadata["code_challenge_methods_supported"],
        json!(["S256"])
    );

    let (id, code) = world.code().await;
    let query = form(&borrowed(&asked(&id, &[])));
    let page = text(world.get(&format!("/oauth/authorize?{query}")).await).await;
    assert!(page.contains(r#"name="person" value="ada""#), "{page}");
    assert!(page.contains(CHALLENGE), "{page}");

    let (status, granted) = world.exchange(&id, &code, &[]).await;
    assert_eq!(status, StatusCode::OK, "{granted}");
    assert_eq!(
        (&granted["token_type"], &granted["scope"]),
        (&json!("Bearer"), &json!("profile"))
    );
    let key = world.standin.secret_key().to_owned();
    let body = json!({ "access_token": granted["access_token"] });
    let path = "/oauth_applications/access_tokens/verify";
    let (_, told) = world.verify(path, &key, body).await;
    assert_eq!(
        (&told["subject"], &told["client_id"]),
        (&json!(ADA), &json!(id))
    );
    assert_eq!(told["scopes"], json!(["profile"]));

    let (status, again) = world.exchange(&id, &code, &[]).await;
    assert_eq!(
        (status, &again["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_grant"))
    );
}

#[tokio::test]
async fn a_code_is_for_its_client_its_address_and_its_verifier_and_for_a_minute() {
    let world = World::new().await;
    for changed in [
        ("client_id", "client_other"),
        ("redirect_uri", "http://localhost:9000/callback"),
        ("code_verifier", "another"),
        ("code", "another"),
    ] {
        let (id, code) = world.code().await;
        let (status, told) = world.exchange(&id, &code, &[changed]).await;
        assert_eq!(
            (status, &told["error"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_grant")),
            "{changed:?}"
        );
    }
    let (id, code) = world.code().await;
    world.pass(60);
    assert_eq!(
        world.exchange(&id, &code, &[]).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn an_authorisation_that_is_not_sound_gives_no_code() {
    let world = World::new().await;
    let (id, _) = world.code().await;
    for (changed, error) in [
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "profile everything"), "invalid_scope"),
    ] {
        let fields = asked(&id, &[changed, ("person", "ada")]);
        let answer = world.form("/oauth/authorize", &borrowed(&fields)).await;
        let back = location(&answer);
        assert_eq!(param(&back, "error"), error, "{back}");
        assert_eq!(param(&back, "code"), "");
    }
    // Whoever is not known is told nothing, and nobody is sent to an address of theirs.
    for changed in [
        ("client_id", "client_other"),
        ("redirect_uri", "http://localhost:9000/other"),
    ] {
        let fields = asked(&id, &[changed, ("person", "ada")]);
        let answer = world.form("/oauth/authorize", &borrowed(&fields)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{changed:?}");
        assert_eq!(answer.headers().get("location"), None);
    }
    for uris in [
        json!([]),
        json!(["https://example.com/callback"]),
        json!([7]),
        json!(null),
    ] {
        let (status, told) = world.register(json!({ "redirect_uris": uris })).await;
        assert_eq!(
            (status, &told["error"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_redirect_uri"))
        );
    }
}
