//! What `decide` may ask and what it has been told: the loop between the pure core and the gate.
//!
//! `decide` never waits. It answers, or it asks; the gate finds out and calls again with the
//! answer noted in [`Progress`]. A failure to find out is an answer too, and nothing is asked twice.

mod keeping;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::budget::{Charge, Spending};
use super::continuity::{self, Journey, OwnCookies, Seal};
use super::credentials::Credentials;
use super::jwt::{Malformed, Token};
use super::machine::{Machine, TokenType};
use super::masked::CookieLines;
use super::policy::RouteMatch;
use super::reason::{Reason, RefreshFailure};
use super::ride_through::{Reach, Recollection};
use super::verify::Signature;
pub use keeping::COVERED;

/// Something the core wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Pure: what is in this token? Answered by decoding, or from the verified-token cache.
    Token(Slot),
    /// Pure: is its signature good? Answered by keys at hand; fetching keys is the gate's affair.
    Signature(Slot),
    /// Effect: the directives behind the handshake nonce.
    HandshakePayload,
    /// Pure: what do the gate's own cookies hold?
    OwnCookies,
    /// Pure: what is the journey called that begins now? Nobody can guess it.
    Journey,
    /// Effect: a new session token for the session of the seal.
    Mint,
    /// Effect: a new session token for the refresh cookie.
    Refresh(Slot),
    /// Pure: what does this process know of this token, whose end has passed?
    Recollection(Slot),
    /// Effect: whether Clerk can be reached, by asking about the session of this token.
    Reach(Slot),
    /// Effect: a token of the route's template for the session of this token.
    Template(Slot),
    /// Effect: whom the opaque machine token of the `Authorization` header stands for.
    Machine(TokenType),
    /// Effect: the charges of this stage: see [`Progress::charges`].
    Budget(Stage),
}

/// When budgets are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As soon as the route is known: those that count addresses.
    Arrival,
    /// When a request may go on: those that count whoever sends it.
    Admission,
}

const STAGES: usize = 2;

/// What is charged at a stage, and what that came to once it is known.
#[derive(Debug)]
struct Charged {
    charges: Vec<Charge>,
    spendings: Option<Vec<Spending>>,
}

/// Which token of a request is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Of the `Authorization` header.
    Bearer,
    /// `__session`.
    Session,
    /// `__session_<suffix>`.
    SuffixedSession,
    /// The handshake result.
    Handshake,
    /// The session token that a handshake brought.
    FromHandshake,
    /// The session token that a refresh brought.
    FromRefresh,
    /// The session token that was minted.
    FromMint,
}

const SLOTS: usize = 7;

/// What is known of a token.
#[derive(Clone, Debug)]
pub struct TokenAnswer {
    /// The token, or why it is none.
    pub decoded: Result<Arc<Token>, Malformed>,
    /// Whether its signature is known already.
    pub signature: Option<Signature>,
    /// Whether it still counts, its signature and its times apart.
    pub standing: TokenStanding,
}

/// What is known of a token besides what it says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenStanding {
    /// Nothing.
    #[default]
    Stands,
    /// Its session is over.
    Revoked,
    /// What it says has changed since: it has to be renewed.
    Outdated,
}

/// Why no token was minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MintFailure {
    /// The session is over.
    Ended,
    /// Clerk could not be asked.
    Unavailable,
    /// Clerk would not.
    Refused,
}

/// Set-Cookie strings from Clerk, or why there are none.
pub type Directives<E> = Result<Vec<String>, E>;

/// The answers so far. Small, and made once for each request.
#[derive(Default)]
pub struct Progress<'r> {
    credentials: Option<Credentials<'r>>,
    route: Option<RouteMatch>,
    tokens: [Option<TokenAnswer>; SLOTS],
    payload: Option<Directives<()>>,
    refresh: Option<Directives<RefreshFailure>>,
    machine: Option<Result<Arc<Machine>, Reason>>,
    own: Option<OwnCookies>,
    journey: Option<Journey>,
    minted: Option<Result<String, MintFailure>>,
    template: Option<Result<Arc<str>, Reason>>,
    recollection: Option<Recollection>,
    reach: Option<Reach>,
    charged: [Option<Charged>; STAGES],
    asked: Vec<Question>,
}

