//! The instance's keys, kept at hand: fetched when first needed, refreshed in the background,
//! never by more than one at a time, and kept while Clerk is down.
//!
//! Two jobs that are easily mixed up: a rotated key must be found at once, and ten thousand tokens
//! with made-up key ids must not cause ten thousand fetches. So an unknown key id causes a fetch,
//! but at most one in each cool-down.

mod news;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use super::budget::Purpose;
use super::client::{Answer, CallError, ClerkClient};
use super::keys::{KeySet, KeySetError};
use crate::clock::SharedClock;
use crate::core::jwt::Token;
use crate::core::reason::Reason;
use crate::core::verify::Signature;
use news::{Cause, News};

/// Where keys come from.
#[derive(Debug)]
pub enum KeySource {
    /// A key from the configuration: no network at all.
    Fixed,
    /// Fetched from one of Clerk's APIs.
    Remote {
        /// The client.
        client: ClerkClient,
        /// The path below its base.
        path: &'static str,
    },
}

/// When keys are fetched, and how long they last. All durations.
#[derive(Clone, Copy, Debug)]
pub struct KeyTimes {
    /// A set older than this is refreshed in the background when it is used.
    pub refresh_after: Duration,
    /// A set older than this is not used at all (`jwks-max-stale`).
    pub max_stale: Duration,
    /// At least this long between two fetches that an unknown key id causes.
    pub unknown_kid_cool_down: Duration,
    /// At least this long between two fetches while there is no key, doubled up to 30 seconds.
    pub retry_after: Duration,
}

impl Default for KeyTimes {
    fn default() -> Self {
        Self {
            refresh_after: Duration::from_mins(5),
            max_stale: Duration::from_hours(24),
            unknown_kid_cool_down: Duration::from_secs(10),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// The last generation of any store. What was verified by one store is thus never taken for
/// verified by another one.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// The keys of one instance.
#[derive(Clone, Debug)]
pub struct KeyStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: KeySource,
    times: KeyTimes,
    clock: SharedClock,
    current: ArcSwapOption<Current>,
    /// Held by whoever fetches.
    fetching: Mutex<Attempts>,
    generation: AtomicU64,
    news: News,
}

#[derive(Debug)]
struct Current {
    keys: KeySet,
    fetched_ms: u64,
    generation: u64,
}

/// What is remembered about fetches.
#[derive(Debug, Default)]
struct Attempts {
    last_ms: Option<u64>,
    failures: u32,
    failure: Option<Reason>,
}

/// A set that was good enough to be used, and its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAge {
    /// Milliseconds since it was fetched.
    pub age_ms: u64,
    /// How many keys it has.
    pub keys: usize,
}

impl KeyStore {
    /// A store that holds one key for ever.
    pub fn fixed(keys: KeySet, clock: SharedClock) -> Self {
        let store = Self::with(KeySource::Fixed, KeyTimes::default(), clock);
        store.0.install(keys);
        store
    }

    /// A store that fetches.
    pub fn remote(
        client: ClerkClient,
        path: &'static str,
        times: KeyTimes,
        clock: SharedClock,
    ) -> Self {
        Self::with(KeySource::Remote { client, path }, times, clock)
    }

    fn with(source: KeySource, times: KeyTimes, clock: SharedClock) -> Self {
        Self(Arc::new(Inner {
            source,
            times,
            clock,
            current: ArcSwapOption::empty(),
            fetching: Mutex::default(),
            generation: AtomicU64::new(0),
            news: News::default(),
        }))
    }

    /// Another number whenever a key changes or goes: what was verified before then may not stand.
    /// No two stores ever have the same, but for 0, which says that there were no keys yet.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// The age of the keys in use; `None` if there are none.
    pub fn age(&self) -> Option<KeyAge> {
        let current = self.0.usable()?;
        Some(KeyAge {
            age_ms: self.0.clock.now_ms().saturating_sub(current.fetched_ms),
            keys: current.keys.len(),
        })
    }

    /// Whether its key is from the configuration, and has no age.
    pub fn is_fixed(&self) -> bool {
        matches!(self.0.source, KeySource::Fixed)
    }

