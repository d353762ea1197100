//! What has been told of a request so far, and what of it nobody has told yet.

use std::fmt;
use std::sync::Arc;

use super::{Directives, MintFailure, Question, Slot, Stage, TokenAnswer};
use crate::core::budget::{Charge, Spending};
use crate::core::continuity::{self, Journey, OwnCookies, Seal};
use crate::core::credentials::Credentials;
use crate::core::jwt::Token;
use crate::core::machine::{Machine, TokenType};
use crate::core::masked::CookieLines;
use crate::core::policy::RouteMatch;
use crate::core::reason::{Reason, RefreshFailure};
use crate::core::ride_through::{Reach, Recollection};
use crate::core::verify::Signature;

const STAGES: usize = 2;

/// What is charged at a stage, and what that came to once it is known.
#[derive(Clone, Debug)]
pub(super) struct Charged {
    pub(super) charges: Vec<Charge>,
    pub(super) spendings: Option<Vec<Spending>>,
}

/// The answers so far. Small, and made once for each request.
#[derive(Default)]
pub struct Progress<'r> {
    pub(super) credentials: Option<Credentials<'r>>,
    pub(super) route: Option<RouteMatch>,
    pub(super) tokens: [Option<TokenAnswer>; Slot::ALL.len()],
    pub(super) payload: Option<Directives<()>>,
    pub(super) refresh: Option<Directives<RefreshFailure>>,
    pub(super) machine: Option<Result<Arc<Machine>, Reason>>,
    pub(super) own: Option<OwnCookies>,
    pub(super) journey: Option<Journey>,
    pub(super) minted: Option<Result<String, MintFailure>>,
    pub(super) template: Option<Result<Arc<str>, Reason>>,
    pub(super) recollection: Option<Recollection>,
    pub(super) reach: Option<Reach>,
    pub(super) charged: [Option<Charged>; STAGES],
    pub(super) asked: Vec<Question>,
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

    pub(in crate::core) fn read_credentials(&mut self, read: impl FnOnce() -> Credentials<'r>) {
        self.credentials.get_or_insert_with(read);
    }

    pub(in crate::core) fn find_route(&mut self, find: impl FnOnce() -> RouteMatch) {
        self.route.get_or_insert_with(find);
    }

    pub(in crate::core) fn token(&self, slot: Slot) -> Result<&TokenAnswer, Question> {
        match self.tokens.get(slot as usize) {
            Some(Some(answer)) => Ok(answer),
            _ => Err(Question::Token(slot)),
        }
    }

    pub(in crate::core) fn payload(&self) -> Result<&Directives<()>, Question> {
        self.payload.as_ref().ok_or(Question::HandshakePayload)
    }

    pub(in crate::core) fn refreshed(
        &self,
        slot: Slot,
    ) -> Result<&Directives<RefreshFailure>, Question> {
        self.refresh.as_ref().ok_or(Question::Refresh(slot))
    }

    pub(in crate::core) fn machine(
        &self,
        kind: TokenType,
    ) -> Result<&Result<Arc<Machine>, Reason>, Question> {
        self.machine.as_ref().ok_or(Question::Machine(kind))
    }

    /// What the gate's own cookies hold; nobody is asked where none came.
    pub(in crate::core) fn own_cookies(&self) -> Result<&OwnCookies, Question> {
        let came = |c: &Credentials<'_>| c.seal.is_some() || c.state.is_some();
        if !self.credentials.as_ref().is_some_and(came) {
            return Ok(&continuity::NONE);
        }
        self.own.as_ref().ok_or(Question::OwnCookies)
    }

    pub(in crate::core) fn journey(&self) -> Result<&Journey, Question> {
        self.journey.as_ref().ok_or(Question::Journey)
    }

    pub(in crate::core) fn minted(&self) -> Result<&Result<String, MintFailure>, Question> {
        self.minted.as_ref().ok_or(Question::Mint)
    }

    pub(in crate::core) fn recollection(&self, slot: Slot) -> Result<&Recollection, Question> {
        let recollection = self.recollection.as_ref();
        recollection.ok_or(Question::Recollection(slot))
    }

    pub(in crate::core) fn reach(&self, slot: Slot) -> Result<&Reach, Question> {
        self.reach.as_ref().ok_or(Question::Reach(slot))
    }

    pub(in crate::core) fn template(
        &self,
        slot: Slot,
    ) -> Result<&Result<Arc<str>, Reason>, Question> {
        self.template.as_ref().ok_or(Question::Template(slot))
    }

    pub(in crate::core) fn note_charges(&mut self, stage: Stage, charges: Vec<Charge>) {
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
    pub(in crate::core) fn charged(&self, stage: Stage) -> Result<Option<Reason>, Question> {
        let Some(Some(charged)) = self.charged.get(stage as usize) else {
            return Ok(None);
        };
        let spendings = charged.spendings.as_ref().ok_or(Question::Budget(stage))?;
        let mut spent = charged.charges.iter().zip(spendings);
        Ok(spent.find_map(|(charge, spending)| charge.refusal(spending)))
    }

    /// Keeps the directives of a handshake token where those of a nonce would be.
    pub(in crate::core) fn note_directives(&mut self, directives: Vec<String>) {
        self.payload.get_or_insert(Ok(directives));
    }

    /// Takes over the answer to a question that the same request was asked before; whether there is one.
    pub(in crate::core) fn take_over(&mut self, question: Question, known: &Self) -> bool {
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
    pub(in crate::core) fn ask(&mut self, question: Question) -> bool {
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
