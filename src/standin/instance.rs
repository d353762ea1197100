//! The one Clerk instance a stand-in serves: its keys, people and memory, and the cookies it hands out.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::StandInOptions;
use super::faults::Faults;
use super::keys::KeyRing;
use super::machines::Issued;
use super::oauth::OAuth;
use super::people::Person;
use super::random;
use super::redirect::AllowedOrigins;
use super::state::{Client, Session, State};
use super::tokens::{self, Occasion};
use super::webhooks::Webhooks;

/// How long cookies stay in the browser, in seconds: a year.
const COOKIE_AGE: u32 = 31_536_000;

/// The host that the publishable key names where browsers run Clerk's script.
const DEVELOPMENT_HOST: &str = "stand-in.clerk.accounts.dev";

/// The JWT templates that exist.
pub(super) const TEMPLATES: [&str; 1] = ["app"];

/// The one Clerk instance a stand-in serves.
pub(super) struct Instance {
    /// Host and port of the listener.
    authority: String,
    /// What the publishable key names.
    host: String,
    pub(super) publishable_key: String,
    pub(super) secret_key: String,
    pub(super) machine_id: String,
    pub(super) machine_secret_key: String,
    pub(super) cookie_suffix: String,
    pub(super) origins: AllowedOrigins,
    pub(super) options: StandInOptions,
    pub(super) faults: Faults,
    keys: RwLock<KeyRing>,
    state: Mutex<State>,
    issued: Mutex<Issued>,
    oauth: Mutex<OAuth>,
    pub(super) webhooks: Arc<Webhooks>,
}

/// Which copies of Clerk's cookies to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    Plain,
    PlainAndSuffixed,
}

impl Copies {
    /// As the parameter `suffixed_cookies` says.
    pub(super) fn asked(parameter: Option<&str>) -> Self {
        match parameter {
            Some("true") => Self::PlainAndSuffixed,
            _ => Self::Plain,
        }
    }
}

impl Instance {
    /// A new instance behind this host and port.
    pub(super) fn new(
        authority: String,
        keys: KeyRing,
        options: StandInOptions,
        webhooks: Webhooks,
    ) -> Self {
        let host = match options.clerk_js {
            Some(_) => DEVELOPMENT_HOST.to_owned(),
            None => authority.clone(),
        };
        let payload = STANDARD_NO_PAD.encode(format!("{host}$"));
        let publishable_key = format!("pk_test_{payload}");
        Self {
            cookie_suffix: cookie_suffix(&publishable_key),
            publishable_key,
            secret_key: format!("sk_test_{}", random::text(40)),
            machine_id: random::id("mch"),
            machine_secret_key: format!("ak_{}", random::text(43)),
            origins: match &options.allowed_redirect_origins {
                None => AllowedOrigins::Loopback,
                Some(origins) => AllowedOrigins::Listed(origins.clone()),
            },
            authority,
            host,
            options,
            faults: Faults::default(),
            keys: RwLock::new(keys),
            state: Mutex::default(),
            issued: Mutex::default(),
            oauth: Mutex::default(),
            webhooks: Arc::new(webhooks),
        }
    }

    /// Unix milliseconds.
    pub(super) fn now(&self) -> u64 {
        (self.options.now)()
    }

    /// What a gate derives from the publishable key; the tokens' `iss`.
    pub(super) fn issuer(&self) -> String {
        format!("https://{}", self.host)
    }