    /// Checks the signature of `raw`, which decodes to `token`, fetching keys if need be.
    ///
    /// Answers with the generation of the keys it used. Takes as long as a fetch at most, and only
    /// if the key is not at hand.
    pub async fn check(&self, raw: &str, token: &Token) -> (Signature, u64) {
        let kid = token.header().kid.as_deref();
        if let Some(current) = self.0.usable()
            && (kid.is_none_or(|kid| current.keys.knows(kid))
                || matches!(self.0.source, KeySource::Fixed))
        {
            self.refresh_if_old(&current);
            return (current.keys.check(raw, token), current.generation);
        }
        if let Err(reason) = self.0.fetch_for(kid).await {
            return (Signature::Unchecked(reason), self.generation());
        }
        match self.0.usable() {
            Some(current) => (current.keys.check(raw, token), current.generation),
            None => (
                Signature::Unchecked(Reason::JwkRemoteFailedToLoad),
                self.generation(),
            ),
        }
    }

    /// The same with the keys at hand; `None` where one would have to be fetched.
    pub fn check_at_hand(&self, raw: &str, token: &Token) -> Option<Signature> {
        let current = self.0.usable()?;
        let kid = token.header().kid.as_deref();
        let known = kid.is_none_or(|kid| current.keys.knows(kid)) || self.is_fixed();
        known.then(|| current.keys.check(raw, token))
    }

    /// Whether what was verified with keys of the present generation still stands: not once they are
    /// older than they may be. Sees to it that they do not grow old unseen.
    pub fn stands(&self) -> bool {
        let current = self.0.current.load();
        let Some(current) = current.as_ref().filter(|known| self.0.is_usable(known)) else {
            return false;
        };
        self.refresh_if_old(current);
        true
    }

    /// Fetches in the background what is old, unless somebody does so already.
    fn refresh_if_old(&self, current: &Current) {
        if matches!(self.0.source, KeySource::Fixed) {
            return;
        }
        let age = self.0.clock.now_ms().saturating_sub(current.fetched_ms);
        if age < millis(self.0.times.refresh_after) {
            return;
        }
        let due = match self.0.fetching.try_lock() {
            Ok(attempts) => self.0.is_due(&attempts),
            Err(_) => false,
        };
        if due {
            let inner = Arc::clone(&self.0);
            tokio::spawn(async move {
                let mut attempts = inner.fetching.lock().await;
                // Somebody else may have fetched, or failed to, since then.
                if inner.is_due(&attempts) {
                    let _ = inner.fetch(&mut attempts, Cause::Need).await;
                }
            });
        }
    }
}

impl Inner {
    /// The current set, unless it is older than it may be.
    fn usable(&self) -> Option<Arc<Current>> {
        let current = self.current.load_full()?;
        self.is_usable(&current).then_some(current)
    }

    fn is_usable(&self, current: &Current) -> bool {
        let fixed = matches!(self.source, KeySource::Fixed);
        let age = self.clock.now_ms().saturating_sub(current.fetched_ms);
        fixed || age <= millis(self.times.max_stale)
    }

    /// Whether what is old is fetched anew: not while the last attempt is fresh.
    fn is_due(&self, attempts: &Attempts) -> bool {
        let now = self.clock.now_ms();
        let old = self.current.load().as_ref().is_none_or(|current| {
            now.saturating_sub(current.fetched_ms) >= millis(self.times.refresh_after)
        });
        let recently = attempts.last_ms.is_some_and(|last| {
            now.saturating_sub(last) < millis(self.times.unknown_kid_cool_down)
        });
        old && !recently
    }

