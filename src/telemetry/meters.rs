//! Numbers that are counted while the gate works, and read when somebody looks.
//!
//! Counting takes no lock and no memory: whoever counts holds its number already.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often something was.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Once more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many times more.
    pub fn add_many(&self, times: u64) {
        self.0.fetch_add(times, Ordering::Relaxed);
    }

    /// How often it was until now.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often a cache had what was looked for.
#[derive(Debug, Default)]
pub struct Lookups {
    /// It had.
    pub hits: Count,
    /// It had not.
    pub misses: Count,
}

impl Lookups {
    /// Counts one.
    pub fn note(&self, hit: bool) {
        if hit { &self.hits } else { &self.misses }.add();
    }
}

/// What is open, and what was ever opened.
#[derive(Debug, Default)]
pub struct Open {
    now: AtomicU64,
    ever: Count,
}

/// One that is open until this is dropped.
#[derive(Debug)]
pub struct OneOpen(Arc<Open>);

impl Open {
    /// Counts one in.
    pub fn enter(self: &Arc<Self>) -> OneOpen {
        self.now.fetch_add(1, Ordering::Relaxed);
        self.ever.add();
        OneOpen(Arc::clone(self))
    }

    /// How many are open.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// How many were opened until now.
    pub fn ever(&self) -> u64 {
        self.ever.total()
    }
}

impl Drop for OneOpen {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a time is counted in: fine enough for a verdict of a few microseconds, and coarse enough that
/// a sum of years fits.
const TICK_NS: u64 = 100;

/// So many ticks.
const fn ticks(ns: u64) -> u64 {
    ns / TICK_NS
}

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// Where what the gate does by itself falls: from ten microseconds on, since most of it waits for nobody.
pub const OWN_TIMES: &[u64] = &[
    ticks(10 * US),
    ticks(25 * US),
    ticks(50 * US),
    ticks(100 * US),
    ticks(250 * US),
    ticks(500 * US),
    ticks(MS),
    ticks(5 * MS),
    ticks(25 * MS),
    ticks(100 * MS),
    ticks(250 * MS),
    ticks(500 * MS),
    ticks(S),
    ticks(5 * S),
];

/// Where answers of others fall.
pub const ANSWER_TIMES: &[u64] = &[
    ticks(MS),
    ticks(2_500 * US),
    ticks(5 * MS),
    ticks(10 * MS),
    ticks(25 * MS),
    ticks(50 * MS),
    ticks(100 * MS),
    ticks(250 * MS),
    ticks(500 * MS),
    ticks(S),
    ticks(2_500 * MS),
    ticks(5 * S),
    ticks(10 * S),
    ticks(30 * S),
];

/// How long something took, counted by fixed bounds.
pub struct Times {
    bounds: &'static [u64],
    /// One more than there are bounds: what took longer than all of them.
    places: Box<[Count]>,
    sum: AtomicU64,
}

/// What was counted until now, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct TimesRead {
    /// All of it together.
    pub sum: f64,
    /// How often it was.
    pub count: u64,
    /// The upper bounds, the last of them infinite, and how often it fell between each and the one before.
    pub places: Vec<(f64, u64)>,
}

impl Times {
    /// Nothing yet, between these bounds.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            places: (0..=bounds.len()).map(|_| Count::default()).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts one.
    pub fn note(&self, took: Duration) {
        let whole = took.as_secs().saturating_mul(S / TICK_NS);
        let took = whole.saturating_add(u64::from(took.subsec_nanos()) / TICK_NS);
        let place = self.bounds.partition_point(|bound| *bound < took);
        if let Some(place) = self.places.get(place) {
            place.add();
        }
        self.sum.fetch_add(took, Ordering::Relaxed);
    }

    /// What was counted until now; `None` if that is nothing.
    pub fn read(&self) -> Option<TimesRead> {
        let bounds = self.bounds.iter().map(|bound| seconds(*bound));
        let places: Vec<(f64, u64)> = bounds
            .chain([f64::INFINITY])
            .zip(self.places.iter().map(Count::total))
            .collect();
        let count = places.iter().map(|(_, count)| count).sum();
        (count > 0).then(|| TimesRead {
            sum: seconds(self.sum.load(Ordering::Relaxed)),
            count,
            places,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is lost is less than a tick in thirty years"
)]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / (S / TICK_NS) as f64
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Times").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_below_the_first_bound_that_is_no_less() {
        let times = Times::new(ANSWER_TIMES);
        assert_eq!(times.read(), None);
        for took in [
            Duration::ZERO,
            Duration::from_millis(1),
            Duration::from_nanos(1_000_100),
            Duration::from_mins(1),
            Duration::MAX,
        ] {
            times.note(took);
        }
        let read = times.read().unwrap();
        assert_eq!(read.count, 5);
        let fallen: Vec<(f64, u64)> = read.places.into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(fallen, [(0.001, 2), (0.0025, 1), (f64::INFINITY, 2)]);
    }

    #[test]
    fn times_add_up() {
        let times = Times::new(OWN_TIMES);
        for _ in 0..4 {
            times.note(Duration::from_micros(2500));
        }
        let read = times.read().unwrap();
        assert!((read.sum - 0.01).abs() < 1e-12, "{}", read.sum);
        assert_eq!(read.places.iter().find(|(_, n)| *n > 0), Some(&(0.005, 4)));
    }

    #[test]
    fn bounds_rise() {
        for bounds in [OWN_TIMES, ANSWER_TIMES] {
            assert!(bounds.is_sorted_by(|one, next| one < next));
        }
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_dropped() {
        let open = Arc::new(Open::default());
        let one = open.enter();
        let other = open.enter();
        assert_eq!((open.now(), open.ever()), (2, 2));
        drop(one);
        assert_eq!((open.now(), open.ever()), (1, 2));
        drop(other);
        assert_eq!((open.now(), open.ever()), (0, 2));
    }
}
