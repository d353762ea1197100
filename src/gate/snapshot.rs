//! What a request is judged by, and what each site has of its own.

use std::sync::Arc;
use std::time::Duration;

use super::live::LiveRules;
use super::machines::Machines;
use super::meters::SnapshotMeters;
use super::renewal::Renewer;
use super::seals::Seals;
use super::shadow::Shadow;
use crate::clerk::backend::BackendApi;
use crate::clerk::browsers::BrowserApi;
use crate::clerk::jwks::KeyStore;
use crate::clerk::webhooks::WebhookSecrets;
use crate::core::decide::Webhooks;
use crate::core::edge::Edge;
use crate::core::identity_headers::HeaderPlan;
use crate::core::instance::Instance;
use crate::core::policy::Policy;
use crate::core::reserved::Reserved;
use crate::store::outcomes::OutcomeKeys;
use crate::upstream::Upstream;
use crate::upstream::relay::FrontendApi;

/// Everything that a request is judged by. Never changes; a new configuration is a new one.
#[derive(Debug)]
pub struct Snapshot {
    /// The sites, as `edge` numbers them; the first is the one of the top level.
    pub sites: Vec<Site>,
    /// The route policy.
    pub policy: Policy,
    /// Another one, which is judged beside it and never enforced.
    pub shadow: Option<Shadow>,
    /// Where the gate stands.
    pub edge: Edge,
    /// Which headers carry identity.
    pub headers: HeaderPlan,
    /// Which headers no client may send.
    pub reserved: Arc<Reserved>,
    /// The prefix of our own pages.
    pub pages_prefix: String,
    /// Whether every answer carries Clerk's debug headers.
    pub debug_headers: bool,
    /// The upstreams, as routes number them.
    pub upstreams: Vec<Upstream>,
    /// The largest body in bytes where a route does not say.
    pub max_body: Option<u64>,
    /// How long a body that is ours to read may take.
    pub body_timeout: Duration,
    /// What Clerk's events are signed with; `None` if none are taken.
    pub webhooks: Option<WebhookSecrets>,
    /// What is counted under its names.
    pub meters: SnapshotMeters,
}

/// What a site has of its own: its instance, and what depends on that.
#[derive(Debug)]
pub struct Site {
    /// The Clerk instance, as this site is one of its applications.
    pub instance: Instance,
    /// The keys of the instance; sites whose keys come from one place share them.
    pub keys: KeyStore,
    /// The Backend API, if a secret key is known.
    pub backend: Option<BackendApi>,
    /// What Clerk says about machine tokens of the instance; shared where the keys to ask are the same.
    pub machines: Arc<Machines>,
    /// The keys of the gate's own cookies.
    pub seals: Arc<Seals>,
    /// The keys of what gates of the instance share, where there is a secret key to make them of.
    pub outcomes: Option<Arc<OutcomeKeys>>,
    /// Clerk's Frontend API, if the gate is its proxy.
    pub frontend_api: Option<Arc<FrontendApi>>,
    /// How long what is open in somebody's name may stay open.
    pub live: LiveRules,
    /// The Frontend API, for what the gate asks in a browser's name, where it can.
    pub browsers: Option<BrowserApi>,
}

impl Site {
    /// Whom to ask for renewals, where Clerk can be; `number` is the site's.
    pub(super) fn renewer(&self, number: usize) -> Option<Renewer<'_>> {
        Some(Renewer {
            backend: self.backend.as_ref()?,
            keys: self.outcomes.as_deref(),
            instance: self.instance.key.as_str(),
            site: number,
        })
    }
}

impl Snapshot {
    /// The site of this number.
    pub fn site(&self, number: usize) -> Option<&Site> {
        self.sites.get(number)
    }

    /// Whether events of Clerk's are taken.
    pub fn webhooks(&self) -> Webhooks {
        Webhooks::of(self.webhooks.as_ref())
    }
}
