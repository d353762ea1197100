//! Signed assertions: what an upstream can check with the published keys alone, and that nobody
//! else can say it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use clerk_gate::config::{AssertionConfig, Config};
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::{CredentialUse, Preflight, Route};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::server;
use clerk_gate::standin::{MachineGrant, MachineKind};
use clerk_gate::upstream::signer::{KeyFileError, Signer};
use http::{Method, StatusCode};
use jsonwebtoken::jwk::{JwkSet, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::support::upstream::{Received, RecordingUpstream};
use crate::support::{
    START_MS, World, WorldBuilder, add_site, cookies, exchange, route, usual_routes,
};

const HEADER: &str = "x-clerk-gate-assertion";
const KEYS: &str = "/_gate/assertion/jwks.json";

/// A key file of the tests.
pub fn key_file(name: &str) -> Vec<u8> {
    fs::read(format!(
        "{}/tests/cases/keys/{name}.pem",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

/// What `[assertion]` says with this key file and nothing else.
pub fn assertion(name: &str) -> AssertionConfig {
    AssertionConfig {
        signer: Arc::new(Signer::from_pem(&key_file(name)).unwrap()),
        issuer: None,
        lifetime: Duration::from_mins(5),
    }
}

/// The usual routes, one that looks at no credentials, one that lets preflights through and one for
/// machines.
fn routes() -> Vec<Route> {
    let mut routes = usual_routes();
    let mut assets = route("assets", &["/assets/**"], Requirement::Public);
    assets.credentials = CredentialUse::Ignore;
    let mut api = route("api", &["/api/**"], Requirement::SignedIn);
    api.preflight = Preflight::Forward;
    let machines = clerk_gate::core::machine::TokenTypes::MACHINES;
    let machines = route("machines", &["/machines/**"], Requirement::Token(machines));
    routes.extend([assets, api, machines]);
    routes
}

fn world() -> WorldBuilder {
    World::with(routes()).configure(|config| config.assertion = Some(assertion("p256")))
}

/// The published keys, as anybody gets them.
async fn published(world: &World) -> JwkSet {
    let answer = world.get(KEYS).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    serde_json::from_str(&answer.body).unwrap()
}

/// What a verifier that knows nothing of the gate makes of a token; times are not its matter, since
/// the clock of these tests stands still.
fn checked(
    token: &str,
    keys: &JwkSet,
    audience: &str,
) -> Result<Value, jsonwebtoken::errors::Error> {
    let header = decode_header(token)?;
    let kid = header.kid.unwrap();
    let jwk = keys.find(&kid).expect("a published key");
    let key = DecodingKey::from_jwk(jwk)?;
    let mut rules = Validation::new(header.alg);
    rules.algorithms = vec![Algorithm::ES256, Algorithm::EdDSA];
    rules
        .algorithms
        .retain(|algorithm| *algorithm == header.alg);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["iss", "aud", "exp"]);
    rules.validate_exp = false;
    decode::<Value>(token, &key, &rules).map(|token| token.claims)
}

/// What an assertion says, whoever signed it.
pub fn claim(token: &str, name: &str) -> String {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode(claims)
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims[name].as_str().unwrap().to_owned()
}

/// The one assertion that a request carries.
#[track_caller]
fn carried(received: &Received) -> String {
    let lines: Vec<_> = received.headers.get_all(HEADER).iter().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].to_str().unwrap().to_owned()
}

/// The claims of the next request that has arrived.
#[track_caller]
fn claims(world: &World, keys: &JwkSet) -> Value {
    let received = world.upstream.take_received().remove(0);
    let audience = format!("http://{}", world.upstream.address);
    checked(&carried(&received), keys, &audience).unwrap()
}

#[tokio::test]
async fn the_application_can_check_who_calls_with_the_published_keys_alone() {
    for (file, algorithm) in [("p256", Algorithm::ES256), ("ed25519", Algorithm::EdDSA)] {
        let world = World::with(routes())
            .configure(move |config| config.assertion = Some(assertion(file)))
            .start()
            .await;
        let keys = published(&world).await;
        let ada = world.clerk.sign_in("ada", None);
        let call = world
            .request(Method::POST, "/admin/%61?q=1")
            .cookie(&cookies(&ada));
        assert_eq!(call.send().await.status, StatusCode::OK);
        let received = world.upstream.only();
        let token = carried(&received);
        let header = decode_header(&token).unwrap();
        assert_eq!(
            (header.alg, header.typ.as_deref()),
            (algorithm, Some("JWT"))
        );
        let claims = claims(&world, &keys);
        let now = START_MS / 1000;
        assert_eq!(received.target, "/admin/a?q=1");
        assert_eq!(
            claims,
            json!({
                "iss": format!("http://localhost:{}", world.gate.port()),
                "aud": format!("http://{}", world.upstream.address),
                "iat": now,
                "exp": now + 300,
                "jti": claims["jti"],
                "htm": "POST",
                "path": "/admin/a",
                "sub": ada.user_id,
                "sid": ada.session_id,
                "org_id": received.header("x-org-id"),
                "org_slug": received.header("x-org-slug"),
                "org_role": "org:admin",
                "org_permissions": received
                    .header("x-org-permissions")
                    .map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>()),
                "token_type": "session_token",
            }),
            "{file}"
        );
        assert!(claims["jti"].as_str().unwrap().len() >= 20);
    }
}

#[tokio::test]
async fn a_request_of_nobody_is_known_to_have_come_through_the_gate_and_names_nobody() {
    let world = world().start().await;
    let keys = published(&world).await;
    let ada = world.clerk.sign_in("ada", None);
    let preflight = world
        .request(Method::OPTIONS, "/api/x")
        .header("origin", "https://other.example")
        .header("access-control-request-method", "GET");
    for (call, path) in [
        (world.get("/public/x"), "/public/x"),
        (world.get("/assets/x").bearer(&ada.token), "/assets/x"),
        (preflight.bearer(&ada.token), "/api/x"),
    ] {
        assert_eq!(call.send().await.status, StatusCode::OK, "{path}");
        let claims = claims(&world, &keys);
        let names: BTreeSet<&str> = claims
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expected = ["aud", "exp", "htm", "iat", "iss", "jti", "path"];
        assert_eq!(names, expected.into(), "{path}");
        assert_eq!(claims["path"], path);
    }
}

#[tokio::test]
async fn impersonation_and_machines_are_told_as_in_the_identity_headers() {
    let world = world().start().await;
    let keys = published(&world).await;
    let ada = world.clerk.sign_in("ada", None);
    let acted = json!({ "act": { "sub": "user_support", "iss": "x" } });
    let token = world.clerk.mint(&ada.session_id, &acted);
    world.get("/members").bearer(&token).send().await;
    assert_eq!(
        claims(&world, &keys)["act"],
        json!({ "sub": "user_support" })
    );

    let grant = MachineGrant::new(MachineKind::OAuth, &ada.user_id, &["profile", "a b"]);
    let token = world.clerk.machine_token(grant);
    world.get("/machines/x").bearer(&token.secret).send().await;
    let received = world.upstream.received();
    let told = claims(&world, &keys);
    assert_eq!(told["sub"], *ada.user_id);
    assert_eq!(told["token_type"], "oauth_token");
    assert_eq!(told["scope"], "profile a%20b");
    assert_eq!(
        told["client_id"].as_str(),
        received[0].header("x-client-id").as_deref()
    );
    assert_eq!(
        (&told["sid"], &told["org_role"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn every_claim_is_in_the_reference() {
    let world = world().start().await;
    let keys = published(&world).await;
    let ada = world.clerk.sign_in("ada", None);
    let acted = world.clerk.mint(
        &ada.session_id,
        &json!({ "act": { "sub": "user_support" } }),
    );
    let grant = MachineGrant::new(MachineKind::OAuth, &ada.user_id, &["profile"]);
    let machine = world.clerk.machine_token(grant).secret;
    let mut told = BTreeSet::new();
    for (path, token) in [("/members", &acted), ("/machines/x", &machine)] {
        world.get(path).bearer(token).send().await;
        let claims = claims(&world, &keys);
        told.extend(claims.as_object().unwrap().keys().cloned());
    }
    let reference = include_str!("../../docs/reference/headers.md");
    let (_, part) = reference.split_once("\n## The signed assertion\n").unwrap();
    let rows = part.split("\n## ").next().unwrap().lines();
    let documented: BTreeSet<String> = rows
        .filter_map(|row| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    assert_eq!(documented, told);
}

#[tokio::test]
async fn an_assertion_is_worth_nothing_at_another_server_or_route() {
    let other = RecordingUpstream::start().await;
    let address = other.address;
    let mut routes = usual_routes();
    let mut elsewhere = route("elsewhere", &["/elsewhere/**"], Requirement::SignedIn);
    elsewhere.upstream = 1;
    let mut named = route("named", &["/named/**"], Requirement::SignedIn);
    named.assertion_audience = Some("invoices".to_owned());
    routes.extend([elsewhere, named]);
    let world = World::with(routes)
        .configure(move |config| {
            config.assertion = Some(assertion("p256"));
            let mut second = config.upstreams[0].clone();
            second.url = Origin::parse(&format!("http://{address}")).unwrap().into();
            config.upstreams.push(second);
            config.upstreams[0].assertion_audience = Some("https://app.internal".to_owned());
        })
        .start()
        .await;
    let keys = published(&world).await;
    let ada = world.clerk.sign_in("ada", None);
    for path in ["/members", "/elsewhere/x", "/named/x"] {
        world.get(path).bearer(&ada.token).send().await;
    }
    let mut received = world.upstream.take_received();
    received.extend(other.take_received());
    let audiences = [
        "https://app.internal",
        "invoices",
        &format!("http://{address}"),
    ];
    assert_eq!(received.len(), audiences.len());
    for (at, one) in received.iter().enumerate() {
        for (of, audience) in audiences.iter().enumerate() {
            let outcome = checked(&carried(one), &keys, audience);
            assert_eq!(outcome.is_ok(), at == of, "{} at {audience}", one.target);
            if let Ok(claims) = outcome {
                assert_eq!(
                    (&claims["path"], &claims["htm"]),
                    (&one.target.clone().into(), &"GET".into())
                );
            }
        }
    }
}

#[tokio::test]
async fn each_assertion_has_an_id_and_an_end_of_its_own() {
    let world = world()
        .configure(|config| config.assertion.as_mut().unwrap().lifetime = Duration::from_secs(30))
        .start()
        .await;
    let keys = published(&world).await;
    let mut ids = BTreeSet::new();
    for second in 0..50 {
        world.get("/public/x").send().await;
        let claims = claims(&world, &keys);
        ids.insert(claims["jti"].as_str().unwrap().to_owned());
        let (issued, ends) = (
            claims["iat"].as_u64().unwrap(),
            claims["exp"].as_u64().unwrap(),
        );
        assert_eq!((issued, ends), (START_MS / 1000 + second, issued + 30));
        world.clock.advance_ms(1000);
    }
    assert_eq!(ids.len(), 50);
}

/// Spellings that some server writes into the same variable, or takes for the same header.
const SPELLINGS: [&str; 9] = [
    "x-clerk-gate-assertion",
    "X-Clerk-Gate-Assertion",
    "X_CLERK_GATE_ASSERTION",
    "x_clerk-gate_assertion",
    "x.clerk.gate.assertion",
    "xclerkgateassertion",
    "x--clerk--gate--assertion",
    "-x-clerk-gate-assertion",
    "x_clerk_gate_assertion_",
];

#[tokio::test]
async fn no_assertion_of_a_client_arrives_whether_the_gate_makes_them_or_not() {
    for asserts in [true, false] {
        let world = World::with(routes())
            .configure(move |config| config.assertion = asserts.then(|| assertion("p256")))
            .start()
            .await;
        let ada = world.clerk.sign_in("ada", None);
        let bearer = format!("authorization: Bearer {}\r\n", ada.token);
        let mut arrived = 0;
        for name in SPELLINGS {
            for (path, who) in [("/public/x", ""), ("/assets/x", ""), ("/members", &*bearer)] {
                let host = format!("host: localhost:{}", world.gate.port());
                let request = format!(
                    "POST {path} HTTP/1.1\r\n{host}\r\n{who}{name}: forged\r\n{name}: forged\r\n\
                     connection: close, {name}\r\nte: trailers\r\ntrailer: {name}\r\n\
                     transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n{name}: forged\r\n\r\n"
                );
                let answer = exchange(world.gate, request.as_bytes()).await.remove(0);
                assert_eq!(answer.status, StatusCode::OK, "{name} {path}");
                let received = world.upstream.take_received().remove(0);
                let all = received.headers.iter().chain(&received.trailers);
                let alike: Vec<_> = all
                    .filter(|(name, value)| {
                        let letters = name.as_str().replace(['-', '_', '.'], "");
                        letters == "xclerkgateassertion" || value.as_bytes() == b"forged"
                    })
                    .map(|(name, _)| name.as_str())
                    .collect();
                let own = if asserts { vec![HEADER] } else { vec![] };
                assert_eq!(alike, own, "{name} {path}");
                arrived += 1;
            }
        }
        assert_eq!(arrived, SPELLINGS.len() * 3);
    }
}

#[tokio::test]
async fn no_assertion_of_a_client_reaches_clerk() {
    let frontend_api = RecordingUpstream::start().await;
    let world = world().relaying_to(frontend_api.address).start().await;
    for name in SPELLINGS {
        let call = world.get("/__clerk/v1/client").header(name, "forged");
        assert_eq!(call.send().await.status, StatusCode::OK, "{name}");
    }
    let received = frontend_api.received();
    assert_eq!(received.len(), SPELLINGS.len());
    for one in received {
        assert!(!format!("{:?}", one.headers).contains("forged"), "{one:?}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_new_key_signs_while_the_old_one_stays_published() {
    let before = World::with(routes())
        .configure(|config| config.assertion = Some(assertion("older")))
        .start()
        .await;
    before.get("/public/x").send().await;
    let old = carried(&before.upstream.only());
    let audience = format!("http://{}", before.upstream.address);

    let after = World::with(routes())
        .configure(|config| config.assertion = Some(assertion("rotated")))
        .start()
        .await;
    let keys = published(&after).await;
    assert_eq!(keys.keys.len(), 2);
    assert!(
        checked(&old, &keys, &audience).is_ok(),
        "an old one still holds"
    );
    after.get("/public/x").send().await;
    let new = carried(&after.upstream.only());
    let kid = |token: &str| decode_header(token).unwrap().kid.unwrap();
    assert_ne!(kid(&new), kid(&old));
    assert_eq!(Some(kid(&new)), keys.keys[0].common.key_id);
    claims(&after, &keys);
}

#[tokio::test]
async fn the_published_keys_are_public_and_named_by_their_thumbprint() {
    let world = World::with(routes())
        .configure(|config| {
            let mut file = key_file("p256");
            file.extend(key_file("ed25519"));
            let signer = Arc::new(Signer::from_pem(&file).unwrap());
            config.assertion = Some(AssertionConfig {
                signer,
                ..assertion("p256")
            });
        })
        .start()
        .await;
    let answer = world.get(KEYS).send().await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let set: Value = serde_json::from_str(&answer.body).unwrap();
    let members = |at: usize| -> Vec<&str> {
        set["keys"][at]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect()
    };
    // `d`, the private half, is not among them.
    assert_eq!(members(0), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!(members(1), ["alg", "crv", "kid", "kty", "use", "x"]);
    for jwk in published(&world).await.keys {
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).unwrap();
        assert_eq!(jwk.common.key_id, Some(thumbprint));
    }
    let post = world.request(Method::POST, KEYS).send().await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn without_assertions_there_is_neither_a_header_nor_a_key() {
    let world = World::start().await;
    let answer = world.get(KEYS).send().await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::NOT_FOUND, "page-unknown".to_owned())
    );
    world.upstream.assert_untouched();
    world.get("/public/x").send().await;
    assert_eq!(world.upstream.only().header(HEADER), None);
}

#[tokio::test]
async fn the_issuer_is_the_public_address_of_the_site_and_never_what_a_client_asks_for() {
    let public = |url: &str| PublicAddress::Fixed(Origin::parse(url).unwrap());
    let change = move |config: &mut Config| {
        config.assertion = Some(assertion("p256"));
        config.edge.public = public("https://app.example.com");
        let clerk = config.clerk.clone();
        let hosts = ["docs.example.com", "*.docs.example.com"];
        add_site(config, &hosts, public("https://docs.example.com"), clerk);
    };
    for (issuer, expected) in [
        (
            None,
            [
                "https://app.example.com",
                "https://docs.example.com",
                "https://docs.example.com",
            ],
        ),
        (Some("https://gate.internal"), ["https://gate.internal"; 3]),
    ] {
        let world = World::with(routes())
            .configure(change)
            .configure(move |config| {
                config.assertion.as_mut().unwrap().issuer = issuer.map(str::to_owned);
            });
        let world = world.start().await;
        let keys = world
            .get(KEYS)
            .header("host", "app.example.com")
            .send()
            .await;
        let keys: JwkSet = serde_json::from_str(&keys.body).unwrap();
        for (host, expected) in ["app.example.com", "docs.example.com", "a.docs.example.com"]
            .iter()
            .zip(expected)
        {
            let call = world.get("/public/x").header("host", host);
            assert_eq!(call.send().await.status, StatusCode::OK);
            assert_eq!(claims(&world, &keys)["iss"], expected, "{host}");
        }
    }
}

#[test]
fn a_file_without_a_usable_key_says_what_is_wrong() {
    for (name, expected) in [
        ("broken", KeyFileError::Pem),
        ("encrypted", KeyFileError::Encrypted),
        ("p384", KeyFileError::Curve),
        ("public", KeyFileError::None),
        ("rsa", KeyFileError::Rsa),
        ("sec1", KeyFileError::NotPkcs8),
        ("twice", KeyFileError::Twice),
    ] {
        assert_eq!(
            Signer::from_pem(&key_file(name)).unwrap_err(),
            expected,
            "{name}"
        );
    }
    assert_eq!(Signer::from_pem(b"").unwrap_err(), KeyFileError::None);
    let text = String::from_utf8(key_file("p256")).unwrap();
    let garbled = text.replacen(
        "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg",
        "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQh",
        1,
    );
    assert_ne!(text, garbled);
    assert_eq!(
        Signer::from_pem(garbled.as_bytes()).unwrap_err(),
        KeyFileError::Unknown
    );
    let nine: Vec<u8> = (0..9).flat_map(|_| key_file("p256")).collect();
    assert_eq!(Signer::from_pem(&nine).unwrap_err(), KeyFileError::TooMany);
}

/// What of a key file would be worth something to a thief.
pub fn secret_of(name: &str) -> String {
    let text = String::from_utf8(key_file(name)).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    body[40..72].to_owned()
}

#[tokio::test]
async fn neither_configuration_nor_gate_shows_the_signing_key() {
    let told = Arc::new(std::sync::Mutex::new(None));
    let config = Arc::clone(&told);
    let world = world()
        .configure(move |shown| *config.lock().unwrap() = Some(shown.clone()))
        .start()
        .await;
    let config = told.lock().unwrap().take().unwrap();
    let bound = server::build(&config, world.clock.clone()).await.unwrap();
    let signer = &config.assertion.as_ref().unwrap().signer;
    let kid = &published(&world).await.keys[0]
        .common
        .key_id
        .clone()
        .unwrap();
    assert!(
        format!("{config:?}").contains(kid),
        "it shows which key it is"
    );
    let pem = secret_of("p256");
    for shown in [
        format!("{config:#?}"),
        format!("{bound:#?}"),
        format!("{signer:?}"),
    ] {
        assert!(
            !shown.contains(&pem) && !shown.contains("PRIVATE"),
            "{shown}"
        );
    }
}