impl<'r> Progress<'r> {
    /// Notes what a token holds, and its signature where that is known already.
    pub fn answer_token(&mut self, slot: Slot, answer: TokenAnswer) {
        if let Some(place) = self.tokens.get_mut(slot as usize) {
            *place = Some(answer);
        }
    }

    /// Notes whether a signature is good.
    pub fn answer_signature(&mut self, slot: Slot, signature: Signature) {
        if let Some(Some(answer)) = self.tokens.get_mut(slot as usize) {
            answer.signature = Some(signature);
        }
    }

    /// Notes the directives behind the nonce.
    pub fn answer_payload(&mut self, directives: Directives<()>) {
        self.payload = Some(directives);
    }

    /// Notes what a refresh brought.
    pub fn answer_refresh(&mut self, directives: Directives<RefreshFailure>) {
        self.refresh = Some(directives);
    }

    /// Notes whom the machine token stands for, or why it is not taken.
    pub fn answer_machine(&mut self, machine: Result<Arc<Machine>, Reason>) {
        self.machine = Some(machine);
    }

    /// Notes what the gate's own cookies hold.
    pub fn answer_own_cookies(&mut self, own: OwnCookies) {
        self.own = Some(own);
    }

    /// Notes what the journey is called that begins now.
    pub fn answer_journey(&mut self, journey: Journey) {
        self.journey = Some(journey);
    }

    /// Notes the token that was minted, or why none was.
    pub fn answer_mint(&mut self, minted: Result<String, MintFailure>) {
        self.minted = Some(minted);
    }

    /// Notes what is known of a token that has ended.
    pub fn answer_recollection(&mut self, recollection: Recollection) {
        self.recollection = Some(recollection);
    }

    /// Notes whether Clerk can be reached.
    pub fn answer_reach(&mut self, reach: Reach) {
        self.reach = Some(reach);
    }

    /// Notes what charges came to, in their order; those behind a refusal are left out.
    pub fn answer_budget(&mut self, stage: Stage, spendings: Vec<Spending>) {
        if let Some(Some(charged)) = self.charged.get_mut(stage as usize) {
            charged.spendings = Some(spendings);
        }
    }

    /// What is to be charged at a stage.
    pub fn charges(&self, stage: Stage) -> &[Charge] {
        match self.charged.get(stage as usize) {
            Some(Some(charged)) => &charged.charges,
            _ => &[],
        }
    }

    /// Everything that was charged, and what it came to.
    pub fn spent(&self) -> impl Iterator<Item = (&Charge, &Spending)> {
        self.charged.iter().flatten().flat_map(|charged| {
            let spendings = charged.spendings.iter().flatten();
            charged.charges.iter().zip(spendings)
        })
    }

    /// The seal that came with the request, once it was opened.
    pub fn opened_seal(&self) -> Option<&Seal> {
        self.own.as_ref()?.seal.as_ref()
    }

    /// Notes the token of the route's template, or why there is none.
    pub fn answer_template(&mut self, token: Result<Arc<str>, Reason>) {
        self.template = Some(token);
    }

