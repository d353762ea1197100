//! A gate without a network: what the core needs to decide, and nothing else.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clerk_gate::clerk::keys::KeySet;
use clerk_gate::core::continuity::{Journey, OwnCookies};
use clerk_gate::core::decide::{self, Decision, Inputs, Step, Verdict, Webhooks};
use clerk_gate::core::edge::{Edge, PublicAddress};
use clerk_gate::core::facts::{RequestFacts, WireRequest};
use clerk_gate::core::identity_headers::HeaderPlan;
use clerk_gate::core::instance::{BackendApi, Instance};
use clerk_gate::core::jwt::Token;
use clerk_gate::core::key::PublishableKey;
use clerk_gate::core::machine::Machine;
use clerk_gate::core::origin::{Origin, Scheme};
use clerk_gate::core::pattern::PathPattern;
use clerk_gate::core::policy::{Policy, Route};
use clerk_gate::core::question::{
    Directives, MintFailure, Progress, Question, Slot, TokenAnswer, TokenStanding,
};
use clerk_gate::core::reason::{Reason, RefreshFailure};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::core::ride_through::{Reach, Recollection};
use clerk_gate::core::verify::Signature;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use serde_json::{Value, json};

/// The moment at which every test begins.
pub const START_MS: u64 = 1_790_000_000_000;
/// When configurations are read: the certificates of `tests/cases/keys` are valid.
pub const NOW_MS: u64 = 1_800_000_000_000;

/// The host of requests that name none.
pub const SITE: &str = "app.example.com";

/// Keys of a production instance and of one for development.
pub const LIVE: &str = "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k";
pub const TEST: &str = "pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk";

/// A route of a test.
pub fn route(name: &str, paths: &[&str], requirement: Requirement) -> Route {
    let paths = paths.iter().map(|p| PathPattern::parse(p).unwrap());
    Route::new(name, paths.collect(), requirement)
}

/// Everything a verdict depends on but the request.
pub struct Scene {
    pub instance: Instance,
    pub policy: Policy,
    pub headers: HeaderPlan,
    pub edge: Edge,
    pub peer: IpAddr,
    pub now_ms: u64,
}

impl Scene {
    /// A production instance at `https://app.example.com` with this policy.
    pub fn with(policy: Policy) -> Self {
        Self::of(LIVE, policy)
    }

    /// The instance of this key at `https://app.example.com`.
    pub fn of(key: &str, policy: Policy) -> Self {
        let key = PublishableKey::parse(key).unwrap();
        Self {
            instance: Instance::of(key, BackendApi::Available),
            policy,
            headers: HeaderPlan::default(),
            edge: Edge {
                public: PublicAddress::Fixed(Origin::parse("https://app.example.com").unwrap()),
                trusted_proxies: Vec::new(),
                hosts: Vec::new(),
                sites: Vec::new(),
            },
            peer: "192.0.2.1".parse().unwrap(),
            now_ms: START_MS,
        }
    }

    /// Reads a request and does something with it; `T::default()` if it cannot be read.
    pub fn with_facts<T: Default>(
        &self,
        method: &Method,
        target: &Uri,
        mut headers: HeaderMap,
        act: impl FnOnce(Inputs<'_, '_>) -> T,
    ) -> T {
        headers
            .entry(HOST)
            .or_insert(HeaderValue::from_static(SITE));
        let wire = WireRequest {
            method,
            target,
            version: Version::HTTP_11,
            headers: &headers,
            peer: self.peer,
            scheme: Scheme::Http,
        };
        match RequestFacts::read(wire, &self.edge) {
            Ok(facts) => act(self.inputs(&facts)),
            Err(_) => T::default(),
        }
    }

    /// Whether something holds of a request; of one that cannot be read, everything does.
    pub fn holds(
        &self,
        method: &Method,
        target: &Uri,
        headers: HeaderMap,
        claim: impl FnOnce(Inputs<'_, '_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let broken = self.with_facts(method, target, headers, |inputs| claim(inputs).err());
        broken.map_or(Ok(()), Err)
    }

    pub fn inputs<'a, 'r>(&'a self, facts: &'a RequestFacts<'r>) -> Inputs<'a, 'r> {
        Inputs {
            facts,
            instance: &self.instance,
            policy: &self.policy,
            headers: &self.headers,
            pages_prefix: "/_gate/",
            webhooks: Webhooks::Taken,
            now_ms: self.now_ms,
        }
    }
}

/// What is answered to the questions of one request.
pub struct Oracle<'o> {
    pub signature: &'o dyn Fn(&str, &Token) -> Signature,
    pub payload: Directives<()>,
    pub refresh: Directives<RefreshFailure>,
    pub machine: Result<Arc<Machine>, Reason>,
    pub standing: TokenStanding,
    pub own: OwnCookies,
    pub minted: Result<String, MintFailure>,
    pub template: Result<Arc<str>, Reason>,
    pub recollection: Recollection,
    pub reach: Reach,
}

