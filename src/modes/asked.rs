//! What a gateway is told that asks about a request: that it may go on, or what the client sees instead.

use http::{HeaderValue, StatusCode};

use super::log_line::Outcome;
use super::own_answer;
use crate::core::decide::{Decision, Permit};
use crate::core::facts::{Audience, RequestFacts};
use crate::core::reason::Reason;
use crate::core::reply;
use crate::gate::{Ruling, Snapshot};
use crate::pages::{self, Document};
use crate::telemetry::access::Action;

/// A request that was asked about and judged.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a, 'r> {
    pub snapshot: &'a Snapshot,
    pub facts: &'a RequestFacts<'r>,
    pub ruling: &'a Ruling,
    pub request_id: &'a HeaderValue,
}

/// The request does not go on.
pub(super) struct No {
    /// What the client sees.
    pub document: Document,
    /// What stands in the log.
    pub outcome: Outcome,
}

impl<'a> Asked<'a, '_> {
    /// The leave to forward the request, or what is said instead of it.
    pub(super) fn leave(&self) -> Result<&'a Permit, Box<No>> {
        let verdict = &self.ruling.verdict;
        let (decision, mut document) = match &verdict.decision {
            Decision::Forward(permit) => return Ok(permit),
            Decision::Redirect(redirect) => (Action::Redirect, pages::redirect(&redirect.location)),
            Decision::Refuse(refusal) => {
                let reply = reply::reply(refusal, self.id());
                (Action::Refuse, pages::refusal(reply))
            }
            // The recipes send these to the gate's own listener.
            Decision::Relay(_) | Decision::Page(_) | Decision::Serve(_) => {
                return Err(self.failed(Reason::DoorMisdirected));
            }
        };
        own_answer::dress(&mut document.headers, verdict);
        own_answer::finish(&mut document.headers, self.snapshot, self.ruling);
        let outcome = said(decision, document.status, None);
        Err(Box::new(No { document, outcome }))
    }

    /// What is said where something went wrong after the verdict.
    pub(super) fn failed(&self, reason: Reason) -> Box<No> {
        let mut document = refusal(reason, self.facts.audience, self.id());
        own_answer::finish(&mut document.headers, self.snapshot, self.ruling);
        let outcome = said(Action::Refuse, document.status, Some(reason));
        Box::new(No { document, outcome })
    }

    fn id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }
}

/// What stands in the log of a request that goes on.
pub(super) fn goes_on() -> Outcome {
    said(Action::Forward, StatusCode::OK, None)
}

/// The status is what the client sees if it is not the application's.
fn said(decision: Action, status: StatusCode, failure: Option<Reason>) -> Outcome {
    Outcome {
        decision,
        status: status.as_u16(),
        failure,
        upstream_status: None,
        upstream: None,
        server: None,
    }
}

/// A refusal that has nothing to do with who asked.
pub(super) fn refusal(reason: Reason, audience: Audience, request_id: &str) -> Document {
    let refusal = own_answer::refusal(reason, audience);
    pages::refusal(reply::reply(&refusal, request_id))
}
