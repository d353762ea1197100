//! The loop between the pure core and the world: the core asks, the gate finds out.
//!
//! A request sees one [`Snapshot`] from beginning to end. The common request, whose token was
//! verified before, waits for nothing.

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

use crate::clerk::backend::{self, RefreshCall};
use crate::clerk::browsers::HeldSession;
use crate::clerk::jwks::KeyStore;
use crate::clerk::sessions::{Listing, SessionError};
use crate::clock::SharedClock;
use crate::core::decide::{self, Inputs, Owner, Permit, Step};
use crate::core::facts::RequestFacts;
use crate::core::jwt::Token;
use crate::core::question::{MintFailure, Progress, Question, Slot, TokenAnswer, TokenStanding};
use crate::core::reason::{Reason, RefreshFailure};
use crate::core::recorded::Recorded;
use crate::core::verify::Signature;
use crate::rewrite::Tally;
use crate::store::notices::{Hearing, Notices};
use crate::store::{Lease, Memory, Store};
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
use renewal::{Renewals, Whose};
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
        let mut effects = Vec::new();
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
                    if snapshot.policy.rides() {
                        self.looks_back(site, inputs, &verdict, &progress);
                    }
                    let compared = self.compared(site, snapshot, inputs, &progress, &verdict);
                    let meters = &snapshot.meters;
                    let ruling = Budgets::ruling(*verdict, &progress, meters, leases);
                    let kept = self.decisions.are_kept();
                    let recorded = || Arc::new(Recorded::of(facts, &progress, inputs.now_ms));
                    return Ruling {
                        effects,
                        recorded: kept.then(recorded),
                        compared,
                        judged_ms: inputs.now_ms,
                        ..ruling
                    };
                }
                Step::Ask(question) => {
                    let began = effects::takes_time(question).then(Instant::now);
                    self.find_out(question, site, inputs, &mut progress, &mut leases)
                        .await;
                    effects.extend(began.map(|began| Effect {
                        question,
                        began,
                        took: began.elapsed(),
                    }));
                }
            }
        }
    }

    async fn find_out(
        &self,
        question: Question,
        site: &Site,
        inputs: Inputs<'_, '_>,
        progress: &mut Progress<'_>,
        leases: &mut Vec<Lease>,
    ) {
        match question {
            Question::Token(slot) => {
                let answer =
                    self.token(site, inputs.now_ms, progress.raw(slot).unwrap_or_default());
                progress.answer_token(slot, answer);
            }
            Question::Signature(slot) => {
                let signature = self
                    .signature(site, inputs.facts.site, slot, progress)
                    .await;
                progress.answer_signature(slot, signature);
            }
            Question::HandshakePayload => {
                let nonce = progress
                    .credentials()
                    .and_then(|c| c.handshake_nonce.as_deref());
                let payload = match (&site.backend, nonce) {
                    (Some(backend), Some(nonce)) => {
                        let (number, now_ms) = (inputs.facts.site, inputs.now_ms);
                        self.nonces.exchange(backend, number, nonce, now_ms).await
                    }
                    _ => Err(()),
                };
                progress.answer_payload(payload);
            }
            Question::Machine(kind) => {
                let token = progress.raw(Slot::Bearer).unwrap_or_default();
                let machine = site.machines.verify(kind, token, inputs.now_ms).await;
                progress.answer_machine(machine);
            }
            Question::OwnCookies => {
                let came = progress.credentials();
                let own = site.seals.open(
                    &site.instance,
                    &inputs.facts.origin,
                    came.and_then(|c| c.seal.as_deref()),
                    came.and_then(|c| c.state.as_deref()),
                );
                progress.answer_own_cookies(own);
            }
            Question::Journey => {
                // Should chance fail, the question stays open, and the verdict is that nothing can be told.
                if let Some(journey) = seals::new_journey() {
                    progress.answer_journey(journey);
                }
            }
            Question::Mint => {
                let renewer = site.renewer(inputs.facts.site);
                let minted = match (renewer, progress.opened_seal()) {
                    (Some(renewer), Some(seal)) => {
                        let whose = Whose {
                            session: &seal.session,
                            user: &seal.user,
                        };
                        let cookies = [Slot::Session, Slot::SuffixedSession];
                        let came = |jwt: &str| {
                            let mut cookies = cookies.iter();
                            cookies.any(|slot| progress.raw(*slot) == Some(jwt))
                        };
                        self.renewals
                            .mint(renewer, &self.denials, whose, came, inputs.now_ms)
                            .await
                    }
                    _ => Err(MintFailure::Refused),
                };
                progress.answer_mint(minted);
            }
            Question::Recollection(slot) => {
                let recollection = self.recollect(site, slot, progress);
                progress.answer_recollection(recollection);
            }
            Question::Reach(slot) => {
                let reach = self.reach(site, slot, progress).await;
                progress.answer_reach(reach);
            }
            Question::Template(slot) => {
                let token = self.route_token(site, inputs, slot, progress).await;
                progress.answer_template(token);
            }
            Question::Budget(stage) => {
                let charges = progress.charges(stage);
                let spendings = self.budgets.spend(charges, leases, inputs.now_ms).await;
                progress.answer_budget(stage, spendings);
            }
            Question::Refresh(slot) => {
                let outcome = self.refresh(site, inputs, slot, progress).await;
                progress.answer_refresh(outcome);
            }
        }
    }

    /// Decodes a token, or finds it among those that were verified before.
    fn token(&self, site: &Site, now_ms: u64, raw: &str) -> TokenAnswer {
        // SECURITY: a machine's token may be good for days. It must not be taken for so long although
        // nobody has looked whether its key still is.
        let verified = site
            .keys
            .stands()
            .then(|| self.tokens.verified(raw, site.keys.generation(), now_ms))
            .flatten();
        self.meters.tokens.note(verified.is_some());
        let signature = verified.as_ref().map(|_| Signature::Good);
        let decoded = match verified {
            Some(token) => Ok(token),
            None => Token::decode(raw).map(Arc::new),
        };
        let standing = decoded.as_ref().map_or(TokenStanding::Stands, |token| {
            self.denials.standing(token, now_ms)
        });
        TokenAnswer {
            decoded,
            signature,
            standing,
        }
    }

    async fn signature(
        &self,
        site: &Site,
        number: usize,
        slot: Slot,
        progress: &Progress<'_>,
    ) -> Signature {
        let (Some(raw), Some(token)) = (progress.raw(slot), progress.decoded(slot)) else {
            return Signature::Bad;
        };
        let (signature, generation) = site.keys.check(raw, token).await;
        if signature == Signature::Good && slot != Slot::Handshake {
            self.tokens
                .keep(raw, token, generation, site.instance.clock_skew_ms);
            self.live.hears(number, token);
        }
        signature
    }

    /// A token of the template of the route that a request has come to.
    async fn route_token(
        &self,
        site: &Site,
        inputs: Inputs<'_, '_>,
        slot: Slot,
        progress: &Progress<'_>,
    ) -> Result<Arc<str>, Reason> {
        let found = progress.route().ok_or(Reason::TemplateUnavailable)?;
        let template = inputs.policy.route(found.route).template.as_deref();
        let owner = progress.decoded(slot).and_then(|token| Owner::of(token));
        let (Some(template), Some(owner)) = (template, owner) else {
            return Err(Reason::TemplateUnavailable);
        };
        let number = inputs.facts.site;
        let made = self.template_token(site, number, &owner, template).await?;
        Ok(made.jwt)
    }

    async fn refresh(
        &self,
        site: &Site,
        inputs: Inputs<'_, '_>,
        slot: Slot,
        progress: &Progress<'_>,
    ) -> Result<Vec<String>, RefreshFailure> {
        let facts = inputs.facts;
        let Some(renewer) = site.renewer(facts.site) else {
            return Err(RefreshFailure::NoSecretKey);
        };
        let refresh_token = progress.credentials().and_then(|c| c.refresh.as_deref());
        let (Some(expired), Some(token), Some(refresh_token)) =
            (progress.raw(slot), progress.decoded(slot), refresh_token)
        else {
            return Err(RefreshFailure::Unintelligible);
        };
        let session = token.text("sid").unwrap_or_default();
        if self.denials.is_denied(session, inputs.now_ms) {
            return Err(RefreshFailure::Ended);
        }
        let call = RefreshCall {
            session_id: session.to_owned(),
            expired_token: expired.to_owned(),
            refresh_token: refresh_token.to_owned(),
            origin: facts.origin.to_string(),
            headers: backend::header_lists(facts.headers),
        };
        self.refreshes.refresh(renewer, &call, inputs.now_ms).await
    }
}
