//! The cookies of a session, as an answer takes them away.

use super::continuity::SEAL_COOKIE;
use super::instance::Instance;
use super::origin::{Origin, Scheme};

/// What becomes of `__client_uat`, which says whether anybody is signed in on this browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientUat {
    /// It stays: somebody else may be signed in on this browser, here or on another application of
    /// the domain. The next page load asks Clerk, and Clerk sets it right.
    Keep,
    /// It goes: nobody is left.
    Clear,
}

/// Cookies of a session without a suffix, and those of which only the suffixed copy counts.
const PLAIN: [&str; 5] = [
    "__session",
    "clerk_active_context",
    "__clerk_handshake",
    "__clerk_handshake_nonce",
    "__clerk_redirect_count",
];

/// Set-Cookie strings that take the session of `instance` away from a browser at `origin`.
///
/// What says which browser it is at Clerk (`__client`, `__clerk_db_jwt`) stays: other sessions hang
/// on it.
pub fn cleared(instance: &Instance, origin: &Origin, client_uat: ClientUat) -> Vec<String> {
    let suffix = instance.key.cookie_suffix();
    let secure = match origin.scheme() {
        Scheme::Https => "; Secure",
        Scheme::Http => "",
    };
    let gone = |name: &str| format!("{name}=; Path=/; SameSite=Lax; Max-Age=0{secure}");
    let mut lines: Vec<String> = PLAIN.iter().map(|name| gone(name)).collect();
    for name in ["__session", "__refresh"] {
        lines.push(gone(&format!("{name}_{suffix}")));
    }
    // SECURITY: without the attributes of its prefix, browsers would keep the old one.
    lines.push(format!(
        "{SEAL_COOKIE}_{suffix}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
    ));
    if client_uat == ClientUat::Clear {
        for name in ["__client_uat".to_owned(), format!("__client_uat_{suffix}")] {
            let line = gone(&name);
            if let Some(domain) = &instance.cookie_domain {
                lines.push(format!("{line}; Domain={domain}"));
            }
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::instance::BackendApi;
    use crate::core::key::PublishableKey;

    fn names(client_uat: ClientUat, domain: Option<&str>) -> Vec<String> {
        let key = PublishableKey::parse("pk_live_Y2xlcmsuZXhhbXBsZS5jb20k").unwrap();
        let mut instance = Instance::of(key, BackendApi::Available);
        instance.cookie_domain = domain.map(str::to_owned);
        let origin = Origin::parse("https://app.example.com").unwrap();
        cleared(&instance, &origin, client_uat)
    }

    #[test]
    fn every_cookie_of_the_session_goes() {
        let lines = names(ClientUat::Keep, None);
        let gone: Vec<&str> = lines
            .iter()
            .filter_map(|line| Some(line.split_once("=; Path=/; ")?.0))
            .collect();
        assert_eq!(
            gone,
            [
                "__session",
                "clerk_active_context",
                "__clerk_handshake",
                "__clerk_handshake_nonce",
                "__clerk_redirect_count",
                "__session_naoXFJnI",
                "__refresh_naoXFJnI",
                "__Host-clerk-gate-seal_naoXFJnI",
            ]
        );
        assert!(
            lines.iter().all(|line| line.contains("; Secure")),
            "{lines:?}"
        );
        assert!(
            lines.iter().all(|line| line.contains("; Max-Age=0")),
            "{lines:?}"
        );
    }

    #[test]
    fn the_sign_of_a_client_goes_from_the_host_and_from_its_domain() {
        let lines = names(ClientUat::Clear, Some("example.com"));
        let uat: Vec<&String> = lines
            .iter()
            .filter(|line| line.starts_with("__client_uat"))
            .collect();
        assert_eq!(uat.len(), 4, "{uat:?}");
        let on_the_domain = |line: &&&String| line.ends_with("; Domain=example.com");
        assert_eq!(uat.iter().filter(on_the_domain).count(), 2, "{uat:?}");
    }
}
