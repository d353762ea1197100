//! Where the gate stands: the public address it believes in and the peers it takes it from.

use ipnet::IpNet;

use super::origin::Origin;
use super::policy::HostPattern;

/// What the gate believes about its own address.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The public address.
    pub public: PublicAddress,
    /// Peers whose forwarded headers count. Everybody else's are ignored.
    pub trusted_proxies: Vec<IpNet>,
    /// Further hosts that are served: those that routes name.
    pub hosts: Vec<HostPattern>,
}

/// The public address of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicAddress {
    /// `public-url`.
    Fixed(Origin),
    /// A test key without `public-url`: whatever loopback host was asked for, and no other.
    Loopback,
}

impl Edge {
    /// The host that most requests ask for.
    pub fn usual_host(&self) -> String {
        match &self.public {
            PublicAddress::Fixed(origin) => origin.host().to_string(),
            PublicAddress::Loopback => "localhost".to_owned(),
        }
    }

    /// Whether forwarded headers of this peer count.
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}
