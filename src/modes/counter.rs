//! Counts the requests of a mode.

use std::time::Duration;

use super::log_line::Outcome;
use crate::core::decide::{Decision, Verdict};
use crate::core::facts::RequestFacts;
use crate::core::reason::Reason;
use crate::gate::{Gate, Ruling, Snapshot};
use crate::telemetry::access::Action;
use crate::telemetry::requests::{Mode, NO_ROUTE, OWN_PAGES, Requests};

/// What counts the requests that come in one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter<'g> {
    requests: &'g Requests,
    mode: Mode,
}

impl<'g> Counter<'g> {
    /// Counts for this gate.
    pub(super) fn of(gate: &'g Gate, mode: Mode) -> Self {
        Self {
            requests: &gate.meters.requests,
            mode,
        }
    }

    /// Counts a request that was not judged.
    pub(super) fn unread(self, reason: Reason, status: u16) {
        self.requests.note(self.mode, status);
        self.requests.unread.note(Action::Refuse, Some(reason));
    }

    /// Counts a request that was sent to TLS, with this status.
    pub(super) fn sent_to_https(self, status: u16) {
        self.requests.note(self.mode, status);
        self.requests.no_route.note(Action::Redirect, None);
    }

    /// Counts a request whose verdict took so long.
    pub(super) fn judged(
        self,
        took: Duration,
        snapshot: &Snapshot,
        facts: &RequestFacts<'_>,
        ruling: &Ruling,
        outcome: &Outcome,
    ) {
        let (requests, verdict) = (self.requests, &ruling.verdict);
        requests.note(self.mode, outcome.status);
        requests.note_verdict(self.mode, took);
        let meter = match &verdict.route {
            Some(found) => snapshot.meters.route(found),
            None if is_own(snapshot, facts, verdict) => &requests.own_pages,
            None => &requests.no_route,
        };
        let cause = verdict.cause.as_ref();
        let reason = outcome.failure.or(cause.map(|cause| cause.reason));
        meter.note(outcome.decision, reason);
        if matches!(&verdict.decision, Decision::Forward(permit) if permit.rides().is_some()) {
            meter.rides.add();
        }
        if let Some(failure) = cause.and_then(|cause| cause.refresh.as_ref()) {
            requests.note_failed_refresh(failure);
        }
        match (outcome.upstream, &verdict.decision) {
            (Some(took), Decision::Relay(_)) => requests.relay.note(took),
            (Some(took), _) => meter.note_upstream(took),
            (None, _) => {}
        }
    }
}

/// The name of the route of a request, or what stands for it.
pub(super) fn route_name<'s>(
    snapshot: &'s Snapshot,
    facts: &RequestFacts<'_>,
    verdict: &Verdict,
) -> &'s str {
    match &verdict.route {
        Some(found) => &snapshot.policy.route(found.route).name,
        None if is_own(snapshot, facts, verdict) => OWN_PAGES,
        None => NO_ROUTE,
    }
}

/// Whether a request is for a page of the gate's own.
fn is_own(snapshot: &Snapshot, facts: &RequestFacts<'_>, verdict: &Verdict) -> bool {
    matches!(verdict.decision, Decision::Page(_) | Decision::Serve(_))
        || facts.path.as_str().starts_with(&snapshot.pages_prefix)
}
