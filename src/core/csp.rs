//! What a content security policy lets a page do (CSP Level 3), asked for one thing only: would
//! clerk-js work on it as it is? A policy is never changed.
//!
//! Where the specification leaves room, or a policy cannot be read to the end, the answer is no: a
//! page that is left alone is what it was.

use url::Url;

/// What a policy has to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The address of the page, for `'self'`.
    pub page: Url,
    /// Scripts that are loaded by a tag in the page.
    pub scripts: Vec<Url>,
    /// Addresses that the scripts call.
    pub connections: Vec<Url>,
}

/// Where a policy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In a header.
    Header,
    /// In a `<meta>` of the page, where some directives mean nothing.
    Meta,
}

/// What a policy does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// A script.
    Script,
    /// A call of a script.
    Connection,
    /// The worker that clerk-js keeps time with, which comes as a `blob:`.
    Worker,
    /// Scripts or cookies at all: the page is in a sandbox.
    Sandbox,
    /// Scripts that add scripts by address (`require-trusted-types-for`).
    TrustedTypes,
    /// It cannot be told: the policy is no plain text.
    Unreadable,
}

/// Judges the value of one header line, or the `content` of one `<meta>`.
pub fn judge(line: &[u8], delivery: Delivery, needs: &Needs) -> Result<(), Blocked> {
    let text = std::str::from_utf8(line)
        .ok()
        .filter(|text| text.is_ascii())
        .ok_or(Blocked::Unreadable)?;
    // Attributes are handed on as written: a reference in one may stand for anything.
    if delivery == Delivery::Meta && text.contains('&') {
        return Err(Blocked::Unreadable);
    }
    let policies = match delivery {
        Delivery::Header => text.split(',').collect(),
        Delivery::Meta => vec![text],
    };
    // Each of several policies holds.
    policies
        .into_iter()
        .try_for_each(|policy| Policy::read(policy).judge(delivery, needs))
}

/// The directives of one policy. Of two with one name the first counts.
struct Policy<'t>(Vec<(String, Vec<&'t str>)>);

