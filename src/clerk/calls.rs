//! Calls to Clerk, counted by what they were for and what came of them.

use std::time::Duration;

use super::budget::Purpose;
use super::client::CallError;
use crate::telemetry::meters::{ANSWER_TIMES, Count, Times};

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// A status of this class.
    Status(StatusClass),
    /// No answer.
    Failed(CallError),
}

impl CallOutcome {
    /// Every outcome, in the order of the reference.
    pub const ALL: [Self; 9] = [
        Self::Status(StatusClass::Success),
        Self::Status(StatusClass::Redirection),
        Self::Status(StatusClass::ClientError),
        Self::Status(StatusClass::ServerError),
        Self::Failed(CallError::Unreachable),
        Self::Failed(CallError::Timeout),
        Self::Failed(CallError::TooLarge),
        Self::Failed(CallError::BudgetSpent),
        Self::Failed(CallError::Client),
    ];

    /// The outcome of an answer with this status.
    pub fn of(status: u16) -> Self {
        Self::Status(match status {
            200..=299 => StatusClass::Success,
            300..=399 => StatusClass::Redirection,
            400..=499 => StatusClass::ClientError,
            _ => StatusClass::ServerError,
        })
    }

    /// The name among the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status(StatusClass::Success) => "2xx",
            Self::Status(StatusClass::Redirection) => "3xx",
            Self::Status(StatusClass::ClientError) => "4xx",
            Self::Status(StatusClass::ServerError) => "5xx",
            Self::Failed(error) => match error {
                CallError::Unreachable => "unreachable",
                CallError::Timeout => "timeout",
                CallError::TooLarge => "too-large",
                CallError::BudgetSpent => "budget-spent",
                CallError::Client => "client",
            },
        }
    }
}

/// What an answer says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// It went well.
    Success,
    /// It is elsewhere.
    Redirection,
    /// It was asked wrongly, or too often.
    ClientError,
    /// Clerk failed, or the status is none that a call can end with.
    ServerError,
}

/// Calls to Clerk's APIs, of all sites.
#[derive(Debug)]
pub struct Calls([Meter; Purpose::ALL.len()]);

#[derive(Debug)]
struct Meter {
    outcomes: [Count; CallOutcome::ALL.len()],
    took: Times,
}

impl Calls {
    /// Counts a call that ended after so long.
    pub fn note(&self, purpose: Purpose, outcome: CallOutcome, took: Duration) {
        let Some(meter) = self.0.get(purpose as usize) else {
            return;
        };
        let mut places = CallOutcome::ALL.iter().zip(&meter.outcomes);
        if let Some((_, count)) = places.find(|(known, _)| **known == outcome) {
            count.add();
        }
        // A call that was never made took no time.
        if outcome != CallOutcome::Failed(CallError::BudgetSpent) {
            meter.took.note(took);
        }
    }

    /// How many calls there were.
    pub fn outcomes(&self) -> impl Iterator<Item = (Purpose, CallOutcome, u64)> {
        let meters = Purpose::ALL.into_iter().zip(&self.0);
        let outcomes = meters.flat_map(|(purpose, meter)| {
            let outcomes = CallOutcome::ALL.into_iter().zip(&meter.outcomes);
            outcomes.map(move |(outcome, count)| (purpose, outcome, count.total()))
        });
        outcomes.filter(|(_, _, total)| *total > 0)
    }

    /// How long they took.
    pub fn times(&self) -> impl Iterator<Item = (Purpose, &Times)> {
        let times = self.0.iter().map(|meter| &meter.took);
        Purpose::ALL.into_iter().zip(times)
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Meter {
            outcomes: Default::default(),
            took: Times::new(ANSWER_TIMES),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_are_listed_in_the_order_of_their_numbers() {
        for (number, purpose) in Purpose::ALL.into_iter().enumerate() {
            assert_eq!(purpose as usize, number);
        }
    }

    #[test]
    fn a_call_is_counted_under_what_it_was_for_and_what_came_of_it() {
        let calls = Calls::default();
        for outcome in CallOutcome::ALL {
            calls.note(Purpose::Machine, outcome, Duration::from_millis(3));
        }
        calls.note(Purpose::Keys, CallOutcome::of(999), Duration::ZERO);
        let counted: Vec<_> = calls.outcomes().map(|(p, o, n)| (p, o.name(), n)).collect();
        let mut expected = vec![(Purpose::Keys, "5xx", 1)];
        expected.extend(CallOutcome::ALL.map(|outcome| (Purpose::Machine, outcome.name(), 1)));
        assert_eq!(counted, expected);
        let took = |wanted| {
            let mut times = calls.times();
            let (_, times) = times.find(|(purpose, _)| *purpose == wanted).unwrap();
            times.read().map_or(0, |read| read.count)
        };
        assert_eq!(took(Purpose::Machine), 8, "all but the one without a call");
        assert_eq!(took(Purpose::Keys), 1);
        assert_eq!(took(Purpose::Renew), 0);
    }
}
