//! The hosts a route or a site is for.

use std::fmt;

/// A host, or `*.` and the domain whose subdomains are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This very host name.
    Exact(String),
    /// Any name below this domain, the domain itself not included.
    Below(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl HostPattern {
    /// Whether `name`, in lower case and without a port, is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(host) => host == name,
            Self::Below(domain) => name
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }

    /// Whether some name is meant by both.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Exact(name), Self::Below(_)) => other.matches(name),
            (Self::Below(one), Self::Below(two)) => {
                one == two || self.matches(two) || other.matches(one)
            }
        }
    }

    /// How much of a matching name is written down: what is exact counts most, then the longest.
    pub fn exactness(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(domain) => domain.len(),
        }
    }
}
