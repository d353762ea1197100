//! `[[site]]`: further applications behind the same gate, told apart by their hosts.

use super::clerk::{self, Clerk, ReadFile};
use super::model::ClerkConfig;
use super::report::{Place, Problem, Problems};
use super::routes::{self, WrittenRoute};
use super::section::{Placed, Section};
use super::settings;
use super::tree::{Table, Value};
use crate::core::edge::{Edge, PublicAddress, SiteAddress};
use crate::core::instance::{Instance, IssuerRule};
use crate::core::key::InstanceKind;
use crate::core::origin::{Host, Origin};
use crate::core::policy::HostPattern;

/// Keys of `[clerk]` that say nothing about an instance: a site of another one inherits these alone.
const OF_NO_INSTANCE: [&str; 6] = [
    "api-url",
    "clock-skew",
    "jwks-max-stale",
    "machine-token-cache",
    "organization-sync",
    "treat-pending-as-signed-out",
];

/// What further sites inherit from: the first one.
pub(super) struct First<'p> {
    /// `[clerk]`, unread.
    pub(super) clerk: Section<'p>,
    /// `[session]`, unread.
    pub(super) session: Section<'p>,
}

/// A site, and where its parts were written.
pub(super) struct WrittenSite {
    pub(super) hosts: Vec<Placed<HostPattern>>,
    pub(super) public_url: PublicUrl,
    pub(super) clerk: Clerk,
    place: Place,
}

/// The `public-url` of a site.
pub(super) enum PublicUrl {
    Written(Placed<Origin>),
    Absent,
    /// What is written is none, and has been reported.
    Broken,
}

/// Reads every site. What cannot be read has been reported and is left out.
pub(super) fn read(
    sections: Vec<Section<'_>>,
    first: &First<'_>,
    files: ReadFile<'_>,
) -> Vec<WrittenSite> {
    sections
        .into_iter()
        .filter_map(|section| site(section, first, files))
        .collect()
}

fn site(mut section: Section<'_>, first: &First<'_>, files: ReadFile<'_>) -> Option<WrittenSite> {
    let (problems, place) = (section.problems(), section.place().clone());
    let has_host = section.has_needed("host");
    let hosts = routes::hosts(&mut section);
    if !has_host {
        problems.add(
            Problem::error(&place, "a site needs `host`")
                .hint("write `host = \"docs.example.com\"`, or a list of hosts"),
        );
    }
    let public_url = match (
        section.has("public-url"),
        settings::public_url(&mut section),
    ) {
        (_, Some(url)) => PublicUrl::Written(url),
        (true, None) => PublicUrl::Broken,
        (false, None) => PublicUrl::Absent,
    };
    let own = section.section("clerk");
    section.finish();

    let inheritance = Inheritance::of(own.table(), first.clerk.table());
    if let Inheritance::OtherInstance(key) = &inheritance {
        missed(key, own.table(), first.clerk.table(), problems);
    }
    if !own.has("publishable-key") && !first.clerk.has("publishable-key") {
        // `[clerk]` has been told.
        return None;
    }
    let merged = first.clerk.under(&own, |key| inheritance.takes(key));
    let url = match &public_url {
        PublicUrl::Written(url) => Some(url),
        PublicUrl::Absent | PublicUrl::Broken => None,
    };
    let origin = url.map(|url| &url.value);
    let mut clerk = clerk::read(merged, first.session.copy(), origin, files)?;
    if !own.has("issuer") {
        accept_own_issuer(&mut clerk.config.instance);
    }
    if let Some(url) = url.filter(|_| !own.has("authorized-parties")) {
        party(url, &clerk.config.instance, problems);
    }
    Some(WrittenSite {
        hosts,
        public_url,
        clerk,
        place,
    })
}

/// What a site takes over from `[clerk]`.
enum Inheritance {
    /// Everything that it does not write itself.
    Same,
    /// The same without what is for satellites.
    SamePrimary,
    /// Nothing that belongs to an instance: its publishable key, which stands here, is another one.
    OtherInstance(Place),
}

impl Inheritance {
    fn of(own: &Table, first: &Table) -> Self {
        let key = |table: &Table| match &table.get("publishable-key")?.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        let says_no = |node: &super::tree::Node| matches!(node.value, Value::Flag(false));
        match own.get("publishable-key") {
            Some(written) if key(own) != key(first) => Self::OtherInstance(written.place.clone()),
            _ if own.get("is-satellite").is_some_and(says_no) => Self::SamePrimary,
            _ => Self::Same,
        }
    }

