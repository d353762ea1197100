//! One call for many askers: whoever asks the same thing at the same time shares the answer.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

/// Calls that are under way, by what they ask.
pub struct Flights<K, V> {
    flying: Mutex<HashMap<K, Arc<OnceCell<V>>>>,
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
        let shared = {
            let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(flying.entry(key.clone()).or_default())
        };
        let landing = Landing {
            flights: self,
            key,
            cell: Arc::clone(&shared),
        };
        let answer = shared.get_or_init(|| call).await.clone();
        drop(landing);
        answer
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    /// Shows how many are under way: questions and answers hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Flights").field(&flying.len()).finish()
    }
}

/// Takes the entry away when its last asker is gone, however it goes.
struct Landing<'a, K: Eq + Hash, V> {
    flights: &'a Flights<K, V>,
    key: K,
    cell: Arc<OnceCell<V>>,
}

impl<K: Eq + Hash, V> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        let mut flying = self
            .flights
            .flying
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Two hands are the map's and this one's: the caller has let go of none but its own.
        let last = Arc::strong_count(&self.cell) <= 3;
        let same = flying
            .get(&self.key)
            .is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        if same && (last || self.cell.initialized()) {
            flying.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Default for Flights<K, V> {
    fn default() -> Self {
        Self::new()
    }
}
