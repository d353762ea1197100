//! Sealing and opening the gate's own cookies: authenticated encryption (AES-256-GCM-SIV, RFC 8452)
//! under keys that nobody else has.
//!
//! What a cookie holds is bound to its kind, to the instance and to the origin: one that was made for
//! something else does not open.

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tracing::error;

use crate::core::continuity::{
    Journey, Keepsake, OwnCookies, SEAL_COOKIE, STATE_COOKIE, Seal, State,
};
use crate::core::instance::Instance;
use crate::core::origin::Origin;

/// The longest cookie of ours that is opened, in bytes.
const MAX_BYTES: usize = 2_048;

const NONCE_BYTES: usize = 12;

/// The keys of the gate's own cookies.
pub struct Seals {
    /// The one that seals comes first.
    keys: Vec<RandomizedNonceKey>,
    /// Made when it is first needed, where no key is configured.
    made: OnceLock<Option<RandomizedNonceKey>>,
}

/// A text that is no key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a seal key is not 32 bytes in base64")]
pub struct NoKey;

/// What a cookie of ours is for.
#[derive(Clone, Copy)]
enum Kind {
    Seal,
    State,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::State => "state",
        }
    }
}

impl Seals {
    /// With these keys, 32 bytes in base64 each: the first one seals, each one opens. Without any, with
    /// one that nobody learns and that is gone with the process.
    pub fn new(keys: &[SecretString]) -> Result<Self, NoKey> {
        let keys = keys.iter().map(|key| self::key(key.expose_secret()));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            made: OnceLock::new(),
        })
    }

    /// What the cookies of a request hold. What does not open is as good as absent.
    pub fn open(
        &self,
        instance: &Instance,
        origin: &Origin,
        seal: Option<&str>,
        state: Option<&str>,
    ) -> OwnCookies {
        let seal: Option<(u64, u64, String, String)> =
            seal.and_then(|text| self.opened(&bound(Kind::Seal, instance, origin), text));
        let state: Option<(String, u64)> =
            state.and_then(|text| self.opened(&bound(Kind::State, instance, origin), text));
        OwnCookies {
            seal: seal.map(|(first_ms, sealed_ms, session, user)| Seal {
                session,
                user,
                first_ms,
                sealed_ms,
            }),
            state: state.and_then(|(name, until_ms)| {
                let journey = Journey::named(&name)?;
                Some(State { journey, until_ms })
            }),
        }
    }

    /// The Set-Cookie string for what becomes of a cookie of ours; `now_ms` in milliseconds since the
    /// epoch. `None` if there is nothing left to keep.
    pub fn cookie(
        &self,
        instance: &Instance,
        origin: &Origin,
        keepsake: &Keepsake,
        now_ms: u64,
    ) -> Option<String> {
        let (name, value, until_ms) = match keepsake {
            Keepsake::Seal(seal) => {
                let text = (seal.first_ms, seal.sealed_ms, &seal.session, &seal.user);
                let value = self.sealed(&bound(Kind::Seal, instance, origin), &text)?;
                let until = seal.first_ms.saturating_add(instance.seal_max_age_ms);
                (SEAL_COOKIE.to_owned(), value, until)
            }
            Keepsake::State(state) => {
                let text = (state.journey.name(), state.until_ms);
                let value = self.sealed(&bound(Kind::State, instance, origin), &text)?;
                (state_cookie(&state.journey), value, state.until_ms)
            }
            Keepsake::DropState(journey) => (state_cookie(journey), String::new(), 0),
        };
        let suffix = instance.key.cookie_suffix();
        let seconds = until_ms.saturating_sub(now_ms) / 1000;
        Some(format!(
            "{name}_{suffix}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax"
        ))
    }

    fn opened<T: DeserializeOwned>(&self, bound: &str, text: &str) -> Option<T> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES)?;
        let open = |key: &RandomizedNonceKey| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut sealed = sealed.to_vec();
            let plain = key
                .open_in_place(nonce, Aad::from(bound), &mut sealed)
                .ok()?;
            serde_json::from_slice(plain).ok()
        };
        match self.keys.as_slice() {
            [] => open(self.made_key()?),
            keys => keys.iter().find_map(open),
        }
    }

    fn sealed<T: Serialize>(&self, bound: &str, value: &T) -> Option<String> {
        let key = match self.keys.first() {
            Some(key) => key,
            None => self.made_key()?,
        };
        let mut bytes = serde_json::to_vec(value).ok()?;
        let nonce = key
            .seal_in_place_append_tag(Aad::from(bound), &mut bytes)
            .inspect_err(|_| error!("a cookie could not be sealed"))
            .ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The key of this process, made when it is first needed: the generator takes a while to warm up.
    fn made_key(&self) -> Option<&RandomizedNonceKey> {
        let make = || {
            let mut bytes = [0; 32];
            aws_lc_rs::rand::fill(&mut bytes).ok()?;
            RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).ok()
        };
        self.made.get_or_init(make).as_ref()
    }
}

fn state_cookie(journey: &Journey) -> String {
    format!("{STATE_COOKIE}_{}", journey.name())
}