impl<'t> Policy<'t> {
    fn read(text: &'t str) -> Self {
        let mut directives: Vec<(String, Vec<&'t str>)> = Vec::new();
        for directive in text.split(';') {
            let mut words = directive.split_ascii_whitespace();
            let Some(name) = words.next() else { continue };
            let name = name.to_ascii_lowercase();
            if directives.iter().all(|(known, _)| *known != name) {
                directives.push((name, words.collect()));
            }
        }
        Self(directives)
    }

    /// The values of the first of these directives that is there.
    fn first(&self, names: &[&str]) -> Option<&[&'t str]> {
        names
            .iter()
            .find_map(|name| self.0.iter().find(|(known, _)| known == name))
            .map(|(_, values)| values.as_slice())
    }

    fn judge(&self, delivery: Delivery, needs: &Needs) -> Result<(), Blocked> {
        if delivery == Delivery::Header
            && let Some(flags) = self.first(&["sandbox"])
        {
            let has = |wanted: &str| flags.iter().any(|flag| flag.eq_ignore_ascii_case(wanted));
            if !has("allow-scripts") || !has("allow-same-origin") {
                return Err(Blocked::Sandbox);
            }
        }
        if let Some(sinks) = self.first(&["require-trusted-types-for"])
            && sinks
                .iter()
                .any(|sink| sink.eq_ignore_ascii_case("'script'"))
        {
            return Err(Blocked::TrustedTypes);
        }
        if let Some(sources) = self.first(&["script-src-elem", "script-src", "default-src"]) {
            // What the parser finds in the page may then run with a nonce alone (section 8.2), and a
            // page's nonce is for what the page's author has put there.
            let strict = sources
                .iter()
                .any(|s| s.eq_ignore_ascii_case("'strict-dynamic'"));
            let listed = needs
                .scripts
                .iter()
                .all(|url| allows(sources, url, &needs.page));
            if strict || !listed {
                return Err(Blocked::Script);
            }
        }
        if let Some(sources) = self.first(&["connect-src", "default-src"])
            && !needs
                .connections
                .iter()
                .all(|url| allows(sources, url, &needs.page))
        {
            return Err(Blocked::Connection);
        }
        if let Some(sources) = self.first(&["worker-src", "child-src", "script-src", "default-src"])
            && !sources
                .iter()
                .any(|source| source.eq_ignore_ascii_case("blob:"))
        {
            return Err(Blocked::Worker);
        }
        Ok(())
    }
}

/// Whether a list of sources has one that an address matches (section 6.7.2.6).
fn allows(sources: &[&str], url: &Url, page: &Url) -> bool {
    sources.iter().any(|source| matches(source, url, page))
}

fn matches(source: &str, url: &Url, page: &Url) -> bool {
    if source == "*" {
        return is_web(url.scheme()) || url.scheme() == page.scheme();
    }
    if source.starts_with('\'') {
        // Nonces, hashes and keywords are about other things than addresses.
        return source.eq_ignore_ascii_case("'self'") && is_self(url, page);
    }
    if let Some(scheme) = source.strip_suffix(':').filter(|text| is_scheme(text)) {
        return scheme_fits(scheme, url.scheme());
    }
    let (scheme, rest) = match source.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        Some(_) => return false,
        None => (page.scheme(), source),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    scheme_fits(scheme, url.scheme())
        && url.host_str().is_some_and(|name| host_fits(host, name))
        && port_fits(port, scheme, url)
        && path_fits(path, url.path())
}

fn is_web(scheme: &str) -> bool {
    matches!(scheme, "http" | "https" | "ws" | "wss")
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// The same scheme, or the safer one of the pair (section 6.7.2.9).
fn scheme_fits(wanted: &str, scheme: &str) -> bool {
    let wanted = wanted.to_ascii_lowercase();
    wanted == scheme
        || matches!(
            (wanted.as_str(), scheme),
            ("http" | "wss", "https") | ("ws", "wss" | "http" | "https")
        )
}

/// A host as written, or `*.` and anything below it (section 6.7.2.10).
fn host_fits(pattern: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    if pattern == "*" {
        return true;
    }
    if let Some(below) = pattern.strip_prefix('*') {
        return below.starts_with('.') && below.len() > 1 && host.ends_with(below);
    }
    let number = host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[');
    pattern == host && (!number || host == "127.0.0.1")
}

/// The port as written, any, or the scheme's own (section 6.7.2.11).
fn port_fits(pattern: Option<&str>, scheme: &str, url: &Url) -> bool {
    let own = url.port_or_known_default();
    match pattern {
        Some("*") => true,
        None => url.port().is_none(),
        Some(text) => {
            let wanted: Option<u16> = text.parse().ok();
            // What may be upgraded from http may be from its port as well.
            let upgraded = scheme.eq_ignore_ascii_case("http")
                && url.scheme() == "https"
                && (wanted, own) == (Some(80), Some(443));
            wanted.is_some() && (wanted == own || upgraded)
        }
    }
}

/// No path, a folder with a slash at its end, or the very path (section 6.7.2.12).
fn path_fits(pattern: &str, path: &str) -> bool {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    if pattern.is_empty() || (pattern == "/" && path.is_empty()) {
        return true;
    }
    let exact = !pattern.ends_with('/');
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    if !exact {
        // The empty piece behind the last slash stands for everything below.
        wanted.next_back();
    }
    loop {
        match (wanted.next(), given.next()) {
            (Some(one), Some(other)) if decoded(one) == decoded(other) => {}
            (None, rest) => return rest.is_none() == exact,
            (Some(_), _) => return false,
        }
    }
}

/// `'self'`: the page's origin, or a safer one of the same host (section 6.7.2.8).
fn is_self(url: &Url, page: &Url) -> bool {
    let same_port = url.port() == page.port() || (url.port().is_none() && page.port().is_none());
    url.origin() == page.origin()
        || (url.host_str() == page.host_str()
            && same_port
            && page.scheme() == "http"
            && url.scheme() == "https")
}

#[cfg(test)]
mod tests;
