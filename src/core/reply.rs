//! The one table from a refusal to an answer: status, headers and content by reason and reader.

pub mod call;

use std::fmt;

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::call::Manner;
use super::decide::{Challenge, ChallengeError, Refusal, RefusalKind, Standing};
use super::facts::Audience;
use super::masked::Address;
use super::notice::{self, Again, Notice};
use super::reason::{Cause, Reason};
use super::step_up::{self, StepUp};

/// An answer of ours, before it is written onto a wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Headers beside those that every answer of ours has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is in it.
    pub content: Content,
}

/// The content of an answer.
#[derive(Clone, PartialEq)]
pub enum Content {
    /// JSON for programs.
    Json(Value),
    /// A page for people.
    Notice(Notice),
    /// Nothing: what there is to say to a caller of gRPC stands in the head.
    Call,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(value) => {
                let mut shown = value.clone();
                if let Some(Value::String(url)) = shown.pointer_mut("/error/sign_in_url") {
                    *url = Address(url).text();
                }
                f.debug_tuple("Json").field(&shown).finish()
            }
            Self::Notice(notice) => f.debug_tuple("Notice").field(notice).finish(),
            Self::Call => f.write_str("Call"),
        }
    }
}

/// Header names of Clerk's SDK.
const AUTH_STATUS: HeaderName = HeaderName::from_static("x-clerk-auth-status");
/// Why somebody was refused.
pub const AUTH_REASON: HeaderName = HeaderName::from_static("x-clerk-auth-reason");
const AUTH_MESSAGE: HeaderName = HeaderName::from_static("x-clerk-auth-message");

/// The answer to a refusal, as whoever has made the request themselves understands it. A gateway that asks
/// in somebody's name would take the 200 of a call for a yes.
pub fn in_manner(manner: Manner, refusal: &Refusal, request_id: &str) -> Reply {
    match manner {
        Manner::Plain => reply(refusal, request_id),
        Manner::Call => call::reply(refusal, request_id),
    }
}

/// The answer to a refusal. `request_id` is the one the log has.
pub fn reply(refusal: &Refusal, request_id: &str) -> Reply {
    let status = status(refusal.kind, refusal.cause.reason);
    let mut headers = Vec::new();
    let insufficient = match refusal.challenge.error {
        Some(ChallengeError::InsufficientScope | ChallengeError::InsufficientAuthentication) => {
            true
        }
        Some(ChallengeError::InvalidToken) | None => false,
    };
    if status == StatusCode::UNAUTHORIZED || (status == StatusCode::FORBIDDEN && insufficient) {
        headers.extend(challenge(&refusal.challenge));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.push((RETRY_AFTER, HeaderValue::from_static("5")));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.push((ALLOW, HeaderValue::from_static(refusal.methods)));
    }
    let told = if refusal.kind == RefusalKind::Hidden {
        // Nothing may tell that there is something.
        Told {
            code: "not-found",
            message: "there is no such page",
            sign_in_url: None,
            step_up: None,
            unended: None,
        }
    } else {
        headers.extend(
            auth_headers(Standing::SignedOut, Some(&refusal.cause))
                .into_iter()
                .filter(|(name, _)| {
                    // Who is signed in and may not is no matter of authentication.
                    refusal.kind == RefusalKind::SignedOut || name != AUTH_STATUS
                }),
        );
        let reason = refusal.cause.reason;
        Told {
            code: reason.code(),
            message: reason.message(),
            sign_in_url: refusal.sign_in_url.clone(),
            step_up: refusal.challenge.step_up.as_ref(),
            unended: refusal.challenge.unended.as_ref(),
        }
    };
    let content = match refusal.audience {
        Audience::Program => {
            let mut body = json!({ "error": {
                "code": told.code,
                "message": told.message,
                "sign_in_url": told.sign_in_url,
                "request_id": request_id,
            }});
            if let (Some(step_up), Value::Object(body)) = (told.step_up, &mut body) {
                let error = step_up::clerk_error(step_up.wanted);
                body.insert("clerk_error".to_owned(), error);
            }
            Content::Json(body)
        }
        Audience::Navigation | Audience::Submission => {
            let step_up = told
                .step_up
                .map(|step_up| Again::of(step_up, refusal.audience));
            let (title, message) = match (&step_up, told.unended) {
                (Some(again), _) => again.words(),
                (None, Some(_)) => notice::UNENDED,
                (None, None) => (notice::title(status), told.message),
            };
            let again = step_up.or_else(|| told.unended.cloned());
            Content::Notice(Notice {
                title,
                message,
                unsent: match refusal.audience {
                    Audience::Submission => notice::unsent(refusal.kind),
                    Audience::Navigation | Audience::Program => None,
                },
                code: told.code,
                sign_in_url: told.sign_in_url,
                sign_in_tab: notice::tab(refusal.audience),
                again,
                request_id: request_id.to_owned(),
            })
        }
    };
    Reply {
        status,
        headers,
        content,
    }
}

