//! Why a request falls as it does: the very function that decides, run for show.
//!
//! Nothing is asked of anybody. What would need an effect is answered as a failure and noted.

mod explanation;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::auth;
use super::continuity::{Journey, OwnCookies};
use super::decide::{self, Decision, Inputs, Page, Step, Verdict};
use super::jwt::Token;
use super::machine::Machine;
use super::persona::Sender;
use super::policy::{Route, RouteMatch};
use super::question::{MintFailure, Progress, Question, Slot, Stage, TokenAnswer, TokenStanding};
use super::reason::{Reason, RefreshFailure};
use super::recorded::Recorded;
use super::reply;
use super::requirement::{Caller, Person};
use super::ride_through::{Reach, Recollection};
use super::verify::Signature;

pub use explanation::{Explanation, Judged, Outcome, ReadingLine, Relay};

/// What journeys are called that nobody goes on.
const EXAMPLE_JOURNEY: &str = "0000000000000000";

/// Whose token is taken for good without being looked at.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The bearer token is that of this sender.
    Sender(&'a Sender),
    /// Nobody's: every signature is asked for.
    Nobody,
}

impl<'a> Trust<'a> {
    fn is_in_a_person(self) -> bool {
        matches!(self, Self::Sender(Sender::Somebody(_)))
    }

    fn machine(self) -> Option<&'a Machine> {
        match self {
            Self::Sender(Sender::Machine(machine)) => Some(machine),
            Self::Sender(Sender::Nobody | Sender::Somebody(_)) | Self::Nobody => None,
        }
    }
}

/// A request that is decided about for show.
#[derive(Debug)]
pub struct Rehearsal<'a, 'r> {
    inputs: Inputs<'a, 'r>,
    trust: Trust<'a>,
    progress: Progress<'r>,
    left_out: Vec<Question>,
    recorded: Vec<String>,
}

/// A rehearsal wants to know whether a signature is good, or is over.
#[derive(Debug)]
pub enum Act {
    /// Is the signature of the token in this slot good? See [`Rehearsal::token`].
    Signature(Slot),
    /// The verdict.
    Verdict(Box<Verdict>),
}

impl<'a, 'r> Rehearsal<'a, 'r> {
    /// A rehearsal of one request.
    pub fn new(inputs: Inputs<'a, 'r>, trust: Trust<'a>) -> Self {
        Self {
            inputs,
            trust,
            progress: Progress::default(),
            left_out: Vec::new(),
            recorded: Vec::new(),
        }
    }

    /// A rehearsal of a request that was judged before, with the answers that there were then. Only what
    /// nobody asked about then is a question.
    pub fn again(inputs: Inputs<'a, 'r>, recorded: &Recorded) -> Self {
        Self {
            inputs,
            trust: Trust::Nobody,
            progress: recorded.progress(),
            left_out: Vec::new(),
            recorded: recorded.told(),
        }
    }

    /// Goes on until a signature is in question or the verdict is there.
    pub fn go_on(&mut self) -> Act {
        loop {
            let question = match decide::decide(self.inputs, &mut self.progress) {
                Step::Done(verdict) => return Act::Verdict(verdict),
                Step::Ask(question) => question,
            };
            match question {
                Question::Token(slot) => {
                    let raw = self.progress.raw(slot).unwrap_or_default();
                    let answer = TokenAnswer {
                        decoded: Token::decode(raw).map(Arc::new),
                        signature: None,
                        standing: TokenStanding::Stands,
                    };
                    self.progress.answer_token(slot, answer);
                }
                Question::Signature(Slot::Bearer) if self.trust.is_in_a_person() => {
                    self.progress
                        .answer_signature(Slot::Bearer, Signature::Good);
                }
                Question::Signature(slot) => return Act::Signature(slot),
                Question::HandshakePayload => {
                    self.left_out.push(question);
                    self.progress.answer_payload(Err(()));
                }
                Question::Machine(kind) => {
                    let machine = self.trust.machine().filter(|machine| machine.kind == kind);
                    if machine.is_none() {
                        self.left_out.push(question);
                    }
                    let machine = machine.map(|machine| Arc::new(machine.clone()));
                    self.progress
                        .answer_machine(machine.ok_or(Reason::TokenVerificationUnavailable));
                }
                // The keys that open them are not at hand: it is as if none had come.
                Question::OwnCookies => self.progress.answer_own_cookies(OwnCookies::default()),
                Question::Journey => {
                    if let Some(journey) = Journey::named(EXAMPLE_JOURNEY) {
                        self.progress.answer_journey(journey);
                    }
                }
                Question::Mint => {
                    self.left_out.push(question);
                    self.progress.answer_mint(Err(MintFailure::Refused));
                }
                // Nothing was verified here before.
                Question::Recollection(_) => {
                    self.progress.answer_recollection(Recollection::Unknown);
                }
                Question::Reach(_) => {
                    self.left_out.push(question);
                    self.progress.answer_reach(Reach::Unproven);
                }
                Question::Template(_) => {
                    // What there would be is known without it.
                    self.left_out.push(question);
                    self.progress
                        .answer_template(Ok("(a token of the template)".into()));
                }
                Question::Budget(stage) => {
                    self.left_out.push(question);
                    self.progress.answer_budget(stage, Vec::new());
                }
                Question::Refresh(_) => {
                    self.left_out.push(question);
                    self.progress
                        .answer_refresh(Err(RefreshFailure::NoSecretKey));
                }
            }
        }
    }

    /// The text of a token and what is in it, for whoever checks its signature.
    pub fn token(&self, slot: Slot) -> Option<(&str, &Token)> {
        Some((self.progress.raw(slot)?, self.progress.decoded(slot)?))
    }

