//! What is in flight: a lease for each request, which ends when it is let go of.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::budget::{BudgetKey, TooMany};

/// How many requests of whom are in flight. It holds as many keys as there are requests at most.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Mutex<HashMap<BudgetKey, u32>>>);

/// A request that is in flight until this is dropped.
pub struct Lease {
    counts: InFlight,
    key: BudgetKey,
}

impl InFlight {
    /// Counts a request in, and says how many more there may be of `most`. Where there are as many
    /// already it is counted all the same, if `beyond` says so.
    pub fn enter(
        &self,
        key: &BudgetKey,
        most: u32,
        beyond: Beyond,
    ) -> (Option<Lease>, Result<u32, TooMany>) {
        let mut counts = self.lock();
        let before = counts.get(key).copied().unwrap_or_default();
        let left = most
            .checked_sub(before)
            .and_then(|left| left.checked_sub(1));
        if left.is_none() && beyond == Beyond::Refuse {
            return (None, Err(TooMany));
        }
        counts.insert(key.clone(), before.saturating_add(1));
        let lease = Lease {
            counts: self.clone(),
            key: key.clone(),
        };
        (Some(lease), left.ok_or(TooMany))
    }

    /// How many keys are held.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BudgetKey, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of a request beyond the most there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It is not counted in.
    Refuse,
    /// It is: it goes on.
    Count,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        match counts.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.key);
            }
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("keys", &self.len())
            .finish()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
