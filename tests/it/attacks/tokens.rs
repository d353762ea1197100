//! Forged tokens and odd ones: nobody is let in by them, and whoever is let in is who the table says.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use clerk_gate::clerk::keys::KeySet;
use clerk_gate::config::KeySource;
use clerk_gate::core::jwt::Token;
use clerk_gate::core::verify::Signature;
use http::Response;
use serde_json::{Map, Value, json};

use super::{assert_none, read};
use crate::support::upstream::{Received, RecordingUpstream};
use crate::support::{Answer, START_MS, World, exchange, usual_routes};

const KID: &str = "ins_Ours";
const PARTY: &str = "https://app.example.com";

/// A key that can sign in every way.
struct Signer(RsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn jwk(&self, changes: &Value) -> Value {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.0.public_key());
        let mut jwk = json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KID,
            "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e),
        });
        merge(jwk.as_object_mut().unwrap(), changes);
        jwk
    }

    fn der(&self) -> Vec<u8> {
        use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    fn pem(&self) -> String {
        let text = STANDARD.encode(self.der());
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        let body = lines.join("\n");
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    fn sign(&self, encoding: &'static dyn RsaEncoding, text: &str) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                encoding,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .unwrap();
        signature
    }
}

/// Replaces members; null removes one.
fn merge(object: &mut Map<String, Value>, changes: &Value) {
    for (name, value) in changes.as_object().into_iter().flatten() {
        match value {
            Value::Null => object.remove(name),
            value => object.insert(name.clone(), value.clone()),
        };
    }
}

/// A gate whose instance has our key, and what goes with it.
struct Forge {
    world: World,
    ours: Signer,
    stranger: Signer,
    /// Where a token may not send the gate to fetch anything.
    trap: RecordingUpstream,
    _keys: RecordingUpstream,
}

impl Forge {
    async fn start(parties: &[&str]) -> Self {
        let (ours, stranger) = (Signer::new(), Signer::new());
        let short = URL_SAFE_NO_PAD.encode([0xc3_u8; 128]);
        let set = json!({ "keys": [
            ours.jwk(&json!({})),
            ours.jwk(&json!({ "kid": "enc", "use": "enc" })),
            ours.jwk(&json!({ "kid": "rs512", "alg": "RS512" })),
            ours.jwk(&json!({ "kid": "ops", "use": null, "key_ops": ["encrypt"] })),
            ours.jwk(&json!({ "kid": "short", "n": short })),
            ours.jwk(&json!({ "kid": "no-n", "n": null })),
            { "kid": "ec", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "alg": "ES256" },
            { "kid": "oct", "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" },
        ]});
        let keys = RecordingUpstream::start().await;
        keys.answers(move |_| Response::new(Bytes::from(set.to_string())));
        let url = format!("http://{}", keys.address);
        let parties = parties.iter().map(|&party| party.to_owned()).collect();
        let world = World::with(usual_routes())
            .configure(move |config| {
                config.clerk.keys = KeySource::FrontendApi { url };
                config.clerk.instance.authorized_parties = parties;
            })
            .start()
            .await;
        Self {
            world,
            ours,
            stranger,
            trap: RecordingUpstream::start().await,
            _keys: keys,
        }
    }

    /// Text of the table with what it stands for.
    fn fill(&self, text: &str) -> String {
        let issuer = self.world.clerk.issuer();
        let host = issuer.split_once("://").unwrap().1;
        let mut filled = text
            .replace("\"{stranger}\"", &self.stranger.jwk(&json!({})).to_string())
            .replace("{trap}", &format!("http://{}", self.trap.address))
            .replace("{kid}", KID)
            .replace("{KID}", &KID.to_uppercase())
            .replace("{iss}", &issuer)
            .replace("{ISS}", &issuer.to_uppercase())
            .replace("{issuer-host}", host);
        for (mark, open, close) in [("{long*", "x", ""), ("{deep*", "[", "]")] {
            if let Some((before, rest)) = filled.clone().split_once(mark) {
                let (times, after) = rest.split_once('}').unwrap();
                let times = times.parse().unwrap();
                let (open, close) = (open.repeat(times), close.repeat(times));
                filled = format!("{before}{open}{close}{after}");
            }
        }
        filled
    }

    fn part(&self, case: &Value, name: &str, usual: Value) -> String {
        if let Some(text) = case[format!("{name}_text")].as_str() {
            return self.fill(text);
        }
        let Value::Object(mut object) = usual else {
            unreachable!("an object")
        };
        merge(&mut object, &case[name]);
        self.fill(&Value::Object(object).to_string())
    }

    fn signature(&self, kind: &str, text: &str) -> Vec<u8> {
        let keyed = |key: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        };
        match kind {
            "ours" => self.ours.sign(&RSA_PKCS1_SHA256, text),
            "stranger" => self.stranger.sign(&RSA_PKCS1_SHA256, text),
            "rs384" => self.ours.sign(&RSA_PKCS1_SHA384, text),
            "rs512" => self.ours.sign(&RSA_PKCS1_SHA512, text),
            "ps256" => self.ours.sign(&RSA_PSS_SHA256, text),
            "hmac-pem" => keyed(self.ours.pem().as_bytes()),
            "hmac-der" => keyed(&self.ours.der()),
            "hmac-n" => keyed(self.ours.jwk(&json!({}))["n"].as_str().unwrap().as_bytes()),
            "hmac-oct" => keyed(b"secret"),
            "hmac-empty" => keyed(b""),
            "nothing" => Vec::new(),
            "zeros" => vec![0; 256],
            "ones" => vec![0xff; 256],
            "short" => vec![1],
            other => panic!("`{other}` is no way to sign"),
        }
    }

    /// The token of a case, in each of the spellings that a template may name.
    fn token(&self, case: &Value) -> String {
        let now = START_MS / 1000;
        let header = self.part(
            case,
            "header",
            json!({ "alg": "RS256", "typ": "JWT", "kid": KID, "cat": "cl_B7d4PD111AAA" }),
        );
        let claims = self.part(
            case,
            "claims",
            json!({
                "iss": self.world.clerk.issuer(), "sub": "user_1", "sid": "sess_1", "v": 2,
                "exp": now + 60, "iat": now, "nbf": now - 10,
            }),
        );
        let (h, p) = (
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims),
        );
        let kind = case["sign"].as_str().unwrap_or("ours");
        let s = URL_SAFE_NO_PAD.encode(self.signature(kind, &format!("{h}.{p}")));
        let Some(template) = case["token"].as_str() else {
            return format!("{h}.{p}.{s}");
        };
        let cut = |by: usize| s[..s.len() - by].to_owned();
        template
            .replace("{h~}", &stray(&h))
            .replace("{p~}", &stray(&p))
            .replace("{s~}", &stray(&s))
            .replace("{s/}", &(s.replace('-', "+").replace('_', "/") + "="))
            .replace("{s-1}", &cut(1))
            .replace("{s-2}", &cut(2))
            .replace("{s-4}", &cut(4))
            .replace("{H}", &h.to_uppercase())
            .replace("{h}", &h)
            .replace("{p}", &p)
            .replace("{s}", &s)
    }

    async fn ask(&self, target: &str, lines: &str) -> (Answer, Vec<Received>) {
        let port = self.world.gate.port();
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n{lines}\r\n"
        );
        let mut answers = exchange(self.world.gate, request.as_bytes()).await;
        assert_eq!(answers.len(), 1, "one answer");
        (answers.remove(0), self.world.upstream.take_received())
    }

    /// What is wrong with how the gate takes a case, if anything is.
    async fn fault(&self, case: &Value) -> Option<String> {
        let token = self.token(case);
        let somebody = case["then"] == "somebody";
        let role = case["role"].as_str();
        let template = case["authorization"].as_str().unwrap_or("Bearer {t}");
        let bearer = format!("authorization: {}\r\n", template.replace("{t}", &token));
        // Clerk's `has` takes a role with and without its prefix for the same.
        let is_admin = role == Some("org:admin") || case["admin"] == true;
        let admin = if is_admin { 200 } else { 403 };
        for (target, signed_in, signed_out) in [
            ("/members", 200, 401),
            ("/admin/x", admin, 401),
            ("/public/x", 200, 200),
        ] {
            let (answer, received) = self.ask(target, &bearer).await;
            let wanted = if somebody { signed_in } else { signed_out };
            // A line break or the like ends the request before it is one.
            let torn = !somebody && answer.status == 400;
            let through = usize::from(wanted == 200 && !torn);
            if (answer.status.as_u16() != wanted && !torn) || received.len() != through {
                return Some(format!("{target}: {} {received:?}", answer.status));
            }
            for request in &received {
                if let Some(lie) = lie(request, somebody, role) {
                    return Some(format!("{target}: {lie}"));
                }
            }
        }
        if case["only"] == "bearer" {
            return None;
        }
        for name in [
            "__session",
            &format!("__session_{}", self.world.clerk.cookie_suffix()),
        ] {
            let uat = name.replacen("__session", "__client_uat", 1);
            let cookies = format!("cookie: {name}={token}; {uat}=1; __clerk_db_jwt=d\r\n");
            let load = format!("{cookies}sec-fetch-dest: document\r\n");
            for lines in [&cookies, &load] {
                let (answer, received) = self.ask("/members", lines).await;
                let status = answer.status.as_u16();
                let right = match received.as_slice() {
                    [] => matches!(status, 307 | 400 | 401 | 431),
                    [request] => somebody && lie(request, true, role).is_none(),
                    _ => false,
                };
                if !right {
                    return Some(format!("as {name}: {status} {received:?}"));
                }
            }
        }
        None
    }
}