    /// The credentials, if they have been read.
    pub fn credentials(&self) -> Option<&Credentials<'r>> {
        self.credentials.as_ref()
    }

    /// The route, if it has been found.
    pub fn route(&self) -> Option<&RouteMatch> {
        self.route.as_ref()
    }

    /// The text of the token in `slot`.
    pub fn raw(&self, slot: Slot) -> Option<&str> {
        let credentials = self.credentials.as_ref()?;
        match slot {
            Slot::Bearer => credentials.bearer.as_deref(),
            Slot::Session => credentials.session.plain.as_deref(),
            Slot::SuffixedSession => credentials.session.suffixed.as_deref(),
            Slot::Handshake => credentials.handshake.as_deref(),
            Slot::FromHandshake => session_directive(self.handshake_directives()?),
            Slot::FromRefresh => session_directive(self.refresh.as_ref()?.as_ref().ok()?),
            Slot::FromMint => self.minted.as_ref()?.as_deref().ok(),
        }
    }

    /// The Set-Cookie strings of a handshake result: behind the nonce, else in the token.
    fn handshake_directives(&self) -> Option<&[String]> {
        self.payload.as_ref()?.as_ref().ok().map(Vec::as_slice)
    }

    /// The decoded token in `slot`, if it has been looked at and is one.
    pub fn decoded(&self, slot: Slot) -> Option<&Arc<Token>> {
        self.token(slot).ok()?.decoded.as_ref().ok()
    }

    /// Every question that was asked, in order.
    pub fn asked(&self) -> &[Question] {
        &self.asked
    }

    pub(super) fn read_credentials(&mut self, read: impl FnOnce() -> Credentials<'r>) {
        self.credentials.get_or_insert_with(read);
    }

    pub(super) fn find_route(&mut self, find: impl FnOnce() -> RouteMatch) {
        self.route.get_or_insert_with(find);
    }

    pub(super) fn token(&self, slot: Slot) -> Result<&TokenAnswer, Question> {
        match self.tokens.get(slot as usize) {
            Some(Some(answer)) => Ok(answer),
            _ => Err(Question::Token(slot)),
        }
    }

    pub(super) fn payload(&self) -> Result<&Directives<()>, Question> {
        self.payload.as_ref().ok_or(Question::HandshakePayload)
    }

    pub(super) fn refreshed(&self, slot: Slot) -> Result<&Directives<RefreshFailure>, Question> {
        self.refresh.as_ref().ok_or(Question::Refresh(slot))
    }

    pub(super) fn machine(
        &self,
        kind: TokenType,
    ) -> Result<&Result<Arc<Machine>, Reason>, Question> {
        self.machine.as_ref().ok_or(Question::Machine(kind))
    }

    /// What the gate's own cookies hold; nobody is asked where none came.
    pub(super) fn own_cookies(&self) -> Result<&OwnCookies, Question> {
        let came = |c: &Credentials<'_>| c.seal.is_some() || c.state.is_some();
        if !self.credentials.as_ref().is_some_and(came) {
            return Ok(&continuity::NONE);
        }
        self.own.as_ref().ok_or(Question::OwnCookies)
    }

    pub(super) fn journey(&self) -> Result<&Journey, Question> {
        self.journey.as_ref().ok_or(Question::Journey)
    }

    pub(super) fn minted(&self) -> Result<&Result<String, MintFailure>, Question> {
        self.minted.as_ref().ok_or(Question::Mint)
    }

    pub(super) fn recollection(&self, slot: Slot) -> Result<&Recollection, Question> {
        let recollection = self.recollection.as_ref();
        recollection.ok_or(Question::Recollection(slot))
    }

    pub(super) fn reach(&self, slot: Slot) -> Result<&Reach, Question> {
        self.reach.as_ref().ok_or(Question::Reach(slot))
    }

    pub(super) fn template(&self, slot: Slot) -> Result<&Result<Arc<str>, Reason>, Question> {
        self.template.as_ref().ok_or(Question::Template(slot))
    }

    pub(super) fn note_charges(&mut self, stage: Stage, charges: Vec<Charge>) {
        if let Some(place) = self.charged.get_mut(stage as usize)
            && !charges.is_empty()
        {
            place.get_or_insert(Charged {
                charges,
                spendings: None,
            });
        }
    }

    /// Why a request is refused at a stage, if a budget refuses it there.
    pub(super) fn charged(&self, stage: Stage) -> Result<Option<Reason>, Question> {
        let Some(Some(charged)) = self.charged.get(stage as usize) else {
            return Ok(None);
        };
        let spendings = charged.spendings.as_ref().ok_or(Question::Budget(stage))?;
        let mut spent = charged.charges.iter().zip(spendings);
        Ok(spent.find_map(|(charge, spending)| charge.refusal(spending)))
    }

    /// Keeps the directives of a handshake token where those of a nonce would be.
    pub(super) fn note_directives(&mut self, directives: Vec<String>) {
        self.payload.get_or_insert(Ok(directives));
    }

    /// Takes over the answer to a question that the same request was asked before; whether there is one.
    pub(super) fn take_over(&mut self, question: Question, known: &Self) -> bool {
        fn taken<T: Clone>(place: &mut Option<T>, known: Option<&T>) -> bool {
            *place = known.cloned();
            place.is_some()
        }
        match question {
            Question::Token(slot) => {
                let known = known.token(slot).ok();
                let place = self.tokens.get_mut(slot as usize);
                place.is_some_and(|place| taken(place, known))
            }
            Question::Signature(slot) => {
                let known = known.token(slot).ok().and_then(|known| known.signature);
                if let Some(signature) = known {
                    self.answer_signature(slot, signature);
                }
                known.is_some()
            }
            Question::HandshakePayload => taken(&mut self.payload, known.payload.as_ref()),
            Question::OwnCookies => taken(&mut self.own, known.own.as_ref()),
            Question::Journey => taken(&mut self.journey, known.journey.as_ref()),
            Question::Mint => taken(&mut self.minted, known.minted.as_ref()),
            Question::Refresh(_) => taken(&mut self.refresh, known.refresh.as_ref()),
            Question::Template(_) => taken(&mut self.template, known.template.as_ref()),
            Question::Machine(_) => taken(&mut self.machine, known.machine.as_ref()),
            Question::Recollection(_) => taken(&mut self.recollection, known.recollection.as_ref()),
            Question::Reach(_) => taken(&mut self.reach, known.reach.as_ref()),
            // What is charged depends on the policy.
            Question::Budget(_) => false,
        }
    }

    /// Notes that a question goes out. `false` if it went out before: then no answer came, and
    /// asking again would go on for ever.
    pub(super) fn ask(&mut self, question: Question) -> bool {
        let new = !self.asked.contains(&question);
        if new {
            self.asked.push(question);
        }
        new
    }
}

