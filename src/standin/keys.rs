//! The signing keys of one run: made in memory, shown as JWKS, never written anywhere.

use std::io;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::random;

/// Of the DER text of a 2048-bit public key: what precedes the modulus (two heads and a zero byte).
const BEFORE_MODULUS: usize = 9;
const MODULUS: usize = 256;

/// The key that signs, and the public halves of the keys that did.
pub(super) struct KeyRing {
    pair: RsaKeyPair,
    current: PublicHalf,
    retired: Vec<PublicHalf>,
}

struct PublicHalf {
    kid: String,
    der: Vec<u8>,
}

impl KeyRing {
    /// A ring with one new key.
    pub(super) fn generate() -> io::Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048)
            .map_err(|_| io::Error::other("no RSA key could be made"))?;
        let current = PublicHalf {
            kid: random::id("ins"),
            der: pair.public_key().as_ref().to_vec(),
        };
        Ok(Self {
            pair,
            current,
            retired: Vec::new(),
        })
    }

    /// Puts a new key in the place of the current one, which stays in the JWKS only if asked.
    pub(super) fn rotate(&mut self, keep_old: bool) -> io::Result<()> {
        let Self { pair, current, .. } = Self::generate()?;
        self.pair = pair;
        let old = std::mem::replace(&mut self.current, current);
        if keep_old {
            self.retired.push(old);
        } else {
            self.retired.clear();
        }
        Ok(())
    }

    /// The id of the key that signs.
    pub(super) fn kid(&self) -> &str {
        &self.current.kid
    }

    /// The public keys as a JSON Web Key Set.
    pub(super) fn jwks(&self) -> Value {
        let keys: Vec<Value> = std::iter::once(&self.current)
            .chain(&self.retired)
            .map(PublicHalf::jwk)
            .collect();
        json!({ "keys": keys })
    }

    /// The current public key, as the dashboard shows it for networkless verification.
    pub(super) fn pem(&self) -> String {
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(self.pair.public_key())
            .map(|der| STANDARD.encode(der.as_ref()))
            .unwrap_or_default();
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for (column, letter) in der.chars().enumerate() {
            if column > 0 && column % 64 == 0 {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str("\n-----END PUBLIC KEY-----\n");
        pem
    }

    /// A compact JWT, signed RS256 with the current key whatever the header says.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0_u8; self.pair.public_modulus_len()];
        #[expect(
            clippy::expect_used,
            reason = "a key made here signs a text of any length"
        )]
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .expect("a sound RSA key signs");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a token that one of our keys signed. Times are not judged.
    pub(super) fn verify(&self, token: &str) -> Option<Value> {
        let (text, signature) = token.rsplit_once('.')?;
        let (header, claims) = text.split_once('.')?;
        let header = decode(header)?;
        let kid = header.get("kid")?.as_str()?;
        let key = std::iter::once(&self.current)
            .chain(&self.retired)
            .find(|key| key.kid == kid)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.der)
            .verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
            .ok()?;
        decode(claims)
    }
}

impl PublicHalf {
    fn jwk(&self) -> Value {
        // INVARIANT: `generate` makes 2048-bit keys only, so the layout is fixed and e is 65537.
        let modulus = self
            .der
            .get(BEFORE_MODULUS..BEFORE_MODULUS + MODULUS)
            .unwrap_or_default();
        json!({
            "use": "sig",
            "kty": "RSA",
            "kid": self.kid,
            "alg": "RS256",
            "n": URL_SAFE_NO_PAD.encode(modulus),
            "e": "AQAB",
        })
    }
}

fn decode(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_token_verifies_until_its_key_is_dropped() {
        let mut ring = KeyRing::generate().expect("a key");
        let header = json!({ "alg": "RS256", "kid": ring.kid() });
        let token = ring.sign(&header, &json!({ "sub": "user_1" }));
        assert_eq!(ring.verify(&token), Some(json!({ "sub": "user_1" })));
        assert_eq!(ring.verify(&format!("{token}A")), None);

        ring.rotate(true).expect("a key");
        assert!(ring.verify(&token).is_some(), "the old key was kept");
        ring.rotate(false).expect("a key");
        assert!(ring.verify(&token).is_none(), "the old keys were dropped");
    }

    #[test]
    fn the_jwks_modulus_is_the_one_in_the_pem() {
        let ring = KeyRing::generate().expect("a key");
        let body: String = ring
            .pem()
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let spki = STANDARD.decode(body).expect("base64");
        let jwks = ring.jwks();
        let modulus = jwks
            .pointer("/keys/0/n")
            .and_then(Value::as_str)
            .map(|n| URL_SAFE_NO_PAD.decode(n).expect("base64url"))
            .expect("a modulus");
        assert_eq!(modulus.len(), MODULUS);
        assert!(spki.windows(MODULUS).any(|window| window == modulus));
    }
}
