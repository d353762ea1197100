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

/// How long a set of eight places is, in words: a tag for each, in one line of the processor's cache, and
/// then what is kept of each [`Tally`]. All zeros is a free place, so that memory which is not used yet is
/// never touched.
const SET: usize = WAYS + WAYS * TALLY;

/// How many words are kept of a tally.
const TALLY: usize = 3;

/// How long a line of the processor's cache is, in bytes.
const LINE_BYTES: usize = 64;

/// Counts in this process.
pub struct Memory {
    hash: RandomState,
    addresses: Table,
    callers: Table,
}

struct Table {
    shards: Box<[Mutex<Vec<u64>>]>,
    /// Sets in each shard.
    sets: usize,
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
            hash: RandomState::new(),
            addresses: Table::new(places),
            callers: Table::new(places),
        }
    }

    /// Charges a request to a rate.
    pub fn spend(&self, key: &BudgetKey, rate: Rate, cost: u32, now_ms: u64) -> Standing {
        let shape = Shape::of(rate);
        let hash = self.hash.hash_one((key, &shape));
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
            .map(|shard| lock(shard).capacity() * size_of::<u64>())
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
            .field("places", &(self.addresses.sets * WAYS * SHARDS))
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
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            sets: places.div_ceil(SHARDS * WAYS).max(1).next_power_of_two(),
        }
    }

    /// Looks up a count and keeps what `spend` makes of it.
    fn with(
        &self,
        hash: u64,
        now_ms: u64,
        spend: impl FnOnce(Option<Tally>) -> (Option<Tally>, Standing),
    ) -> Standing {
        // No tag of a count is that of a free place.
        let tag = hash | 1;
        let bits = usize::try_from(hash >> 1).unwrap_or_default();
        let (shard, set) = (bits % SHARDS, bits / SHARDS % self.sets);
        let Some(shard) = self.shards.get(shard) else {
            return spend(None).1;
        };
        let mut shard = lock(shard);
        if shard.is_empty() {
            *shard = vec![0; self.sets * SET + LINE_BYTES / size_of::<u64>()];
        }
        let begin = shard.as_ptr().align_offset(LINE_BYTES) + set * SET;
        let set = shard.get_mut(begin..begin + SET);
        let Some((tags, tallies)) = set.and_then(|set| set.split_at_mut_checked(WAYS)) else {
            return spend(None).1;
        };
        let (tallies, _) = tallies.as_chunks_mut::<TALLY>();
        let found = tags.iter().position(|other| *other == tag);
        let at = found.unwrap_or_else(|| least(tallies, now_ms));
        let (Some(place), Some(kept)) = (tags.get_mut(at), tallies.get_mut(at)) else {
            return spend(None).1;
        };
        let seen = found.map(|_| tally(kept));
        let (tally, standing) = spend(seen);
        if let Some(tally) = tally {
            let counts = u64::from(tally.previous) << 32 | u64::from(tally.current);
            *place = tag;
            *kept = [tally.void_from_ms, tally.at, counts];
        }
        standing
    }
}

fn tally([void_from_ms, at, counts]: &[u64; TALLY]) -> Tally {
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
fn least(set: &[[u64; TALLY]], now_ms: u64) -> usize {
    let weight = |kept: &[u64; TALLY]| {
        let tally = tally(kept);
        if tally.void_from_ms <= now_ms {
            0
        } else {
            1 + u64::from(tally.previous) + u64::from(tally.current)
        }
    };
    let numbered = set.iter().enumerate();
    let least = numbered.min_by_key(|(_, kept)| weight(kept));
    least.map_or(0, |(at, _)| at)
}

fn lock(shard: &Mutex<Vec<u64>>) -> std::sync::MutexGuard<'_, Vec<u64>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