    /// Fetches because a key is missing: nobody else's fetch is repeated, and none comes too soon.
    async fn fetch_for(&self, kid: Option<&str>) -> Result<(), Reason> {
        let mut attempts = self.fetching.lock().await;
        // Whoever held the lock may have brought the key.
        let usable = self.usable();
        if let Some(current) = &usable
            && kid.is_none_or(|kid| current.keys.knows(kid))
        {
            return Ok(());
        }
        let now = self.clock.now_ms();
        let pause = match &usable {
            Some(_) => self.times.unknown_kid_cool_down,
            None => self.times.retry_after * 2_u32.saturating_pow(attempts.failures.min(5)),
        };
        let pause = if usable.is_none() && attempts.failures == 0 {
            Duration::ZERO
        } else {
            pause.min(Duration::from_secs(30))
        };
        let too_soon = attempts
            .last_ms
            .is_some_and(|last| now.saturating_sub(last) < millis(pause));
        if too_soon {
            return match usable {
                Some(_) => Err(Reason::JwkKidMismatch),
                None => Err(attempts.failure.unwrap_or(Reason::JwkRemoteFailedToLoad)),
            };
        }
        let fetched = self.fetch(&mut attempts, Cause::Need).await;
        match fetched {
            // A failed fetch says nothing about a key id that the good set does not know.
            Err(_) if usable.is_some() => Err(Reason::JwkKidMismatch),
            other => other,
        }
    }

    async fn fetch(&self, attempts: &mut Attempts, cause: Cause) -> Result<(), Reason> {
        let KeySource::Remote { client, path } = &self.source else {
            return Ok(());
        };
        attempts.last_ms = Some(self.clock.now_ms());
        let outcome = client.get(Purpose::Keys, path, &[]).await;
        match outcome
            .map_err(FetchFailure::Call)
            .and_then(|answer| key_set(&answer))
        {
            Ok(keys) => {
                attempts.failures = 0;
                attempts.failure = None;
                let before = self.current.load_full();
                let before = before.as_ref().map(|current| &current.keys);
                let news = News::of(cause, before, &keys);
                self.install(keys);
                self.news.tell(news);
                Ok(())
            }
            Err(failure) => {
                attempts.failures = attempts.failures.saturating_add(1);
                let reason = failure.reason();
                attempts.failure = Some(reason);
                warn!(reason = reason.code(), cause = %failure, keys_at_hand = self.usable().is_some(), "clerk's keys could not be fetched");
                Err(reason)
            }
        }
    }

    /// Puts a good set in place. A key that is missing from it is gone at once.
    fn install(&self, keys: KeySet) {
        let before = self.current.load_full();
        let changed = before
            .as_ref()
            .is_none_or(|before| !before.keys.is_part_of(&keys));
        let generation = if changed {
            // SECURITY: tokens are remembered by this number. Were it a store's own, the first
            // keys of two instances would be called the same.
            let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
            self.generation.store(generation, Ordering::Release);
            info!(
                keys = keys.len(),
                generation, "keys of the clerk instance are in place"
            );
            generation
        } else {
            debug!(
                keys = keys.len(),
                "keys of the clerk instance were refreshed"
            );
            self.generation.load(Ordering::Acquire)
        };
        self.current.store(Some(Arc::new(Current {
            keys,
            fetched_ms: self.clock.now_ms(),
            generation,
        })));
    }
}

/// Why a fetch brought no keys.
#[derive(Debug, thiserror::Error)]
enum FetchFailure {
    #[error(transparent)]
    Call(CallError),
    #[error("the secret key is refused")]
    SecretKey,
    #[error("status {0}")]
    Status(u16),
    #[error(transparent)]
    KeySet(KeySetError),
}

impl FetchFailure {
    fn reason(&self) -> Reason {
        match self {
            Self::SecretKey => Reason::SecretKeyInvalid,
            Self::Call(_) | Self::Status(_) | Self::KeySet(_) => Reason::JwkRemoteFailedToLoad,
        }
    }
}

fn key_set(answer: &Answer) -> Result<KeySet, FetchFailure> {
    if answer.status != 200 {
        let refused = serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| {
            body.get("errors")
                .and_then(Value::as_array)
                .is_some_and(|errors| {
                    errors.iter().any(|e| {
                        e.get("code")
                            .is_some_and(|code| code == "clerk_key_invalid")
                    })
                })
        });
        return Err(if refused {
            FetchFailure::SecretKey
        } else {
            FetchFailure::Status(answer.status)
        });
    }
    KeySet::from_jwks(&answer.body).map_err(FetchFailure::KeySet)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
