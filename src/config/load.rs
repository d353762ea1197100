//! From a file, the environment and flags to one checked configuration.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::assertions;
use super::doors::{self, Asked};
use super::environment::{self, Environment, FlagValue};
use super::https_redirect;
use super::inject;
use super::lints;
use super::listen::{self, ListenAddress};
use super::model::Config;
use super::report::{Place, Problem, Problems, Report};
use super::routes;
use super::section::Placed;
use super::settings;
use super::shadow;
use super::sites;
use super::source::Source;
use super::survey::{Pretence, Tables};
use super::templates::WrittenTemplate;
use super::tree::Table;
use super::views::{self, SiteView};
use super::written::{Beside, Written};
use crate::core::decide::Webhooks;
use crate::core::edge::{Edge, PublicAddress, SiteAddress};
use crate::core::identity_headers::HeaderPlan;
use crate::core::key::InstanceKind;
use crate::core::origin::Origin;
use crate::core::policy::{HostPattern, Policy};
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
    /// Now, in milliseconds since the epoch: what certificates are warned by.
    pub now_ms: u64,
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
        now_ms: 0,
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

fn check(table: Table, surroundings: &Surroundings<'_>, problems: &Problems) -> Option<Config> {
    let files = surroundings.files;
    let written = Written::read(table, files, problems)?;
    let (routes, templates) = (&written.routes, &written.templates);
    let (reading, prefix) = (written.upstream.reading, &written.pages.prefix);

    let policy = routes::compiled(routes, reading, problems)?;
    let policy = policy.with_templates(made(templates));
    let policy = policy.telling(written.pages.me_claims);
    let policy = policy.limited_by(&written.budgets);
    lints::routes(routes, &policy, prefix, problems);
    let mut clerk = written.clerk?;
    let public_url = written.top.public_url.as_ref();
    let first_name = public_url.map_or("localhost", |url| url.value.host().name());
    let views = SiteView::all(&clerk, first_name, &written.sites);
    views::lints(&views, routes, templates, &policy, prefix, problems);
    let shadow = written.shadow.and_then(|file| {
        let beside = shadow::Beside {
            files,
            reading,
            templates,
            upstreams: &written.upstream.upstreams,
            ride_through: &written.ride_through,
            asked: written.beside.asked(),
            views: &views,
            pages_prefix: prefix,
        };
        shadow::load(&file, &beside, problems)
    });

    let (top, beside) = (written.top, written.beside);
    written.tls.in_time(surroundings.now_ms, problems);
    let redirect_listen = written.tls.redirect_listen;
    addresses(
        &top,
        &redirect_listen,
        &beside,
        &written.upstream.urls,
        problems,
    );
    let public = public_address(top.public_url, clerk.config.instance.key.kind(), problems)?;
    let places = sites::addresses(&written.sites, &public, problems);
    let edge = edge(public, places, top.trusted_proxies, &policy);
    sites::routes(routes, &edge, problems);
    https_redirect::leads_to_https(&redirect_listen, &edge, problems);
    let mut sites = sites::configurations(written.sites);
    sites::introduce(&mut clerk.config, &mut sites, &edge.sites);
    let instances = std::iter::once(&mut clerk.config).chain(&mut sites);
    inject::introduce(written.inject, instances, routes, problems);
    let instances = || std::iter::once(&clerk.config).chain(&sites);
    written.ride_through.suits(instances(), routes, problems);
    let world = assertions::World {
        instances: instances().map(|clerk| &clerk.instance).collect(),
        policy: &policy,
        edge: &edge,
        headers: &HeaderPlan::new(written.identity.headers.clone()),
        pages_prefix: prefix,
        webhooks: Webhooks::of(written.webhooks.as_ref()),
    };
    assertions::run(&written.assertions, &world, problems);
    let shadow = shadow.and_then(|shadow| shadow.checked(&world, problems));
    let shadow = shadow.map(Box::new);
    let upstreams = written.upstream.upstreams.into_all(problems);
    let upstreams = Some(upstreams).filter(|all| !all.is_empty())?;
    Some(Config {
        listen: top.listen,
        redirect_listen: redirect_listen.into_iter().map(|read| read.value).collect(),
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
        identity: written.identity,
        assertion: written.assertion,
        limits: written.limits,
        http2: written.http2,
        tls: written.tls.terms,
        pages_prefix: written.pages.prefix,
        webhooks: written.webhooks,
        store: written.store,
        traces: written.process.traces,
        log: written.process.log,
        shutdown: written.process.shutdown,
        watch: written.process.watch,
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

/// Listeners that get in each other's way, and an upstream that is the gate.
fn addresses(
    top: &settings::Top,
    redirect_listen: &[Placed<ListenAddress>],
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
        others.push(("[ext-authz] listen", &check.value.listen));
    }
    if let Some(admin) = &beside.admin.listen {
        let hint = "the operator's listener needs an address of its own, or `\"off\"`";
        let own = ("[admin] listen", admin);
        listen::apart(own, &Place::Nowhere, &visitors, hint, problems);
    }
    for redirect in redirect_listen {
        let own = ("[tls] redirect-listen", &redirect.value);
        let hint = "requests in plain text need an address of their own, such as `0.0.0.0:80`";
        listen::apart(own, &redirect.place, &others, hint, problems);
    }
    let is_own = |upstream: &ServerAddress| {
        let host = upstream.origin().map(|origin| origin.host().to_string());
        let address = host.unwrap_or_else(|| upstream.to_string());
        let visitors = visitors.iter().map(|(_, own)| *own);
        let mut own = visitors.chain(redirect_listen.iter().map(|redirect| &redirect.value));
        own.any(|own| own.to_string() == address)
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
