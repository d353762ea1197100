//! The signing keys of an instance, and the check of a signature against them.
//!
//! A key set is read leniently as a whole and strictly key by key: what is no RSA signing key of at
//! least 2048 bits is passed over, never used. RS256 is the only algorithm.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::signature::{self, Verifier};
use serde_json::Value;
use thiserror::Error;

use crate::core::jwt::Token;
use crate::core::reason::Reason;
use crate::core::verify::Signature;

/// The most keys that are taken from one set.
const MAX_KEYS: usize = 64;

/// The shortest modulus that is used, in bytes.
const MIN_MODULUS_BYTES: usize = 2048 / 8;

/// The longest modulus that is used: longer ones only cost time.
const MAX_MODULUS_BYTES: usize = 8192 / 8;

/// Public keys, found by key id.
#[derive(Clone)]
pub struct KeySet {
    keys: HashMap<String, Key>,
    fallback: Option<Key>,
}

#[derive(Clone)]
struct Key {
    verifier: Arc<Rs256>,
    modulus: String,
}

/// A key that checks RS256 signatures. Parsed once: jsonwebtoken's own verifier parses the key
/// anew for each token, which is a third of the work.
struct Rs256(ParsedPublicKey);

impl JwtVerifier for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

impl Verifier<Vec<u8>> for Rs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.0
            .verify_sig(message, signature)
            .map_err(signature::Error::from_source)
    }
}

/// Why a document is no key set.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeySetError {
    /// Not JSON, or no list of keys.
    #[error("the answer is no key set")]
    Unintelligible,
    /// No usable key in it.
    #[error("the key set has no usable key")]
    Empty,
    /// A PEM key that is none, or of another kind than RSA with 2048 bits.
    #[error(
        "not the public key of a Clerk instance: copy the `JWKS public key` from the dashboard"
    )]
    Pem,
}

/// The fixed parts of an RSA-2048 public key with exponent 65537 (protocol reference, 1.4).
const SPKI_PREFIX: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA";
const SPKI_SUFFIX: &str = "IDAQAB";

impl KeySet {
    /// Reads a JWKS document.
    pub fn from_jwks(document: &[u8]) -> Result<Self, KeySetError> {
        let document: Value =
            serde_json::from_slice(document).map_err(|_| KeySetError::Unintelligible)?;
        let list = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeySetError::Unintelligible)?;
        let keys: HashMap<String, Key> = list
            .iter()
            .take(MAX_KEYS)
            .filter_map(|jwk| Some((jwk.get("kid")?.as_str()?.to_owned(), rsa_key(jwk)?)))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self {
            keys,
            fallback: None,
        })
    }

    /// Reads the key of `jwt-key`: PEM, PEM on one line, or the bare base64 of it. Its key id is
    /// not known, so it is used whatever a token says.
    pub fn from_pem(text: &str) -> Result<Self, KeySetError> {
        let body: String = text
            .replace("-----BEGIN PUBLIC KEY-----", "")
            .replace("-----END PUBLIC KEY-----", "")
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        let modulus = body
            .strip_prefix(SPKI_PREFIX)
            .and_then(|rest| rest.strip_suffix(SPKI_SUFFIX))
            .ok_or(KeySetError::Pem)?;
        let bytes = STANDARD
            .decode(modulus)
            .or_else(|_| STANDARD_NO_PAD.decode(modulus))
            .map_err(|_| KeySetError::Pem)?;
        let key = Key::new(&URL_SAFE_NO_PAD.encode(&bytes), "AQAB").ok_or(KeySetError::Pem)?;
        Ok(Self {
            keys: HashMap::new(),
            fallback: Some(key),
        })
    }

    /// Whether a key is known for this key id.
    pub fn knows(&self, kid: &str) -> bool {
        self.fallback.is_some() || self.keys.contains_key(kid)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len() + usize::from(self.fallback.is_some())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `other` has every key of this set, unchanged: then what was verified stays so.
    pub fn is_part_of(&self, other: &Self) -> bool {
        self.keys.iter().all(|(kid, key)| {
            other
                .keys
                .get(kid)
                .is_some_and(|known| known.modulus == key.modulus)
        })
    }

    /// Whether a key of this set is one of `other`, whatever its id is.
    pub fn shares_a_key_with(&self, other: &Self) -> bool {
        let all = |set: &'_ Self| -> Vec<String> {
            let keys = set.keys.values().chain(&set.fallback);
            keys.map(|key| key.modulus.clone()).collect()
        };
        let others = all(other);
        all(self).iter().any(|modulus| others.contains(modulus))
    }

    /// What tells this set from any other: a digest of its keys and their ids.
    pub fn digest(&self) -> String {
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_unstable_by_key(|(kid, _)| *kid);
        let mut context = Context::new(&SHA256);
        for (kid, key) in keys {
            for part in [kid, &key.modulus] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part.as_bytes());
            }
        }
        URL_SAFE_NO_PAD.encode(context.finish())
    }

    /// Checks the signature of `raw`, which decodes to `token`.
    pub fn check(&self, raw: &str, token: &Token) -> Signature {
        let key = token
            .header()
            .kid
            .as_ref()
            .and_then(|kid| self.keys.get(kid))
            .or(self.fallback.as_ref());
        let Some(key) = key else {
            return Signature::Unchecked(Reason::JwkKidMismatch);
        };
        if token.header().alg.as_deref() != Some("RS256") {
            // Whatever the text says, nothing but RS256 is ever checked; the rules give the reason.
            return Signature::Bad;
        }
        let Some((message, signature)) = raw.rsplit_once('.') else {
            return Signature::Bad;
        };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
            return Signature::Bad;
        };
        match key.verifier.verify(message.as_bytes(), &signature) {
            Ok(()) => Signature::Good,
            Err(_) => Signature::Bad,
        }
    }
}

