//! How a server stands: what it is busy with, whether it is given requests, and what is counted of it.
//!
//! All of it outlives a configuration: a server that is named again by the next one stands as before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::UpstreamError;
use super::health::HealthCheck;
use crate::telemetry::meters::{ANSWER_TIMES, Count, Times};

/// How a server stands.
#[derive(Debug, Default)]
pub struct Standing {
    in_flight: AtomicUsize,
    state: Mutex<State>,
    /// What is counted of it.
    pub meter: ServerMeter,
}

#[derive(Debug, Default)]
struct State {
    /// Requests in a row that failed.
    failures: u32,
    /// Until when it is left out for that.
    ejected: Option<Instant>,
    /// Whether it is well; `None` while it has not been asked.
    well: Option<bool>,
    /// Checks in a row that said otherwise.
    otherwise: u32,
}

/// A place among the requests that a server has at once, until this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Standing>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Standing {
    /// How many requests it has at the moment.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// A place, if fewer than `most` are taken.
    pub(super) fn place(self: &Arc<Self>, most: Option<usize>) -> Option<Place> {
        let most = most.unwrap_or(usize::MAX);
        let more = |taken: usize| (taken < most).then(|| taken.saturating_add(1));
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .ok()?;
        Some(Place(Arc::clone(self)))
    }

    /// Whether it is left out for its failures.
    pub fn is_ejected(&self) -> bool {
        let ejected = self.state().ejected;
        ejected.is_some_and(|until| Instant::now() < until)
    }

    /// Whether it is well. One that was never asked is taken for well: a gate that has just been started
    /// refuses nobody for that.
    pub fn is_well(&self) -> bool {
        self.state().well != Some(false)
    }

    /// Notes a check; whether it is well, if that has changed. The first check decides by itself.
    pub(super) fn checked(&self, passed: bool, rule: &HealthCheck) -> Option<bool> {
        let checks = &self.meter.checks;
        if passed {
            &checks.passed
        } else {
            &checks.failed
        }
        .add();
        let mut state = self.state();
        let before = state.well;
        if before == Some(passed) {
            state.otherwise = 0;
            return None;
        }
        state.otherwise = state.otherwise.saturating_add(1);
        let needed = if passed { rule.healthy } else { rule.unhealthy };
        if before.is_some() && state.otherwise < needed {
            return None;
        }
        state.well = Some(passed);
        state.otherwise = 0;
        if passed {
            // What it failed at before it fell ill counts no more.
            state.failures = 0;
            state.ejected = None;
        }
        (before.is_some() || !passed).then_some(passed)
    }

    /// Notes that a request was answered as it should be.
    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.ejected = None;
    }

    /// Notes that one failed; how many did in a row.
    ///
    /// A server that has been left out and is tried again is left out anew by the first failure: only a
    /// success begins the count again.
    pub(super) fn failed(&self) -> u32 {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.failures
    }

    /// Leaves it out for so long; whether it was not already.
    pub(super) fn eject(&self, time: Duration) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        if state.ejected.is_some_and(|until| now < until) {
            return false;
        }
        state.ejected = Some(now + time);
        self.meter.ejections.add();
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of a request to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer of this status.
    Answered(u16),
    /// None.
    Failed(UpstreamError),
}

impl Outcome {
    /// The names among the metrics, in the order of their places.
    pub const NAMES: [&str; 8] = [
        "1xx",
        "2xx",
        "3xx",
        "4xx",
        "5xx",
        "unreachable",
        "timeout",
        "malformed",
    ];

    /// Where it is counted; `None` for what is no matter of the server's.
    fn place(self) -> Option<usize> {
        Some(match self {
            Self::Answered(..200) => 0,
            Self::Answered(200..300) => 1,
            Self::Answered(300..400) => 2,
            Self::Answered(400..500) => 3,
            Self::Answered(500..) => 4,
            Self::Failed(UpstreamError::Unreachable) => 5,
            Self::Failed(UpstreamError::Timeout) => 6,
            Self::Failed(UpstreamError::Protocol | UpstreamError::Malformed) => 7,
            Self::Failed(
                UpstreamError::Client(_)
                | UpstreamError::Ended(_)
                | UpstreamError::Full
                | UpstreamError::Unhealthy,
            ) => return None,
        })
    }
}

/// What is counted of a server.
#[derive(Debug)]
pub struct ServerMeter {
    outcomes: [Count; Outcome::NAMES.len()],
    /// How long it took to begin its answers.
    pub answers: Times,
    /// How often it was left out for its failures.
    pub ejections: Count,
    /// Checks of its health.
    pub checks: ChecksMeter,
}

/// What came of checks.
#[derive(Debug, Default)]
pub struct ChecksMeter {
    /// They said that it is well.
    pub passed: Count,
    /// They did not.
    pub failed: Count,
}

impl Default for ServerMeter {
    fn default() -> Self {
        Self {
            outcomes: Default::default(),
            answers: Times::new(ANSWER_TIMES),
            ejections: Count::default(),
            checks: ChecksMeter::default(),
        }
    }
}

impl ServerMeter {
    /// Counts a request.
    pub(super) fn note(&self, outcome: Outcome, took: Duration) {
        if let Some(count) = outcome.place().and_then(|place| self.outcomes.get(place)) {
            count.add();
        }
        if let Outcome::Answered(_) = outcome {
            self.answers.note(took);
        }
    }

    /// How many requests there were, by what came of them.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Outcome::NAMES.into_iter();
        names
            .zip(&self.outcomes)
            .map(|(name, count)| (name, count.total()))
    }
}

/// How every server stands that a configuration has ever named, by the name of its upstream and its
/// address.
#[derive(Debug, Default)]
pub struct Standings(Mutex<BTreeMap<ServerName, Arc<Standing>>>);

/// What a server goes by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerName {
    /// The name of its upstream.
    pub upstream: Arc<str>,
    /// Its address.
    pub server: Arc<str>,
}

impl Standings {
    /// How the server of this name stands; one that is new stands well.
    pub fn of(&self, name: &ServerName) -> Arc<Standing> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(name.clone()).or_default())
    }

    /// All of them.
    pub fn all(&self) -> Vec<(ServerName, Arc<Standing>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known.iter();
        all.map(|(name, standing)| (name.clone(), Arc::clone(standing)))
            .collect()
    }
}
