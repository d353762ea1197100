//! What is behind the nonces that handshakes bring: one call for all who show the same, and none for a
//! while for one that was worth nothing.

use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::flights::Flights;
use crate::clerk::backend::{BackendApi, NonceError};

/// How many nonces may be exchanged at once: anybody can make one up.
const EXCHANGES: usize = 64;

/// The longest nonce that Clerk is asked about, in bytes.
const MAX_NONCE_BYTES: usize = 256;

/// How many that were worth nothing are kept in mind.
const CAPACITY: usize = 10_000;

/// For how long, in milliseconds.
const REFUSED_FOR_MS: u64 = 10_000;

/// What a nonce is found by: its site and its text.
// SECURITY: what one instance hands out is nothing for another one's site.
type Key = (usize, String);

/// Nonces of late.
#[derive(Debug)]
pub(super) struct Nonces {
    flights: Flights<Key, Result<Vec<String>, ()>>,
    places: Semaphore,
    refused: Cache<Key, u64>,
}

impl Nonces {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            flights: Flights::new(),
            places: Semaphore::new(EXCHANGES),
            refused: Cache::new(CAPACITY),
        }
    }

    /// The Set-Cookie strings behind a nonce. It can be spent once, and a page that comes back may load
    /// twice.
    pub(super) async fn exchange(
        &self,
        backend: &BackendApi,
        site: usize,
        nonce: &str,
        now_ms: u64,
    ) -> Result<Vec<String>, ()> {
        if !is_nonce(nonce) {
            return Err(());
        }
        let key = (site, nonce.to_owned());
        if self.refused.get(&key).is_some_and(|until| now_ms < until) {
            return Err(());
        }
        let call = async {
            // Where too many are under way, the browser goes to Clerk once more.
            let _place = self.places.try_acquire().map_err(|_| ())?;
            let payload = backend.handshake_payload(nonce).await;
            if payload == Err(NonceError::Worthless) {
                let until = now_ms.saturating_add(REFUSED_FOR_MS);
                self.refused.insert(key.clone(), until);
            }
            payload.map_err(|_| ())
        };
        self.flights.join(key.clone(), Box::pin(call)).await
    }
}

/// Whether a text may be a nonce of Clerk's: letters, digits and little else.
fn is_nonce(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= MAX_NONCE_BYTES && text.bytes().all(plain)
}
