//! What is left: the arithmetic of `@upstash/ratelimit`, held to its recorded answers.
//!
//! A sliding window counts in two windows that stand still, this one and the one before, and weighs the
//! one before by how much of it the sliding one still covers. A token bucket is refilled by so many
//! at a time. Unlike there, a refused request is never counted, whatever it costs.

use std::fmt;
use std::time::Duration;

/// How much there is, and in what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// So many in any such time, roughly.
    SlidingWindow {
        /// How many.
        requests: u32,
        /// The time, in milliseconds; at least one.
        window_ms: u64,
    },
    /// A bucket that is refilled.
    TokenBucket {
        /// How many come back at a time; at least one.
        refill: u32,
        /// That time, in milliseconds; at least one.
        interval_ms: u64,
        /// How many the bucket holds.
        burst: u32,
    },
}

/// What has been spent of a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of the window, or when the bucket was last refilled, in milliseconds.
    pub at: u64,
    /// Spent in the window before; of a bucket nothing.
    pub previous: u32,
    /// Spent in this window, or missing from the bucket.
    pub current: u32,
    /// From when on it says nothing that would not be said without it, in milliseconds.
    pub void_from_ms: u64,
}

/// How a rate stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the request may go on.
    pub allowed: bool,
    /// How much is left.
    pub remaining: u32,
    /// In how many milliseconds there is more, or after a refusal enough for the same request.
    pub reset_in_ms: u64,
}

impl Rate {
    /// Charges a request to what was spent before, which may be nothing. What has to be kept comes back
    /// for a request that may go on; nothing changes for one that may not.
    pub fn spend(
        self,
        seen: Option<Tally>,
        cost: u32,
        now_ms: u64,
    ) -> (Result<Tally, Tally>, Standing) {
        let tally = self.at(seen, now_ms);
        let allowed = u64::from(cost) <= u64::from(self.left(tally, now_ms));
        let spent = if allowed {
            self.with(tally, cost, now_ms)
        } else {
            tally
        };
        let standing = self.standing(spent, allowed, cost, now_ms);
        (if allowed { Ok(spent) } else { Err(tally) }, standing)
    }

    /// How it stands after a request that did or did not go on; `tally` is what is known after it.
    pub fn standing(self, tally: Tally, allowed: bool, cost: u32, now_ms: u64) -> Standing {
        let until = match (self, allowed) {
            (Self::SlidingWindow { window_ms, .. }, true) => (tally.at + 1) * window_ms,
            (Self::TokenBucket { interval_ms, .. }, true) => tally.at + interval_ms,
            (_, false) => self.free_again(tally, cost, now_ms),
        };
        Standing {
            allowed,
            remaining: self.left(tally, now_ms),
            reset_in_ms: until.saturating_sub(now_ms),
        }
    }

    /// The most that one request may cost.
    pub fn most(self) -> u32 {
        match self {
            Self::SlidingWindow { requests, .. } => requests,
            Self::TokenBucket { burst, .. } => burst,
        }
    }

    /// The time in which everything that was spent comes back, in milliseconds.
    pub fn span_ms(self) -> u64 {
        match self {
            Self::SlidingWindow { window_ms, .. } => window_ms,
            Self::TokenBucket {
                refill,
                interval_ms,
                burst,
            } => u64::from(burst.div_ceil(refill.max(1))) * interval_ms,
        }
    }

    /// The tally as it stands now.
    fn at(self, seen: Option<Tally>, now_ms: u64) -> Tally {
        let fresh = |at: u64| Tally {
            at,
            ..Tally::default()
        };
        match self {
            Self::SlidingWindow { window_ms, .. } => {
                let number = now_ms / window_ms.max(1);
                match seen {
                    // A clock that was set back a little makes nobody's count smaller.
                    Some(tally) if tally.at == number || tally.at == number + 1 => tally,
                    Some(tally) if tally.at + 1 == number => Tally {
                        at: number,
                        previous: tally.current,
                        current: 0,
                        void_from_ms: tally.void_from_ms,
                    },
                    Some(_) | None => fresh(number),
                }
            }
            Self::TokenBucket {
                refill,
                interval_ms,
                ..
            } => match seen {
                // Likewise; one that was set back far begins anew.
                Some(tally) if now_ms < tally.void_from_ms && tally.at <= now_ms + interval_ms => {
                    let refills = now_ms.saturating_sub(tally.at) / interval_ms.max(1);
                    let back = refills.saturating_mul(u64::from(refill));
                    let back = u32::try_from(back).unwrap_or(u32::MAX);
                    Tally {
                        at: tally.at + refills * interval_ms,
                        current: tally.current.saturating_sub(back),
                        ..tally
                    }
                }
                Some(_) | None => fresh(now_ms),
            },
        }
    }

