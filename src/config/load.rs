//! From a file, the environment and flags to one checked configuration.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::assertions;
use super::clerk::{self, ReadFile};
use super::doors::{self, Asked};
use super::environment::{self, Environment, FlagValue};
use super::http2;
use super::inject;
use super::limit;
use super::lints;
use super::listen;
use super::model::{Config, DoorConfig};
use super::report::{Place, Problem, Problems, Report};
use super::ride_through;
use super::routes::{self, WrittenRoute};
use super::section::{Placed, Section};
use super::settings;
use super::shadow;
use super::signed_assertion;
use super::sites;
use super::source::Source;
use super::store;
use super::survey::{Pretence, Tables};
use super::templates::{self, WrittenTemplate};
use super::tls;
use super::tree::Table;
use super::upstream;
use super::views::{self, SiteView};
use super::webhooks;
use crate::core::decide::Webhooks;
use crate::core::edge::{Edge, PublicAddress, SiteAddress};
use crate::core::identity_headers::HeaderPlan;
use crate::core::key::InstanceKind;
use crate::core::origin::Origin;
use crate::core::policy::{HostPattern, PathReading, Policy};
use crate::core::template::Template;
use crate::upstream::address::ServerAddress;

/// A configuration that can be used, and what ought to be looked at.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings; often none.
    pub warnings: Report,
}

/// Where values come from besides the file.
pub struct Surroundings<'s> {
    /// The variables of the process.
    pub environment: &'s Environment,
    /// Keys that flags set; they count most.
    pub flags: &'s [FlagValue],
    /// Reads a file that the configuration names.
    pub files: &'s dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

/// Checks everything and reports every problem at once.
pub fn load(source: &Source, surroundings: &Surroundings<'_>) -> Result<Loaded, Report> {
    let problems = Problems::default();
    let mut table = Table::of_file(source.text(), &problems);
    if !problems.no_errors() {
        // What the parser made of a broken file is not worth a complaint.
        return Err(problems.into_report(source));
    }
    environment::overlay(
        &mut table,
        surroundings.environment,
        surroundings.flags,
        &problems,
    );
    match check(table, surroundings, &problems) {
        Some(config) if problems.no_errors() => Ok(Loaded {
            config,
            warnings: problems.into_report(source),
        }),
        _ => Err(problems.into_report(source)),
    }
}

/// Which keys are asked for, and what the value of each may look like.
pub(super) fn survey() -> Tables {
    let nothing = Surroundings {
        environment: &Vec::new(),
        flags: &[],
        files: &|_| Err(io::ErrorKind::NotFound.into()),
    };
    let pretences = [Pretence::Nothing, Pretence::Everything];
    pretences
        .into_iter()
        .fold(Tables::new(), |tables, pretence| {
            let problems = Problems::surveying(pretence, tables);
            check(Table::default(), &nothing, &problems);
            problems.into_tables()
        })
}

#[expect(
    clippy::too_many_lines,
    reason = "a list of steps, each of which needs what those before it have read"
)]
fn check(table: Table, surroundings: &Surroundings<'_>, problems: &Problems) -> Option<Config> {
    let files = surroundings.files;
    let mut root = settings::root(table, problems)?;
    let top = settings::top(&mut root);
    let public_url = top.public_url.as_ref().map(|url| &url.value);
    let (clerk_section, session) = (root.section("clerk"), root.section("session"));
    let first = sites::First {
        clerk: clerk_section.copy(),
        session: session.copy(),
    };
    let clerk = clerk::read(clerk_section, session, public_url, files);
    let written_sites = sites::read(root.sections("site"), &first, files);
    let upstream::UpstreamSection {
        mut upstreams,
        reading,
        urls: upstream_urls,
        assertion_audiences: audiences,
    } = upstream::read(&mut root, files);
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
    let mut written = routes::read(root.sections("route"), &mut upstreams, &templates);
    let ride_through = ride_through::read(root.section("ride-through"), &mut written);
    let budgets = limit::of_all(root.sections("limit"), &written, beside.asked(), problems);
    let assertions = assertions::read(root.sections("test"));
    let of_routes = written.iter().flat_map(|route| &route.assertion_audience);
    let assertion = signed_assertion::read(&mut root, audiences.iter().chain(of_routes), files);
    let shadow = shadow::read(root.section("shadow"));
    root.finish();

    let policy = policy(&written, reading, problems)?;
    let policy = policy.with_templates(made(&templates));
    let policy = policy.telling(pages.me_claims).limited_by(&budgets);
    lints::routes(&written, &policy, &pages.prefix, problems);
    let mut clerk = clerk?;
    let first_name = public_url.map_or("localhost", |url| url.host().name());
    let views = SiteView::all(&clerk, first_name, &written_sites);
    views::lints(
        &views,
        &written,
        &templates,
        &policy,
        &pages.prefix,
        problems,
    );
    let shadow = shadow.and_then(|file| {
        let beside = shadow::Beside {
            files,
            reading,
            templates: &templates,
            upstreams: &upstreams,
            ride_through: &ride_through,
            asked: beside.asked(),
            views: &views,
            pages_prefix: &pages.prefix,
        };
        shadow::load(&file, &beside, problems)
    });

    addresses(&top, &beside, &upstream_urls, problems);
    let public = public_address(top.public_url, clerk.config.instance.key.kind(), problems)?;
    let places = sites::addresses(&written_sites, &public, problems);
    let edge = edge(public, places, top.trusted_proxies, &policy);
    sites::routes(&written, &edge, problems);
    let mut sites = sites::configurations(written_sites);
    sites::introduce(&mut clerk.config, &mut sites, &edge.sites);
    let instances = std::iter::once(&mut clerk.config).chain(&mut sites);
    inject::introduce(inject, instances, &written, problems);
    let instances = || std::iter::once(&clerk.config).chain(&sites);
    ride_through.suits(instances(), &written, problems);
    let world = assertions::World {
        instances: instances().map(|clerk| &clerk.instance).collect(),
        policy: &policy,
        edge: &edge,
        headers: &HeaderPlan::new(identity.headers.clone()),
        pages_prefix: &pages.prefix,
        webhooks: Webhooks::of(webhooks.as_ref()),
    };
    assertions::run(&assertions, &world, problems);
    let shadow = shadow.and_then(|shadow| shadow.checked(&world, problems));
    let shadow = shadow.map(Box::new);
    let upstreams = Some(upstreams.into_all(problems)).filter(|all| !all.is_empty())?;
    Some(Config {
        listen: top.listen,
        admin_listen: beside.admin.listen,
        decisions: beside.admin.decisions,
        forward_auth: beside.doors.map(|doors| doors.value),
        ext_authz: beside.check.map(|doors| doors.value),
        clerk: clerk.config,
        sites,
        edge,
        debug_headers: top.debug_headers,
        policy,
        shadow,
        upstreams,
        identity,
        assertion,
        limits,
        http2,
        tls,
        pages_prefix: pages.prefix,
        webhooks,
        store,
        traces: process.traces,
        log: process.log,
        shutdown: process.shutdown,
        watch: process.watch,
    })
}

