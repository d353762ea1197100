//! Verdicts recorded from Clerk's own SDK, replayed against the pure core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clerk_gate::clerk::keys::{KeySet, KeySetError};
use clerk_gate::core::auth::{self, AuthState, Outcome};
use clerk_gate::core::authorization::{Asked, Level, Reverification};
use clerk_gate::core::facts::{Audience, BodyLength, RequestFacts, Upgrade};
use clerk_gate::core::instance::Instance;
use clerk_gate::core::jwt::Token;
use clerk_gate::core::origin::{Host, Origin, Scheme};
use clerk_gate::core::path::CanonicalPath;
use clerk_gate::core::question::{Progress, Question, Slot, TokenAnswer};
use clerk_gate::core::reason::{Reason, RefreshFailure};
use clerk_gate::core::verify::Signature;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::support::rows::{self, FakeApi};

/// Rows that come out as recorded.
const EQUAL: usize = 952;

/// Rows that differ under a rule of the deviations.
const DEVIATING: usize = 73;

/// Rows about machine tokens, which the core does not do.
const OUT_OF_SCOPE: usize = 128;

/// One row, turned into what the core takes.
struct Row<'a> {
    recorded: &'a Value,
    api: &'a FakeApi,
    headers: HeaderMap,
    method: Method,
    instance: Instance,
    now_ms: u64,
}

impl<'a> Row<'a> {
    fn new(row: &'a Value, api: &'a FakeApi, now_ms: u64) -> Option<Self> {
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
            origin: Origin::new(Scheme::parse(scheme)?, host.clone()),
            host,
            client: "127.0.0.1".parse().unwrap(),
            forwarded_for: None,
            audience: Audience::Navigation,
            upgrade: Upgrade::None,
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

    fn run(&self) -> Option<AuthState> {
        let target = url::Url::parse(self.recorded["request"]["url"].as_str()?).ok()?;
        let mut instance = self.instance.clone();
        let facts = self.facts(&target)?;
        rows::use_proxy(&mut instance, &self.recorded["options"], &facts.origin);
        let mut progress = Progress::default();
        let mut asked = Vec::new();
        loop {
            match auth::authenticate(&facts, &instance, self.now_ms, &mut progress) {
                Ok(state) => return Some(state),
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
                    },
                );
            }
            Question::Signature(slot) => {
                let token = decode(progress, slot).unwrap();
                let signature = self.signature(progress.raw(slot).unwrap(), &token);
                progress.answer_signature(slot, signature);
            }
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
            Question::Refresh(slot) => {
                let token = decode(progress, slot).unwrap();
                progress.answer_refresh(self.refresh(&token));
            }
        }
    }
}

/// What a state looks like in the words of the tables.
fn shown(state: &AuthState) -> (String, Option<String>, Option<String>, Option<String>) {
    let (status, reason, location, user) = match &state.outcome {
        Outcome::SignedIn(session) => (
            "signed-in",
            None,
            None,
            session.token.text("sub").map(str::to_owned),
        ),
        Outcome::SignedOut(cause) => ("signed-out", Some(cause.to_string()), None, None),
        Outcome::Redirect(redirect) => match &redirect.cause {
            None => ("signed-in", None, Some(redirect.location.clone()), None),
            Some(cause) if cause.reason == Reason::SessionTokenMissing => (
                "signed-out",
                Some(cause.to_string()),
                Some(redirect.location.clone()),
                None,
            ),
            Some(cause) => (
                "handshake",
                Some(cause.to_string()),
                Some(redirect.location.clone()),
                None,
            ),
        },
        Outcome::Broken(_) => ("threw", None, None, None),
    };
    (status.to_owned(), reason, location, user)
}

