//! One recorded row, turned into what the core takes.

use std::sync::Arc;

use clerk_gate::clerk::keys::{KeySet, KeySetError};
use clerk_gate::core::facts::{self, BodyLength, RequestFacts, Upgrade};
use clerk_gate::core::instance::Instance;
use clerk_gate::core::jwt::Token;
use clerk_gate::core::machine::{Machine, TokenType};
use clerk_gate::core::origin::{Host, Origin, Scheme};
use clerk_gate::core::path::CanonicalPath;
use clerk_gate::core::question::{Progress, Question, Slot, TokenAnswer};
use clerk_gate::core::reason::{Reason, RefreshFailure};
use clerk_gate::core::verify::Signature;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use crate::support::rows::{self, FakeApi};

/// One row, turned into what the core takes.
pub struct Row<'a> {
    pub recorded: &'a Value,
    api: &'a FakeApi,
    headers: HeaderMap,
    method: Method,
    pub instance: Instance,
    pub now_ms: u64,
}

impl<'a> Row<'a> {
    pub fn new(row: &'a Value, api: &'a FakeApi, now_ms: u64) -> Option<Self> {
        let instance = rows::instance(&row["options"])?;
        let mut headers = HeaderMap::new();
        for pair in row["request"]["headers"].as_array()? {
            headers.append(
                HeaderName::try_from(pair[0].as_str()?).ok()?,
                HeaderValue::from_bytes(pair[1].as_str()?.trim_matches([' ', '\t']).as_bytes())
                    .ok()?,
            );
        }
        let method = Method::try_from(row["request"]["method"].as_str()?).ok()?;
        Some(Self {
            recorded: row,
            api,
            headers,
            method,
            instance,
            now_ms,
        })
    }

    fn facts<'r>(&'r self, target: &'r url::Url) -> Option<RequestFacts<'r>> {
        let header = |name: &str| {
            self.headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(|v| v.split(',').next().unwrap_or_default())
        };
        let own_host = format!(
            "{}{}",
            target.host_str()?,
            target.port().map(|p| format!(":{p}")).unwrap_or_default()
        );
        let host = header("x-forwarded-host")
            .or(header("host"))
            .filter(|h| !h.is_empty())
            .unwrap_or(&own_host);
        let scheme = header("x-forwarded-proto")
            .filter(|s| !s.is_empty())
            .unwrap_or(target.scheme());
        let host = Host::parse(host)?;
        Some(RequestFacts {
            method: &self.method,
            headers: &self.headers,
            path: CanonicalPath::parse(target.path()).ok()?,
            query: target.query(),
            site: 0,
            origin: Origin::new(Scheme::parse(scheme)?, host.clone()),
            host,
            client: "127.0.0.1".parse().unwrap(),
            forwarded_for: None,
            audience: facts::audience(&self.method, &self.headers),
            upgrade: if self.headers.contains_key(http::header::UPGRADE) {
                Upgrade::WebSocket
            } else {
                Upgrade::None
            },
            body: BodyLength::None,
        })
    }

    fn authorization(&self) -> String {
        format!(
            "Bearer {}",
            self.recorded["options"]["secretKey"]
                .as_str()
                .unwrap_or_default()
        )
    }

    fn signature(&self, raw: &str, token: &Token) -> Signature {
        let keys = if let Some(pem) = self.recorded["options"]["jwtKey"].as_str() {
            match KeySet::from_pem(pem) {
                Ok(keys) => keys,
                Err(_) => return Signature::Unchecked(Reason::TokenVerificationFailed),
            }
        } else {
            let answer =
                self.api
                    .answer("GET", "/v1/jwks", &self.authorization(), &[], &Value::Null);
            if answer["status"] == 401 {
                return Signature::Unchecked(Reason::SecretKeyInvalid);
            }
            match KeySet::from_jwks(FakeApi::body(answer).as_bytes()) {
                Ok(keys) if answer["status"] == 200 => keys,
                Ok(_)
                | Err(KeySetError::Empty | KeySetError::Unintelligible | KeySetError::Pem) => {
                    return Signature::Unchecked(Reason::JwkRemoteFailedToLoad);
                }
            }
        };
        keys.check(raw, token)
    }

    fn payload(&self, nonce: &str) -> Result<Vec<String>, ()> {
        let query = [("nonce".to_owned(), nonce.to_owned())];
        let answer = self.api.answer(
            "GET",
            "/v1/clients/handshake_payload",
            &self.authorization(),
            &query,
            &Value::Null,
        );
        if answer["status"] != 200 || !FakeApi::is_json(answer) {
            return Err(());
        }
        rows::strings(&FakeApi::json(answer)["directives"]).ok_or(())
    }

