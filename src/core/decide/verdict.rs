//! What a verdict is: what is done with a request, and why.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::order::Order;
use super::relay::FapiPermit;
use crate::core::binding::Binding;
use crate::core::continuity::Keepsake;
use crate::core::facts::{Audience, RequestFacts};
use crate::core::identity::Identity;
use crate::core::injection::Insertion;
use crate::core::masked::{Address, CookieLines};
use crate::core::notice::Again;
use crate::core::path::CanonicalPath;
use crate::core::policy::RouteMatch;
use crate::core::prefix::{Prefix, Target};
use crate::core::protected_resource::ProtectedResource;
use crate::core::reason::Cause;
use crate::core::signed_assertion::SignedAssertion;
use crate::core::step_up::StepUp;

/// The verdict on a request.
#[derive(Clone)]
pub struct Verdict {
    /// What is done.
    pub decision: Decision,
    /// Why it is not simply forwarded, or why nobody is signed in.
    pub cause: Option<Cause>,
    /// Whether the sender is signed in.
    pub standing: Standing,
    /// Who the sender is, if signed in.
    pub who: Option<Who>,
    /// Set-Cookie strings for the answer, untouched.
    pub set_cookies: Vec<String>,
    /// What becomes of the gate's own cookies. The gate seals them and puts them into `set_cookies`.
    pub keepsakes: Vec<Keepsake>,
    /// The route that decided; `None` for our own pages.
    pub route: Option<RouteMatch>,
}

/// The ids of a sender, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// `sub`.
    pub user: String,
    /// `sid`.
    pub session: Option<String>,
    /// The active organisation.
    pub organization: Option<String>,
}

/// How a sender stands, in the words of `x-clerk-auth-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A verified session.
    SignedIn,
    /// No session.
    SignedOut,
    /// On the way to Clerk and back.
    Handshake,
    /// Nobody looked.
    Unasked,
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It goes to the upstream.
    Forward(Permit),
    /// It goes to Clerk's Frontend API.
    Relay(FapiPermit),
    /// The browser is sent elsewhere.
    Redirect(Redirect),
    /// It is refused.
    Refuse(Refusal),
    /// One of our own pages answers it.
    Page(Page),
    /// One of our own pages does something and answers with what came of it.
    Serve(Order),
}

/// Leave to reach an upstream with one request. Only [`decide`](super::decide) makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(super) upstream: usize,
    pub(super) target: Option<Arc<Target>>,
    pub(super) identity: Vec<(HeaderName, HeaderValue)>,
    pub(super) assertion: Option<SignedAssertion>,
    pub(super) max_body: Option<u64>,
    pub(super) response_timeout: Option<Duration>,
    pub(super) body: BodyRule,
    pub(super) binding: Binding,
    pub(super) withheld: Option<HeaderName>,
    pub(super) insertion: Option<Box<Insertion>>,
    pub(super) rides: Option<Duration>,
}

/// What becomes of the body of a forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// It is streamed.
    Stream,
    /// It is left out: a preflight has none.
    Drop,
}

impl Permit {
    /// Which of the configured upstreams is meant.
    pub fn upstream(&self) -> usize {
        self.upstream
    }

    /// The path to ask for: the very one that was matched, or what the route makes of it.
    pub fn path<'p>(&'p self, facts: &'p RequestFacts<'_>) -> &'p CanonicalPath {
        self.target
            .as_ref()
            .map_or(&facts.path, |target| &target.path)
    }

    /// What was taken away from the beginning of the path, if anything was.
    pub fn stripped(&self) -> Option<&Prefix> {
        self.target.as_ref()?.stripped.as_ref()
    }

    /// The identity headers to set, after every one a client sent has been removed.
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        &self.identity
    }

    /// What has to be said under a signature as well.
    pub fn assertion(&self) -> Option<&SignedAssertion> {
        self.assertion.as_ref()
    }

    /// The largest body in bytes, if the route limits it.
    pub fn max_body(&self) -> Option<u64> {
        self.max_body
    }

    /// How long the upstream may take to begin its answer, if the route says so.
    pub fn response_timeout(&self) -> Option<Duration> {
        self.response_timeout
    }

    /// What becomes of the body.
    pub fn body(&self) -> BodyRule {
        self.body
    }

    /// In whose name the request goes on: what stays open behind it is bound to that.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// A header of the client's that stays here: one that the gate sets on this route.
    pub fn withheld(&self) -> Option<&HeaderName> {
        self.withheld.as_ref()
    }

    /// How long ago the token has ended of a session that rides through an outage of Clerk's; `None` if
    /// none does.
    pub fn rides(&self) -> Option<Duration> {
        self.rides
    }

    /// What is put into the page, if the answer is one.
    pub fn insertion(&self) -> Option<&Insertion> {
        self.insertion.as_deref()
    }
}