/// Other text for the same bytes: bits behind the last one.
fn stray(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if text.len().is_multiple_of(4) {
        return format!("{text}A");
    }
    let last = text.as_bytes()[text.len() - 1];
    let at = LETTERS.iter().position(|letter| *letter == last).unwrap();
    format!("{}{}", &text[..text.len() - 1], char::from(LETTERS[at ^ 1]))
}

/// What is wrong with what the upstream was told, if anything is.
fn lie(received: &Received, somebody: bool, role: Option<&str>) -> Option<String> {
    if !somebody {
        let told = received
            .headers
            .iter()
            .find(|(name, _)| clerk_gate::core::identity_headers::IDENTITY_HEADERS.contains(name));
        return told.map(|(name, value)| format!("nobody has {name}: {value:?}"));
    }
    let user = received.header("x-user-id").unwrap_or_default();
    let plain = user.bytes().all(|byte| byte.is_ascii_graphic());
    let seen = received.header("x-org-role");
    if user.is_empty() || !plain || seen.as_deref() != role {
        return Some(format!("user {user:?}, role {seen:?}"));
    }
    None
}

#[tokio::test]
async fn nobody_gets_in_by_a_token_that_is_not_what_it_says() {
    let groups: Vec<Value> = serde_json::from_str(&read("tokens.json")).unwrap();
    let open = Forge::start(&[]).await;
    let listed = Forge::start(&[PARTY]).await;
    let (mut faults, mut count) = (Vec::new(), 0);
    for group in &groups {
        let (name, why) = (group["group"].as_str().unwrap(), group["why"].as_str());
        assert!(why.is_some_and(|why| !why.is_empty()), "{name}");
        for case in group["cases"].as_array().unwrap() {
            count += 1;
            let forge = if case["parties"] == true {
                &listed
            } else {
                &open
            };
            if let Some(what) = forge.fault(case).await {
                faults.push(format!("{name}: {case}: {what}"));
            }
        }
    }
    assert!(count >= 350, "only {count}");
    for forge in [&open, &listed] {
        forge.trap.assert_untouched();
    }
    assert_none(&faults);
}

