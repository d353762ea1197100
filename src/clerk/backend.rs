//! The calls to Clerk's Backend API that authentication needs (protocol reference, sections 3.8
//! and 3.9).

use http::HeaderMap;
use http::header::COOKIE;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::budget::Purpose;
use super::client::{Answer, CallError, ClerkClient};
use crate::core::continuity::{SEAL_COOKIE, STATE_COOKIE, is_session_id};
use crate::core::reason::RefreshFailure;

/// The Backend API, with the secret key of the instance.
#[derive(Clone, Debug)]
pub struct BackendApi {
    pub(super) client: ClerkClient,
}

/// What a refresh is asked with.
#[derive(Clone)]
pub struct RefreshCall {
    /// The session; letters, digits and `_` only.
    pub session_id: String,
    /// The expired session token.
    pub expired_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// The public origin of the request.
    pub origin: String,
    /// The request's headers, as the SDK sends them: our own seal is never among them.
    pub headers: Value,
}

/// What Clerk says about something that may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It is there.
    Found(T),
    /// There is no such thing.
    Unknown,
    /// Clerk could not be asked, or its answer is none.
    Unavailable,
    /// No call was left for the question.
    Unasked,
}

/// How a session stands at Clerk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionWord {
    /// Whose it is.
    pub user_id: String,
    /// `active`, `revoked` and so on.
    pub status: String,
}

impl SessionWord {
    /// Whether tasks are left in it.
    pub fn is_pending(&self) -> bool {
        self.status == "pending"
    }

    /// Whether tokens may still be had for it.
    pub fn is_live(&self) -> bool {
        matches!(self.status.as_str(), "active" | "pending")
    }
}

/// What came of asking for a token.
pub enum Minted {
    /// The token.
    Token(String),
    /// Clerk would not: there is no such session, or it is over.
    Refused,
    /// Clerk could not be asked, or its answer is none.
    Unavailable,
}

/// Why nothing is behind a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceError {
    /// Clerk knows of nothing, or has spent it on an answer that is none.
    Worthless,
    /// Clerk has not said: it was not asked, or could not tell.
    Unanswered,
}

impl BackendApi {
    /// The API behind `client`.
    pub fn new(client: ClerkClient) -> Self {
        Self { client }
    }

    /// What its calls are made with.
    pub fn client(&self) -> &ClerkClient {
        &self.client
    }

    /// The Set-Cookie strings behind a handshake nonce. Any failure counts as none.
    pub async fn handshake_payload(&self, nonce: &str) -> Result<Vec<String>, NonceError> {
        let answer = self
            .client
            .get(
                Purpose::Handshake,
                "/v1/clients/handshake_payload",
                &[("nonce", nonce)],
            )
            .await
            .map_err(|error| {
                warn!(cause = %error, "a handshake nonce could not be exchanged");
                NonceError::Unanswered
            })?;
        match answer.status {
            200 => {}
            // Made up, or spent: anybody can cause that.
            404 => return Err(NonceError::Worthless),
            status => {
                warn!(status, "clerk did not exchange a handshake nonce");
                return Err(NonceError::Unanswered);
            }
        }
        let directives = json_of(&answer).and_then(|payload| strings(payload.get("directives")));
        directives.ok_or_else(|| {
            warn!("clerk's answer to a handshake nonce is not understood");
            NonceError::Worthless
        })
    }

    /// How a session stands.
    pub async fn session(&self, purpose: Purpose, id: &str) -> Lookup<SessionWord> {
        match self.ask_about(purpose, id).await {
            None => Lookup::Unavailable,
            Some(Ok(answer)) => word_on_session(&answer),
            Some(Err(CallError::BudgetSpent)) => Lookup::Unasked,
            Some(Err(error)) => {
                debug!(cause = %error, "a session could not be asked about");
                Lookup::Unavailable
            }
        }
    }

    /// What comes of asking how a session stands; `None` for what is the id of none.
    pub(super) async fn ask_about(
        &self,
        purpose: Purpose,
        id: &str,
    ) -> Option<Result<Answer, CallError>> {
        if !is_session_id(id) {
            return None;
        }
        let path = format!("/v1/sessions/{id}");
        Some(self.client.get(purpose, &path, &[]).await)
    }

