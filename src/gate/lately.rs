//! Answers of late: whoever asks again within moments gets the same one.
//!
//! What is shown may be a few seconds old, what is acted on may not; but whatever it is for, nobody has
//! Clerk asked more than once in [`FRESH_MS`].

use std::fmt;
use std::hash::Hash;

use quick_cache::sync::Cache;

use super::flights::Flights;

/// How many answers are kept: more than the budget of calls has room for in [`SHOWN_MS`].
const CAPACITY: usize = 512;

/// How old an answer may be that is acted on, in milliseconds, and how long a failure counts.
pub(super) const FRESH_MS: u64 = 1_000;

/// How old one may be that is shown, in milliseconds.
pub(super) const SHOWN_MS: u64 = 5_000;

/// Answers, by what was asked.
pub(super) struct Lately<K, V, E> {
    kept: Cache<K, (Result<V, E>, u64)>,
    flights: Flights<K, Result<V, E>>,
}

impl<K: Eq + Hash + Clone, V: Clone, E: Clone> Lately<K, V, E> {
    /// Nothing was asked yet.
    pub(super) fn new() -> Self {
        Self {
            kept: Cache::new(CAPACITY),
            flights: Flights::new(),
        }
    }

    /// The answer of `call`, or one that is no older than `most_ms`.
    pub(super) async fn get(
        &self,
        key: K,
        most_ms: u64,
        now_ms: u64,
        call: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        if let Some(answer) = self.kept(&key, most_ms, now_ms) {
            return answer;
        }
        let asked = async {
            // Another one may have landed in between.
            if let Some(answer) = self.kept(&key, most_ms, now_ms) {
                return answer;
            }
            let answer = call.await;
            self.kept.insert(key.clone(), (answer.clone(), now_ms));
            answer
        };
        self.flights.join(key.clone(), Box::pin(asked)).await
    }

    fn kept(&self, key: &K, most_ms: u64, now_ms: u64) -> Option<Result<V, E>> {
        let (answer, at_ms) = self.kept.get(key)?;
        let most_ms = if answer.is_ok() { most_ms } else { FRESH_MS };
        (now_ms.saturating_sub(at_ms) < most_ms).then_some(answer)
    }
}

impl<K, V, E> fmt::Debug for Lately<K, V, E> {
    /// Shows how much is under way: questions and answers tell of people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lately").field(&self.flights).finish()
    }
}
