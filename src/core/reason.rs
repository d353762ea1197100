//! Why a request fell as it did: a closed vocabulary, in Clerk's words where Clerk has one.
//!
//! The same code stands in the answer's body, in `x-clerk-auth-reason`, in the log, in the
//! metrics and in `docs/reference/reasons.md`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares the reasons once: variant, code, and what a person is told.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $code:literal, $message:literal;)+) => {
        /// Why a request was not simply let through.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code, in kebab-case.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// One plain sentence for the person or the program that asked.
            pub fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }
        }
    };
}

reasons! {
    /// Clerk has a signed-in client for this browser, but the session token is not there.
    ClientUatButNoSessionToken => "client-uat-but-no-session-token", "your session has to be renewed";
    /// A development instance does not know this browser yet.
    DevBrowserMissing => "dev-browser-missing", "this browser is not known to the development instance yet";
    /// A development instance hands over its browser token.
    DevBrowserSync => "dev-browser-sync", "this browser is being made known to the development instance";
    /// A development primary answers a satellite.
    PrimaryRespondsToSyncing => "primary-responds-to-syncing", "signing in on the other site";
    /// A page of another site led here; a satellite may have changed the session.
    PrimaryDomainCrossOriginSync => "primary-domain-cross-origin-sync", "your session is compared with another site";
    /// A satellite asks its primary.
    SatelliteNeedsSyncing => "satellite-needs-syncing", "your session is fetched from the main site";
    /// Neither a session nor a sign of one.
    SessionTokenAndUatMissing => "session-token-and-uat-missing", "you are not signed in";
    /// The handshake brought no session.
    SessionTokenMissing => "session-token-missing", "you are not signed in";
    /// The session token has expired; the detail says why it could not be renewed.
    SessionTokenExpired => "session-token-expired", "your session has to be renewed";
    /// The session token is older than the last change of the client.
    SessionTokenIatBeforeClientUat => "session-token-iat-before-client-uat", "your session has to be renewed";
    /// The session token is not valid yet: a clock is wrong.
    SessionTokenNbf => "session-token-nbf", "the session token is not valid yet";
    /// The session token was issued in the future: a clock is wrong.
    SessionTokenIatInTheFuture => "session-token-iat-in-the-future", "the session token was issued in the future";
    /// A session token without the cookie that belongs to it.
    SessionTokenButNoClientUat => "session-token-but-no-client-uat", "your session has to be renewed";
    /// The address belongs to another organisation than the active one.
    ActiveOrganizationMismatch => "active-organization-mismatch", "another organization has to be made active";
    /// Only machine tokens are accepted, and there is no token.
    NoTokenInHeader => "no-token-in-header", "a token is needed in the authorization header";
    /// The kind of token is not accepted here.
    TokenTypeMismatch => "token-type-mismatch", "this kind of token is not accepted here";
    /// Something that should not happen happened while reading the session.
    UnexpectedError => "unexpected-error", "the session could not be read";
    /// The token is no token.
    TokenInvalid => "token-invalid", "the token is malformed";
    /// The token is signed with an algorithm other than RS256.
    TokenInvalidAlgorithm => "token-invalid-algorithm", "the token is signed with an algorithm that is not accepted";
    /// The token was made for another application.
    TokenInvalidAuthorizedParties => "token-invalid-authorized-parties", "the token was made for another application";
    /// The token was made by another issuer.
    TokenInvalidIssuer => "token-invalid-issuer", "the token was made by another issuer";
    /// The signature is wrong.
    TokenInvalidSignature => "token-invalid-signature", "the signature of the token is wrong";
    /// A claim is missing or has the wrong shape.
    TokenVerificationFailed => "token-verification-failed", "a claim of the token is missing or malformed";
    /// The machine token was revoked.
    TokenRevoked => "token-revoked", "the token has been revoked";
    /// The machine token has ended.
    TokenExpired => "token-expired", "the token has expired";
    /// Clerk could not be asked about a machine token.
    TokenVerificationUnavailable => "token-verification-unavailable", "the token cannot be checked at the moment";
    /// Clerk refuses the secret key.
    SecretKeyInvalid => "secret-key-invalid", "sign-in cannot be checked at the moment";
    /// Clerk's keys could not be fetched and none is known.
    JwkRemoteFailedToLoad => "jwk-remote-failed-to-load", "sign-in cannot be checked at the moment";
    /// No key of the instance has the token's key id.
    JwkKidMismatch => "jwk-kid-mismatch", "the token is signed with an unknown key";
    /// The session was ended, here or at Clerk, although its token has not run out.
    SessionRevoked => "session-revoked", "your session has ended";
    /// What the token says of its person has changed since it was issued.
    SessionTokenOutdated => "session-token-outdated", "your session has to be renewed";
    /// The session may well go on, and Clerk could not be asked for a new token.
    SessionRenewalUnavailable => "session-renewal-unavailable", "your session cannot be renewed at the moment; try again shortly";
    /// A session token alone is not enough for what is asked of the gate's own pages.
    SealMissing => "seal-missing", "this browser has to come back from signing in first; open the page of your sessions";
    /// The session has tasks left before it can be used.
    SessionPending => "session-pending", "finish signing in first";
    /// The handshake result was not made by this instance.
    HandshakeInvalid => "handshake-invalid", "the sign-in result is not from this Clerk instance; clear the cookies of this site and try again";
    /// The role is not held.
    RoleMissing => "role-missing", "your role does not allow this";
    /// The permission is not held.
    PermissionMissing => "permission-missing", "you do not have the permission for this";
    /// The feature is not part of the plan.
    FeatureMissing => "feature-missing", "this feature is not included for you";
    /// The plan is another one.
    PlanMissing => "plan-missing", "this is not part of your plan";
    /// The factors have to be verified again.
    ReverificationNeeded => "reverification-error", "please verify that it is you again";
    /// The first factor was verified too long ago.
    FactorTooOld => "factor-too-old", "you signed in too long ago for this";
    /// The token was issued too long ago.
    TokenTooOld => "token-too-old", "the token is too old for this; get a new one";
    /// A claim is not what the route asks.
    ClaimMismatch => "claim-mismatch", "a claim of your session does not allow this";
    /// The token's scopes do not include what the route asks for.
    ScopeMissing => "scope-missing", "the token does not have the scope for this";
    /// Somebody acts in another person's name.
    Impersonated => "impersonated", "not allowed while impersonating";
    /// A page of another site asked for a WebSocket, or for a change at a page of ours, in a person's name.
    OriginNotAllowed => "origin-not-allowed", "a page of another site may not ask for this";
    /// None of several ways to qualify is met.
    RequirementUnmet => "requirement-unmet", "you may not do this";
    /// The path cannot be read.
    PathMalformed => "path-malformed", "the path is malformed";
    /// Servers disagree on what the path means.
    PathAmbiguous => "path-ambiguous", "the path can be read in more than one way";
    /// An encoded slash where the route does not allow one.
    PathEncodedSlash => "path-encoded-slash", "an encoded slash is not allowed here";
    /// The form of the request target is not one that a gate takes.
    TargetUnsupported => "target-unsupported", "this form of request is not supported";
    /// The Host header is missing, doubled or malformed, or contradicts the target.
    HostInvalid => "host-invalid", "the host of the request is missing or malformed";
    /// The host is not one that this gate serves.
    HostNotServed => "host-not-served", "this host is not served here";
    /// The length of the body can be read in more than one way.
    FramingAmbiguous => "framing-ambiguous", "the length of the request can be read in more than one way";
    /// The head of the request is too large.
    HeadTooLarge => "head-too-large", "the head of the request is too large";
    /// The body of the request is too large for the route.
    BodyTooLarge => "body-too-large", "the body of the request is too large";
    /// The body did not arrive in time.
    BodyTimeout => "body-timeout", "the body of the request did not arrive in time";
    /// A protocol upgrade other than a WebSocket.
    UpgradeUnsupported => "upgrade-unsupported", "only websockets can be upgraded to";
    /// Under the gate's own prefix, but not a page of it.
    PageUnknown => "page-unknown", "there is no such page";
    /// The method is not one that this page takes.
    MethodNotAllowed => "method-not-allowed", "this page does not take that method";
    /// Only the session of a browser may do this.
    CookieSessionNeeded => "cookie-session-needed", "this takes the session of a browser";
    /// The session is none of the caller's, or over.
    SessionUnknown => "session-unknown", "you have no such session";
    /// Clerk could not be asked about somebody's sessions.
    SessionsUnavailable => "sessions-unavailable", "your sessions cannot be looked after at the moment";
    /// A session is refused here, and Clerk has not said that it is over.
    RevocationUnconfirmed => "revocation-unconfirmed", "what was ended is no longer accepted here, but clerk has not confirmed it: it may live on elsewhere";
    /// No template of this name is configured.
    TemplateUnknown => "template-unknown", "there is no such template";
    /// Clerk gave no token of a template.
    TemplateUnavailable => "template-unavailable", "a token for the application cannot be had at the moment";
    /// What came to the webhook is no event.
    WebhookMalformed => "webhook-malformed", "this is no event of Clerk's";
    /// The event is not signed with a secret of ours, or too long ago.
    WebhookInvalid => "webhook-invalid", "the signature of the event is wrong or too old";
    /// A limit is spent.
    RateLimited => "rate-limited", "too many requests; try again later";
    /// As many requests are in flight as there may be.
    TooManyInFlight => "too-many-in-flight", "too many requests at once; try again when one of them has ended";
    /// What is spent of the limits cannot be found out.
    LimitsUnavailable => "limits-unavailable", "the limits cannot be checked at the moment; try again shortly";
    /// What a gateway says of a request is missing, empty, doubled or malformed.
    DoorMetadata => "door-metadata", "the gateway does not say in one way which request it asks about";
    /// The path that a gateway has is not the one that would be judged.
    PathNotCanonical => "path-not-canonical", "the path has to be written in its usual form";
    /// A gateway passes on a header that could be taken for one that only the gate may set.
    HeaderDisguised => "header-disguised", "a header of the request could be taken for another one";
    /// A header that has to be written anew is no text, and Envoy takes nothing else.
    HeaderNotText => "header-not-text", "a header of the request has bytes that are no text";
    /// A page of the gate's own was asked for through a door.
    DoorMisdirected => "door-misdirected", "this page is not served through a gateway's door";
    /// Over TLS already where requests in plain text are sent to TLS.
    HttpsMisdirected => "https-misdirected", "this came over https, and only plain http is sent on from here";
    /// More cookies than a door can pass on.
    CookiesTooMany => "cookies-too-many", "your session cannot be renewed through this gateway";
    /// The upstream cannot be reached.
    UpstreamUnreachable => "upstream-unreachable", "the application cannot be reached";
    /// The upstream did not answer in time.
    UpstreamTimeout => "upstream-timeout", "the application did not answer in time";
    /// The upstream does not speak the protocol that it is said to.
    UpstreamProtocol => "upstream-protocol", "the application speaks another protocol than it is said to";
    /// The upstream's answer is no HTTP.
    UpstreamMalformed => "upstream-malformed", "the application gave an answer that cannot be understood";
    /// Each server of the upstream has as many requests as it takes.
    UpstreamFull => "upstream-full", "the application has as many requests as it takes; try again shortly";
    /// No server of the upstream is well.
    UpstreamUnhealthy => "upstream-unhealthy", "the application is not well at the moment; try again shortly";
    /// The gate is shutting down.
    ShuttingDown => "shutting-down", "the service is restarting";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why an expired session was not refreshed: the open part of `session-token-expired`
/// (protocol reference, section 3.14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefreshFailure {
    /// No refresh cookie.
    NoRefreshCookie,
    /// A method other than GET.
    NotGet,
    /// The cookie's token, which is the one that is renewed, is none.
    Undecodable,
    /// The token has no session id.
    NoSessionId,
    /// Clerk could not be reached.
    Unreachable,
    /// Clerk said that it has failed itself, with its code for that, if it has one: as in [`Self::Code`].
    Failed(Option<String>),
    /// Clerk answered with something that is no answer.
    Unintelligible,
    /// Clerk answered without any cookie.
    Empty,
    /// The new token does not verify.
    InvalidToken,
    /// No secret key is configured.
    NoSecretKey,
    /// The gate makes no more calls to Clerk for the moment.
    BudgetSpent,
    /// The session is known to be over.
    Ended,
    /// Refreshing is switched off.
    SwitchedOff,
    /// Clerk's own code for it; letters, digits, `_` and `-`, at most 64.
    Code(String),
}

