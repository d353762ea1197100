//! One call for many askers: whoever asks the same thing at the same time shares the answer.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

/// Calls that are under way, by what they ask.
pub struct Flights<K, V> {
    flying: Mutex<HashMap<K, Flight<V>>>,
}

/// A call, and how many wait for it.
struct Flight<V> {
    answer: Arc<OnceCell<V>>,
    askers: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Flights<K, V> {
    /// Nothing under way.
    pub fn new() -> Self {
        Self {
            flying: Mutex::default(),
        }
    }

    /// The answer of `call`, or of the call for the same key that is under way already.
    ///
    /// If the asker that makes the call goes away, the next one in line makes it.
    pub async fn join(&self, key: K, call: impl Future<Output = V>) -> V {
        let shared = self.board(&key);
        // INVARIANT: whoever has boarded lands, however they go.
        let landing = Landing {
            flights: self,
            key,
            answer: Arc::clone(&shared),
        };
        let answer = shared.get_or_init(|| call).await.clone();
        drop(landing);
        answer
    }

    fn board(&self, key: &K) -> Arc<OnceCell<V>> {
        let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = flying.entry(key.clone()).or_insert_with(|| Flight {
            answer: Arc::default(),
            askers: 0,
        });
        flight.askers += 1;
        Arc::clone(&flight.answer)
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    /// Shows how many are under way: questions and answers hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Flights").field(&flying.len()).finish()
    }
}

/// Takes an asker off, and the entry with the last of them or once there is an answer: a call that
/// comes later is a new one.
struct Landing<'a, K: Eq + Hash, V> {
    flights: &'a Flights<K, V>,
    key: K,
    answer: Arc<OnceCell<V>>,
}

impl<K: Eq + Hash, V> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        let mut flying = self
            .flights
            .flying
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Once it has landed, another one may fly under the same key.
        let flight = flying
            .get_mut(&self.key)
            .filter(|flight| Arc::ptr_eq(&flight.answer, &self.answer));
        let Some(flight) = flight else {
            return;
        };
        flight.askers -= 1;
        if flight.askers == 0 || self.answer.initialized() {
            flying.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Default for Flights<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn nothing_is_left_of_calls_whose_askers_leave_at_once() {
        let flights: Flights<u32, u32> = Flights::new();
        for key in 0..2_000 {
            let start = Barrier::new(2);
            let leave = || {
                let answer = flights.board(&key);
                let landing = Landing {
                    flights: &flights,
                    key,
                    answer,
                };
                start.wait();
                drop(landing);
            };
            thread::scope(|scope| {
                scope.spawn(leave);
                scope.spawn(leave);
            });
        }
        assert_eq!(format!("{flights:?}"), "Flights(0)");
    }
}