    /// How much is left.
    fn left(self, tally: Tally, now_ms: u64) -> u32 {
        match self {
            Self::SlidingWindow {
                requests,
                window_ms,
            } => {
                let elapsed = now_ms.saturating_sub(tally.at * window_ms);
                let used =
                    weighted(tally.previous, elapsed, window_ms).saturating_add(tally.current);
                requests.saturating_sub(used)
            }
            Self::TokenBucket { burst, .. } => burst.saturating_sub(tally.current),
        }
    }

    /// The tally with a request on it.
    fn with(self, tally: Tally, cost: u32, now_ms: u64) -> Tally {
        let current = tally.current.saturating_add(cost);
        let void_from_ms = match self {
            Self::SlidingWindow { window_ms, .. } => (tally.at + 2) * window_ms,
            Self::TokenBucket {
                refill,
                interval_ms,
                ..
            } => now_ms + u64::from(current.div_ceil(refill.max(1))) * interval_ms + 1,
        };
        Tally {
            current,
            void_from_ms,
            ..tally
        }
    }

    /// When a request of this cost could go on, should there be no other until then.
    fn free_again(self, tally: Tally, cost: u32, now_ms: u64) -> u64 {
        match self {
            Self::SlidingWindow {
                requests,
                window_ms,
            } => {
                // What the window before weighs falls below what there is room for.
                let below = |before: u32, room: u32| -> u64 {
                    let over = u64::from(before.saturating_sub(room));
                    let ms = u128::from(window_ms) * u128::from(over) / u128::from(before.max(1));
                    u64::try_from(ms).unwrap_or(window_ms)
                };
                let begin = tally.at * window_ms;
                let room = u64::from(requests) + 1;
                let taken = u64::from(tally.current) + u64::from(cost);
                if let Some(room) = room.checked_sub(taken).filter(|room| *room > 0) {
                    let room = u32::try_from(room).unwrap_or(u32::MAX);
                    let after = below(tally.previous, room) + 1;
                    if after < window_ms {
                        return (begin + after).max(now_ms + 1);
                    }
                }
                let next = begin + window_ms;
                let room = requests.saturating_sub(cost).saturating_add(1);
                if tally.current < room {
                    next
                } else {
                    next + below(tally.current, room) + 1
                }
            }
            Self::TokenBucket {
                refill,
                interval_ms,
                burst,
            } => {
                let missing = cost.saturating_sub(burst.saturating_sub(tally.current));
                tally.at + u64::from(missing.div_ceil(refill.max(1))) * interval_ms
            }
        }
    }
}

/// What the window before still weighs. In floating point, as where it comes from: both round alike.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a window is shorter than 2^53 milliseconds, and the result is between 0 and `previous`"
)]
fn weighted(previous: u32, elapsed_ms: u64, window_ms: u64) -> u32 {
    let share = elapsed_ms.min(window_ms) as f64 / window_ms.max(1) as f64;
    ((1.0 - share) * f64::from(previous)).floor() as u32
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |ms: u64| humantime::format_duration(Duration::from_millis(ms));
        match *self {
            Self::SlidingWindow {
                requests,
                window_ms,
            } => write!(f, "{requests} in {}", span(window_ms)),
            Self::TokenBucket {
                refill,
                interval_ms,
                burst,
            } => write!(f, "{burst}, and {refill} more each {}", span(interval_ms)),
        }
    }
}
