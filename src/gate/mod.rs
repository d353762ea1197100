//! The loop between the pure core and the world: the core asks, the gate finds out.
//!
//! A request sees one [`Snapshot`] from beginning to end. The common request, whose token was
//! verified before, waits for nothing.

mod answers;
mod budgets;
pub mod denials;
mod effects;
mod ends;
pub mod flights;
mod lately;
pub mod live;
pub mod machines;
pub mod meters;
mod nonces;
mod outages;
mod refreshes;
mod renewal;
mod replicas;
mod riding;
pub mod seals;
pub mod sessions;
pub mod shadow;
mod snapshot;
pub mod template_tokens;
pub mod token_cache;
mod vouched;
pub mod webhooks;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::clerk::browsers::HeldSession;
use crate::clerk::jwks::KeyStore;
use crate::clerk::sessions::{Listing, SessionError};
use crate::clock::SharedClock;
use crate::core::decide::{self, Inputs, Permit, Step};
use crate::core::facts::RequestFacts;
use crate::core::question::Progress;
use crate::core::recorded::Recorded;
use crate::rewrite::Tally;
use crate::store::notices::{Hearing, Notices};
use crate::store::{Memory, Store};
use crate::telemetry::decisions::Decisions;
use crate::telemetry::traces::Traces;
pub use budgets::{Hold, Ruling};
pub use effects::Effect;
pub use snapshot::{Site, Snapshot};

use budgets::Budgets;
use denials::Denials;
use ends::Ends;
use lately::Lately;
use live::{Live, Ticket};
use meters::Meters;
use nonces::Nonces;
use outages::Outages;
use refreshes::Refreshes;
use renewal::Renewals;
use template_tokens::TemplateTokens;
use token_cache::TokenCache;
use vouched::Vouched;
use webhooks::SeenEvents;

/// The gate: decides about requests.
#[derive(Debug)]
pub struct Gate {
    /// What became of pages that clerk-js was to be put into.
    pub injections: Arc<Tally>,
    /// What is counted of everything else.
    pub meters: Meters,
    /// What is written down of requests, for others to look at.
    pub traces: Traces,
    /// The last decisions, for who looks at the gate itself.
    pub decisions: Arc<Decisions>,
    clock: SharedClock,
    denials: Arc<Denials>,
    live: Arc<Live>,
    tokens: TokenCache,
    vouched: Vouched,
    outages: Arc<Outages>,
    refreshes: Refreshes,
    renewals: Renewals,
    nonces: Nonces,
    events: SeenEvents,
    templates: TemplateTokens,
    /// The live sessions of people, by site and person.
    listings: Lately<(usize, String, String), Arc<Listing>, SessionError>,
    /// Those of browsers, by site, session and what the browser is known by.
    browsers: Lately<(usize, String, String), Arc<[HeldSession]>, SessionError>,
    ends: Arc<Ends>,
    budgets: Budgets,
    /// How other gates are told, and what they tell.
    notices: Notices,
    hearing: OnceLock<Hearing>,
    /// The keys of each site, by the publishable key of its instance.
    followed_keys: Arc<ArcSwap<Vec<(String, KeyStore)>>>,
}

/// How long a session that has ended is kept in mind: longer than any seal of it counts.
const DENIALS_LAST: Duration = Duration::from_hours(24 * 30);

impl Gate {
    /// A gate that has seen nothing yet, and counts in memory.
    pub fn new(clock: SharedClock) -> Self {
        Self::counting_in(Store::Memory(Memory::new()), clock)
    }

    /// The same, with its counts elsewhere.
    pub fn counting_in(store: Store, clock: SharedClock) -> Self {
        let (notices, outcomes) = (store.notices(), store.outcomes());
        let denials = Arc::new(Denials::telling(DENIALS_LAST, notices.clone()));
        let meters = Meters::default();
        Self {
            live: Live::new(Arc::clone(&clock), Arc::clone(&denials)),
            outages: Arc::new(Outages::new(Arc::clone(&clock), Arc::clone(&denials))),
            injections: Arc::default(),
            clock,
            denials,
            tokens: TokenCache::new(),
            vouched: Vouched::new(),
            refreshes: Refreshes::new(outcomes.clone()),
            renewals: Renewals::new(outcomes),
            nonces: Nonces::new(),
            events: SeenEvents::default(),
            templates: TemplateTokens::new().counted_in(&meters.templates),
            listings: Lately::new(),
            browsers: Lately::new(),
            ends: Arc::new(Ends::new()),
            budgets: Budgets::new(store),
            notices,
            hearing: OnceLock::new(),
            followed_keys: Arc::default(),
            meters,
            traces: Traces::default(),
            decisions: Arc::default(),
        }
    }

    /// The same, with traces of its requests.
    #[must_use]
    pub fn traced_by(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// What time it is.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Sessions and people that are out.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// What is open in somebody's name.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// A ticket for what a request opens that may go on; `None` where it goes on in nobody's name.
    pub fn ticket(&self, snapshot: &Arc<Snapshot>, permit: &Permit) -> Option<Ticket> {
        self.live.ticket(snapshot, permit.binding())
    }

    /// Decides about a request. Never fails: what cannot be found out is an answer too.
    pub async fn decide(&self, snapshot: &Snapshot, facts: &RequestFacts<'_>) -> Ruling {
        // INVARIANT: `server` makes a site for each address. Were one missing, nobody would get in.
        let Some(site) = snapshot.site(facts.site) else {
            let verdict = decide::not_served(facts);
            return Budgets::ruling(verdict, &Progress::default(), &snapshot.meters, Vec::new());
        };
        let inputs = Inputs {
            facts,
            instance: &site.instance,
            policy: &snapshot.policy,
            headers: &snapshot.headers,
            pages_prefix: &snapshot.pages_prefix,
            webhooks: snapshot.webhooks(),
            now_ms: self.clock.now_ms(),
        };
        let mut progress = Progress::default();
        let mut leases = Vec::new();
        let (traced, mut effects) = (self.traces.are_on(), Vec::new());
        loop {
            match decide::decide(inputs, &mut progress) {
                Step::Done(mut verdict) => {
                    for keepsake in &verdict.keepsakes {
                        let cookie = site.seals.cookie(
                            &site.instance,
                            &facts.origin,
                            keepsake,
                            inputs.now_ms,
                        );
                        verdict.set_cookies.extend(cookie);
                    }
                    self.looks_again(site, &verdict);
                    let compared = self.compared(site, snapshot, inputs, &progress, &verdict);
                    let meters = &snapshot.meters;
                    let ruling = Budgets::ruling(*verdict, &progress, meters, leases);
                    let kept = self.decisions.are_kept();
                    let recorded = || Arc::new(Recorded::of(facts, &progress, inputs.now_ms));
                    return Ruling {
                        effects,
                        recorded: kept.then(recorded),
                        compared,
                        ..ruling
                    };
                }
                Step::Ask(question) => {
                    let told = traced.then(|| effects::named(question)).flatten();
                    let told = told.map(|told| (told, Instant::now()));
                    self.find_out(question, site, inputs, &mut progress, &mut leases)
                        .await;
                    effects.extend(told.map(|((name, kind), began)| Effect {
                        name,
                        kind,
                        began,
                        took: began.elapsed(),
                    }));
                }
            }
        }
    }
}