impl Oracle<'_> {
    /// Signatures are checked; nothing comes from Clerk.
    pub fn keys_only() -> Self {
        Oracle {
            signature: &|raw, token| SIGNER.keys.check(raw, token),
            payload: Err(()),
            refresh: Err(RefreshFailure::Unreachable),
            machine: Err(Reason::TokenVerificationUnavailable),
            standing: TokenStanding::Stands,
            own: OwnCookies::default(),
            minted: Err(MintFailure::Unavailable),
            template: Err(Reason::TemplateUnavailable),
            recollection: Recollection::Unknown,
            reach: Reach::Unproven,
        }
    }
}

/// Goes on until there is a verdict. The error is a question that came twice.
pub fn judge(inputs: Inputs<'_, '_>, oracle: &Oracle<'_>) -> Result<Verdict, String> {
    let mut progress = Progress::default();
    let mut asked: Vec<Question> = Vec::new();
    loop {
        let question = match decide::decide(inputs, &mut progress) {
            Step::Done(verdict) => return Ok(*verdict),
            Step::Ask(question) => question,
        };
        if asked.contains(&question) {
            return Err(format!("{question:?} was asked twice"));
        }
        asked.push(question);
        match question {
            Question::Token(slot) => {
                let decoded = Token::decode(progress.raw(slot).unwrap_or_default()).map(Arc::new);
                let answer = TokenAnswer {
                    decoded,
                    signature: None,
                    // What has just come from Clerk is not older than what is known.
                    standing: match slot {
                        Slot::FromMint | Slot::FromRefresh => TokenStanding::Stands,
                        _ => oracle.standing,
                    },
                };
                progress.answer_token(slot, answer);
            }
            Question::Signature(slot) => {
                let raw = progress.raw(slot).unwrap_or_default();
                let token = progress.decoded(slot).ok_or("a signature of no token")?;
                let signature = (oracle.signature)(raw, token);
                progress.answer_signature(slot, signature);
            }
            Question::HandshakePayload => progress.answer_payload(oracle.payload.clone()),
            Question::OwnCookies => progress.answer_own_cookies(oracle.own.clone()),
            Question::Journey => progress.answer_journey(journey()),
            Question::Mint => progress.answer_mint(oracle.minted.clone()),
            Question::Machine(_) => progress.answer_machine(oracle.machine.clone()),
            Question::Budget(stage) => progress.answer_budget(stage, Vec::new()),
            Question::Refresh(_) => progress.answer_refresh(oracle.refresh.clone()),
            Question::Recollection(_) => progress.answer_recollection(oracle.recollection),
            Question::Reach(_) => progress.answer_reach(oracle.reach),
            Question::Template(_) => progress.answer_template(oracle.template.clone()),
        }
    }
}

/// What journeys are called here.
pub fn journey() -> Journey {
    Journey::named("0123456789abcdef").unwrap()
}

pub fn is_forwarded(verdict: &Verdict) -> bool {
    matches!(verdict.decision, Decision::Forward(_))
}

/// A key of this run, and the set that holds it.
pub struct Signer {
    pair: RsaKeyPair,
    pub keys: KeySet,
    pub jwks: Value,
}

/// Made once.
pub static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    // Two heads and a zero byte stand before the modulus of 2048 bits.
    let modulus = URL_SAFE_NO_PAD.encode(&pair.public_key().as_ref()[9..9 + 256]);
    let jwks = json!({ "keys": [
        { "kid": "ins_1", "kty": "RSA", "use": "sig", "alg": "RS256", "n": modulus, "e": "AQAB" }
    ]});
    let keys = KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap();
    Signer { pair, keys, jwks }
});

impl Signer {
    /// A token with these claims on top of the usual ones; `null` takes one away.
    pub fn token(&self, instance: &Instance, claims: &Value) -> String {
        let mut all = json!({
            "iss": format!("https://{}", instance.own_issuer_host),
            "sub": "user_1",
            "sid": "sess_1",
            "iat": START_MS / 1000 - 10,
            "nbf": START_MS / 1000 - 20,
            "exp": START_MS / 1000 + 50,
        });
        for (name, value) in claims.as_object().unwrap() {
            if value.is_null() {
                all.as_object_mut().unwrap().remove(name);
            } else {
                all[name] = value.clone();
            }
        }
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "ins_1" });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&header), encode(&all));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair
            .sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
            .unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