    /// Where the stand-in really is.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine tokens that were handed out.
    pub(super) fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The OAuth clients and codes.
    pub(super) fn oauth(&self) -> MutexGuard<'_, OAuth> {
        self.oauth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keys(&self) -> RwLockReadGuard<'_, KeyRing> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rotate_keys(&self, keep_old: bool) -> io::Result<()> {
        let mut keys: RwLockWriteGuard<'_, KeyRing> =
            self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.rotate(keep_old)
    }

    /// Somebody by key or by user id.
    pub(super) fn person(&self, key_or_id: &str) -> Option<&Person> {
        let mut people = self.options.people.iter();
        people.find(|person| person.key == key_or_id || person.user_id == key_or_id)
    }

    /// The claims of a session token minted now; a page load has no origin, and few ask for a lifetime.
    pub(super) fn session_claims(
        &self,
        session: &Session,
        origin: Option<&str>,
        seconds: Option<u64>,
    ) -> Option<serde_json::Value> {
        let issuer = self.issuer();
        let occasion = self.occasion(&issuer, origin, seconds);
        let person = self.person(&session.user_id)?;
        Some(tokens::session_claims(&occasion, session, person))
    }

    /// A session token minted now; a page load has no origin, and few ask for a lifetime.
    pub(super) fn session_token(
        &self,
        session: &Session,
        origin: Option<&str>,
        seconds: Option<u64>,
    ) -> Option<String> {
        let claims = self.session_claims(session, origin, seconds)?;
        let keys = self.keys();
        let header = tokens::session_header(keys.kid(), self.now());
        Some(keys.sign(&header, &claims))
    }

    /// A token of a JWT template, if there is such a one.
    pub(super) fn template_token(
        &self,
        template: &str,
        session: &Session,
        origin: Option<&str>,
        seconds: Option<u64>,
    ) -> Option<String> {
        if !TEMPLATES.contains(&template) {
            return None;
        }
        let issuer = self.issuer();
        let occasion = self.occasion(&issuer, origin, seconds);
        let claims = tokens::template_claims(&occasion, self.person(&session.user_id)?);
        let keys = self.keys();
        Some(keys.sign(&tokens::template_header(keys.kid()), &claims))
    }

    /// A handshake token that carries these `Set-Cookie` lines.
    pub(super) fn handshake_token(&self, directives: &[String]) -> String {
        let issuer = self.issuer();
        let claims = tokens::handshake_claims(&self.occasion(&issuer, None, None), directives);
        let keys = self.keys();
        keys.sign(&tokens::handshake_header(keys.kid()), &claims)
    }

    /// The `Set-Cookie` lines that tell a browser how its client stands.
    pub(super) fn directives(&self, client: &Client, copies: Copies) -> Vec<String> {
        let current = self.state().current(client, self.now());
        let refresh = format!("__refresh_{}", self.cookie_suffix);
        let mut lines = self.cookie("__clerk_db_jwt", &client.dev_browser, copies);
        if let Some(session) = current {
            let token = self.session_token(&session, None, None).unwrap_or_default();
            lines.extend(self.cookie("__client_uat", &client.uat.to_string(), copies));
            if self.options.refresh_tokens {
                lines.push(format!(
                    "{}; HttpOnly",
                    line(&refresh, &session.refresh_token)
                ));
            }
            lines.extend(self.cookie("__session", &token, copies));
        } else {
            lines.extend(self.cookie("__client_uat", "0", copies));
            lines.push(format!("{}; HttpOnly", line(&refresh, "")));
            lines.extend(self.cookie("__session", "", copies));
        }
        lines
    }

    /// The `Set-Cookie` lines of one cookie; an empty value deletes it.
    pub(super) fn cookie(&self, name: &str, value: &str, copies: Copies) -> Vec<String> {
        let plain = line(name, value);
        match copies {
            Copies::Plain => vec![plain],
            Copies::PlainAndSuffixed => {
                let suffixed = line(&format!("{name}_{}", self.cookie_suffix), value);
                vec![plain, suffixed]
            }
        }
    }

    fn occasion<'a>(
        &self,
        issuer: &'a str,
        origin: Option<&'a str>,
        seconds: Option<u64>,
    ) -> Occasion<'a> {
        Occasion {
            issuer,
            now: self.now(),
            lifetime: seconds.map_or(self.options.token_lifetime, Duration::from_secs),
            origin,
        }
    }
}

fn line(name: &str, value: &str) -> String {
    let age = if value.is_empty() { 0 } else { COOKIE_AGE };
    format!("{name}={value}; Path=/; SameSite=Lax; Max-Age={age}")
}

/// The suffix of an instance's cookies: eight letters of the SHA-1 of its publishable key.
fn cookie_suffix(publishable_key: &str) -> String {
    let hash = digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        publishable_key.as_bytes(),
    );
    let mut suffix = URL_SAFE_NO_PAD.encode(hash);
    suffix.truncate(8);
    suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_suffix_is_clerks() {
        for (key, suffix) in [
            ("pk_live_Y2xlcmsuZXhhbXBsZS5jb20k", "naoXFJnI"),
            (
                "pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk",
                "nx2hSE6I",
            ),
            (
                "pk_test_ZW5vdWdoLWFscGFjYS04Mi5jbGVyay5hY2NvdW50cy5sY2xjbGVyay5jb20k",
                "jtYvyt_H",
            ),
        ] {
            assert_eq!(cookie_suffix(key), suffix, "{key}");
        }
    }
}
