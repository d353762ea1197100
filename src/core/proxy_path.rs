//! The path below which requests are for Clerk's Frontend API (protocol reference, section 8.3).

use std::fmt;

use super::path::CanonicalPath;

/// A path such as `/__clerk`: canonical, without a slash at its end, and never the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPath(String);

impl ProxyPath {
    /// Reads a path of plain segments: letters, digits, `-`, `_` and `.`. Slashes at its end go, as
    /// in Clerk's SDK. `None` for anything else, the root included.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('/')?.trim_end_matches('/');
        let plain = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        inner
            .split('/')
            .all(plain)
            .then(|| Self(format!("/{inner}")))
    }

    /// The path, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this and a prefix with a slash at both ends lie within each other.
    pub fn meets(&self, prefix: &str) -> bool {
        let own = format!("{self}/");
        own.starts_with(prefix) || prefix.starts_with(&own)
    }

    /// The path at the Frontend API, if a request is for it: what follows, with a slash before it.
    // SECURITY: the canonical path is the only one that counts. Another reading of a path that
    // would lead here opens nothing, and a slash before the rest is always there, so that no rest
    // can become a part of a host name.
    pub fn rest<'p>(&self, path: &'p CanonicalPath) -> Option<&'p str> {
        match path.as_str().strip_prefix(&self.0)? {
            "" => Some("/"),
            rest if rest.starts_with('/') => Some(rest),
            _ => None,
        }
    }
}

impl fmt::Display for ProxyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_path_has_one_spelling() {
        for (text, expected) in [
            ("/__clerk", Some("/__clerk")),
            ("/__clerk/", Some("/__clerk")),
            ("/__clerk//", Some("/__clerk")),
            ("/api/clerk.v1", Some("/api/clerk.v1")),
            ("/", None),
            ("", None),
            ("__clerk", None),
            ("//__clerk", None),
            ("/a//b", None),
            ("/a/../b", None),
            ("/./a", None),
            ("/__clerk*", None),
            ("/__clerk/**", None),
            ("/{a,b}", None),
            ("/a%20b", None),
            ("/a;b", None),
            ("/a?b", None),
            ("/é", None),
        ] {
            let path = ProxyPath::parse(text);
            assert_eq!(path.as_ref().map(ProxyPath::as_str), expected, "{text}");
        }
    }

    #[test]
    fn what_follows_the_path_begins_with_a_slash() {
        let proxy = ProxyPath::parse("/__clerk").unwrap();
        for (raw, expected) in [
            ("/__clerk", Some("/")),
            ("/__clerk/", Some("/")),
            ("/__clerk/v1/client", Some("/v1/client")),
            ("/%5F_clerk/v1", Some("/v1")),
            ("/x/../__clerk/v1", Some("/v1")),
            ("/__clerk//evil.com/steal", Some("/evil.com/steal")),
            ("/__clerk/%2F", Some("/%2F")),
            ("/__clerk/@evil.com", Some("/@evil.com")),
            ("/__clerk/..", None),
            ("/__clerk/../v1", None),
            ("/__clerkfoo", None),
            ("/__clerk.evil.com/", None),
            ("/__clerk@evil.com/", None),
            ("/__clerk:80/", None),
            ("/__clerk;x/v1", None),
            ("/__clerk%2Fv1", None),
            ("/__CLERK/v1", None),
            ("/x/__clerk/v1", None),
            ("/", None),
        ] {
            let path = CanonicalPath::parse(raw).unwrap();
            assert_eq!(proxy.rest(&path), expected, "{raw}");
        }
    }
}
