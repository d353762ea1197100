//! What is asked, what it is called where others see it, and what its outcome is sealed with.

use std::fmt;
use std::fmt::Write as _;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

const NONCE_BYTES: usize = 12;

/// What sets these keys apart from all others that are made of the same secret.
const PURPOSE: &[u8] = b"clerk-gate shared outcomes 1";

/// Makes the keys of questions of a secret that all gates of an instance have, and nobody else.
pub struct OutcomeKeys(Prk);

/// Something that several gates may ask at the same time.
pub struct Question {
    name: String,
    key: RandomizedNonceKey,
}

/// 32 bytes.
#[derive(Clone, Copy)]
struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl OutcomeKeys {
    /// Of the secret key of an instance.
    pub fn of(secret: &SecretString) -> Self {
        let salt = Salt::new(HKDF_SHA256, PURPOSE);
        Self(salt.extract(secret.expose_secret().as_bytes()))
    }

    /// A question of this kind about all of this. `None` if there is no key for it.
    pub fn question(&self, kind: &str, about: &[&str]) -> Option<Question> {
        // INVARIANT: two questions are never written alike, so each part says how long it is.
        let mut whole = Vec::new();
        for part in std::iter::once(&kind).chain(about) {
            whole.extend_from_slice(&(part.len() as u64).to_be_bytes());
            whole.extend_from_slice(part.as_bytes());
        }
        let bytes = |what: &[u8]| {
            let mut bytes = [0; 32];
            let info = [what, &whole];
            let expanded = self.0.expand(&info, Bytes32).ok()?;
            expanded.fill(&mut bytes).ok()?;
            Some(bytes)
        };
        let mut name = "clerk-gate:{once:".to_owned();
        for byte in bytes(b"name")? {
            let _ = write!(name, "{byte:02x}");
        }
        name.push('}');
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes(b"seal")?).ok()?;
        Some(Question { name, key })
    }
}

impl Question {
    /// What it is called in Redis.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn sealed<T: Serialize>(&self, outcome: &T) -> Option<Vec<u8>> {
        let mut bytes = serde_json::to_vec(outcome).ok()?;
        let bound = Aad::from(self.name.as_bytes());
        let nonce = self.key.seal_in_place_append_tag(bound, &mut bytes).ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        Some(sealed)
    }

    pub(super) fn opened<T: DeserializeOwned>(&self, sealed: &[u8]) -> Option<T> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let bound = Aad::from(self.name.as_bytes());
        let plain = self.key.open_in_place(nonce, bound, &mut sealed).ok()?;
        serde_json::from_slice(plain).ok()
    }
}

impl fmt::Debug for OutcomeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutcomeKeys").finish_non_exhaustive()
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(secret: &str, kind: &str, about: &[&str]) -> Question {
        let keys = OutcomeKeys::of(&secret.into());
        keys.question(kind, about).unwrap()
    }

    #[test]
    fn an_outcome_opens_for_the_very_question_and_with_the_very_secret() {
        let asked = ("sk_live_a", "refresh", ["https://a", "sess_1", "token"]);
        let ours = question(asked.0, asked.1, &asked.2);
        let sealed = ours.sealed(&"secret cookies").unwrap();
        let same = question(asked.0, asked.1, &asked.2);
        assert_eq!(same.name(), ours.name());
        assert_eq!(same.opened(&sealed), Some("secret cookies".to_owned()));
        for (secret, kind, about) in [
            ("sk_live_b", "refresh", ["https://a", "sess_1", "token"]),
            ("sk_live_a", "mint", ["https://a", "sess_1", "token"]),
            ("sk_live_a", "refresh", ["https://a", "sess_1", "taken"]),
            ("sk_live_a", "refresh", ["https://asess", "_1", "token"]),
        ] {
            let other = question(secret, kind, &about);
            assert_ne!(other.name(), ours.name());
            assert_eq!(other.opened::<String>(&sealed), None);
        }
    }

    #[test]
    fn an_outcome_says_nothing_and_no_other_one_can_be_made_of_it() {
        let ours = question("sk_live_a", "mint", &["sess_1"]);
        let sealed = ours.sealed(&"secret cookies").unwrap();
        let shown = String::from_utf8_lossy(&sealed).into_owned();
        assert!(!shown.contains("secret") && !ours.name().contains("sess_1"));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(ours.opened::<String>(&changed), None, "byte {at}");
            assert_eq!(ours.opened::<String>(&sealed[..at]), None);
        }
        assert_eq!(format!("{ours:?}"), "Question { .. }");
    }
}
