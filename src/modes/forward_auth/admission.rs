//! Who may ask for verdicts.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

use crate::core::door::SECRET_HEADER;
use crate::core::peers;

/// Who may ask: all that is set has to hold, and where nothing is set, nobody may.
pub struct Admission {
    peers: Vec<IpNet>,
    /// The digest of the secret: one length, whatever is shown.
    secret: Option<Vec<u8>>,
}

impl Admission {
    /// Whoever comes from one of `peers` and shows `secret`; what is not given is not asked for.
    pub fn new(peers: Vec<IpNet>, secret: Option<SecretString>) -> Self {
        let secret = secret.map(|secret| hash(secret.expose_secret().as_bytes()));
        Self { peers, secret }
    }

    /// Whether this peer, with these headers, may ask.
    pub fn admits(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let listed = peers::is_listed(&self.peers, peer);
        match &self.secret {
            None => listed,
            Some(secret) => (listed || self.peers.is_empty()) && shows(secret, headers),
        }
    }
}

/// Whether the secret stands in the headers, once.
fn shows(secret: &[u8], headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(&SECRET_HEADER).iter();
    match (lines.next(), lines.next()) {
        // SECURITY: in constant time, or the secret could be guessed piece by piece.
        (Some(shown), None) => verify_slices_are_equal(secret, &hash(shown.as_bytes())).is_ok(),
        _ => false,
    }
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("peers", &self.peers)
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .finish()
    }
}
