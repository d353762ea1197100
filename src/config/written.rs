//! What is written, table by table, before anything is looked at in the light of something else.

use std::sync::Arc;

use super::assertions::{self, Assertion};
use super::clerk::{self, Clerk, ReadFile};
use super::doors::{self, Asked};
use super::http2;
use super::inject::{self, Inject};
use super::limit;
use super::model::{AssertionConfig, DoorConfig, Http2Config, IdentityConfig, Limits, RedisConfig};
use super::report::Problems;
use super::ride_through::{self, RideThrough};
use super::routes::{self, WrittenRoute};
use super::section::{Placed, Section};
use super::settings;
use super::shadow;
use super::signed_assertion;
use super::sites::{self, WrittenSite};
use super::store;
use super::templates::{self, WrittenTemplate};
use super::tls::{self, Tls};
use super::tree::Table;
use super::upstream::{self, UpstreamSection};
use super::webhooks;
use crate::clerk::webhooks::WebhookSecrets;
use crate::core::budget::Budget;

/// A configuration as it is written.
pub(super) struct Written {
    pub(super) top: settings::Top,
    /// `None` if it cannot be read.
    pub(super) clerk: Option<Clerk>,
    pub(super) sites: Vec<WrittenSite>,
    pub(super) upstream: UpstreamSection,
    pub(super) limits: Limits,
    pub(super) http2: Http2Config,
    pub(super) tls: Tls,
    pub(super) beside: Beside,
    pub(super) pages: settings::Pages,
    pub(super) webhooks: Option<WebhookSecrets>,
    pub(super) identity: IdentityConfig,
    pub(super) inject: Option<Inject>,
    pub(super) store: Option<RedisConfig>,
    pub(super) process: settings::Process,
    pub(super) templates: Vec<WrittenTemplate>,
    pub(super) routes: Vec<WrittenRoute>,
    pub(super) ride_through: RideThrough,
    pub(super) budgets: Vec<Arc<Budget>>,
    pub(super) assertions: Vec<Assertion>,
    pub(super) assertion: Option<AssertionConfig>,
    /// The file of the shadow policy.
    pub(super) shadow: Option<Placed<String>>,
}

impl Written {
    /// Reads every table. `None` if the file is written for another program.
    pub(super) fn read(table: Table, files: ReadFile<'_>, problems: &Problems) -> Option<Self> {
        let mut root = settings::root(table, problems)?;
        let top = settings::top(&mut root);
        let public_url = top.public_url.as_ref().map(|url| &url.value);
        let (clerk_section, session) = (root.section("clerk"), root.section("session"));
        let first = sites::First {
            clerk: clerk_section.copy(),
            session: session.copy(),
        };
        let clerk = clerk::read(clerk_section, session, public_url, files);
        let sites = sites::read(root.sections("site"), &first, files);
        let mut upstream = upstream::read(&mut root, files);
        let limits = settings::limits(root.section("limits"));
        let http2 = http2::read(root.section("http2"));
        let tls = tls::read(&mut root, files);
        let beside = Beside::read(&mut root, files);
        let pages = settings::pages(root.section("pages"));
        let webhooks = webhooks::read(root.section("webhooks"), files);
        let identity = settings::identity(root.section("identity"));
        let inject = inject::read(root.section("inject"));
        let store = store::read(root.section("store"), files);
        let process = settings::process(&mut root, files);
        let carried = identity.headers.iter();
        let claims: Vec<_> = carried.map(|header| header.name.clone()).collect();
        let templates = templates::read(root.sections("template"), &claims);
        let mut routes = routes::read(root.sections("route"), &mut upstream.upstreams, &templates);
        let ride_through = ride_through::read(root.section("ride-through"), &mut routes);
        let budgets = limit::of_all(root.sections("limit"), &routes, beside.asked(), problems);
        let assertions = assertions::read(root.sections("test"));
        let of_routes = routes.iter().flat_map(|route| &route.assertion_audience);
        let audiences = upstream.assertion_audiences.iter().chain(of_routes);
        let assertion = signed_assertion::read(&mut root, audiences, files);
        let shadow = shadow::read(root.section("shadow"));
        root.finish();

        Some(Self {
            top,
            clerk,
            sites,
            upstream,
            limits,
            http2,
            tls,
            beside,
            pages,
            webhooks,
            identity,
            inject,
            store,
            process,
            templates,
            routes,
            ride_through,
            budgets,
            assertions,
            assertion,
            shadow,
        })
    }
}

/// Listeners beside the one for visitors.
pub(super) struct Beside {
    pub(super) admin: settings::Admin,
    pub(super) doors: Option<Placed<DoorConfig>>,
    pub(super) check: Option<Placed<DoorConfig>>,
}

impl Beside {
    fn read(root: &mut Section<'_>, files: ReadFile<'_>) -> Self {
        Self {
            admin: settings::admin(root.section("admin")),
            doors: doors::read(root, Asked::OverHttp, files),
            check: doors::read(root, Asked::OverGrpc, files),
        }
    }

    /// Whoever asks instead of forwarding, if anybody does.
    pub(super) fn asked(&self) -> Option<&Placed<DoorConfig>> {
        self.doors.as_ref().or(self.check.as_ref())
    }
}
