//! The publishable key and what follows from it: the Frontend API host, the kind of instance,
//! the cookie suffix and the Account Portal (protocol reference, sections 1 and 2.4).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, general_purpose};
use thiserror::Error;

/// Whether a Clerk instance is one for development or one for production.
///
/// Decided by the prefix of the publishable key alone (section 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceKind {
    /// `pk_test_…`
    Development,
    /// `pk_live_…`
    Production,
}

/// A publishable key that has been taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishableKey {
    text: String,
    kind: InstanceKind,
    frontend_api: String,
    suffix: String,
    account_portal: String,
}

/// Why a text is no publishable key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// Neither `pk_test_` nor `pk_live_`.
    #[error("a publishable key starts with `pk_test_` or `pk_live_`")]
    Prefix,
    /// The part behind the prefix does not hold a host.
    #[error("the part after the prefix does not decode to a host name; copy the key again")]
    Payload,
}

impl PublishableKey {
    /// Reads a key as it stands in Clerk's dashboard.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (kind, payload) = if let Some(rest) = text.strip_prefix("pk_live_") {
            (InstanceKind::Production, rest)
        } else if let Some(rest) = text.strip_prefix("pk_test_") {
            (InstanceKind::Development, rest)
        } else {
            return Err(KeyError::Prefix);
        };
        if payload.is_empty() || payload.contains('_') {
            return Err(KeyError::Payload);
        }
        let decoded = forgiving_base64(payload).ok_or(KeyError::Payload)?;
        let decoded = String::from_utf8(decoded).map_err(|_| KeyError::Payload)?;
        let host = decoded.strip_suffix('$').ok_or(KeyError::Payload)?;
        // SECURITY: the host becomes part of redirects and of addresses we call; nothing but a
        // host name, with a port at most, may come out of a key.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        if !host.contains('.') || !host.chars().all(plain) {
            return Err(KeyError::Payload);
        }
        Ok(Self {
            text: text.to_owned(),
            kind,
            frontend_api: host.to_owned(),
            suffix: cookie_suffix(text),
            account_portal: account_portal(host),
        })
    }

    /// The key as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Development or production.
    pub fn kind(&self) -> InstanceKind {
        self.kind
    }

    /// The Frontend API host the key holds, with a port if it has one.
    pub fn frontend_api(&self) -> &str {
        &self.frontend_api
    }

    /// The Frontend API that proxies call (section 8.3): one for all instances of an environment of
    /// Clerk's.
    pub fn frontend_api_for_proxies(&self) -> &'static str {
        const LEGACY: [&str; 3] = [".lcl.dev", ".lclstage.dev", ".lclclerk.com"];
        const LOCAL: [&str; 3] = [".lcl.dev", "lclstage.dev", ".lclclerk.com"];
        const STAGING: &str = ".accountsstage.dev";
        let host = self.frontend_api.as_str();
        let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| host.ends_with(suffix));
        let legacy = host.starts_with("clerk.") && ends(&LEGACY);
        if !legacy && ends(&LOCAL) {
            "https://frontend-api.lclclerk.com"
        } else if host.ends_with(STAGING) {
            "https://frontend-api.clerkstage.dev"
        } else {
            "https://frontend-api.clerk.dev"
        }
    }

    /// The eight characters behind `__session_` and its kin (section 2.4).
    pub fn cookie_suffix(&self) -> &str {
        &self.suffix
    }

    /// The address of the Account Portal, without a path (section 1.3).
    pub fn account_portal(&self) -> &str {
        &self.account_portal
    }
}

impl fmt::Debug for PublishableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublishableKey").field(&self.text).finish()
    }
}

/// Decodes base64 as browsers do: white space is ignored, padding may be absent but not wrong.
fn forgiving_base64(text: &str) -> Option<Vec<u8>> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireNone),
    );
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bare = if compact.len().is_multiple_of(4) {
        let once = compact.strip_suffix('=').unwrap_or(&compact);
        once.strip_suffix('=').unwrap_or(once)
    } else {
        &compact
    };
    ENGINE.decode(bare).ok()
}

/// The first eight characters of the base64 of the key's SHA-1, made safe for a cookie name.
fn cookie_suffix(key: &str) -> String {
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    STANDARD
        .encode(digest.as_ref())
        .chars()
        .take(8)
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect()
}

/// The Account Portal of the instance with this Frontend API.
fn account_portal(frontend_api: &str) -> String {
    let host = frontend_api.replacen("clerk.accountsstage.", "accountsstage.", 1);
    let long = host.find("clerk.accounts.");
    let short = host.find("clerk.");
    let host = match (long, short) {
        (Some(at), Some(other)) if at <= other => host.replacen("clerk.accounts.", "accounts.", 1),
        (_, Some(_)) => host.replacen("clerk.", "accounts.", 1),
        _ => host,
    };
    format!("https://{host}")
}