    /// What the program makes of Clerk's answers is replayed over HTTP; here only what they mean.
    fn machine(&self, kind: TokenType, token: &str) -> Result<Machine, Reason> {
        if self.recorded["options"]["secretKey"].is_null() {
            return Err(Reason::TokenVerificationUnavailable);
        }
        let (path, field) = match kind {
            TokenType::ApiKey => ("/api_keys/verify", "secret"),
            TokenType::M2m => ("/m2m_tokens/verify", "token"),
            TokenType::OAuth => ("/oauth_applications/access_tokens/verify", "access_token"),
            TokenType::Session => unreachable!("no machine has a session"),
        };
        let body = json!({ field: token });
        let answer = self
            .api
            .answer("POST", path, &self.authorization(), &[], &body);
        match answer["status"].as_u64() {
            Some(200) => Machine::from_answer(kind, &FakeApi::json(answer)),
            Some(401) => Err(Reason::SecretKeyInvalid),
            Some(400 | 404) => Err(Reason::TokenInvalid),
            _ => Err(Reason::TokenVerificationUnavailable),
        }
    }

    fn refresh(&self, token: &Token) -> Result<Vec<String>, RefreshFailure> {
        let path = format!(
            "/v1/sessions/{}/refresh",
            token.text("sid").unwrap_or_default()
        );
        let answer = self
            .api
            .answer("POST", &path, &self.authorization(), &[], &Value::Null);
        if answer["close"] == true {
            return Err(RefreshFailure::Unreachable);
        }
        if answer["status"] != 200 {
            return Err(match FakeApi::json(answer)["errors"][0]["code"].as_str() {
                Some("unexpected_error") if FakeApi::is_json(answer) => RefreshFailure::Unreachable,
                Some(code) if FakeApi::is_json(answer) => RefreshFailure::from_code(code),
                _ => RefreshFailure::Unintelligible,
            });
        }
        if !FakeApi::is_json(answer) {
            return Err(RefreshFailure::Empty);
        }
        rows::strings(&FakeApi::json(answer)["cookies"]).ok_or(RefreshFailure::Empty)
    }

    /// Puts the request to something that decides, and answers what it asks. `None` if the request
    /// cannot be put to the core.
    pub fn put<T>(
        &self,
        mut decide: impl for<'r> FnMut(
            &RequestFacts<'r>,
            &Instance,
            &mut Progress<'r>,
        ) -> Result<T, Question>,
    ) -> Option<T> {
        let target = url::Url::parse(self.recorded["request"]["url"].as_str()?).ok()?;
        let mut instance = self.instance.clone();
        let facts = self.facts(&target)?;
        rows::use_proxy(&mut instance, &self.recorded["options"], &facts.origin);
        let mut progress = Progress::default();
        let mut asked = Vec::new();
        loop {
            match decide(&facts, &instance, &mut progress) {
                Ok(done) => return Some(done),
                Err(question) => {
                    assert!(!asked.contains(&question), "asked twice: {question:?}");
                    asked.push(question);
                    self.find_out(question, &mut progress);
                }
            }
        }
    }

    fn find_out(&self, question: Question, progress: &mut Progress<'_>) {
        let decode = |progress: &Progress<'_>, slot: Slot| {
            Token::decode(progress.raw(slot).unwrap_or_default())
        };
        match question {
            Question::Token(slot) => {
                let decoded = decode(progress, slot).map(Arc::new);
                progress.answer_token(
                    slot,
                    TokenAnswer {
                        decoded,
                        signature: None,
                        standing: clerk_gate::core::question::TokenStanding::Stands,
                    },
                );
            }
            Question::Signature(slot) => {
                let token = decode(progress, slot).unwrap();
                let signature = self.signature(progress.raw(slot).unwrap(), &token);
                progress.answer_signature(slot, signature);
            }
            Question::Template(_) => panic!("no recorded row has a template"),
            Question::HandshakePayload => {
                let nonce = progress
                    .credentials()
                    .unwrap()
                    .handshake_nonce
                    .clone()
                    .unwrap();
                let payload = self.payload(&nonce);
                progress.answer_payload(payload);
            }
            // As with the SDK, which has none of it.
            Question::OwnCookies
            | Question::Journey
            | Question::Mint
            | Question::Budget(_)
            | Question::Recollection(_)
            | Question::Reach(_) => panic!("{question:?} was asked"),
            Question::Machine(kind) => {
                let token = progress.raw(Slot::Bearer).unwrap();
                progress.answer_machine(self.machine(kind, token).map(Arc::new));
            }
            Question::Refresh(slot) => {
                let token = decode(progress, slot).unwrap();
                progress.answer_refresh(self.refresh(&token));
            }
        }
    }
}