impl Key {
    fn new(modulus: &str, exponent: &str) -> Option<Self> {
        let n = URL_SAFE_NO_PAD.decode(modulus).ok()?;
        let e = URL_SAFE_NO_PAD.decode(exponent).ok()?;
        let significant = n.iter().skip_while(|byte| **byte == 0).count();
        if !(MIN_MODULUS_BYTES..=MAX_MODULUS_BYTES).contains(&significant) {
            return None;
        }
        let components = RsaPublicKeyComponents { n, e };
        let parsed = components
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .ok()?;
        Some(Self {
            verifier: Arc::new(Rs256(parsed)),
            modulus: modulus.to_owned(),
        })
    }
}

/// An RSA signing key of a set; `None` for everything else.
fn rsa_key(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let fits = text("kty") == Some("RSA")
        && jwk.get("use").is_none_or(|usage| usage == "sig")
        && jwk.get("key_ops").is_none_or(|uses| {
            uses.as_array()
                .is_some_and(|uses| uses.contains(&Value::from("verify")))
        })
        && jwk.get("alg").is_none_or(|alg| alg == "RS256");
    if !fits {
        return None;
    }
    Key::new(text("n")?, text("e")?)
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("keys", &self.keys.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_keys_are_passed_over() {
        let good = URL_SAFE_NO_PAD.encode([0xc3; 256]);
        let short = URL_SAFE_NO_PAD.encode([0xc3; 128]);
        let document = format!(
            r#"{{"keys":[
                {{"kid":"good","kty":"RSA","alg":"RS256","use":"sig","n":"{good}","e":"AQAB"}},
                {{"kid":"bare","kty":"RSA","n":"{good}","e":"AQAB"}},
                {{"kid":"short","kty":"RSA","n":"{short}","e":"AQAB"}},
                {{"kid":"ec","kty":"EC","crv":"P-256","x":"x","y":"y"}},
                {{"kid":"oct","kty":"oct","k":"c2VjcmV0","alg":"HS256"}},
                {{"kid":"enc","kty":"RSA","use":"enc","n":"{good}","e":"AQAB"}},
                {{"kid":"ops","kty":"RSA","key_ops":["encrypt"],"n":"{good}","e":"AQAB"}},
                {{"kid":"rs512","kty":"RSA","alg":"RS512","n":"{good}","e":"AQAB"}},
                {{"kid":"noe","kty":"RSA","n":"{good}"}},
                {{"kty":"RSA","n":"{good}","e":"AQAB"}},
                {{"kid":7,"kty":"RSA","n":"{good}","e":"AQAB"}},
                "text", null, 5
            ]}}"#
        );
        let set = KeySet::from_jwks(document.as_bytes()).unwrap();
        assert_eq!(set.len(), 2);
        assert!(set.knows("good") && set.knows("bare"));
    }

    #[test]
    fn what_is_no_set_is_told_from_an_empty_one() {
        for garbage in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, "null"] {
            assert_eq!(
                KeySet::from_jwks(garbage.as_bytes()).unwrap_err(),
                KeySetError::Unintelligible,
                "{garbage}"
            );
        }
        assert_eq!(
            KeySet::from_jwks(br#"{"keys":[]}"#).unwrap_err(),
            KeySetError::Empty
        );
        assert_eq!(
            KeySet::from_pem("-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----")
                .unwrap_err(),
            KeySetError::Pem
        );
    }
}
