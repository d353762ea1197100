//! Where a server of the application is.

use std::fmt;
use std::path::PathBuf;

use crate::core::origin::{Host, Origin, Scheme};

/// The longest path of a Unix socket that every system takes, in bytes.
const LONGEST_PATH: usize = 103;

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// A server that requests are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// At a port: in plain text, or over TLS.
    Tcp(Origin),
    /// At a Unix socket of this machine, in plain text.
    Unix(PathBuf),
}

impl ServerAddress {
    /// Reads an origin, or `unix:` and an absolute path. The error says what it should have been.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return Origin::parse(text)
                .map(Self::Tcp)
                .ok_or("it is an address such as `http://127.0.0.1:3000` or `unix:/run/app.sock`");
        };
        socket_path(path).map(Self::Unix)
    }

    /// The origin, if it is at a port.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Tcp(origin) => Some(origin),
            Self::Unix(_) => None,
        }
    }

    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        self.origin()
            .is_some_and(|origin| origin.scheme() == Scheme::Https)
    }

    /// The host that it goes by; a socket has no name but that of this machine. `None` cannot be.
    pub fn host(&self) -> Option<Host> {
        match self {
            Self::Tcp(origin) => Some(origin.host().clone()),
            Self::Unix(_) => Host::parse("localhost"),
        }
    }
}

/// Reads the path of a Unix socket. The error says what it should have been.
pub fn socket_path(path: &str) -> Result<PathBuf, &'static str> {
    let plain = path.starts_with('/') && !path.starts_with("//") && !path.ends_with('/');
    if plain && path.len() <= LONGEST_PATH && !path.contains(char::is_control) {
        Ok(PathBuf::from(path))
    } else {
        Err("the path of a socket begins with a slash, ends with a name and has at most 103 bytes")
    }
}

impl From<Origin> for ServerAddress {
    fn from(origin: Origin) -> Self {
        Self::Tcp(origin)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(origin) => origin.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_origin_or_a_socket_and_is_written_as_it_was() {
        for text in [
            "http://127.0.0.1:3000",
            "https://app.internal",
            "unix:/run/app.sock",
        ] {
            let address = ServerAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.is_secure(), text.starts_with("https"));
        }
        let long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        for text in [
            "unix:run/app.sock",
            "unix:",
            "unix:/",
            "unix:///run/app.sock",
            "unix:/run/app\0.sock",
            "http://a/b",
            "/run/app.sock",
            &long,
        ] {
            assert!(ServerAddress::parse(text).is_err(), "{text}");
        }
    }
}
