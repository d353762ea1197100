//! Requests in plain text that are to be made again over TLS: where to.
//!
//! Nobody is known here and nothing is judged: what is asked for is read as it is everywhere, so that who
//! comes back is asked for the same, and is judged then.

use std::net::IpAddr;

use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::edge::{Edge, PublicAddress};
use super::facts::{self, Asked, WireRequest};
use super::origin::Scheme;
use super::reason::Reason;

/// Where a request is to be made again.
#[derive(Clone, Debug)]
pub struct HttpsRedirect {
    /// What it has asked for.
    pub asked: Asked,
    /// The address of the client, as far as trusted proxies vouch for it.
    pub client: IpAddr,
    /// The same over TLS: an address that is written down, with the path and the query of the request.
    pub location: String,
}

impl HttpsRedirect {
    /// Reads a request. The error is the reason for a refusal.
    // SECURITY: whoever is on the line writes the request. They are led to an address of the configuration
    // and to no other, and a host that is not served is no part of it.
    pub fn of(wire: WireRequest<'_>, edge: &Edge) -> Result<Self, Reason> {
        facts::body_length(wire.headers, wire.version)?;
        let asked = Asked::read(wire, edge)?;
        // Whoever ends TLS in front brought it here, and would bring it here again, for ever.
        if asked.scheme == Scheme::Https {
            return Err(Reason::HttpsMisdirected);
        }
        let origin = match (edge.place(Scheme::Https, &asked.host), &edge.public) {
            (Some((_, origin)), _) => origin,
            (None, PublicAddress::Fixed(origin)) => origin.clone(),
            (None, PublicAddress::Loopback) => return Err(Reason::HostNotServed),
        };
        let mut location = format!("{origin}{}", asked.path);
        if let Some(query) = wire.target.query() {
            location.push('?');
            location.extend(utf8_percent_encode(query, CONTROLS));
        }
        let (client, _) = facts::client(wire.headers, wire.peer, edge);
        Ok(Self {
            asked,
            client,
            location,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Uri, Version};

    use super::*;
    use crate::core::edge::SiteAddress;
    use crate::core::origin::Origin;
    use crate::core::policy::HostPattern;

    fn fixed(url: &str) -> PublicAddress {
        PublicAddress::Fixed(Origin::parse(url).unwrap())
    }

    fn edge() -> Edge {
        Edge {
            public: fixed("https://app.example:8443"),
            trusted_proxies: vec!["10.0.0.1/32".parse().unwrap()],
            hosts: Vec::new(),
            sites: vec![SiteAddress {
                hosts: vec![HostPattern::Below("docs.example".to_owned())],
                public: fixed("https://www.docs.example"),
            }],
        }
    }

    fn led(target: &str, lines: &[(&'static str, &str)], peer: &str) -> Result<String, Reason> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let target: Uri = target.parse().unwrap();
        let wire = WireRequest {
            method: &Method::GET,
            target: &target,
            version: Version::HTTP_11,
            headers: &headers,
            peer: peer.parse().unwrap(),
            scheme: Scheme::Http,
        };
        HttpsRedirect::of(wire, &edge()).map(|redirect| redirect.location)
    }

    #[test]
    fn a_request_is_led_to_the_address_of_its_site_and_to_none_that_it_names() {
        for (target, host, expected) in [
            ("/", "app.example", "https://app.example:8443/"),
            ("/a?b=c", "app.example:80", "https://app.example:8443/a?b=c"),
            (
                "/a?b='ä",
                "app.example",
                "https://app.example:8443/a?b='%C3%A4",
            ),
            ("/a?", "app.example", "https://app.example:8443/a?"),
            ("/a", "x.docs.example:8080", "https://x.docs.example/a"),
            ("/a", "evil.example", "https://app.example:8443/a"),
            ("/a", "127.0.0.1", "https://app.example:8443/a"),
            (
                "http://evil.example/a",
                "evil.example",
                "https://app.example:8443/a",
            ),
            ("/a/../b", "app.example", "https://app.example:8443/b"),
        ] {
            let led = led(target, &[("host", host)], "192.0.2.1");
            assert_eq!(led.as_deref(), Ok(expected), "{target} at {host}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_which_host_was_asked_for() {
        let lines = [("host", "inner"), ("x-forwarded-host", "x.docs.example")];
        let of = |peer| led("/a", &lines, peer);
        assert_eq!(of("10.0.0.1").unwrap(), "https://x.docs.example/a");
        assert_eq!(of("10.0.0.2").unwrap(), "https://app.example:8443/a");
    }

    #[test]
    fn what_came_over_tls_already_is_not_sent_there_again() {
        let of = |proto, peer| {
            let lines = [("host", "app.example"), ("x-forwarded-proto", proto)];
            led("/a", &lines, peer)
        };
        let there = Ok("https://app.example:8443/a".to_owned());
        assert_eq!(of("https", "10.0.0.1"), Err(Reason::HttpsMisdirected));
        assert_eq!(of("https, http", "10.0.0.1"), Err(Reason::HttpsMisdirected));
        assert_eq!(of("http", "10.0.0.1"), there);
        // What a stranger says counts nowhere.
        assert_eq!(of("https", "10.0.0.2"), there);
    }

    #[test]
    fn what_cannot_be_read_in_one_way_is_led_nowhere() {
        for (target, lines, reason) in [
            ("/a", &[][..], Reason::HostInvalid),
            ("/a", &[("host", "a@b")], Reason::HostInvalid),
            ("/a", &[("host", "a"), ("host", "a")], Reason::HostInvalid),
            ("*", &[("host", "a")], Reason::TargetUnsupported),
            ("/%", &[("host", "a")], Reason::PathMalformed),
            ("/a%00", &[("host", "a")], Reason::PathMalformed),
            (
                "/a",
                &[
                    ("host", "a"),
                    ("content-length", "1"),
                    ("content-length", "2"),
                ],
                Reason::FramingAmbiguous,
            ),
        ] {
            assert_eq!(led(target, lines, "192.0.2.1"), Err(reason), "{target}");
        }
    }
}