/// The vectors of Wycheproof. Their payloads are no claims, so none of them is a session, however
/// well it is signed; and a signature is good exactly where they say so.
#[tokio::test]
async fn the_vectors_of_wycheproof_let_nobody_in() {
    let file: Value = serde_json::from_str(&read("wycheproof.json")).unwrap();
    let keys = file["keys"].as_array().unwrap();
    let tests = file["tests"].as_array().unwrap();
    assert_eq!(tests.len(), 239);
    let (mut faults, mut good) = (Vec::new(), 0);
    for (at, key) in keys.iter().enumerate() {
        let set = json!({ "keys": [key] }).to_string();
        let known = KeySet::from_jwks(set.as_bytes()).ok();
        let server = RecordingUpstream::start().await;
        server.answers(move |_| Response::new(Bytes::from(set.clone())));
        let url = format!("http://{}", server.address);
        let world = World::with(usual_routes())
            .configure(move |config| config.clerk.keys = KeySource::FrontendApi { url })
            .start()
            .await;
        for test in tests.iter().filter(|test| test["key"] == at) {
            let jws = test["jws"].as_str().unwrap();
            let valid = test["result"] == "valid" && key["alg"] == "RS256";
            let header = jws.split('.').next().unwrap();
            // The check looks at the header alone; these payloads would not decode.
            let signature = Token::decode(&format!("{header}.e30.AAAA"))
                .ok()
                .filter(|_| jws.matches('.').count() == 2)
                .zip(known.as_ref())
                .map(|(token, keys)| keys.check(jws, &token));
            if (signature == Some(Signature::Good)) != valid {
                faults.push(format!("{}: {signature:?}", test["id"]));
            }
            good += usize::from(valid);
            let answer = world.get("/members").bearer(jws).send().await;
            if answer.status != 401 {
                faults.push(format!("{}: {}", test["id"], answer.status));
            }
        }
        world.upstream.assert_untouched();
    }
    assert_eq!(good, 8);
    assert_none(&faults);
}
