//! Hosts and origins, parsed once into types that cannot be wrong.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host and port of a `Host` header or an authority, in lower case without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    name: String,
    port: Option<u16>,
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// Over TLS.
    Https,
}

/// Scheme, host and port; the port is absent where it is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
}

impl Host {
    /// Reads `name[:port]`. `None` for user information, odd ports, and anything that is no
    /// host name, IPv4 address or bracketed IPv6 address.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, after) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':')?),
            };
            (format!("[{address}]"), port)
        } else {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            (name, port)
        };
        let port = match port {
            None => None,
            Some(digits) => Some(port_number(digits)?),
        };
        let valid = name.starts_with('[')
            || (!name.is_empty()
                && name.len() <= 253
                && name.split('.').all(|label| {
                    !label.is_empty()
                        && label
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                }));
        valid.then_some(Self { name, port })
    }

    /// The name without a port; IPv6 addresses in brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, if one was written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The same host with another port.
    #[must_use]
    pub fn with_port(self, port: Option<u16>) -> Self {
        Self { port, ..self }
    }

    /// Whether the name means this machine and nothing else.
    pub fn is_loopback(&self) -> bool {
        let address = self.name.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) => v4.octets()[0] == Ipv4Addr::LOCALHOST.octets()[0],
            Ok(IpAddr::V6(v6)) => v6 == Ipv6Addr::LOCALHOST,
            Err(_) => self.name == "localhost" || self.name.ends_with(".localhost"),
        }
    }
}

/// A port from 1 to 65535, without leading zeros or a sign.
fn port_number(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty()
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Reads exactly `http` or `https`, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            _ if text.eq_ignore_ascii_case("http") => Some(Self::Http),
            _ if text.eq_ignore_ascii_case("https") => Some(Self::Https),
            _ => None,
        }
    }

    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Origin {
    /// An origin of its parts; a default port is left out.
    pub fn new(scheme: Scheme, host: Host) -> Self {
        let port = host.port.filter(|port| *port != scheme.default_port());
        Self {
            scheme,
            host: Host { port, ..host },
        }
    }

    /// Reads `https://app.example.com[:port]`, with at most a `/` behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let host = Host::parse(rest.strip_suffix('/').unwrap_or(rest))?;
        Some(Self::new(Scheme::parse(scheme)?, host))
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, with a port only where it is not the scheme's own.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        for (text, expected) in [
            ("Example.COM", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("example.com:8080", Some("example.com:8080")),
            ("[::1]:80", Some("[::1]:80")),
            ("[0:0::1]", Some("[::1]")),
            ("example.com:", None),
            ("example.com:080", None),
            ("example.com:+80", None),
            ("example.com:99999", None),
            ("user@example.com", None),
            ("example..com", None),
            ("exa mple", None),
            ("a/b", None),
            ("", None),
            ("[::1", None),
            ("[::1]x", None),
        ] {
            assert_eq!(
                Host::parse(text).map(|h| h.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for (text, loopback) in [
            ("localhost:3000", true),
            ("app.localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("10.0.0.1", false),
            ("128.0.0.1", false),
        ] {
            assert_eq!(Host::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
