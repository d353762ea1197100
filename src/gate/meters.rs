//! What is counted of the gate's work: by the gate for as long as it runs, whatever its configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clerk::calls::Calls;
use crate::core::budget::{Charge, Spending};
use crate::core::explain::Outcome;
use crate::core::policy::{Policy, RouteMatch};
use crate::core::shadow::Comparison;
use crate::telemetry::meters::{Count, Lookups};
use crate::telemetry::requests::{Named, Requests, RouteMeter};
use crate::telemetry::traces::SpanCounts;
use crate::upstream::standing::Standings;

/// All that a gate counts.
#[derive(Debug, Default)]
pub struct Meters {
    /// What became of requests.
    pub requests: Requests,
    /// Calls to Clerk.
    pub calls: Arc<Calls>,
    /// Session tokens, and machines' that are JWTs, that were verified before.
    pub tokens: Lookups,
    /// Machine tokens that Clerk was asked about before.
    pub machines: Arc<Lookups>,
    /// Tokens of templates that were fetched before.
    pub templates: Arc<Lookups>,
    /// Servers of upstreams, and how they stand.
    pub servers: Standings,
    /// What a shadow policy made of requests.
    pub shadow: ShadowMeter,
    /// Configurations that were read while the gate ran, and not gone by.
    pub rejected_configurations: Count,
    /// What became of spans.
    pub spans: Arc<SpanCounts>,
    limits: Named<LimitMeter>,
    generation: AtomicU64,
}

/// What is counted of a shadow policy: requests, by what becomes of them and what would.
#[derive(Debug)]
pub struct ShadowMeter([[Count; SHADOWS]; Outcome::ALL.len()]);

/// Every outcome, and that none can be told.
const SHADOWS: usize = Outcome::ALL.len() + 1;

impl ShadowMeter {
    /// Counts a request that two policies have judged.
    pub fn note(&self, compared: &Comparison) {
        let at = |outcome: Outcome| Outcome::ALL.iter().position(|known| *known == outcome);
        let shadow = compared.shadow.as_ref().map(|side| side.outcome);
        let shadow = shadow.map_or(Some(SHADOWS - 1), at);
        let row = at(compared.enforced.outcome).and_then(|row| self.0.get(row));
        if let (Some(row), Some(shadow)) = (row, shadow)
            && let Some(count) = row.get(shadow)
        {
            count.add();
        }
    }

    /// How many there were: by what becomes of them, and what would; `None` where that cannot be told.
    pub fn totals(&self) -> impl Iterator<Item = (Outcome, Option<Outcome>, u64)> {
        let rows = Outcome::ALL.into_iter().zip(&self.0);
        rows.flat_map(|(enforced, row)| {
            let shadows = Outcome::ALL.map(Some).into_iter().chain([None]);
            let counts = shadows.zip(row);
            counts.map(move |(shadow, count)| (enforced, shadow, count.total()))
        })
    }
}

impl Default for ShadowMeter {
    fn default() -> Self {
        Self(std::array::from_fn(|_| {
            std::array::from_fn(|_| Count::default())
        }))
    }
}

/// What is counted of a limit.
#[derive(Debug, Default)]
pub struct LimitMeter {
    /// Charges that were made.
    pub allowed: Count,
    /// Those that refused a request.
    pub refused: Count,
    /// Those that would have, but for `dry-run`.
    pub dry_run: Count,
}

/// What is counted under the names of one configuration, found by their numbers.
#[derive(Debug)]
pub struct SnapshotMeters {
    /// The number of the configuration: the first is 1.
    pub generation: u64,
    routes: Vec<Arc<RouteMeter>>,
    implied: Arc<RouteMeter>,
    limits: Vec<(Arc<str>, Arc<LimitMeter>)>,
}

impl Meters {
    /// What is counted under the names of this policy, which is that of a new configuration.
    pub fn of(&self, policy: &Policy) -> SnapshotMeters {
        let meter = |name: &Arc<str>| self.requests.route(name);
        let implied = policy.route(None);
        let mut limits: Vec<(Arc<str>, Arc<LimitMeter>)> = Vec::new();
        for budget in policy
            .routes()
            .iter()
            .chain([implied])
            .flat_map(|r| &r.budgets)
        {
            if !limits.iter().any(|(known, _)| *known == budget.name) {
                let meter = self.limits.get(&budget.name, LimitMeter::default);
                limits.push((Arc::clone(&budget.name), meter));
            }
        }
        SnapshotMeters {
            generation: self.generation.fetch_add(1, Ordering::Relaxed) + 1,
            routes: policy.routes().iter().map(|r| meter(&r.name)).collect(),
            implied: meter(&implied.name),
            limits,
        }
    }

    /// Every limit that there is or was.
    pub fn limits(&self) -> Vec<(Arc<str>, Arc<LimitMeter>)> {
        self.limits.all()
    }
}

impl SnapshotMeters {
    /// What is counted of the route that was found.
    pub fn route(&self, found: &RouteMatch) -> &RouteMeter {
        let listed = found.route.and_then(|number| self.routes.get(number));
        listed.unwrap_or(&self.implied)
    }

    /// Counts what a request was charged.
    pub(super) fn charged<'c>(&self, spent: impl Iterator<Item = (&'c Charge, &'c Spending)>) {
        for (charge, spending) in spent {
            let mut limits = self.limits.iter();
            let Some((_, meter)) = limits.find(|(name, _)| *name == charge.budget.name) else {
                continue;
            };
            let count = match (spending.exceeded(), charge.refusal(spending)) {
                (None, _) => &meter.allowed,
                (Some(_), Some(_)) => &meter.refused,
                (Some(_), None) => &meter.dry_run,
            };
            count.add();
        }
    }
}