/// `WWW-Authenticate`.
fn challenge(challenge: &Challenge) -> Option<(HeaderName, HeaderValue)> {
    let mut text = r#"Bearer realm="clerk""#.to_owned();
    let mut say = |name: &str, value: &str| {
        // SECURITY: nothing may end the quoted text early.
        let plain = |c: &char| !matches!(c, '"' | '\\') && !c.is_control();
        for piece in [", ", name, "=\""] {
            text.push_str(piece);
        }
        text.extend(value.chars().filter(plain));
        text.push('"');
    };
    match challenge.error {
        None => {}
        Some(ChallengeError::InvalidToken) => say("error", "invalid_token"),
        Some(ChallengeError::InsufficientScope) => say("error", "insufficient_scope"),
        Some(ChallengeError::InsufficientAuthentication) => {
            say("error", "insufficient_user_authentication");
        }
    }
    if let Some(step_up) = &challenge.step_up {
        say("max_age", &step_up::seconds(step_up.wanted).to_string());
    }
    if !challenge.scopes.is_empty() {
        say("scope", &challenge.scopes.join(" "));
    }
    if let Some(address) = &challenge.resource_metadata {
        say("resource_metadata", address);
    }
    // Scopes may be written in any letters.
    Some((WWW_AUTHENTICATE, HeaderValue::from_str(&text).ok()?))
}

struct Told<'a> {
    code: &'static str,
    message: &'static str,
    sign_in_url: Option<String>,
    step_up: Option<&'a StepUp>,
    unended: Option<&'a Again>,
}

/// The debug headers of Clerk's SDK for a state.
pub fn auth_headers(standing: Standing, cause: Option<&Cause>) -> Vec<(HeaderName, HeaderValue)> {
    let status = match standing {
        Standing::SignedIn => Some("signed-in"),
        Standing::SignedOut => Some("signed-out"),
        Standing::Handshake => Some("handshake"),
        Standing::Unasked => None,
    };
    let mut headers = Vec::with_capacity(3);
    if let Some(status) = status {
        headers.push((AUTH_STATUS, HeaderValue::from_static(status)));
    }
    if let Some(cause) = cause {
        // Codes are of a small alphabet (`RefreshFailure::from_code`), so this never fails.
        if let Ok(value) = HeaderValue::from_str(&cause.to_string()) {
            headers.push((AUTH_REASON, value));
        }
        headers.push((
            AUTH_MESSAGE,
            HeaderValue::from_static(cause.reason.message()),
        ));
    }
    headers
}

/// The status of a refusal.
pub fn status(kind: RefusalKind, reason: Reason) -> StatusCode {
    match kind {
        RefusalKind::SignedOut | RefusalKind::Unauthorized => StatusCode::UNAUTHORIZED,
        RefusalKind::Forbidden => StatusCode::FORBIDDEN,
        RefusalKind::Hidden => StatusCode::NOT_FOUND,
        RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        RefusalKind::Request => request_status(reason),
    }
}

