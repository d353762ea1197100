//! `[clerk.frontend-api-proxy]`: Clerk's Frontend API below a path of the application.

use super::address::{self, ClerkTransport};
use super::report::{Place, Problem};
use super::section::{Placed, Section};
use crate::core::key::PublishableKey;
use crate::core::origin::{Origin, Scheme};
use crate::core::proxy_path::ProxyPath;

/// The proxy, where it is switched on.
pub(super) struct FrontendApiProxy {
    /// The path below which requests go to the Frontend API.
    pub(super) path: Placed<ProxyPath>,
    /// The Frontend API.
    pub(super) url: Origin,
}

/// Reads the table. `None` if the proxy is off or cannot be.
pub(super) fn read(
    mut section: Section<'_>,
    key: Option<&PublishableKey>,
    transport: ClerkTransport,
    secret_key: Option<&Place>,
) -> Option<FrontendApiProxy> {
    let problems = section.problems();
    let enabled = section.flag("enabled");
    let written = section.has("path");
    let path = section.parsed("path", |text| {
        ProxyPath::parse(text).ok_or_else(|| {
            "it is a path below the root such as `/__clerk`, of letters, digits, `-`, `_` and `.`"
                .to_owned()
        })
    });
    let url =
        address::of_clerk(&mut section, "url", transport).and_then(|url| {
            match address::origin(url.value.as_str()) {
                Ok(origin) => Some(origin),
                Err(why) => {
                    problems.add(Problem::error(
                        &url.place,
                        format!("`url` cannot be used: {why}"),
                    ));
                    None
                }
            }
        });
    section.finish();
    let enabled = enabled.filter(|flag| flag.value)?;
    if secret_key.is_none() {
        problems.add(
            Problem::error(
                &enabled.place,
                "the Frontend API proxy needs the secret key",
            )
            .hint("add `secret-key-file` to `[clerk]`, or set `CLERK_SECRET_KEY`"),
        );
    }
    let path = match path {
        None if written => return None,
        None => Placed::new(ProxyPath::parse("/__clerk")?, enabled.place),
        Some(path) => path,
    };
    let url = match url {
        // Also in the place of one that cannot be used: the rest is checked all the same.
        None => Origin::parse(key?.frontend_api_for_proxies())?,
        Some(url) => url,
    };
    Some(FrontendApiProxy { path, url })
}

impl FrontendApiProxy {
    /// Where browsers reach the Frontend API by way of the gate; a path if it follows the request.
    pub(super) fn public_address(
        &self,
        section: &Section<'_>,
        public_url: Option<&Origin>,
        transport: ClerkTransport,
    ) -> String {
        let Some(origin) = public_url else {
            return self.path.value.to_string();
        };
        if transport == ClerkTransport::Strict && origin.scheme() != Scheme::Https {
            section.problems().add(
                Problem::error(
                    &self.path.place,
                    "with a live key the Frontend API proxy needs an `https` `public-url`",
                )
                .hint("write the `https` address that browsers use"),
            );
        }
        format!("{origin}{}", self.path.value)
    }
}