/// A redirect.
#[derive(Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 307: the method stays, and only GET and HEAD are ever redirected.
    pub location: String,
}

/// A refusal, to be turned into an answer by `reply`.
#[derive(Clone, PartialEq)]
pub struct Refusal {
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// Why.
    pub cause: Cause,
    /// Who reads it.
    pub audience: Audience,
    /// Where to sign in, if that would help.
    pub sign_in_url: Option<String>,
    /// What a client is told that could come again with a better token.
    pub challenge: Challenge,
    /// The methods that a page of ours takes, for who came with another one.
    pub methods: &'static str,
}

/// What `WWW-Authenticate` says (RFC 6750, section 3; RFC 9728, section 5.1; RFC 9470, section 3),
/// and what else there is to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Challenge {
    /// What is wrong with the token that came; `None` if none came.
    pub error: Option<ChallengeError>,
    /// The scopes that are asked for, where one is missing.
    pub scopes: Vec<String>,
    /// Where the resource is described, if it takes OAuth tokens.
    pub resource_metadata: Option<String>,
    /// What a person can verify again, if that is all that is missing.
    pub step_up: Option<StepUp>,
    /// How a session is ended at Clerk that is over here only.
    pub unended: Option<Again>,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// It is not accepted.
    InvalidToken,
    /// It may not do this.
    InsufficientScope,
    /// Whoever holds it verified too long ago that it is them.
    InsufficientAuthentication,
}

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Sign in first.
    SignedOut,
    /// A machine token that is missing, is not accepted or is not enough.
    Unauthorized,
    /// Signed in, but not allowed.
    Forbidden,
    /// The same, where nothing may be told.
    Hidden,
    /// The request cannot be taken, whoever sent it.
    Request,
    /// We cannot tell at the moment.
    Unavailable,
}

/// A page of our own.
#[derive(Clone, Debug, PartialEq)]
pub enum Page {
    /// `/_gate/unauthorized`: the page for people who may not.
    Unauthorized,
    /// `/_gate/me`: who am I.
    Me(Box<Me>),
    /// `/_gate/sign-out`: shall it be so?
    SignOut(SignOutForm),
    /// The same, where nobody is signed in. The address is that of the page to sign in.
    SignedOut(String),
    /// What an OAuth client has to know.
    ProtectedResource(Box<ProtectedResource>),
    /// `/_gate/assertion/jwks.json`: the keys that signed assertions are checked with.
    AssertionKeys(Arc<Value>),
    /// `/_gate/inject/start.js`: what starts clerk-js in pages that it was put into.
    StartScript {
        /// Whether it was asked for by the version that it has.
        current: bool,
    },
}

/// What a page is told of whoever is signed in. Never a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Me {
    /// Who it is.
    pub identity: Identity,
    /// When the token was issued, in seconds since the epoch.
    pub issued_s: Option<u64>,
    /// When it ends.
    pub expires_s: Option<u64>,
    /// The claims that pages are told, by their dotted names; those that are missing are left out.
    pub claims: Vec<(String, Value)>,
}

/// The forms to sign out.
#[derive(Clone, PartialEq, Eq)]
pub struct SignOutForm {
    /// Where the form for this browser leads.
    pub this: String,
    /// Where the one for every session leads; `None` where that is not for whoever asks.
    pub everywhere: Option<String>,
    /// Other origins that the forms may lead to in the end.
    pub form_targets: Vec<String>,
}

impl fmt::Debug for SignOutForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignOutForm")
            .field("this", &Address(&self.this))
            .field("everywhere", &self.everywhere.as_deref().map(Address))
            .field("form_targets", &self.form_targets)
            .finish()
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("decision", &self.decision)
            .field("cause", &self.cause)
            .field("standing", &self.standing)
            .field("who", &self.who)
            .field("set_cookies", &CookieLines(&self.set_cookies))
            .field("keepsakes", &self.keepsakes)
            .field("route", &self.route)
            .finish()
    }
}

impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redirect")
            .field(&Address(&self.location))
            .finish()
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("kind", &self.kind)
            .field("cause", &self.cause)
            .field("audience", &self.audience)
            .field("sign_in_url", &self.sign_in_url.as_deref().map(Address))
            .field("challenge", &self.challenge)
            .field("methods", &self.methods)
            .finish()
    }
}