/// Where the gate stands.
fn edge(
    public: PublicAddress,
    sites: Vec<SiteAddress>,
    trusted_proxies: Vec<IpNet>,
    policy: &Policy,
) -> Edge {
    Edge {
        hosts: hosts_of_routes(policy, &sites),
        public,
        trusted_proxies,
        sites,
    }
}

/// The routes, compiled.
fn policy(written: &[WrittenRoute], reading: PathReading, problems: &Problems) -> Option<Policy> {
    let routes = written.iter().map(|written| written.route.clone());
    match Policy::compile(routes.collect(), reading) {
        Ok(policy) => Some(policy),
        Err(error) => {
            problems.add(Problem::error(
                &Place::Nowhere,
                format!("the routes cannot be compiled: {error}"),
            ));
            None
        }
    }
}

fn made(templates: &[WrittenTemplate]) -> Vec<Arc<Template>> {
    let templates = templates.iter();
    templates
        .map(|written| Arc::clone(&written.template))
        .collect()
}

/// Hosts that the first site has because routes name them. Beside other sites there are none: which
/// instance a host belongs to is then written down.
fn hosts_of_routes(policy: &Policy, sites: &[SiteAddress]) -> Vec<HostPattern> {
    let mut hosts: Vec<HostPattern> = Vec::new();
    if sites.is_empty() {
        for host in policy.routes().iter().flat_map(|route| &route.hosts) {
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
    }
    hosts
}

/// Listeners beside the one for visitors.
struct Beside {
    admin: settings::Admin,
    doors: Option<Placed<DoorConfig>>,
    check: Option<Placed<DoorConfig>>,
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
    fn asked(&self) -> Option<&Placed<DoorConfig>> {
        self.doors.as_ref().or(self.check.as_ref())
    }
}

/// Listeners that get in each other's way, and an upstream that is the gate.
fn addresses(
    top: &settings::Top,
    beside: &Beside,
    upstreams: &[Placed<ServerAddress>],
    problems: &Problems,
) {
    let named = |listen| ("listen", listen);
    let visitors: Vec<_> = top.listen.addresses.iter().map(named).collect();
    let mut others = visitors.clone();
    others.extend(
        beside
            .admin
            .listen
            .iter()
            .map(|admin| ("[admin] listen", admin)),
    );
    if let Some(doors) = &beside.doors {
        doors::address(Asked::OverHttp, doors, &others, problems);
        others.push(("[forward-auth] listen", &doors.value.listen));
    }
    if let Some(check) = &beside.check {
        doors::address(Asked::OverGrpc, check, &others, problems);
    }
    if let Some(admin) = &beside.admin.listen {
        let hint = "the operator's listener needs an address of its own, or `\"off\"`";
        let own = ("[admin] listen", admin);
        listen::apart(own, &Place::Nowhere, &visitors, hint, problems);
    }
    let is_own = |upstream: &ServerAddress| {
        let host = upstream.origin().map(|origin| origin.host().to_string());
        let address = host.unwrap_or_else(|| upstream.to_string());
        visitors.iter().any(|(_, own)| own.to_string() == address)
    };
    for url in upstreams.iter().filter(|url| is_own(&url.value)) {
        problems.add(Problem::error(
            &url.place,
            "the upstream is the gate itself: requests would go round in circles",
        ));
    }
}

/// A live key serves only the address that is written down; a test key may do without.
fn public_address(
    written: Option<Placed<Origin>>,
    kind: InstanceKind,
    problems: &Problems,
) -> Option<PublicAddress> {
    match (written, kind) {
        (Some(url), _) => Some(PublicAddress::Fixed(url.value)),
        (None, InstanceKind::Development) => Some(PublicAddress::Loopback),
        (None, InstanceKind::Production) => {
            problems.add(
                Problem::error(
                    &Place::Nowhere,
                    "a live key needs `public-url`, the address that browsers use",
                )
                .hint(
                    "add a line to the top of the file: public-url = \"https://app.example.com\"",
                ),
            );
            None
        }
    }
}