/// The status of what is wrong with a request or an upstream, whoever asks.
fn request_status(reason: Reason) -> StatusCode {
    match reason {
        Reason::PathMalformed
        | Reason::PathAmbiguous
        | Reason::PathEncodedSlash
        | Reason::TargetUnsupported
        | Reason::HostInvalid
        | Reason::FramingAmbiguous
        | Reason::UpgradeUnsupported
        | Reason::HandshakeInvalid
        | Reason::WebhookMalformed
        | Reason::DoorMetadata
        | Reason::PathNotCanonical
        | Reason::HeaderDisguised
        | Reason::HeaderNotText => StatusCode::BAD_REQUEST,
        Reason::WebhookInvalid => StatusCode::UNAUTHORIZED,
        Reason::OriginNotAllowed | Reason::CookieSessionNeeded => StatusCode::FORBIDDEN,
        Reason::HostNotServed | Reason::DoorMisdirected | Reason::HttpsMisdirected => {
            StatusCode::MISDIRECTED_REQUEST
        }
        Reason::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        Reason::PageUnknown | Reason::SessionUnknown | Reason::TemplateUnknown => {
            StatusCode::NOT_FOUND
        }
        Reason::RateLimited | Reason::TooManyInFlight => StatusCode::TOO_MANY_REQUESTS,
        Reason::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Reason::UpstreamUnreachable | Reason::UpstreamProtocol | Reason::UpstreamMalformed => {
            StatusCode::BAD_GATEWAY
        }
        Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::ShuttingDown
        | Reason::UpstreamFull
        | Reason::UpstreamUnhealthy
        | Reason::CookiesTooMany
        | Reason::JwkRemoteFailedToLoad
        | Reason::SecretKeyInvalid
        | Reason::LimitsUnavailable
        | Reason::SessionRenewalUnavailable
        | Reason::TokenVerificationUnavailable
        | Reason::SessionsUnavailable
        | Reason::RevocationUnconfirmed
        | Reason::TemplateUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        // Matters of a session are told by the kind of refusal; should one come here alone, it
        // is our mistake, and nobody gets in.
        Reason::ClientUatButNoSessionToken
        | Reason::DevBrowserMissing
        | Reason::DevBrowserSync
        | Reason::PrimaryRespondsToSyncing
        | Reason::PrimaryDomainCrossOriginSync
        | Reason::SatelliteNeedsSyncing
        | Reason::SessionTokenAndUatMissing
        | Reason::SessionTokenMissing
        | Reason::SessionTokenExpired
        | Reason::SessionTokenIatBeforeClientUat
        | Reason::SessionTokenNbf
        | Reason::SessionTokenIatInTheFuture
        | Reason::SessionTokenButNoClientUat
        | Reason::ActiveOrganizationMismatch
        | Reason::NoTokenInHeader
        | Reason::TokenTypeMismatch
        | Reason::TokenRevoked
        | Reason::TokenExpired
        | Reason::UnexpectedError
        | Reason::TokenInvalid
        | Reason::TokenInvalidAlgorithm
        | Reason::TokenInvalidAuthorizedParties
        | Reason::TokenInvalidIssuer
        | Reason::TokenInvalidSignature
        | Reason::TokenVerificationFailed
        | Reason::JwkKidMismatch
        | Reason::SessionRevoked
        | Reason::SessionTokenOutdated
        | Reason::SealMissing
        | Reason::SessionPending
        | Reason::RoleMissing
        | Reason::PermissionMissing
        | Reason::FeatureMissing
        | Reason::PlanMissing
        | Reason::ReverificationNeeded
        | Reason::FactorTooOld
        | Reason::TokenTooOld
        | Reason::ClaimMismatch
        | Reason::ScopeMissing
        | Reason::Impersonated
        | Reason::RequirementUnmet => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::decide::READING;

    fn refusal(kind: RefusalKind, reason: Reason, audience: Audience) -> Refusal {
        Refusal {
            kind,
            cause: reason.into(),
            audience,
            sign_in_url: None,
            challenge: Challenge::default(),
            methods: READING,
        }
    }

    #[test]
    fn a_hidden_refusal_tells_nothing() {
        for audience in [Audience::Program, Audience::Navigation] {
            let reply = reply(
                &refusal(RefusalKind::Hidden, Reason::RoleMissing, audience),
                "r1",
            );
            assert_eq!(reply.status, StatusCode::NOT_FOUND);
            assert!(!format!("{reply:?}").contains("role"), "{reply:?}");
        }
    }

    #[test]
    fn every_unauthorized_answer_carries_a_challenge() {
        let reply = reply(
            &refusal(
                RefusalKind::SignedOut,
                Reason::TokenInvalid,
                Audience::Program,
            ),
            "r1",
        );
        assert!(
            reply
                .headers
                .iter()
                .any(|(name, _)| name == WWW_AUTHENTICATE)
        );
    }
}