/// A name for a journey that nobody can guess. `None` if chance fails.
pub(super) fn new_journey() -> Option<Journey> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Journey::named(&format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// What a cookie is bound to.
// SECURITY: a cookie of one kind, instance or origin is nothing to another.
fn bound(kind: Kind, instance: &Instance, origin: &Origin) -> String {
    let key = instance.key.as_str();
    format!("clerk-gate {} 1\n{key}\n{origin}", kind.name())
}

fn key(text: &str) -> Result<RandomizedNonceKey, NoKey> {
    let bytes = STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text));
    let bytes = bytes.map_err(|_| NoKey)?;
    RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).map_err(|_| NoKey)
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seals")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::instance::BackendApi;
    use crate::core::key::PublishableKey;

    const NOW: u64 = 1_790_000_000_000;
    const OLD: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    const NEW: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI";

    fn seals(keys: &[&str]) -> Seals {
        let keys: Vec<_> = keys.iter().map(|key| SecretString::from(*key)).collect();
        Seals::new(&keys).unwrap()
    }

    fn instance(key: &str) -> Instance {
        Instance::of(PublishableKey::parse(key).unwrap(), BackendApi::Available)
    }

    fn live() -> Instance {
        instance("pk_live_Y2xlcmsuZXhhbXBsZS5jb20k")
    }

    fn here() -> Origin {
        Origin::parse("https://app.example.com").unwrap()
    }

    fn seal() -> Seal {
        Seal {
            session: "sess_1".to_owned(),
            user: "user_1".to_owned(),
            first_ms: NOW - 1_000,
            sealed_ms: NOW,
        }
    }

    fn begun() -> State {
        State {
            journey: new_journey().unwrap(),
            until_ms: NOW + 5,
        }
    }

    /// The value of the cookie that these seals make of `keepsake`.
    fn value(seals: &Seals, keepsake: &Keepsake) -> String {
        let line = seals.cookie(&live(), &here(), keepsake, NOW).unwrap();
        let pair = line.split(';').next().unwrap();
        pair.split_once('=').unwrap().1.to_owned()
    }

    #[test]
    fn what_was_sealed_opens() {
        for seals in [seals(&[]), seals(&[OLD]), seals(&[NEW, OLD])] {
            let state = begun();
            let sealed = value(&seals, &Keepsake::Seal(seal()));
            let begun = value(&seals, &Keepsake::State(state.clone()));
            let opened = seals.open(&live(), &here(), Some(&sealed), Some(&begun));
            assert_eq!((opened.seal, opened.state), (Some(seal()), Some(state)));
        }
    }

    #[test]
    fn a_cookie_says_nothing_of_what_it_holds_and_is_never_the_same() {
        let seals = seals(&[OLD]);
        let keepsake = Keepsake::Seal(seal());
        let (one, other) = (value(&seals, &keepsake), value(&seals, &keepsake));
        assert_ne!(one, other);
        let bytes = URL_SAFE_NO_PAD.decode(&one).unwrap();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!shown.contains("sess_1") && !shown.contains("user_1"));
    }

    #[test]
    fn a_new_key_seals_and_an_old_one_opens_until_it_is_gone() {
        let (old, both, new) = (seals(&[OLD]), seals(&[NEW, OLD]), seals(&[NEW]));
        let by_old = value(&old, &Keepsake::Seal(seal()));
        let by_both = value(&both, &Keepsake::Seal(seal()));
        let opens = |seals: &Seals, value: &str| {
            let opened = seals.open(&live(), &here(), Some(value), None);
            opened.seal.is_some()
        };
        assert!(opens(&both, &by_old) && opens(&new, &by_both));
        assert!(!opens(&new, &by_old) && !opens(&old, &by_both));
        assert!(!opens(&seals(&[]), &by_old));
    }

    #[test]
    fn what_was_made_for_something_else_does_not_open() {
        let seals = seals(&[OLD]);
        let sealed = value(&seals, &Keepsake::Seal(seal()));
        let begun = value(&seals, &Keepsake::State(begun()));
        let other = instance("pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk");
        let there = Origin::parse("https://docs.example.com").unwrap();
        for (instance, origin, seal, state) in [
            (&live(), &here(), &begun, &sealed),
            (&other, &here(), &sealed, &begun),
            (&live(), &there, &sealed, &begun),
        ] {
            let opened = seals.open(instance, origin, Some(seal), Some(state));
            assert_eq!(opened, OwnCookies::default());
        }
    }

    #[test]
    fn nothing_but_the_very_cookie_opens() {
        let seals = seals(&[OLD]);
        let sealed = value(&seals, &Keepsake::Seal(seal()));
        let opened = |text: &str| seals.open(&live(), &here(), Some(text), None).seal;
        assert_eq!(opened(&sealed), Some(seal()));
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(opened(&URL_SAFE_NO_PAD.encode(&changed)), None, "byte {at}");
            assert_eq!(opened(&URL_SAFE_NO_PAD.encode(&bytes[..at])), None);
        }
        let twice = format!("{sealed}{sealed}");
        for other in ["", "=", "AAAA", &twice, &"A".repeat(4 * MAX_BYTES)] {
            assert_eq!(opened(other), None);
        }
    }

    #[test]
    fn browsers_keep_a_seal_to_its_end_and_for_this_host_alone() {
        let instance = live();
        let seals = seals(&[OLD]);
        let line = |keepsake| seals.cookie(&instance, &here(), &keepsake, NOW).unwrap();
        let sealed = line(Keepsake::Seal(seal()));
        assert!(sealed.starts_with("__Host-clerk-gate-seal_naoXFJnI="));
        let seconds = 7 * 24 * 60 * 60 - 1;
        let attributes = format!("; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
        assert!(sealed.ends_with(&attributes), "{sealed}");
        assert_eq!(
            line(Keepsake::DropState(
                Journey::named("0123456789abcdef").unwrap()
            )),
            "__Host-clerk-gate-state_0123456789abcdef_naoXFJnI=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for bad in ["", "c2hvcnQ=", "sk_live_x"] {
            assert_eq!(Seals::new(&[bad.into()]).err(), Some(NoKey), "{bad}");
        }
    }
}