    /// Notes whether a signature is good.
    pub fn answer(&mut self, slot: Slot, signature: Signature) {
        self.progress.answer_signature(slot, signature);
    }

    /// Tells why the verdict is as it is.
    pub fn explain(mut self, verdict: &Verdict) -> Explanation {
        let Inputs { facts, policy, .. } = self.inputs;
        let route = |index| policy.route(index).name.to_string();
        let found = verdict.route.as_ref();
        let outcome = Outcome::of(verdict);
        let (status, location) = answer(verdict);
        let forwarded = match &verdict.decision {
            Decision::Forward(permit) => Some(permit.path(facts)),
            _ => None,
        };
        let forwarded = forwarded
            .filter(|path| **path != facts.path)
            .map(ToString::to_string);
        let upstream = match &verdict.decision {
            Decision::Forward(permit) => permit
                .identity()
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.to_string(), value)
                })
                .collect(),
            Decision::Relay(_)
            | Decision::Redirect(_)
            | Decision::Refuse(_)
            | Decision::Page(_)
            | Decision::Serve(_) => Vec::new(),
        };
        Explanation {
            method: facts.method.to_string(),
            host: facts.host.to_string(),
            site: None,
            path: facts.path.to_string(),
            forwarded,
            route: found.map(|found| route(found.route)),
            readings: found
                .iter()
                .flat_map(|found| &found.stricter)
                .map(|other| ReadingLine {
                    kind: other.reading.kind.name(),
                    path: other.reading.path.clone(),
                    route: route(other.route),
                })
                .collect(),
            ride_through: found.and_then(|found| policy.ride_ms(found).map(Duration::from_millis)),
            requirements: found.map(|found| self.judged(found)).unwrap_or_default(),
            standing: verdict.standing,
            user: verdict.who.as_ref().map(|who| who.user.clone()),
            organization: verdict
                .who
                .as_ref()
                .and_then(|who| who.organization.clone()),
            reason: verdict.cause.as_ref().map(ToString::to_string),
            message: verdict.cause.as_ref().map(|cause| cause.reason.message()),
            outcome,
            status,
            location,
            relay: Relay::of(verdict),
            upstream,
            left_out: self.left_out.iter().copied().map(effect).collect(),
            recorded: self.recorded,
        }
    }

    /// Each requirement of each route that counts, judged by itself.
    fn judged(&mut self, found: &RouteMatch) -> Vec<Judged> {
        let Inputs {
            facts,
            instance,
            policy,
            now_ms,
            ..
        } = self.inputs;
        let routes: Vec<&Route> = std::iter::once(found.route)
            .chain(found.stricter.iter().map(|other| other.route))
            .map(|index| policy.route(index))
            .collect();
        let requirements: Vec<_> = routes.iter().map(|route| &route.requirement).collect();
        let accepts = decide::accepts(&requirements);
        let state = auth::authenticate(facts, instance, accepts, now_ms, &mut self.progress).ok();
        let caller = state.as_ref().and_then(|state| {
            if let auth::Outcome::Machine(machine) = &state.outcome {
                return Some(Caller::Machine(machine));
            }
            let session = state.session(instance.pending)?;
            Some(Caller::Person(Person {
                identity: session.token.identity()?,
                token: &session.token,
                now_ms,
            }))
        });
        let mut judged = Vec::new();
        for route in routes {
            let parts = match caller {
                Some(caller) => route.requirement.judge_parts(caller),
                None => route.requirement.judge_nobody(),
            };
            for (part, met) in parts {
                judged.push(Judged {
                    route: route.name.to_string(),
                    requirement: part.to_string(),
                    met: met.is_ok(),
                    reason: met.err().filter(|_| caller.is_some()).map(Reason::code),
                });
            }
        }
        judged
    }
}

/// The effect that a question would have.
fn effect(question: Question) -> &'static str {
    match question {
        Question::HandshakePayload => "the handshake nonce would be exchanged at Clerk",
        Question::Refresh(_) => "the session would be refreshed at Clerk",
        Question::Template(_) => "a token of the route's template would be fetched from Clerk",
        Question::Machine(_) => "the token would be looked up at Clerk",
        Question::Recollection(_) => "what is known of a token would be recalled",
        Question::Reach(_) => "Clerk would be asked whether it is there",
        Question::Mint => "a session token would be minted at Clerk",
        Question::Journey => "a journey would be given a name",
        Question::Budget(Stage::Arrival) => "limits by address would be charged",
        Question::Budget(Stage::Admission) => "limits would be charged",
        Question::OwnCookies => "the gate's own cookies would be opened",
        Question::Token(_) | Question::Signature(_) => "a token would be looked at",
    }
}

/// The status and the `Location` of the answer; none where the upstream answers.
fn answer(verdict: &Verdict) -> (Option<StatusCode>, Option<String>) {
    match &verdict.decision {
        // What an order comes to is known once it is carried out.
        Decision::Forward(_) | Decision::Relay(_) | Decision::Serve(_) => (None, None),
        Decision::Redirect(redirect) => (
            Some(StatusCode::TEMPORARY_REDIRECT),
            Some(redirect.location.clone()),
        ),
        Decision::Refuse(refusal) => (
            Some(reply::status(refusal.kind, refusal.cause.reason)),
            None,
        ),
        Decision::Page(
            Page::Me(_)
            | Page::ProtectedResource(_)
            | Page::AssertionKeys(_)
            | Page::SignOut(_)
            | Page::SignedOut(_)
            | Page::StartScript { .. },
        ) => (Some(StatusCode::OK), None),
        Decision::Page(Page::Unauthorized) => (Some(StatusCode::FORBIDDEN), None),
    }
}
