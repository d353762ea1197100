//! Why a request falls as it does: the very function that decides, run for show.
//!
//! Nothing is asked of anybody. What would need an effect is answered as a failure and noted.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::auth;
use super::decide::{self, Decision, Inputs, Page, RefusalKind, Standing, Step, Verdict};
use super::jwt::Token;
use super::machine::Machine;
use super::persona::Sender;
use super::policy::{Route, RouteMatch};
use super::question::{Progress, Question, Slot, TokenAnswer};
use super::reason::{Reason, RefreshFailure};
use super::reply;
use super::requirement::{Caller, Person};
use super::verify::Signature;

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
            | Decision::Page(_) => Vec::new(),
        };
        Explanation {
            method: facts.method.to_string(),
            host: facts.host.to_string(),
            site: None,
            path: facts.path.to_string(),
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
        Question::Machine(_) => "the token would be looked up at Clerk",
        Question::Token(_) | Question::Signature(_) => "a token would be looked at",
    }
}

/// The status and the `Location` of the answer; none where the upstream answers.
fn answer(verdict: &Verdict) -> (Option<StatusCode>, Option<String>) {
    match &verdict.decision {
        Decision::Forward(_) | Decision::Relay(_) => (None, None),
        Decision::Redirect(redirect) => (
            Some(StatusCode::TEMPORARY_REDIRECT),
            Some(redirect.location.clone()),
        ),
        Decision::Refuse(refusal) => (
            Some(reply::status(refusal.kind, refusal.cause.reason)),
            None,
        ),
        Decision::Page(Page::Me(_) | Page::ProtectedResource(_)) => (Some(StatusCode::OK), None),
        Decision::Page(Page::Unauthorized) => (Some(StatusCode::FORBIDDEN), None),
    }
}

/// What becomes of a request, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It reaches the upstream.
    Allowed,
    /// It reaches Clerk's Frontend API.
    Relayed,
    /// Sign in first: a redirect or a 401.
    SignedOut,
    /// Signed in, but may not: a 403 or a redirect.
    Forbidden,
    /// Neither is told: a 404.
    NotFound,
    /// The request itself cannot be taken.
    Refused,
    /// It cannot be told at the moment: a 503.
    Unavailable,
    /// A page of the gate answers.
    Page,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Allowed,
        Self::Relayed,
        Self::SignedOut,
        Self::Forbidden,
        Self::NotFound,
        Self::Refused,
        Self::Unavailable,
        Self::Page,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Relayed => "relayed",
            Self::SignedOut => "signed-out",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Page => "page",
        }
    }

    /// What a verdict comes to.
    pub fn of(verdict: &Verdict) -> Self {
        match &verdict.decision {
            Decision::Forward(_) => Self::Allowed,
            Decision::Relay(_) => Self::Relayed,
            Decision::Page(_) => Self::Page,
            Decision::Redirect(_) if verdict.standing == Standing::SignedIn => Self::Forbidden,
            Decision::Redirect(_) => Self::SignedOut,
            Decision::Refuse(refusal) => match refusal.kind {
                RefusalKind::Unauthorized if verdict.standing == Standing::SignedIn => {
                    Self::Forbidden
                }
                RefusalKind::SignedOut | RefusalKind::Unauthorized => Self::SignedOut,
                RefusalKind::Forbidden => Self::Forbidden,
                RefusalKind::Hidden => Self::NotFound,
                RefusalKind::Request => Self::Refused,
                RefusalKind::Unavailable => Self::Unavailable,
            },
        }
    }
}

/// Another way to read the path, and the route it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadingLine {
    /// What kind of leniency leads to it.
    pub kind: &'static str,
    /// The path such a server would see.
    pub path: String,
    /// The route that this path has.
    pub route: String,
}

/// A request on its way to Clerk's Frontend API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The path there.
    pub path: String,
    /// The proxy it is said to come by.
    pub proxy_url: String,
}

impl Relay {
    fn of(verdict: &Verdict) -> Option<Self> {
        match &verdict.decision {
            Decision::Relay(permit) => Some(Self {
                path: permit.path().to_owned(),
                proxy_url: permit.proxy_url().to_owned(),
            }),
            Decision::Forward(_)
            | Decision::Redirect(_)
            | Decision::Refuse(_)
            | Decision::Page(_) => None,
        }
    }
}

/// A requirement and whether it is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The route that asks it.
    pub route: String,
    /// What it asks, in words.
    pub requirement: String,
    /// Whether it is met.
    pub met: bool,
    /// Why not, for somebody who is signed in.
    pub reason: Option<&'static str>,
}

