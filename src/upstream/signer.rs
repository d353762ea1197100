//! Signs what upstreams are told of a request, and shows the keys that this is checked with.
//!
//! ES256 and `EdDSA` alone: signatures are short, they take some ten microseconds, and no key can be
//! too weak. The first key signs; all of them are published, so that keys can be changed while
//! assertions of the old one are still under way.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use secrecy::zeroize::Zeroizing;
use serde::Serialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::core::signed_assertion::SignedAssertion;

/// The most keys that one file may hold.
const MAX_KEYS: usize = 8;

/// How a key of P-256 and one of Ed25519 say what they are (RFC 5480, RFC 8410), and the RSA key that
/// is neither (RFC 8017).
const OF_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OF_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OF_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const OF_RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];

/// How far into a key these stand: behind its version, before anything that is secret.
const ALGORITHM_BYTES: usize = 40;

/// Signs assertions. Its `Debug` shows key ids only.
pub struct Signer {
    pair: Pair,
    /// The header of every assertion, encoded.
    header: String,
    /// The public keys, as a JSON Web Key Set.
    keys: Arc<Value>,
    kids: Vec<String>,
}

/// A private key.
enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a file holds no key to sign with.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum KeyFileError {
    /// No PEM at all, or none with a private key.
    #[error("there is no private key in it")]
    None,
    /// PEM that breaks off, or whose base64 is none.
    #[error("it is no PEM")]
    Pem,
    /// Locked with a passphrase.
    #[error("the private key is encrypted")]
    Encrypted,
    /// `BEGIN EC PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`.
    #[error("the private key is not in PKCS#8 (`BEGIN PRIVATE KEY`)")]
    NotPkcs8,
    /// RSA.
    #[error("it is an RSA key; assertions are signed with P-256 or Ed25519")]
    Rsa,
    /// An elliptic curve, but another one.
    #[error("the key is of another curve than P-256")]
    Curve,
    /// Another kind, or a broken key.
    #[error("the private key is neither one of P-256 nor one of Ed25519, or it is broken")]
    Unknown,
    /// The same key twice.
    #[error("a key is in it twice")]
    Twice,
    /// More than anybody needs.
    #[error("there are more than {MAX_KEYS} keys in it")]
    TooMany,
}

impl Signer {
    /// Reads one private key or several, in PEM. The first one signs.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFileError> {
        let mut pairs = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|_| KeyFileError::Pem)?;
            let der = Zeroizing::new(der);
            match kind {
                SectionKind::PrivateKey => pairs.push(Pair::from_pkcs8(&der)?),
                SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey => {
                    return Err(KeyFileError::NotPkcs8);
                }
                // Certificates and public keys that stand beside it say nothing that counts.
                _ => {}
            }
            if pairs.len() > MAX_KEYS {
                return Err(KeyFileError::TooMany);
            }
        }
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
        if memchr::memmem::find(pem, encrypted.as_bytes()).is_some() {
            return Err(KeyFileError::Encrypted);
        }
        let mut keys: Vec<(String, Value)> = Vec::new();
        for pair in &pairs {
            let (kid, jwk) = pair.jwk()?;
            if keys.iter().any(|(known, _)| *known == kid) {
                return Err(KeyFileError::Twice);
            }
            keys.push((kid, jwk));
        }
        let (Some(pair), Some((kid, _))) = (pairs.into_iter().next(), keys.first()) else {
            return Err(KeyFileError::None);
        };
        let header = json!({ "alg": pair.algorithm(), "kid": kid, "typ": "JWT" });
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let (kids, keys): (Vec<String>, Vec<Value>) = keys.into_iter().unzip();
        Ok(Self {
            pair,
            header,
            keys: Arc::new(json!({ "keys": keys })),
            kids,
        })
    }

    /// The public keys, as a JSON Web Key Set.
    pub fn keys(&self) -> &Arc<Value> {
        &self.keys
    }

    /// Draws the first random numbers, which takes tens of milliseconds: no request shall wait for it.
    pub fn warm_up(&self) {
        let _ = self.pair.sign(b"");
        let _ = rand::fill(&mut [0_u8; 16]);
    }

    /// An assertion of a request for this path, with an id of its own, signed. `None` only if the system has
    /// no chance to offer.
    pub fn sign(&self, assertion: &SignedAssertion, path: &str) -> Option<HeaderValue> {
        #[derive(Serialize)]
        struct Claims<'a> {
            #[serde(flatten)]
            said: &'a Map<String, Value>,
            path: &'a str,
            jti: String,
        }
        let mut id = [0_u8; 16];
        rand::fill(&mut id).ok()?;
        let claims = Claims {
            said: assertion.claims(),
            path,
            jti: URL_SAFE_NO_PAD.encode(id),
        };
        let claims = serde_json::to_vec(&claims).ok()?;
        let mut text = String::with_capacity(self.header.len() + claims.len() * 4 / 3 + 96);
        text.push_str(&self.header);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut text);
        let signature = self.pair.sign(text.as_bytes())?;
        text.push('.');
        text.push_str(&signature);
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Pair {
    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyFileError> {
        let head = der
            .get(..der.len().min(ALGORITHM_BYTES))
            .unwrap_or_default();
        let is = |name: &[u8]| memchr::memmem::find(head, name).is_some();
        if is(OF_RSA) {
            return Err(KeyFileError::Rsa);
        }
        if is(OF_EC) && !is(OF_P256) {
            return Err(KeyFileError::Curve);
        }
        if is(OF_ED25519) {
            let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyFileError::Unknown)?;
            return Ok(Self::Ed25519(pair));
        }
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(Self::P256)
            .map_err(|_| KeyFileError::Unknown)
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// The public half with its id: the thumbprint of what is required of it (RFC 7638, section 3).
    fn jwk(&self) -> Result<(String, Value), KeyFileError> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // The members in the order of their letters, and nothing between them: so they are hashed.
        let (required, mut jwk) = match self {
            Self::P256(pair) => {
                // An uncompressed point: 4, x, y (SEC 1, section 2.3.3).
                let Some((4, point)) = pair
                    .public_key()
                    .as_ref()
                    .split_first()
                    .map(|(k, p)| (*k, p))
                else {
                    return Err(KeyFileError::Unknown);
                };
                let (x, y) = point.split_at_checked(32).ok_or(KeyFileError::Unknown)?;
                let (x, y) = (encode(x), encode(y));
                (
                    format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
                    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
                )
            }
            Self::Ed25519(pair) => {
                let x = encode(pair.public_key().as_ref());
                (
                    format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
                    json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
                )
            }
        };
        let kid = encode(digest(&SHA256, required.as_bytes()).as_ref());
        if let Value::Object(jwk) = &mut jwk {
            jwk.insert("kid".to_owned(), kid.as_str().into());
            jwk.insert("alg".to_owned(), self.algorithm().into());
            jwk.insert("use".to_owned(), "sig".into());
        }
        Ok((kid, jwk))
    }

    fn sign(&self, message: &[u8]) -> Option<String> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).ok()?;
                Some(encode(signature.as_ref()))
            }
            Self::Ed25519(pair) => Some(encode(pair.sign(message).as_ref())),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("kids", &self.kids)
            .finish_non_exhaustive()
    }
}
