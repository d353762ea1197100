//! What gates share: how much of each budget is spent, who is out, and what came of a call. And what one
//! gate keeps for itself: what is in flight.
//!
//! Floor 1. The arithmetic is the core's (`core::budget`); here it is done to what is stored, without a
//! request between reading and writing. Keys are names of budgets, ids and hashes; no secret is ever in
//! one.

mod in_flight;
mod memory;
pub mod notices;
pub mod outcomes;
pub mod redis;

use crate::core::budget::{BudgetKey, Rate, Standing};

pub use self::redis::Redis;
pub use in_flight::{Beyond, InFlight, Lease};
pub use memory::Memory;
use notices::Notices;
use outcomes::Outcomes;

/// Where spent rates are kept.
#[derive(Debug)]
pub enum Store {
    /// In this process.
    Memory(Memory),
    /// In Redis or Valkey, for several gates.
    Redis(Box<Redis>),
}

/// The counts cannot be reached, and nobody may go on without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

impl Store {
    /// How other gates are told something.
    pub fn notices(&self) -> Notices {
        match self {
            Self::Memory(_) => Notices::alone(),
            Self::Redis(redis) => redis.notices(),
        }
    }

    /// How what comes of calls is shared with other gates.
    pub fn outcomes(&self) -> Outcomes {
        match self {
            Self::Memory(_) => Outcomes::alone(),
            Self::Redis(redis) => redis.outcomes(),
        }
    }

    /// Whether it answers, as far as is known.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(redis) => redis.is_up(),
        }
    }

    /// Charges a request to a rate; `None` where nobody could count and it goes on all the same. `now_ms`
    /// in milliseconds since the epoch.
    pub async fn spend(
        &self,
        key: &BudgetKey,
        rate: Rate,
        cost: u32,
        now_ms: u64,
    ) -> Result<Option<Standing>, Unavailable> {
        match self {
            Self::Memory(memory) => Ok(Some(memory.spend(key, rate, cost, now_ms))),
            Self::Redis(redis) => redis.spend(key, rate, cost, now_ms).await,
        }
    }
}