fn difference(row: &Value, state: &AuthState) -> Option<String> {
    let expect = &row["expect"];
    let (status, reason, location, _) = shown(state);
    let wanted_status = expect["status"].as_str().unwrap();
    let mut found = Vec::new();
    if status != wanted_status {
        found.push(format!(
            "status {wanted_status} -> {status} ({reason:?}; sdk {})",
            expect["reason"]
        ));
    }
    if wanted_status != "threw" {
        if reason.as_deref() != expect["reason"].as_str() {
            found.push(format!("reason {} -> {reason:?}", expect["reason"]));
        }
        if location.as_deref() != expect["headers"]["location"].as_str() {
            found.push(format!(
                "location\n   {}\n   {location:?}",
                expect["headers"]["location"]
            ));
        }
        let cookies = rows::strings(&expect["setCookie"]).unwrap_or_default();
        if cookies != state.set_cookies {
            found.push(format!(
                "cookies {} -> {}",
                cookies.len(),
                state.set_cookies.len()
            ));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

#[test]
fn every_recorded_row_of_authenticate_is_equal_or_a_written_deviation() {
    let api = FakeApi::load();
    let table = rows::authenticate();
    let (mut equal, mut skipped) = (0, 0);
    let mut differing = BTreeMap::new();
    let mut signed_in_beyond = Vec::new();
    for row in &table.cases {
        let id = row["id"].as_str().unwrap();
        if rows::is_out_of_scope(&row["options"]) {
            skipped += 1;
            continue;
        }
        match Row::new(row, &api, table.now_ms).and_then(|row| row.run()) {
            None => drop(differing.insert(id.to_owned(), "cannot be put to the core".to_owned())),
            Some(state) => {
                let signed_in = matches!(state.outcome, Outcome::SignedIn(_));
                if signed_in && row["expect"]["status"] != "signed-in" {
                    signed_in_beyond.push(id.to_owned());
                }
                match difference(row, &state) {
                    None => equal += 1,
                    Some(text) => drop(differing.insert(id.to_owned(), text)),
                }
            }
        }
    }
    let rules = rows::rows_by_rule();
    let written: BTreeSet<String> = rules.values().flatten().cloned().collect();
    let found: BTreeSet<String> = differing.keys().cloned().collect();
    let unwritten: Vec<_> = found
        .difference(&written)
        .map(|id| format!("{id}: {}", differing[id]))
        .collect();
    assert!(
        unwritten.is_empty(),
        "differ without a rule:\n{}",
        unwritten.join("\n")
    );
    let stale: Vec<_> = written.difference(&found).collect();
    assert!(stale.is_empty(), "written down but equal: {stale:?}");
    println!(
        "replayed {}, equal {equal}, deviating {}, out of scope {skipped}",
        equal + found.len(),
        found.len()
    );
    assert_eq!(
        (equal, found.len(), skipped),
        (EQUAL, DEVIATING, OUT_OF_SCOPE)
    );
    // A failing nonce leaves a valid session alone (D2); a PEM key needs no secret key (D3).
    assert_eq!(
        signed_in_beyond,
        [
            "hs.dev.nonce-404-session",
            "hs.prod.nonce-404-session",
            "cf.no-sk-jwtkey"
        ]
    );
}

#[test]
fn every_recorded_row_of_has_is_equal() {
    let table = rows::table("has");
    let cases = table["cases"].as_array().unwrap();
    let mut differing = Vec::new();
    for row in cases {
        let claims = &table["claims"][row["claims"].as_str().unwrap()];
        let token = Token::decode(claims["jwt"].as_str().unwrap()).unwrap();
        let pending_allowed = row["pendingAllowed"].as_bool() == Some(true);
        let granted = token
            .identity()
            .filter(|who| pending_allowed || !who.is_pending())
            .is_some_and(|who| asked(&row["params"]).is_some_and(|asked| asked.is_granted_to(who)));
        if Some(granted) != row["has"].as_bool() {
            differing.push(format!("{}: {} -> {granted}", row["id"], row["has"]));
        }
    }
    assert_eq!(cases.len(), 1062);
    assert!(
        differing.is_empty(),
        "{}\n{}",
        differing.len(),
        differing.join("\n")
    );
}

/// The question of a row; `None` where a value is of a kind that a policy cannot hold.
fn asked(params: &Value) -> Option<Asked> {
    let mut asked = Asked::default();
    for (name, value) in params.as_object()? {
        // To the SDK, `null` means that nothing is asked.
        if value.is_null() {
            continue;
        }
        let text = || value.as_str().map(str::to_owned);
        match name.as_str() {
            "role" => asked.role = Some(text()?),
            "permission" => asked.permission = Some(text()?),
            "feature" => asked.feature = Some(text()?),
            "plan" => asked.plan = Some(text()?),
            "reverification" => asked.reverification = Some(reverification(value)?),
            // A parameter that the SDK does not know asks nothing.
            _ => {}
        }
    }
    Some(asked)
}

fn reverification(value: &Value) -> Option<Reverification> {
    if let Some(preset) = value.as_str() {
        return Reverification::preset(preset);
    }
    let level = match value["level"].as_str()? {
        "first_factor" => Level::FirstFactor,
        "second_factor" => Level::SecondFactor,
        "multi_factor" => Level::MultiFactor,
        _ => return None,
    };
    let after_minutes = value["afterMinutes"]
        .as_f64()
        .filter(|minutes| *minutes > 0.0)?;
    Some(Reverification {
        level,
        after_minutes,
    })
}
