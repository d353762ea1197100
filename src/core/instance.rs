//! The Clerk instance a gate works for: the SDK's options, checked (protocol reference,
//! section 3.1).

use std::borrow::Cow;

use super::edge::SiteAddress;
use super::injection::Injection;
use super::key::{InstanceKind, PublishableKey};
use super::organization_sync::OrganizationSync;
use super::origin::Origin;
use super::proxy_path::ProxyPath;

/// Everything about one Clerk instance that the decision needs. Holds no secret.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The publishable key.
    pub key: PublishableKey,
    /// Whether a secret key is known: without it nothing can be asked of the Backend API.
    pub backend_api: BackendApi,
    /// Values of `azp` that are accepted; empty switches the check off.
    pub authorized_parties: Vec<String>,
    /// Values of `aud` that are accepted; empty switches the check off.
    pub audience: Vec<String>,
    /// Values of `iss` that are accepted.
    pub issuer: IssuerRule,
    /// Leeway for `exp`, `nbf` and `iat`, in milliseconds.
    pub clock_skew_ms: u64,
    /// Where the Frontend API is called by browsers, without a trailing slash; follows from the
    /// key unless a proxy, a satellite domain or `frontend-api-url` says otherwise. A path lives on
    /// the application's own origin: see [`Self::frontend_api_at`].
    pub frontend_api: String,
    /// Who hands out OAuth tokens: the Frontend API itself, never a proxy of it.
    pub authorization_server: String,
    /// Below which path the gate itself is the proxy of the Frontend API.
    pub frontend_api_proxy: Option<ProxyPath>,
    /// What `iss` without its scheme must be for a cookie to belong to this instance.
    pub own_issuer_host: String,
    /// Addresses that ask for an organisation to be active.
    pub organization_sync: OrganizationSync,
    /// Multi-domain settings.
    pub satellite: Option<Satellite>,
    /// The satellites of this instance behind the same gate: whom a primary for development answers.
    pub satellites: Vec<SiteAddress>,
    /// The sign-in page; relative ones live on the application's own origin.
    pub sign_in_url: Option<String>,
    /// The sign-up page.
    pub sign_up_url: Option<String>,
    /// Where people go who have signed out; `None` for a page of the gate's own.
    pub after_sign_out_url: Option<String>,
    /// How far the gate goes beyond the SDK to keep people signed in.
    pub continuity: Continuity,
    /// By which ways sessions are kept going.
    pub ways: Ways,
    /// Which clerk-js is put into pages of routes that say so.
    pub injection: Option<Injection>,
    /// Whether pending sessions count as signed out (Clerk's default).
    pub pending: PendingSessions,
    /// How long after its first issue a seal counts, in milliseconds.
    pub seal_max_age_ms: u64,
    /// The domain that Clerk's cookies are set for where that is not the host alone.
    pub cookie_domain: Option<String>,
    /// Origins of other sites whose pages may open a WebSocket with the cookies of a session.
    pub websocket_origins: Vec<Origin>,
}

/// Whether Clerk's Backend API can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendApi {
    /// A secret key is configured.
    Available,
    /// None is.
    NoSecretKey,
}

/// Which issuers are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerRule {
    /// One of these, byte for byte.
    OneOf(Vec<String>),
    /// The check is switched off.
    Any,
}

/// A satellite of a multi-domain application (section 3.12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Satellite {
    /// Whether a first visit syncs with the primary without being asked.
    pub auto_sync: bool,
}

/// How far the gate goes beyond the SDK to keep people signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Exactly what Clerk's SDK does.
    Faithful,
    /// Refresh for every method, handshakes only where they can be trusted (design, section 8, B).
    Full,
}

/// By which ways sessions are kept going (design, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Refresh tokens.
    pub refresh: Way,
    /// Page loads that go to Clerk and back.
    pub handshake: Way,
    /// Tokens minted by a seal.
    pub mint: Way,
}

/// Whether a way is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// It is taken where it leads somewhere.
    #[default]
    Open,
    /// It is switched off.
    Closed,
}

/// What becomes of a session with tasks left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingSessions {
    /// Counts as signed out.
    SignedOut,
    /// Counts as signed in.
    SignedIn,
}

impl Instance {
    /// An instance of its key alone, with Clerk's defaults.
    pub fn of(key: PublishableKey, backend_api: BackendApi) -> Self {
        let host = key.frontend_api().to_owned();
        Self {
            backend_api,
            authorized_parties: Vec::new(),
            audience: Vec::new(),
            issuer: IssuerRule::OneOf(vec![format!("https://{host}")]),
            clock_skew_ms: 5_000,
            frontend_api: format!("https://{host}"),
            authorization_server: format!("https://{host}"),
            frontend_api_proxy: None,
            own_issuer_host: host,
            organization_sync: OrganizationSync::default(),
            satellite: None,
            satellites: Vec::new(),
            sign_in_url: None,
            sign_up_url: None,
            after_sign_out_url: None,
            continuity: Continuity::Full,
            ways: Ways::default(),
            injection: None,
            pending: PendingSessions::SignedOut,
            seal_max_age_ms: 7 * 24 * 60 * 60 * 1000,
            cookie_domain: None,
            websocket_origins: Vec::new(),
            key,
        }
    }

    /// Where browsers that visit `origin` call the Frontend API, without a trailing slash.
    pub fn frontend_api_at(&self, origin: &Origin) -> Cow<'_, str> {
        if self.frontend_api.starts_with('/') {
            Cow::Owned(format!("{origin}{}", self.frontend_api))
        } else {
            Cow::Borrowed(&self.frontend_api)
        }
    }

    /// Whether this is a development instance.
    pub fn is_development(&self) -> bool {
        self.key.kind() == InstanceKind::Development
    }
}