impl RefreshFailure {
    /// Those that have a code of ours, in the order of the documentation.
    pub const OURS: &'static [Self] = &[
        Self::NoRefreshCookie,
        Self::NotGet,
        Self::Undecodable,
        Self::NoSessionId,
        Self::Unreachable,
        Self::Unintelligible,
        Self::Empty,
        Self::InvalidToken,
        Self::NoSecretKey,
        Self::BudgetSpent,
        Self::Ended,
        Self::SwitchedOff,
    ];

    /// Clerk's code, made safe to show: bounded, and of a small alphabet.
    pub fn from_code(code: &str) -> Self {
        let plain: String = code
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            .take(64)
            .collect();
        if plain.is_empty() {
            Self::Unintelligible
        } else {
            Self::Code(plain)
        }
    }

    /// The text behind `-refresh-`.
    pub fn code(&self) -> &str {
        match self {
            Self::NoRefreshCookie => "non-eligible-no-refresh-cookie",
            Self::NotGet => "non-eligible-non-get",
            Self::Undecodable => "expired-session-token-decode-failed",
            Self::NoSessionId => "expired-session-token-missing-sid-claim",
            Self::Unreachable => "fetch-error",
            Self::Unintelligible => "unexpected-bapi-error",
            Self::Empty => "unexpected-sdk-error",
            Self::InvalidToken => "invalid-session-token",
            Self::NoSecretKey => "missing-api-client",
            Self::BudgetSpent => "budget-spent",
            Self::Ended => "session-ended",
            Self::SwitchedOff => "switched-off",
            Self::Failed(None) => Self::Unintelligible.code(),
            Self::Failed(Some(code)) | Self::Code(code) => code,
        }
    }
}

/// A reason with its open detail, as it stands in header and log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The reason.
    pub reason: Reason,
    /// Why an expired session was not refreshed.
    pub refresh: Option<RefreshFailure>,
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            refresh: None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.code())?;
        match &self.refresh {
            Some(failure) => write!(f, "-refresh-{}", failure.code()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_kebab_case() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert!(
            codes
                .iter()
                .all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        );
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn a_code_from_outside_is_bounded() {
        assert_eq!(
            RefreshFailure::from_code("a b\r\nc"),
            RefreshFailure::Code("abc".into())
        );
        assert_eq!(
            RefreshFailure::from_code("\r\n"),
            RefreshFailure::Unintelligible
        );
        assert_eq!(RefreshFailure::from_code(&"x".repeat(500)).code().len(), 64);
    }
}