/// Why a request falls as it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The method.
    pub method: String,
    /// The host that was asked for.
    pub host: String,
    /// The site that it belongs to, if there are several: whoever has the addresses says so.
    pub site: Option<String>,
    /// The canonical path.
    pub path: String,
    /// The route that decides; `None` for pages of the gate.
    pub route: Option<String>,
    /// Other readings of the path that count.
    pub readings: Vec<ReadingLine>,
    /// Requirements, judged one by one.
    pub requirements: Vec<Judged>,
    /// How the sender stands.
    pub standing: Standing,
    /// The user, if signed in.
    pub user: Option<String>,
    /// The active organisation.
    pub organization: Option<String>,
    /// The reason code, with its detail.
    pub reason: Option<String>,
    /// What the visitor is told.
    pub message: Option<&'static str>,
    /// What becomes of the request.
    pub outcome: Outcome,
    /// The status of an answer of the gate; `None` where the upstream answers.
    pub status: Option<StatusCode>,
    /// Where the visitor is sent.
    pub location: Option<String>,
    /// What Clerk's Frontend API is asked, if the request goes there.
    pub relay: Option<Relay>,
    /// The identity headers that the upstream gets.
    pub upstream: Vec<(String, String)>,
    /// Effects that a running gate would have had, taken for failed here.
    pub left_out: Vec<&'static str>,
}

impl Explanation {
    /// Of a request that cannot be read in one way: no route is looked for.
    pub fn of_unreadable(method: &str, target: &str, reason: Reason) -> Self {
        Self {
            method: method.to_owned(),
            host: String::new(),
            site: None,
            path: target.to_owned(),
            route: None,
            readings: Vec::new(),
            requirements: Vec::new(),
            standing: Standing::Unasked,
            user: None,
            organization: None,
            reason: Some(reason.code().to_owned()),
            message: Some(reason.message()),
            outcome: Outcome::Refused,
            status: Some(reply::status(RefusalKind::Request, reason)),
            location: None,
            relay: None,
            upstream: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// The explanation for programs.
    pub fn to_json(&self) -> Value {
        let upstream: serde_json::Map<String, Value> = self
            .upstream
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        json!({
            "method": self.method,
            "host": self.host,
            "site": self.site,
            "path": self.path,
            "route": self.route,
            "readings": self.readings.iter().map(|line| json!({
                "kind": line.kind, "path": line.path, "route": line.route,
            })).collect::<Vec<_>>(),
            "requirements": self.requirements.iter().map(|line| json!({
                "route": line.route, "requirement": line.requirement, "met": line.met, "reason": line.reason,
            })).collect::<Vec<_>>(),
            "standing": standing(self.standing),
            "user": self.user,
            "organization": self.organization,
            "reason": self.reason,
            "message": self.message,
            "outcome": self.outcome.as_str(),
            "status": self.status.map(|status| status.as_u16()),
            "location": self.location,
            "relay": self.relay.as_ref().map(|relay| json!({
                "path": relay.path, "proxy_url": relay.proxy_url,
            })),
            "upstream": upstream,
            "left_out": self.left_out,
        })
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::SignedIn => "signed-in",
        Standing::SignedOut => "signed-out",
        Standing::Handshake => "handshake",
        Standing::Unasked => "not asked",
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {} {}", self.method, self.path)?;
        if !self.host.is_empty() {
            writeln!(f, "host      {}", self.host)?;
        }
        if let Some(site) = &self.site {
            writeln!(f, "site      {site}")?;
        }
        if let Some(route) = &self.route {
            writeln!(f, "route     {route}")?;
        }
        for line in &self.readings {
            writeln!(
                f,
                "also      {}, as `{}` ({} reading)",
                line.route, line.path, line.kind
            )?;
        }
        let who = match (&self.user, &self.organization) {
            (Some(user), Some(organization)) => format!("{user} in {organization}"),
            (Some(user), None) => user.clone(),
            (None, _) => standing(self.standing).to_owned(),
        };
        writeln!(f, "who       {who}")?;
        for line in &self.requirements {
            let met = if line.met { "met" } else { "not met" };
            write!(f, "requires  {}: {met}", line.requirement)?;
            match line.reason {
                Some(reason) => writeln!(f, " ({reason})")?,
                None => writeln!(f)?,
            }
        }
        for effect in &self.left_out {
            writeln!(f, "left out  {effect}")?;
        }
        write!(f, "outcome   {}", self.outcome.as_str())?;
        if let Some(status) = self.status {
            write!(f, ", {status}")?;
        }
        writeln!(f)?;
        if let Some(reason) = &self.reason {
            write!(f, "reason    {reason}")?;
            match self.message {
                Some(message) => writeln!(f, ": {message}")?,
                None => writeln!(f)?,
            }
        }
        if let Some(location) = &self.location {
            writeln!(f, "to        {location}")?;
        }
        if let Some(Relay { path, proxy_url }) = &self.relay {
            writeln!(
                f,
                "to        {path} of the Frontend API, by way of {proxy_url}"
            )?;
        }
        for (name, value) in &self.upstream {
            writeln!(f, "upstream  {name}: {value}")?;
        }
        Ok(())
    }
}