    // SECURITY: what is not known to be of no instance stays with its instance: a secret of one
    // must not be sent, and a rule of one must not be taken, in the name of another.
    fn takes(&self, key: &str) -> bool {
        match self {
            Self::Same => true,
            Self::SamePrimary => !matches!(key, "domain" | "satellite-auto-sync"),
            Self::OtherInstance(_) => OF_NO_INSTANCE.contains(&key),
        }
    }
}

/// Says what another instance goes without because it is not inherited.
fn missed(place: &Place, own: &Table, first: &Table, problems: &Problems) {
    let has = |table: &Table, key: &str| table.has(key) || table.has(&format!("{key}-file"));
    let complain = |key: &str, what: &str, advice: &str| {
        problems.add(
            Problem::warning(
                place,
                format!("another instance does not inherit the `{key}` of `[clerk]`: {what}"),
            )
            .hint(advice),
        );
    };
    for (key, what, advice) in [
        (
            "secret-key",
            "its sessions are not renewed",
            "add the `secret-key-file` of this instance to `[site.clerk]`",
        ),
        (
            "machine-secret-key",
            "its machine tokens are checked with its secret key alone",
            "add the `machine-secret-key-file` of this instance to `[site.clerk]`",
        ),
        (
            "authorized-parties",
            "every party is accepted",
            "add `authorized-parties` to `[site.clerk]`; an empty list says that this is meant",
        ),
        (
            "audience",
            "every audience is accepted",
            "add `audience` to `[site.clerk]`; an empty list says that this is meant",
        ),
    ] {
        if has(first, key) && !has(own, key) {
            complain(key, what, advice);
        }
    }
    if has_proxy(first) && !own.has("frontend-api-proxy") {
        complain(
            "frontend-api-proxy",
            "what is below its path goes to the application there",
            "write `[site.clerk.frontend-api-proxy]`; `enabled = false` says that this is meant",
        );
    }
}

/// Whether a table switches a proxy of the Frontend API on.
fn has_proxy(table: &Table) -> bool {
    match table.get("frontend-api-proxy").map(|node| &node.value) {
        Some(Value::Table(proxy)) => proxy
            .get("enabled")
            .is_some_and(|node| matches!(node.value, Value::Flag(true))),
        _ => false,
    }
}

/// Parties that are inherited are those of the first site, and may lack this one.
fn party(url: &Placed<Origin>, instance: &Instance, problems: &Problems) {
    let (parties, own) = (&instance.authorized_parties, url.value.to_string());
    if !parties.is_empty() && !parties.contains(&own) {
        problems.add(
            Problem::warning(
                &url.place,
                format!("the `authorized-parties` of `[clerk]` lack `{own}`: tokens that a page of this site asks for are refused"),
            )
            .hint("add it there, or write `authorized-parties` into `[site.clerk]`"),
        );
    }
}

/// Issuers that are inherited are those of the first site; a satellite in production has one more.
fn accept_own_issuer(instance: &mut Instance) {
    let own = format!("https://{}", instance.own_issuer_host);
    let satellite = instance.satellite.is_some() && !instance.is_development();
    if let IssuerRule::OneOf(issuers) = &mut instance.issuer
        && satellite
        && !issuers.contains(&own)
    {
        issuers.push(own);
    }
}

/// Where the sites are, if every one of them has an address of its own.
pub(super) fn addresses(
    sites: &[WrittenSite],
    first: &PublicAddress,
    problems: &Problems,
) -> Vec<SiteAddress> {
    let mut taken: Vec<&HostPattern> = Vec::new();
    for host in sites.iter().flat_map(|site| &site.hosts) {
        if taken.contains(&&host.value) {
            problems.add(
                Problem::error(
                    &host.place,
                    format!("`{}` belongs to a site already", host.value),
                )
                .hint("a request belongs to one site: take it out of one of them"),
            );
        } else if is_of_first(&host.value, first) {
            problems.add(
                Problem::error(
                    &host.place,
                    format!("`{}` is the host of the first `public-url`", host.value),
                )
                .hint("what stands at the top level is the first site: `[[site]]` is for others"),
            );
        }
        taken.push(&host.value);
    }
    sites
        .iter()
        .map(|site| SiteAddress {
            hosts: site.hosts.iter().map(|host| host.value.clone()).collect(),
            public: public_address(site, problems),
        })
        .collect()
}

