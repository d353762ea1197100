//! Addresses as they stand in the configuration.

use url::Url;

use super::report::Problem;
use super::section::{Placed, Section};
use crate::core::origin::Origin;
use crate::upstream::address::ServerAddress;

/// Whether an address without TLS, or on this machine, may be used for Clerk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClerkTransport {
    /// Only `https`, and not on this machine.
    Strict,
    /// Anything: the key is a test key.
    Development,
}

/// An origin such as `https://app.example.com`.
pub(super) fn origin(text: &str) -> Result<Origin, String> {
    Origin::parse(text).ok_or_else(|| match Url::parse(text) {
        Ok(url) if url.has_host() && (url.path() != "/" || url.query().is_some()) => {
            format!("it is scheme, host and port only, without `{}`", url.path())
        }
        _ => "it is an address such as `https://app.example.com`".to_owned(),
    })
}

/// A server of the application: an origin, or a Unix socket.
pub(super) fn server(text: &str) -> Result<ServerAddress, String> {
    if let Ok(address) = ServerAddress::parse(text) {
        return Ok(address);
    }
    match Url::parse(text) {
        Ok(url) if url.has_host() => origin(text).map(ServerAddress::from),
        _ => ServerAddress::parse(text).map_err(ToOwned::to_owned),
    }
}

/// An absolute `http` or `https` address, without user information, query or fragment.
pub(super) fn absolute(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|_| "it is an absolute address such as `https://clerk.example.com`".to_owned())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain {
        Ok(url)
    } else {
        Err("it is an `https` address without user, query or fragment".to_owned())
    }
}

/// A page: an absolute address, or a path of this application.
pub(super) fn page(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        // SECURITY: `//host` and `/\host` lead elsewhere in a browser.
        let plain = !text.starts_with("//")
            && !text.contains('\\')
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        return if plain {
            Ok(text.to_owned())
        } else {
            Err("a path begins with one slash and holds visible ASCII only".to_owned())
        };
    }
    let url = Url::parse(text)
        .map_err(|_| "it is a path such as `/sign-in` or an absolute address".to_owned())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none();
    if plain {
        Ok(text.to_owned())
    } else {
        Err("it is a path such as `/sign-in` or an `https` address".to_owned())
    }
}

/// An address of Clerk's: a live key is never used over plain text or with a server on this machine.
pub(super) fn of_clerk(
    section: &mut Section<'_>,
    key: &'static str,
    transport: ClerkTransport,
) -> Option<Placed<Url>> {
    let url = section.parsed(key, absolute)?;
    let local = url
        .value
        .host_str()
        .and_then(crate::core::origin::Host::parse)
        .is_some_and(|host| host.is_loopback());
    if transport == ClerkTransport::Strict && (url.value.scheme() != "https" || local) {
        section.problems().add(
            Problem::error(
                &url.place,
                format!("`{key}` is not safe for a live key: `{}`", url.value),
            )
            .hint(
                "use an `https` address of another machine, or a key that begins with `pk_test_`",
            ),
        );
        return None;
    }
    Some(url)
}
