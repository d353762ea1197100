//! Session tokens for the measurements, signed with a key of their own.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

/// The publishable key of the instance that the tokens are of.
pub const PUBLISHABLE_KEY: &str = "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k";

/// Signs tokens.
pub struct Signer {
    key: KeyPair,
}

impl Signer {
    pub fn new() -> Self {
        Self {
            key: KeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    /// The public key, in PEM.
    pub fn pem(&self) -> String {
        let der = self.key.public_key().as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// Tokens of as many users, good for an hour.
    pub fn tokens(&self, name: &str, count: usize) -> Vec<String> {
        (0..count).map(|n| self.token(name, n)).collect()
    }

    fn token(&self, name: &str, n: usize) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header =
            json!({ "alg": "RS256", "kid": "ins_bench", "typ": "JWT", "cat": "cl_B7d4PD111AAA" });
        let claims = json!({
            "iss": "https://clerk.example.com", "azp": "http://localhost",
            "sub": format!("user_{name}{n}"), "sid": format!("sess_{name}{n}"),
            "iat": now - 5, "nbf": now - 15, "exp": now + 3600, "jti": format!("{name}{n}"),
            "sts": "active", "v": 2, "fva": [3, -1], "pla": "u:free", "fea": "u:export,o:invoices",
            "o": { "id": "org_1", "slg": "acme", "rol": "admin", "per": "read,write", "fpm": "3" },
        });
        let message = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