fn is_of_first(host: &HostPattern, first: &PublicAddress) -> bool {
    match (host, first) {
        (HostPattern::Exact(name), PublicAddress::Fixed(origin)) => name == origin.host().name(),
        (HostPattern::Below(_), _) | (_, PublicAddress::Loopback) => false,
    }
}

fn public_address(site: &WrittenSite, problems: &Problems) -> PublicAddress {
    let url = match &site.public_url {
        PublicUrl::Written(url) => url,
        PublicUrl::Absent => {
            needs_public_url(site, problems);
            return PublicAddress::Loopback;
        }
        PublicUrl::Broken => return PublicAddress::Loopback,
    };
    let name = url.value.host().name();
    if !site.hosts.is_empty() && !site.hosts.iter().any(|host| host.value.matches(name)) {
        problems.add(
            Problem::error(
                &url.place,
                format!("`public-url` is on `{name}`, which is no host of this site"),
            )
            .hint(format!("add `\"{name}\"` to its `host`")),
        );
    }
    PublicAddress::Fixed(url.value.clone())
}

/// A live key serves only addresses that are written down; a test key may do without on this machine.
fn needs_public_url(site: &WrittenSite, problems: &Problems) {
    let live = site.clerk.config.instance.key.kind() == InstanceKind::Production;
    let hosts = || site.hosts.iter().map(|host| &host.value);
    let elsewhere = hosts().find(|host| !is_loopback(host));
    let title = match elsewhere {
        _ if live => "a site with a live key needs `public-url`, the address that browsers use",
        Some(_) => "a site on other hosts than this machine's needs `public-url`",
        None => return,
    };
    let example = match elsewhere.or(hosts().next()) {
        Some(HostPattern::Exact(name)) => name.clone(),
        Some(HostPattern::Below(domain)) => format!("www.{domain}"),
        None => "docs.example.com".to_owned(),
    };
    problems.add(Problem::error(&site.place, title).hint(format!(
        "add a line to the site: public-url = \"https://{example}\""
    )));
}

/// Whether every name that is meant is this machine.
fn is_loopback(host: &HostPattern) -> bool {
    let example = match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Below(domain) => format!("x.{domain}"),
    };
    Host::parse(&example).is_some_and(|host| host.is_loopback())
}

impl WrittenSite {
    /// The name of a host that it answers for.
    pub(super) fn usual_name(&self) -> &str {
        match (&self.public_url, self.hosts.first().map(|host| &host.value)) {
            (PublicUrl::Written(url), _) => url.value.host().name(),
            (_, Some(HostPattern::Exact(name) | HostPattern::Below(name))) => name,
            (_, None) => "localhost",
        }
    }
}

/// Routes for hosts that no site has.
pub(super) fn routes(routes: &[WrittenRoute], edge: &Edge, problems: &Problems) {
    if edge.sites.is_empty() {
        return;
    }
    let served = |host: &HostPattern| {
        let first = match &edge.public {
            PublicAddress::Fixed(origin) => host.matches(origin.host().name()),
            PublicAddress::Loopback => is_loopback(host),
        };
        let mut further = edge.sites.iter().flat_map(|site| &site.hosts);
        first || further.any(|own| own.meets(host))
    };
    for route in routes {
        for (host, place) in route.route.hosts.iter().zip(&route.hosts) {
            if !served(host) {
                problems.add(
                    Problem::error(
                        place,
                        format!(
                            "`{host}` of route `{}` belongs to no site: it is not served",
                            route.route.name
                        ),
                    )
                    .hint(
                        "beside `[[site]]`, routes open no hosts: add it to the `host` of a site",
                    ),
                );
            }
        }
    }
}

/// The configurations of sites whose other parts have been looked at.
pub(super) fn configurations(sites: Vec<WrittenSite>) -> Vec<ClerkConfig> {
    sites.into_iter().map(|site| site.clerk.config).collect()
}

/// Tells every primary for development of its satellites.
pub(super) fn introduce(
    first: &mut ClerkConfig,
    sites: &mut [ClerkConfig],
    places: &[SiteAddress],
) {
    let satellites: Vec<(String, SiteAddress)> = sites
        .iter()
        .zip(places)
        .filter(|(site, _)| site.instance.satellite.is_some())
        .map(|(site, place)| (site.instance.key.as_str().to_owned(), place.clone()))
        .collect();
    for site in std::iter::once(first).chain(sites) {
        let instance = &mut site.instance;
        if instance.satellite.is_none() {
            let own = satellites
                .iter()
                .filter(|(key, _)| key == instance.key.as_str());
            instance.satellites = own.map(|(_, place)| place.clone()).collect();
        }
    }
}