/// Writes the key of a host, as Clerk does (section 1.1): unpadded base64 of `host$`.
pub fn publishable_key_for(kind: InstanceKind, host: &str) -> String {
    let prefix = match kind {
        InstanceKind::Development => "pk_test_",
        InstanceKind::Production => "pk_live_",
    };
    format!(
        "{prefix}{}",
        general_purpose::STANDARD_NO_PAD.encode(format!("{host}$"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_protocol_reference_decode() {
        for (key, kind, host, suffix) in [
            (
                "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k",
                InstanceKind::Production,
                "clerk.example.com",
                "naoXFJnI",
            ),
            (
                "pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk",
                InstanceKind::Development,
                "foo-bar-13.clerk.accounts.dev",
                "nx2hSE6I",
            ),
            (
                "pk_test_Y2xlcmsuaW5zcGlyZWQucHVtYS03NC5sY2wuZGV2JA",
                InstanceKind::Development,
                "clerk.inspired.puma-74.lcl.dev",
                "vWCgMp3A",
            ),
            (
                "pk_live_Y2xlcmsuaW5zcGlyZWQucHVtYS03NC5sY2wuZGV2JA",
                InstanceKind::Production,
                "clerk.inspired.puma-74.lcl.dev",
                "MqCvchyS",
            ),
            (
                "pk_live_Y2xlcmsuY2xlcmsuZGV2JA",
                InstanceKind::Production,
                "clerk.clerk.dev",
                "1Z8AzTQD",
            ),
            (
                "pk_test_Y2xlcmsuY2xlcmsuZGV2JA",
                InstanceKind::Development,
                "clerk.clerk.dev",
                "QvfNY2dr",
            ),
        ] {
            let parsed = PublishableKey::parse(key).unwrap();
            assert_eq!(
                (parsed.kind(), parsed.frontend_api(), parsed.cookie_suffix()),
                (kind, host, suffix)
            );
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let of = |host: &str| format!("pk_test_{}", general_purpose::STANDARD_NO_PAD.encode(host));
        for key in [
            "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k=".to_owned(),
            "pk_live_".to_owned(),
            "fake_pk".to_owned(),
            String::new(),
            of("clerk.example.com"),
            of("clerk.ex$ample.com$"),
            of("clerk.example.com$x"),
            of("invalidkey$"),
            of("clerk.example.com/path$"),
            of("user@clerk.example.com$"),
        ] {
            assert!(PublishableKey::parse(&key).is_err(), "{key}");
        }
    }

    #[test]
    fn the_frontend_api_of_proxies_follows_from_the_host() {
        for (host, expected) in [
            ("clerk.example.com", "https://frontend-api.clerk.dev"),
            (
                "foo-bar-13.clerk.accounts.dev",
                "https://frontend-api.clerk.dev",
            ),
            (
                "clerk.inspired.puma-74.lcl.dev",
                "https://frontend-api.clerk.dev",
            ),
            (
                "foo-bar-13.clerk.accounts.lclclerk.com",
                "https://frontend-api.lclclerk.com",
            ),
            ("puma-74.lcl.dev", "https://frontend-api.lclclerk.com"),
            (
                "foo-bar-13.clerk.accountsstage.dev",
                "https://frontend-api.clerkstage.dev",
            ),
            (
                "accountsstage.dev.example.com",
                "https://frontend-api.clerk.dev",
            ),
        ] {
            let key = publishable_key_for(InstanceKind::Production, host);
            let key = PublishableKey::parse(&key).unwrap();
            assert_eq!(key.frontend_api_for_proxies(), expected, "{host}");
        }
    }

    #[test]
    fn the_account_portal_follows_from_the_host() {
        for (host, portal) in [
            (
                "foo-bar-13.clerk.accounts.dev",
                "https://foo-bar-13.accounts.dev",
            ),
            ("clerk.example.com", "https://accounts.example.com"),
            ("my.clerk.example.com", "https://my.accounts.example.com"),
            ("clerk.accounts.example.com", "https://accounts.example.com"),
            (
                "clerk.inspired.puma-74.lcl.dev",
                "https://accounts.inspired.puma-74.lcl.dev",
            ),
            ("clerk.clerk.dev", "https://accounts.clerk.dev"),
        ] {
            let key = publishable_key_for(InstanceKind::Production, host);
            assert_eq!(
                PublishableKey::parse(&key).unwrap().account_portal(),
                portal
            );
        }
    }
}
