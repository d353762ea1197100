//! How many calls to the Backend API there may be, and who goes without when they run short.
//!
//! Clerk takes so many calls of an instance in ten seconds (protocol reference, section 9.1) and
//! answers all others with 429, whoever makes them. The gate stays well below, so that an application
//! that calls Clerk itself is not kept out, and keeps what is left for whoever needs it most.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The span in which Clerk counts.
const SPAN: Duration = Duration::from_secs(10);

/// What a call is for, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The keys that verify tokens. Clerk does not count these calls.
    Keys,
    /// Ending a session: somebody wants out.
    End,
    /// Renewing the session of somebody who is at work.
    Renew,
    /// Asking whether what somebody has open may stay open.
    LiveCheck,
    /// Looking something up for somebody: a list of sessions, a template's token.
    LookUp,
    /// Fetching what a handshake brought, or is said to have brought.
    Handshake,
    /// Asking about a machine token.
    Machine,
}

impl Purpose {
    /// Every purpose, in the order of their numbers and of what they are worth: the last one gives way
    /// first.
    pub const ALL: [Self; 7] = [
        Self::Keys,
        Self::End,
        Self::Renew,
        Self::LiveCheck,
        Self::LookUp,
        Self::Handshake,
        Self::Machine,
    ];

    /// The name among the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::End => "end",
            Self::Renew => "renew",
            Self::LiveCheck => "live-check",
            Self::LookUp => "look-up",
            Self::Handshake => "handshake",
            Self::Machine => "machine",
        }
    }

    /// The share of the budget, in hundredths, that must be left for such a call to be made.
    pub fn reserve(self) -> u32 {
        match self {
            Self::Keys | Self::End => 0,
            Self::Renew => 10,
            Self::LiveCheck => 20,
            Self::LookUp => 30,
            // SECURITY: anybody can make a nonce or a token up, and with it a call.
            Self::Handshake => 40,
            Self::Machine => 50,
        }
    }
}

/// A bucket of calls that fills up again.
///
/// It holds half of what may be called in ten seconds and gains the other half in that time, so that
/// no ten seconds see more.
pub struct Budget {
    holds: f64,
    gains_per_second: f64,
    left: Mutex<Left>,
}

struct Left {
    calls: f64,
    at: Instant,
}

impl Budget {
    /// A full bucket of so many calls in ten seconds.
    pub fn new(calls: u32) -> Self {
        let half = f64::from(calls) / 2.0;
        Self {
            holds: half,
            gains_per_second: half / SPAN.as_secs_f64(),
            left: Mutex::new(Left {
                calls: half,
                at: Instant::now(),
            }),
        }
    }

    /// Takes a call for this purpose. `false` if there is none for it.
    pub fn take(&self, purpose: Purpose) -> bool {
        if purpose == Purpose::Keys {
            return true;
        }
        let mut left = self.refilled();
        let reserve = self.holds * f64::from(purpose.reserve()) / 100.0;
        let enough = left.calls - 1.0 >= reserve;
        if enough {
            left.calls -= 1.0;
        }
        enough
    }

    /// How many calls could be made at once.
    pub fn left(&self) -> u32 {
        let left = self.refilled().calls;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never below nothing, and at most half of a number of this type"
        )]
        let left = left as u32;
        left
    }

    fn refilled(&self) -> MutexGuard<'_, Left> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = (now - left.at).as_secs_f64() * self.gains_per_second;
        left.calls = (left.calls + gained).min(self.holds);
        left.at = now;
        left
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("holds", &self.holds)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls are left for each purpose, one after the other from the least important on.
    fn spent(budget: &Budget) -> Vec<(Purpose, u32)> {
        let all = Purpose::ALL.into_iter().rev();
        all.filter(|purpose| *purpose != Purpose::Keys)
            .map(|purpose| {
                let taken = (0..1000).take_while(|_| budget.take(purpose)).count();
                (purpose, u32::try_from(taken).unwrap())
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_important_go_without_first() {
        let budget = Budget::new(400);
        let expected = [
            (Purpose::Machine, 100),
            (Purpose::Handshake, 20),
            (Purpose::LookUp, 20),
            (Purpose::LiveCheck, 20),
            (Purpose::Renew, 20),
            (Purpose::End, 20),
        ];
        assert_eq!(spent(&budget), expected);
        assert!(budget.take(Purpose::Keys));
    }

    #[tokio::test(start_paused = true)]
    async fn no_ten_seconds_see_more_than_the_budget() {
        let budget = Budget::new(400);
        let mut calls = 0;
        for _ in 0..100 {
            while budget.take(Purpose::End) {
                calls += 1;
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!((398..=400).contains(&calls), "{calls}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_fills_up_again_and_not_beyond() {
        let budget = Budget::new(400);
        while budget.take(Purpose::End) {}
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(
            (0..1000).take_while(|_| budget.take(Purpose::End)).count(),
            100
        );
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(
            (0..1000).take_while(|_| budget.take(Purpose::End)).count(),
            200
        );
    }
}
