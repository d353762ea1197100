//! Counts in this process: a table of a fixed size that nobody can make larger.
//!
//! A count has one of eight places, which its key and the chance of a start pick. Where all eight are
//! taken by counts that still say something, the one that has counted least gives way and is as good
//! as new. So when there are too many, the table errs on the side of letting through, and least for
//! those who ask most. Counts of addresses, of which a stranger can have any number, have a table to
//! themselves: they never push out the count of somebody who is known.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::core::budget::{BudgetKey, Holder, Rate, Standing, Tally};

/// How many counts each of the two tables has a place for.
const PLACES: usize = 1 << 20;

/// How many places a key has to choose from.
const WAYS: usize = 8;

/// How many parts of a table can be used at once.
const SHARDS: usize = 64;

/// One count: two halves of the key's hash, and what is kept of a [`Tally`]. All zeros is a free place,
/// so that memory which is not used yet is never touched.
type Place = [u64; 5];

/// Counts in this process.
pub struct Memory {
    hashes: [RandomState; 2],
    addresses: Table,
    callers: Table,
}

struct Table {
    shards: Box<[Mutex<Vec<Place>>]>,
    places: usize,
}

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Self::with_places(PLACES)
    }

    /// One with at most so many counts of addresses, and as many of callers.
    pub fn with_places(places: usize) -> Self {
        Self {
            // Nobody outside can tell which keys share a place.
            hashes: [RandomState::new(), RandomState::new()],
            addresses: Table::new(places),
            callers: Table::new(places),
        }
    }

    /// Charges a request to a rate.
    pub fn spend(&self, key: &BudgetKey, rate: Rate, cost: u32, now_ms: u64) -> Standing {
        let shape = Shape::of(rate);
        let hash = self
            .hashes
            .each_ref()
            .map(|hash| hash.hash_one((key, &shape)));
        let table = match key.holder {
            Holder::Address(_) => &self.addresses,
            Holder::Caller { .. } => &self.callers,
        };
        table.with(hash, now_ms, |seen| {
            let (kept, standing) = rate.spend(seen, cost, now_ms);
            (kept.ok(), standing)
        })
    }

    /// How much memory is taken up, in bytes; what is not touched yet included.
    pub fn bytes(&self) -> usize {
        let tables = [&self.addresses, &self.callers];
        let places = tables.iter().flat_map(|table| table.shards.iter());
        places
            .map(|shard| lock(shard).capacity() * size_of::<Place>())
            .sum()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("places", &self.addresses.places)
            .finish_non_exhaustive()
    }
}

/// What of a rate makes counts comparable: somebody whose plan changes keeps theirs where they are.
#[derive(Hash)]
enum Shape {
    Window(u64),
    Bucket(u64, u32, u32),
}

impl Shape {
    fn of(rate: Rate) -> Self {
        match rate {
            Rate::SlidingWindow { window_ms, .. } => Self::Window(window_ms),
            Rate::TokenBucket {
                refill,
                interval_ms,
                burst,
            } => Self::Bucket(interval_ms, refill, burst),
        }
    }
}

impl Table {
    fn new(places: usize) -> Self {
        let sets = places.div_ceil(SHARDS * WAYS).max(1).next_power_of_two();
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            places: sets * WAYS * SHARDS,
        }
    }

    /// Looks up a count and keeps what `spend` makes of it.
    fn with(
        &self,
        [high, low]: [u64; 2],
        now_ms: u64,
        spend: impl FnOnce(Option<Tally>) -> (Option<Tally>, Standing),
    ) -> Standing {
        let index = |number: u64| usize::try_from(number).unwrap_or_default();
        let Some(shard) = self.shards.get(index(high % SHARDS as u64)) else {
            return spend(None).1;
        };
        let mut shard = lock(shard);
        if shard.is_empty() {
            *shard = vec![[0; 5]; self.places / SHARDS];
        }
        let sets = (shard.len() / WAYS).max(1) as u64;
        let begin = index(low % sets) * WAYS;
        let Some(set) = shard.get_mut(begin..begin + WAYS) else {
            return spend(None).1;
        };
        let own = |place: &Place| matches!(place, [h, l, ..] if (*h, *l) == (high, low));
        let at = match set.iter().position(own) {
            Some(at) => at,
            None => least(set, now_ms),
        };
        let Some(place) = set.get_mut(at) else {
            return spend(None).1;
        };
        let seen = own(place).then(|| tally(place));
        let (kept, standing) = spend(seen);
        if let Some(tally) = kept {
            let counts = u64::from(tally.previous) << 32 | u64::from(tally.current);
            *place = [high, low, tally.void_from_ms, tally.at, counts];
        }
        standing
    }
}

fn tally([_, _, void_from_ms, at, counts]: &Place) -> Tally {
    let half = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
    Tally {
        at: *at,
        previous: half(counts >> 32),
        current: half(*counts),
        void_from_ms: *void_from_ms,
    }
}

/// The place to give to another count: one that says nothing any more, else the one that has counted
/// least.
fn least(set: &[Place], now_ms: u64) -> usize {
    let weight = |place: &Place| {
        let tally = tally(place);
        if tally.void_from_ms <= now_ms {
            0
        } else {
            1 + u64::from(tally.previous) + u64::from(tally.current)
        }
    };
    let numbered = set.iter().enumerate();
    let least = numbered.min_by_key(|(_, place)| weight(place));
    least.map_or(0, |(at, _)| at)
}

fn lock(shard: &Mutex<Vec<Place>>) -> std::sync::MutexGuard<'_, Vec<Place>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
