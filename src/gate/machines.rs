//! Machine tokens that Clerk was asked about: one call for many askers, and its answer for a while.
//!
//! Each opaque token costs a call to the Backend API, so a stranger could spend the budget of the
//! instance by making tokens up. Answers are kept, good ones and bad ones apart so that bad ones
//! push no good one out, and only so many calls are under way at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::flights::Flights;
use crate::clerk::budget::Purpose;
use crate::clerk::machines::MachineApi;
use crate::core::machine::{Machine, TokenType};
use crate::core::reason::Reason;
use crate::telemetry::meters::Lookups;

/// How many answers of each kind are kept.
const CAPACITY: usize = 10_000;

/// How long a token that Clerk does not know stays unknown.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// How many calls may be under way at once about tokens that nobody has vouched for.
const CALLS: usize = 64;

/// How many more about tokens that Clerk has vouched for before.
// SECURITY: a stranger who makes tokens up can take all of the others, and none of these.
const RENEWALS: usize = 16;

/// The longest opaque token that Clerk is asked about, in bytes.
const MAX_TOKEN_BYTES: usize = 1024;

/// What a token is found by: its digest, so that no token is kept.
type Digest = [u8; 32];

/// What is known about machine tokens of one instance.
pub struct Machines {
    api: MachineApi,
    keep: Duration,
    known: Cache<Digest, Known>,
    refused: Cache<Digest, Refused>,
    flights: Flights<Digest, Result<Arc<Machine>, Reason>>,
    calls: Semaphore,
    renewals: Semaphore,
    lookups: Arc<Lookups>,
}

#[derive(Clone)]
struct Known {
    machine: Arc<Machine>,
    until_ms: u64,
}

#[derive(Clone)]
struct Refused {
    reason: Reason,
    until_ms: u64,
}

impl Machines {
    /// Asks `api`, and takes its good answers for `keep` (`machine-token-cache`).
    pub fn new(api: MachineApi, keep: Duration) -> Self {
        Self {
            api,
            keep,
            known: Cache::new(CAPACITY),
            refused: Cache::new(CAPACITY),
            flights: Flights::new(),
            calls: Semaphore::new(CALLS),
            renewals: Semaphore::new(RENEWALS),
            lookups: Arc::default(),
        }
    }

    /// The same, with what it knew already counted there.
    #[must_use]
    pub fn counted_in(self, lookups: &Arc<Lookups>) -> Self {
        let lookups = Arc::clone(lookups);
        Self { lookups, ..self }
    }

    /// Whom an opaque token stands for. `now_ms` in milliseconds since the epoch.
    pub async fn verify(
        &self,
        kind: TokenType,
        token: &str,
        now_ms: u64,
    ) -> Result<Arc<Machine>, Reason> {
        let plausible = token.len() <= MAX_TOKEN_BYTES
            && token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
            && token
                .split_once('_')
                .is_some_and(|(_, rest)| !rest.is_empty());
        if !plausible {
            return Err(Reason::TokenInvalid);
        }
        let digest = digest(token);
        let known = self
            .known
            .get(&digest)
            .filter(|known| known.machine.kind == kind);
        if let Some(known) = &known
            && now_ms < known.until_ms
        {
            self.lookups.note(true);
            return Ok(Arc::clone(&known.machine));
        }
        if let Some(refused) = self.refused.get(&digest)
            && now_ms < refused.until_ms
        {
            self.lookups.note(true);
            return Err(refused.reason);
        }
        self.lookups.note(false);
        // SECURITY: tokens that are made up must not spend what is kept for those that are known.
        let (places, purpose) = match &known {
            Some(_) => (&self.renewals, Purpose::LookUp),
            None => (&self.calls, Purpose::Machine),
        };
        let call = self.ask(places, purpose, kind, token);
        let answer = self.flights.join(digest, call).await;
        self.keep(digest, &answer, now_ms);
        answer
    }

    async fn ask(
        &self,
        places: &Semaphore,
        purpose: Purpose,
        kind: TokenType,
        token: &str,
    ) -> Result<Arc<Machine>, Reason> {
        let _place = places
            .try_acquire()
            .map_err(|_| Reason::TokenVerificationUnavailable)?;
        self.api.verify(purpose, kind, token).await.map(Arc::new)
    }

    fn keep(&self, digest: Digest, answer: &Result<Arc<Machine>, Reason>, now_ms: u64) {
        let until = |span: Duration| {
            now_ms.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
        };
        match answer {
            // The core judges its own end each time.
            Ok(machine) if !self.keep.is_zero() => self.known.insert(
                digest,
                Known {
                    machine: Arc::clone(machine),
                    until_ms: until(self.keep),
                },
            ),
            // What is known no longer must not outlive the answer that says so.
            Err(reason @ (Reason::TokenInvalid | Reason::TokenRevoked | Reason::TokenExpired)) => {
                self.known.remove(&digest);
                self.refused.insert(
                    digest,
                    Refused {
                        reason: *reason,
                        until_ms: until(REFUSED_FOR),
                    },
                );
            }
            // Nothing is to be kept, or nothing was learnt about the token.
            Ok(_) | Err(_) => {}
        }
    }
}

fn digest(token: &str) -> Digest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

impl fmt::Debug for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machines")
            .field("known", &self.known.len())
            .field("refused", &self.refused.len())
            .finish_non_exhaustive()
    }
}