    /// A new session token for a session.
    pub async fn mint(&self, id: &str) -> Minted {
        if !is_session_id(id) {
            return Minted::Refused;
        }
        let path = format!("/v1/sessions/{id}/tokens");
        let Ok(answer) = self
            .client
            .post(Purpose::Renew, &path, &[], &json!({}))
            .await
        else {
            return Minted::Unavailable;
        };
        match answer.status {
            200 => {}
            400 | 404 | 410 | 422 => return Minted::Refused,
            _ => return Minted::Unavailable,
        }
        let token = json_of(&answer).and_then(|body| Some(body.get("jwt")?.as_str()?.to_owned()));
        token.map_or(Minted::Unavailable, Minted::Token)
    }

    /// The Set-Cookie strings that renew a session.
    pub async fn refresh(&self, call: &RefreshCall) -> Result<Vec<String>, RefreshFailure> {
        let body = json!({
            "format": "cookie",
            "expired_token": call.expired_token,
            "refresh_token": call.refresh_token,
            "request_origin": call.origin,
            "request_headers": call.headers,
        });
        let path = format!("/v1/sessions/{}/refresh", call.session_id);
        let answer = self
            .client
            .post(
                Purpose::Renew,
                &path,
                &[("suffixed_cookies", "true")],
                &body,
            )
            .await;
        match answer {
            Err(CallError::Unreachable | CallError::Timeout | CallError::Client) => {
                Err(RefreshFailure::Unreachable)
            }
            Err(CallError::BudgetSpent) => Err(RefreshFailure::BudgetSpent),
            Err(CallError::TooLarge) => Err(RefreshFailure::Unintelligible),
            Ok(answer) if answer.status == 200 => {
                let cookies = json_of(&answer).and_then(|payload| strings(payload.get("cookies")));
                Ok(cookies.unwrap_or_default())
            }
            Ok(answer) if answer.status >= 500 => Err(match failure_of(&answer) {
                RefreshFailure::Code(code) => RefreshFailure::Failed(Some(code)),
                RefreshFailure::Unintelligible => RefreshFailure::Failed(None),
                other => other,
            }),
            Ok(answer) => Err(failure_of(&answer)),
        }
    }
}

/// The headers of a request in the shape the API takes: lower-case names, each with its values.
// SECURITY: the gate's own cookies are nobody's business, Clerk's included.
pub fn header_lists(headers: &HeaderMap) -> Value {
    let mut lists = serde_json::Map::new();
    for name in headers.keys() {
        let values: Vec<Value> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .map(|value| match name {
                &COOKIE => Value::String(without_our_cookies(&value)),
                _ => Value::String(value),
            })
            .collect();
        lists.insert(name.as_str().to_owned(), Value::Array(values));
    }
    Value::Object(lists)
}

fn without_our_cookies(line: &str) -> String {
    let ours = |pair: &&str| {
        let pair = pair.trim_start();
        pair.starts_with(SEAL_COOKIE) || pair.starts_with(STATE_COOKIE)
    };
    let kept: Vec<&str> = line.split(';').filter(|pair| !ours(pair)).collect();
    kept.join(";").trim_start().to_owned()
}

/// What an answer says of the session that was asked about.
///
/// Only what Clerk itself can have said counts: a page of somebody else's at the address of the API, a
/// refused key and a limit of calls are no word on the session.
pub(super) fn word_on_session(answer: &Answer) -> Lookup<SessionWord> {
    let Some(body) = json_of(answer) else {
        return Lookup::Unavailable;
    };
    let text = |name: &str| body.get(name)?.as_str().map(str::to_owned);
    match (answer.status, text("user_id"), text("status")) {
        (200, Some(user_id), Some(status)) => Lookup::Found(SessionWord { user_id, status }),
        (404, _, _) if code_of(&body) == Some("resource_not_found") => Lookup::Unknown,
        (status, _, _) => {
            debug!(status, "clerk gave no word on a session");
            Lookup::Unavailable
        }
    }
}

pub(super) fn json_of(answer: &Answer) -> Option<Value> {
    if !answer.is_json {
        return None;
    }
    serde_json::from_slice(&answer.body).ok()
}

fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    let list = value?.as_array()?;
    Some(
        list.iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
    )
}

/// Clerk's code for what went wrong.
pub(super) fn code_of(body: &Value) -> Option<&str> {
    body.get("errors")?.get(0)?.get("code")?.as_str()
}

fn failure_of(answer: &Answer) -> RefreshFailure {
    let body = json_of(answer);
    match body.as_ref().and_then(code_of) {
        // The word of Clerk's own client for a network failure.
        Some("unexpected_error") => RefreshFailure::Unreachable,
        Some(code) => RefreshFailure::from_code(code),
        None => RefreshFailure::Unintelligible,
    }
}
