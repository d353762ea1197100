//! Where the stand-in may send people: a checked address, never a string.

use url::{Host, Url, form_urlencoded};

/// Names that carry one step of a sign-in; an old one never travels on.
const TRANSIENT: [&str; 5] = [
    "__clerk_db_jwt",
    "__dev_session",
    "__clerk_handshake",
    "__clerk_handshake_nonce",
    "__clerk_help",
];

/// An address on an allowed origin.
#[derive(Clone, Debug)]
pub(super) struct ReturnTo(Url);

/// The origins people may be sent to, and pages may call from.
#[derive(Clone, Debug)]
pub(super) enum AllowedOrigins {
    /// Whatever is served by this machine.
    Loopback,
    /// These, such as `http://localhost:8080`, and no others.
    Listed(Vec<String>),
}

impl AllowedOrigins {
    /// The address, if it is an `http` or `https` one on an allowed origin.
    // SECURITY: the address is parsed once and sent as parsed, so that no browser can read it
    // otherwise; user information is refused because people misread it as the host.
    pub(super) fn check(&self, address: &str) -> Option<ReturnTo> {
        let url = Url::parse(address).ok()?;
        let plain = url.username().is_empty() && url.password().is_none();
        (plain && self.allow(&url)).then_some(ReturnTo(url))
    }

    /// Whether an `Origin` header names an allowed origin.
    pub(super) fn allow_origin(&self, origin: &str) -> bool {
        Url::parse(origin)
            .is_ok_and(|url| url.origin().ascii_serialization() == origin && self.allow(&url))
    }

    /// The same as sources of a `form-action`, which browsers apply to redirects after a form too.
    pub(super) fn form_sources(&self) -> String {
        match self {
            Self::Loopback => ["localhost", "*.localhost", "127.0.0.1"]
                .map(|host| format!("http://{host}:* https://{host}:*"))
                .join(" "),
            Self::Listed(origins) => origins.join(" "),
        }
    }

    fn allow(&self, url: &Url) -> bool {
        matches!(url.scheme(), "http" | "https")
            && match self {
                Self::Loopback => url.host().is_some_and(|host| is_loopback(&host)),
                Self::Listed(origins) => {
                    let origin = url.origin().ascii_serialization();
                    origins.iter().any(|allowed| {
                        Url::parse(allowed)
                            .is_ok_and(|url| url.origin().ascii_serialization() == origin)
                    })
                }
            }
    }
}

impl ReturnTo {
    /// The address as it was asked for.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The same address, with word that the satellite it is on has been synced.
    ///
    /// Who gives that word at Clerk in production is not written down anywhere; the stand-in takes
    /// it to be the Frontend API, since nobody else is on the way.
    pub(super) fn synced(mut self) -> Self {
        const SYNCED: &str = "__clerk_synced";
        let rest = self.0.query().unwrap_or_default().split('&');
        let told = format!("{SYNCED}=true");
        let query: Vec<&str> = rest
            .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(SYNCED))
            .chain([told.as_str()])
            .collect();
        let query = query.join("&");
        self.0.set_query(Some(&query));
        self
    }

    /// The address with one parameter set and what earlier steps left removed.
    ///
    /// The rest of the query keeps its spelling.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        let rest = self
            .0
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| {
                let name = form_urlencoded::parse(pair.as_bytes()).next();
                name.is_some_and(|(name, _)| !TRANSIENT.contains(&&*name))
            });
        let added = form_urlencoded::Serializer::new(String::new())
            .append_pair(name, value)
            .finish();
        let query: Vec<&str> = rest.chain([added.as_str()]).collect();
        let mut url = self.0.clone();
        url.set_query(Some(&query.join("&")));
        url.into()
    }
}

/// Whether a host can only be this machine.
pub(super) fn is_loopback<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.as_ref();
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_allowed_by_default() {
        let allowed = [
            "http://localhost/",
            "https://localhost:8080/a?b=c",
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
            "http://shop.localhost:1/",
            "HTTP://LOCALHOST/x",
        ];
        let refused = [
            "",
            "/relative",
            "//localhost/",
            "http://example.com/",
            "http://localhost.example.com/",
            "http://evillocalhost/",
            "http://localhost@example.com/",
            "http://user@localhost/",
            "http://example.com\\@localhost/",
            "javascript://localhost/%0aalert(1)",
            "file://localhost/etc/passwd",
            "data:text/html,localhost",
        ];
        let origins = AllowedOrigins::Loopback;
        for address in allowed {
            assert!(origins.check(address).is_some(), "{address}");
        }
        for address in refused {
            assert!(origins.check(address).is_none(), "{address}");
        }
    }

    #[test]
    fn a_list_replaces_the_default() {
        let origins = AllowedOrigins::Listed(vec!["https://app.test:8443".to_owned()]);
        assert!(origins.check("https://app.test:8443/x").is_some());
        assert!(origins.check("https://app.test/x").is_none());
        assert!(origins.check("http://localhost/").is_none());
    }

    #[test]
    fn an_origin_is_no_address() {
        assert!(AllowedOrigins::Loopback.allow_origin("http://localhost:8080"));
        assert!(!AllowedOrigins::Loopback.allow_origin("http://localhost:8080/x"));
        assert!(!AllowedOrigins::Loopback.allow_origin("null"));
    }

    #[test]
    fn the_word_that_a_satellite_is_synced_stands_once() {
        for (asked, told) in [
            (
                "http://localhost/a?x=%20&__clerk_synced=false&y",
                "http://localhost/a?x=%20&y&__clerk_synced=true",
            ),
            (
                "http://localhost/a",
                "http://localhost/a?__clerk_synced=true",
            ),
        ] {
            let there = AllowedOrigins::Loopback.check(asked).expect("allowed");
            assert_eq!(there.synced().as_str(), told);
        }
    }

    #[test]
    fn a_parameter_replaces_what_an_earlier_step_left() {
        let there = AllowedOrigins::Loopback
            .check("http://localhost/a?q=a%20b~c&__clerk%5Fdb_jwt=old&__clerk_handshake=x&z")
            .expect("allowed");
        assert_eq!(
            there.with("__clerk_db_jwt", "dvb_2"),
            "http://localhost/a?q=a%20b~c&z&__clerk_db_jwt=dvb_2"
        );
    }
}
