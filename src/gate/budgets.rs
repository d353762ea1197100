//! Charges what the core says, and holds what is in flight.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tracing::info;

use super::effects::Effect;
use super::meters::SnapshotMeters;
use super::shadow::Compared;
use crate::core::budget::{self, Charge, Counts, Enforcement, Spending};
use crate::core::decide::{self, Verdict};
use crate::core::question::Progress;
use crate::core::recorded::Recorded;
use crate::store::{Beyond, InFlight, Lease, Store, Unavailable};

/// A verdict, and what there is to it besides.
#[derive(Debug)]
pub struct Ruling {
    /// The verdict.
    pub verdict: Verdict,
    /// What answers tell of budgets.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The budget that refused the request, or with `dry-run` would have.
    pub limit: Option<Arc<str>>,
    /// What the verdict waited for, in order, where there are traces.
    pub effects: Vec<Effect>,
    /// What it followed from, where decisions are kept.
    pub recorded: Option<Arc<Recorded>>,
    /// What a shadow policy makes of the request, if there is one.
    pub compared: Option<Compared>,
    /// What has to be kept until the exchange has ended.
    pub hold: Option<Arc<Hold>>,
}

/// A request's places among those in flight. Whoever drops the last of it frees them.
#[derive(Debug)]
pub struct Hold {
    _leases: Vec<Lease>,
}

/// The counts of budgets.
#[derive(Debug)]
pub(super) struct Budgets {
    store: Store,
    in_flight: InFlight,
}

impl Budgets {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            in_flight: InFlight::default(),
        }
    }

    /// Whether what is counted elsewhere can be reached, as far as is known.
    pub(super) fn are_up(&self) -> bool {
        self.store.is_up()
    }

    /// Makes charges in their order, up to the first that refuses. What is in flight comes first: a
    /// request that has no place is not counted.
    pub(super) async fn spend(
        &self,
        charges: &[Charge],
        leases: &mut Vec<Lease>,
        now_ms: u64,
    ) -> Vec<Spending> {
        let mut spendings = Vec::with_capacity(charges.len());
        for charge in charges {
            let in_flight = charge.figures.in_flight.map(|most| {
                let beyond = match charge.budget.enforcement {
                    Enforcement::Refuse => Beyond::Refuse,
                    Enforcement::DryRun => Beyond::Count,
                };
                let (lease, left) = self.in_flight.enter(&charge.key, most, beyond);
                leases.extend(lease);
                left
            });
            let mut spending = Spending {
                rate: None,
                in_flight,
                counts: Counts::Reached,
            };
            if charge.refusal(&spending).is_none()
                && let Some(rate) = charge.figures.rate
            {
                let spent = self
                    .store
                    .spend(&charge.key, rate, charge.cost, now_ms)
                    .await;
                match spent {
                    Ok(standing) => spending.rate = standing,
                    Err(Unavailable) => spending.counts = Counts::Missing,
                }
            }
            spendings.push(spending);
            if charge.refusal(&spending).is_some() {
                break;
            }
        }
        spendings
    }

    /// The verdict with what was charged on the way to it.
    pub(super) fn ruling(
        verdict: Verdict,
        progress: &Progress<'_>,
        meters: &SnapshotMeters,
        leases: Vec<Lease>,
    ) -> Ruling {
        meters.charged(progress.spent());
        let exceeded = || {
            let exceeded = progress.spent().filter(|(_, s)| s.exceeded().is_some());
            exceeded.map(|(charge, spending)| (&charge.budget.name, charge.refusal(spending)))
        };
        for (name, _) in exceeded().filter(|(_, refusal)| refusal.is_none()) {
            info!(limit = %name, "a limit would have refused a request");
        }
        let refused = exceeded().find(|(_, refusal)| refusal.is_some());
        let limit = refused.or_else(|| exceeded().next());
        let limit = limit.map(|(name, _)| Arc::clone(name));
        let fields = if decide::tells_of_budgets(&verdict.decision) {
            budget::fields(progress.spent())
        } else {
            Vec::new()
        };
        Ruling {
            verdict,
            fields,
            limit,
            effects: Vec::new(),
            recorded: None,
            compared: None,
            hold: (!leases.is_empty()).then(|| Arc::new(Hold { _leases: leases })),
        }
    }
}
