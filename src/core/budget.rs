//! How much somebody may ask for: the `limit` of a configuration, whose it is, and what is left of it.
//!
//! The core says what has to be charged ([`Charge`]) and reads what came of it ([`Spending`]). Where
//! the counts are kept is the affair of `store`; the arithmetic is here, so that there is one.

mod arithmetic;
mod fields;
mod holder;

use std::fmt;
use std::sync::Arc;

use super::question::Stage;
use super::reason::Reason;
use super::requirement::{Caller, Requirement};

pub use arithmetic::{Rate, Standing, Tally};
pub use fields::fields;
pub use holder::{BudgetKey, By, Holder, Sender, Spender};

/// One `limit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Its name in the log, in answers and in the store.
    pub name: Arc<str>,
    /// Whom it counts.
    pub by: By,
    /// What there is for everybody.
    pub figures: Figures,
    /// What there is for some instead: the first that holds counts.
    pub tiers: Vec<Tier>,
    /// How many bits of an IPv6 address make an address.
    pub ipv6_prefix: u8,
    /// Whether it refuses.
    pub enforcement: Enforcement,
    /// Whether answers tell of it.
    pub disclosure: Told,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How much in a time.
    pub rate: Option<Rate>,
    /// How many requests at once.
    pub in_flight: Option<u32>,
}

/// Other figures for whoever meets a requirement.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// Who has them.
    pub when: Requirement,
    /// The figures, whole.
    pub figures: Figures,
}

/// Whether a budget refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// It does.
    Refuse,
    /// It counts, and the log says what it would have refused (`dry-run = true`).
    DryRun,
}

/// Whether answers tell of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// In `RateLimit-Policy` and `RateLimit`.
    InHeaders,
    /// Not at all (`headers = false`).
    Never,
}

/// What is to be charged to one budget for one request.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The budget.
    pub budget: Arc<Budget>,
    /// Whose part of it is charged.
    pub key: BudgetKey,
    /// How much there is for them.
    pub figures: Figures,
    /// How much is charged.
    pub cost: u32,
}

/// What a charge came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending {
    /// How the rate stands; `None` where there is none, or where it was not asked any more.
    pub rate: Option<Standing>,
    /// How many more requests there may be at once; the error says that there were too many.
    pub in_flight: Option<Result<u32, TooMany>>,
    /// Whether the counts could be reached that nobody may go on without.
    pub counts: Counts,
}

/// Whether counts could be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counts {
    /// They were, or it does not matter.
    #[default]
    Reached,
    /// They were not, and nobody goes on without (`on-error = "refuse"`).
    Missing,
}

/// There are as many requests in flight as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Spending {
    /// Why the request would be refused.
    pub fn exceeded(&self) -> Option<Reason> {
        if self.in_flight == Some(Err(TooMany)) {
            return Some(Reason::TooManyInFlight);
        }
        if self.counts == Counts::Missing {
            return Some(Reason::LimitsUnavailable);
        }
        let refused = self.rate.is_some_and(|standing| !standing.allowed);
        refused.then_some(Reason::RateLimited)
    }
}

impl Charge {
    /// Why a request is refused that came to this. With `dry-run` none is.
    pub fn refusal(&self, spending: &Spending) -> Option<Reason> {
        match self.budget.enforcement {
            Enforcement::Refuse => spending.exceeded(),
            Enforcement::DryRun => None,
        }
    }
}

impl Budget {
    /// When it is charged.
    pub fn stage(&self) -> Stage {
        match self.by {
            By::Address => Stage::Arrival,
            By::User | By::Organization | By::Session | By::Machine | By::Claim(_) => {
                Stage::Admission
            }
        }
    }

    /// What a request of theirs is charged.
    pub(super) fn charge(self: &Arc<Self>, spender: &Spender<'_>, cost: u32) -> Charge {
        Charge {
            key: BudgetKey {
                budget: Arc::clone(&self.name),
                holder: spender.holder(&self.by, self.ipv6_prefix),
            },
            figures: self.figures_for(spender.caller()),
            budget: Arc::clone(self),
            cost,
        }
    }

    fn figures_for(&self, caller: Option<Caller<'_>>) -> Figures {
        let tier = caller.and_then(|caller| {
            let mut tiers = self.tiers.iter();
            tiers.find(|tier| tier.when.judge(caller).is_ok())
        });
        tier.map_or(self.figures, |tier| tier.figures)
    }
}

/// As `check` prints it.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.figures, self.by)?;
        if !self.tiers.is_empty() {
            f.write_str(", more or less for some")?;
        }
        match self.enforcement {
            Enforcement::Refuse => Ok(()),
            Enforcement::DryRun => f.write_str(", dry run"),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rate, self.in_flight) {
            (Some(rate), None) => rate.fmt(f),
            (None, Some(most)) => write!(f, "{most} at once"),
            (Some(rate), Some(most)) => write!(f, "{rate} and {most} at once"),
            (None, None) => f.write_str("nothing"),
        }
    }
}