impl fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn shown<E: fmt::Debug>(
            answer: Option<&Directives<E>>,
        ) -> Option<Result<CookieLines<'_>, &E>> {
            answer.map(|answer| answer.as_deref().map(CookieLines))
        }
        f.debug_struct("Progress")
            .field("credentials", &self.credentials)
            .field("route", &self.route)
            .field("tokens", &self.tokens)
            .field("payload", &shown(self.payload.as_ref()))
            .field("refresh", &shown(self.refresh.as_ref()))
            .field("machine", &self.machine)
            .field("own", &self.own)
            .field("journey", &self.journey)
            .field(
                "minted",
                &self.minted.as_ref().map(|m| m.as_ref().map(|_| "…")),
            )
            .field(
                "template",
                &self
                    .template
                    .as_ref()
                    .map(|answer| answer.as_ref().map(|_| "…")),
            )
            .field("recollection", &self.recollection)
            .field("reach", &self.reach)
            .field("charged", &self.charged)
            .field("asked", &self.asked)
            .finish()
    }
}

/// The session token among Set-Cookie strings: of the last one whose name begins with
/// `__session` (protocol reference, section 3.8, step 4).
pub fn session_directive(directives: &[String]) -> Option<&str> {
    let mut found = None;
    for directive in directives {
        let pair = directive.split(';').next().unwrap_or_default();
        let mut pieces = pair.split('=');
        let name = pieces.next().unwrap_or_default();
        if name.starts_with("__session") {
            found = pieces.next();
        }
    }
    found.filter(|value| !value.is_empty())
}
