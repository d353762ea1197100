//! Where the gate stands: the public addresses it believes in, the sites they are of, and the peers
//! it takes them from.

use ipnet::IpNet;

use super::origin::{Host, Origin, Scheme};
use super::peers;
use super::policy::HostPattern;

/// What the gate believes about its own addresses.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The public address of the first site.
    pub public: PublicAddress,
    /// Peers whose forwarded headers count. Everybody else's are ignored.
    pub trusted_proxies: Vec<IpNet>,
    /// Further hosts of the first site: those that routes name.
    pub hosts: Vec<HostPattern>,
    /// Where the further sites are, in the order they are written.
    pub sites: Vec<SiteAddress>,
}

/// Where a further site is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteAddress {
    /// Its hosts; never empty.
    pub hosts: Vec<HostPattern>,
    /// Its public address.
    pub public: PublicAddress,
}

/// The public address of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicAddress {
    /// `public-url`.
    Fixed(Origin),
    /// A test key without `public-url`: whatever loopback host was asked for, and no other.
    Loopback,
}

/// The number of the first site: the one of the top level.
pub const FIRST_SITE: usize = 0;

impl Edge {
    /// The host that most requests ask for.
    pub fn usual_host(&self) -> String {
        match &self.public {
            PublicAddress::Fixed(origin) => origin.host().to_string(),
            PublicAddress::Loopback => "localhost".to_owned(),
        }
    }

    /// The same without a port.
    pub fn usual_name(&self) -> &str {
        match &self.public {
            PublicAddress::Fixed(origin) => origin.host().name(),
            PublicAddress::Loopback => "localhost",
        }
    }

    /// What a site is called: its hosts. `None` if there is only one.
    pub fn site_name(&self, site: usize) -> Option<String> {
        if self.sites.is_empty() {
            return None;
        }
        let Some(further) = site.checked_sub(FIRST_SITE + 1) else {
            return Some(self.usual_name().to_owned());
        };
        let hosts = self.sites.get(further)?.hosts.iter();
        Some(
            hosts
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        )
    }

    /// Whether forwarded headers of this peer count.
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        peers::is_listed(&self.trusted_proxies, peer)
    }

    /// The site of a request and its public origin; `None` where the host is not served.
    pub fn place(&self, scheme: Scheme, host: &Host) -> Option<(usize, Origin)> {
        let site = self.site(host)?;
        Some((site, self.address(site)?.origin(scheme, host)?))
    }

    /// The number of the site that a host belongs to: an exact name counts before `*.`, and of those
    /// the longest.
    // SECURITY: the site decides whose tokens are good. It depends on nothing but the host.
    fn site(&self, host: &Host) -> Option<usize> {
        let name = host.name();
        if self.public.is_of(name) {
            return Some(FIRST_SITE);
        }
        let numbered = self.sites.iter().zip(FIRST_SITE + 1..);
        let named = numbered
            .flat_map(|(site, number)| site.hosts.iter().map(move |pattern| (pattern, number)))
            .filter(|(pattern, _)| pattern.matches(name))
            .max_by_key(|(pattern, _)| pattern.exactness());
        if let Some((_, number)) = named {
            return Some(number);
        }
        let first = match self.public {
            PublicAddress::Loopback => host.is_loopback(),
            PublicAddress::Fixed(_) => self.hosts.iter().any(|pattern| pattern.matches(name)),
        };
        first.then_some(FIRST_SITE)
    }

    fn address(&self, site: usize) -> Option<&PublicAddress> {
        match site.checked_sub(FIRST_SITE + 1) {
            None => Some(&self.public),
            Some(further) => self.sites.get(further).map(|site| &site.public),
        }
    }
}

impl SiteAddress {
    /// Whether `origin` is one of this site's own.
    pub fn has(&self, origin: &Origin) -> bool {
        let name = origin.host().name();
        self.hosts.iter().any(|pattern| pattern.matches(name))
            && self.public.origin(origin.scheme(), origin.host()).as_ref() == Some(origin)
    }
}

impl PublicAddress {
    fn is_of(&self, name: &str) -> bool {
        matches!(self, Self::Fixed(origin) if origin.host().name() == name)
    }

    /// The public origin of a request for `host`: scheme and port are never taken from the request
    /// where they are written down.
    fn origin(&self, scheme: Scheme, host: &Host) -> Option<Origin> {
        match self {
            Self::Fixed(origin) if self.is_of(host.name()) => Some(origin.clone()),
            Self::Fixed(origin) => Some(Origin::new(
                origin.scheme(),
                host.clone().with_port(origin.host().port()),
            )),
            Self::Loopback => host
                .is_loopback()
                .then(|| Origin::new(scheme, host.clone())),
        }
    }
}
