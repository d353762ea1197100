//! The line of a request in the log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use tracing::info;

use crate::core::decide::Decision;
use crate::core::facts::RequestFacts;
use crate::core::reason::Reason;
use crate::gate::{Ruling, Snapshot};
use crate::telemetry::access::{AccessLine, Action};

/// What came of a verdict.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What was done.
    pub decision: Action,
    /// What the client sees.
    pub status: u16,
    /// What went wrong after the verdict.
    pub failure: Option<Reason>,
    /// The status of the upstream, if it was asked.
    pub upstream_status: Option<u16>,
    /// How long somebody else took to answer; `None` if nobody was asked.
    pub upstream: Option<Duration>,
    /// The server that was asked; `None` if none was.
    pub server: Option<Arc<str>>,
}

/// A line of which nothing else is known yet.
pub(super) fn begun<'a>(
    request_id: &'a HeaderValue,
    method: &'a Method,
    client: IpAddr,
) -> AccessLine<'a> {
    AccessLine {
        request_id: request_id.to_str().unwrap_or_default(),
        method: method.as_str(),
        protocol: None,
        path: None,
        host: None,
        client,
        route: None,
        reading: None,
        decision: Action::Refuse,
        reason: None,
        user: None,
        session: None,
        org: None,
        rides: None,
        status: 0,
        upstream_status: None,
        verdict: Duration::ZERO,
        upstream: None,
        server: None,
        limit: None,
    }
}

/// Writes the line of a request that was not judged.
pub(super) fn unread(line: &AccessLine<'_>, reason: Reason, status: u16) {
    let line = AccessLine {
        reason: Some(reason.code()),
        status,
        ..*line
    };
    line.write();
}

/// Writes the line of a request that was judged, if anybody reads it.
pub(super) fn judged(
    line: &AccessLine<'_>,
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    ruling: &Ruling,
    outcome: &Outcome,
) {
    tell_difference(line, facts, ruling);
    if !AccessLine::is_wanted() {
        return;
    }
    let verdict = &ruling.verdict;
    let reason = verdict.cause.as_ref().map(ToString::to_string);
    let host = facts.host.to_string();
    let found = verdict.route.as_ref();
    let who = verdict.who.as_ref();
    let line = AccessLine {
        method: facts.method.as_str(),
        path: Some(facts.path.as_str()),
        host: Some(&host),
        client: facts.client,
        route: found.map(|found| &*snapshot.policy.route(found.route).name),
        reading: found
            .and_then(|found| found.stricter.first())
            .map(|other| other.reading.kind.name()),
        decision: outcome.decision,
        reason: outcome.failure.map(Reason::code).or(reason.as_deref()),
        user: who.map(|who| &*who.user),
        session: who.and_then(|who| who.session.as_deref()),
        org: who.and_then(|who| who.organization.as_deref()),
        rides: match &verdict.decision {
            Decision::Forward(permit) => permit.rides(),
            _ => None,
        },
        status: outcome.status,
        upstream_status: outcome.upstream_status,
        upstream: outcome.upstream,
        server: outcome.server.as_deref(),
        limit: ruling.limit.as_deref(),
        ..*line
    };
    line.write();
}

/// Writes a line about a request that the shadow policy would have judged otherwise, so many in a second
/// at most.
fn tell_difference(line: &AccessLine<'_>, facts: &RequestFacts<'_>, ruling: &Ruling) {
    if let Some(compared) = &ruling.compared
        && let Some(other) = compared.comparison.difference()
        && let Some(left_out) = compared.left_out
    {
        let enforced = &compared.comparison.enforced;
        info!(
            target: "clerk_gate::shadow",
            request_id = line.request_id,
            method = facts.method.as_str(),
            path = facts.path.as_str(),
            route = &*enforced.route,
            outcome = enforced.outcome.as_str(),
            reason = enforced.reason.as_deref(),
            shadow_route = &*other.route,
            shadow_outcome = other.outcome.as_str(),
            shadow_reason = other.reason.as_deref(),
            left_out = (left_out > 0).then_some(left_out),
            "the shadow policy would have decided otherwise"
        );
    }
}
