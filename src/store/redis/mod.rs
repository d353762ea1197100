//! Redis or Valkey, and the counts in it: one script for each charge, over one connection for all.
//!
//! The arithmetic is that of `core::budget`, and the time is the server's. A charge takes `timeout` at
//! most. After the first that fails, none is tried until the server has answered again, so that a dead
//! one costs a request nothing; what happens meanwhile is [`OnError`].

mod connect;
mod counts;
mod link;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::notices::Notices;
use super::outcomes::Outcomes;
use super::{Memory, Unavailable};
use crate::core::budget::{BudgetKey, Rate, Standing, Tally};
pub(in crate::store) use connect::Connection;
pub use connect::{Addresses, Servers};
pub(crate) use connect::{is_address, is_tls};
pub use counts::name;
pub(in crate::store) use link::{Link, described};

use counts::{Answer, invocation};

/// What happens to a charge while the server cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// This gate counts by itself.
    Local,
    /// Nobody counts, and everybody goes on.
    Allow,
    /// Nobody goes on.
    Refuse,
}

/// What gates share by way of Redis.
pub struct Redis {
    link: Arc<Link>,
    timeout: Duration,
    on_error: OnError,
    local: Memory,
}

impl Redis {
    /// Counts at these servers, which are not asked yet. The error says what is wrong with an address,
    /// and nothing of what is in it.
    pub fn new(
        addresses: &Addresses,
        timeout: Duration,
        on_error: OnError,
    ) -> Result<Self, String> {
        let client = connect::Client::of(addresses)?;
        Ok(Self {
            link: Arc::new(Link::new(client, timeout)),
            timeout,
            on_error,
            local: Memory::new(),
        })
    }

    /// Whether the server answers, as far as is known.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Connects, if nobody does; whoever asks does not wait.
    pub fn connect(&self) {
        self.link.connect();
    }

    pub(super) fn notices(&self) -> Notices {
        Notices::by(&self.link)
    }

    pub(super) fn outcomes(&self) -> Outcomes {
        Outcomes::by(&self.link)
    }

    /// Charges a request to a rate.
    pub(super) async fn spend(
        &self,
        key: &BudgetKey,
        rate: Rate,
        cost: u32,
        now_ms: u64,
    ) -> Result<Option<Standing>, Unavailable> {
        if let Some(standing) = self.ask(key, rate, cost).await {
            return Ok(Some(standing));
        }
        match self.on_error {
            OnError::Local => Ok(Some(self.local.spend(key, rate, cost, now_ms))),
            OnError::Allow => Ok(None),
            OnError::Refuse => Err(Unavailable),
        }
    }

    /// `None` if the server cannot be asked.
    async fn ask(&self, key: &BudgetKey, rate: Rate, cost: u32) -> Option<Standing> {
        let invocation = invocation(key, rate, cost);
        let answer: Answer = self.link.run(&invocation).await?;
        let (made, at, previous, current, now_ms) = answer;
        let tally = Tally {
            at,
            previous,
            current,
            void_from_ms: 0,
        };
        Some(rate.standing(tally, made == 1, cost, now_ms))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("timeout", &self.timeout)
            .field("on_error", &self.on_error)
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}
