//! One route: what it is for, what it asks, and how it answers who may not.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::host_pattern::HostPattern;
use crate::core::budget::Budget;
use crate::core::pattern::PathPattern;
use crate::core::prefix::Prefixes;
use crate::core::requirement::Requirement;
use crate::core::template::Template;

/// One `[[route]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// The name in logs, metrics and messages.
    pub name: Arc<str>,
    /// Paths; never empty.
    pub paths: Vec<PathPattern>,
    /// Hosts it is for; empty for all.
    pub hosts: Vec<HostPattern>,
    /// Methods it is for; empty for all. GET includes HEAD.
    pub methods: Vec<Method>,
    /// What it asks.
    pub requirement: Requirement,
    /// Whether credentials are looked at.
    pub credentials: CredentialUse,
    /// What somebody who is signed out gets.
    pub on_signed_out: OnSignedOut,
    /// Where somebody who may not is sent, instead of a 403.
    pub on_forbidden: Option<String>,
    /// Whether refusals look like a page that is not there.
    pub disclosure: Disclosure,
    /// Whether `%2F` may stand in the path.
    pub encoded_slash: EncodedSlash,
    /// What becomes of a CORS preflight.
    pub preflight: Preflight,
    /// The largest request body in bytes; `None` for no limit.
    pub max_body: Option<u64>,
    /// How long the upstream may take to begin its answer.
    pub response_timeout: Option<Duration>,
    /// Which of the configured upstreams it goes to; 0 is `[upstream]`.
    pub upstream: usize,
    /// What becomes of the beginning of the path; `None` where it goes on as it was asked for.
    pub prefixes: Option<Prefixes>,
    /// Whom signed assertions are for; `None` for the upstream as such.
    pub assertion_audience: Option<String>,
    /// The template whose token the upstream gets in the place of the session's.
    pub template: Option<Arc<Template>>,
    /// Whether clerk-js is put into its pages.
    pub pages: Pages,
    /// What its requests are charged to, in the order of the configuration.
    pub budgets: Vec<Arc<Budget>>,
    /// How much each of them is charged.
    pub cost: u32,
    /// How long sessions stay accepted after the end of their tokens while Clerk is out of reach;
    /// `None` for not at all.
    pub ride_through: Option<Duration>,
}

/// Whether a route looks at credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialUse {
    /// Cookies and tokens are read.
    Look,
    /// Nothing is read (`authenticate = false`).
    Ignore,
}

/// What somebody who is signed out gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnSignedOut {
    /// A navigation goes to the sign-in page, anything else gets a 401.
    Redirect,
    /// Everybody gets a 401.
    Unauthorized,
    /// A navigation goes to this address.
    Address(String),
}

/// Whether a refusal says that there is something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disclosure {
    /// 401 and 403.
    Open,
    /// 404, as Clerk's `protect` (`hide = true`).
    Hidden,
}

/// Whether `%2F` may stand in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedSlash {
    /// 400.
    Refuse,
    /// Kept; the decoded reading must pass as well.
    Keep,
}

/// What becomes of the pages that the upstream answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// They go on as they are.
    AsTheyAre,
    /// clerk-js is put into them.
    WithClerkJs,
}

/// What becomes of a CORS preflight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// Judged like any request.
    Judge,
    /// Forwarded without identity and without body.
    Forward,
}

impl Route {
    /// A route with every setting at its default.
    pub fn new(name: &str, paths: Vec<PathPattern>, requirement: Requirement) -> Self {
        Self {
            name: name.into(),
            paths,
            hosts: Vec::new(),
            methods: Vec::new(),
            requirement,
            credentials: CredentialUse::Look,
            on_signed_out: OnSignedOut::Redirect,
            on_forbidden: None,
            disclosure: Disclosure::Open,
            encoded_slash: EncodedSlash::Refuse,
            preflight: Preflight::Judge,
            max_body: None,
            response_timeout: None,
            upstream: 0,
            prefixes: None,
            assertion_audience: None,
            template: None,
            pages: Pages::AsTheyAre,
            budgets: Vec::new(),
            cost: 1,
            ride_through: None,
        }
    }

    /// How long a session may ride through an outage of Clerk's here, in milliseconds: not at all where it
    /// counts how young something is.
    pub fn ride_ms(&self) -> Option<u64> {
        let most = self.ride_through?;
        (!self.requirement.asks_for_freshness())
            .then(|| u64::try_from(most.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn takes(&self, method: &Method, host: &str) -> bool {
        let method_fits = self.methods.is_empty()
            || self
                .methods
                .iter()
                .any(|known| known == method || (known == Method::GET && method == Method::HEAD));
        method_fits && self.is_for(host)
    }

    pub(super) fn is_for(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }
}
