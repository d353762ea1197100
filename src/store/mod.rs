//! Where counts are kept: how much of each budget is spent, and what is in flight.
//!
//! Floor 1. The arithmetic is the core's (`core::budget`); here it is done to what is stored, without a
//! request between reading and writing. Keys are names of budgets and ids; no secret is ever in one.

mod in_flight;
mod memory;

use crate::core::budget::{BudgetKey, Rate, Standing};

pub use in_flight::{Beyond, InFlight, Lease};
pub use memory::Memory;

/// Where spent rates are kept.
#[derive(Debug)]
pub enum Store {
    /// In this process.
    Memory(Memory),
}

impl Store {
    /// Charges a request to a rate. `now_ms` in milliseconds since the epoch.
    pub fn spend(&self, key: &BudgetKey, rate: Rate, cost: u32, now_ms: u64) -> Standing {
        match self {
            Self::Memory(memory) => memory.spend(key, rate, cost, now_ms),
        }
    }
}
