//! The account of a request: its line in the log, its place among the counts and among the last decisions,
//! and its trace.

use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::time::Instant;

use super::counter::{self, Counter};
use super::log_line::{self, Outcome};
use crate::core::decide::Decision;
use crate::core::facts::RequestFacts;
use crate::core::reason::Reason;
use crate::core::trace_context::Outbound;
use crate::gate::{Gate, Ruling, Snapshot};
use crate::telemetry::access::{AccessLine, Action};
use crate::telemetry::decisions::Entry;
use crate::telemetry::requests::{Mode, NO_ROUTE, UNREAD};
use crate::telemetry::traces::{Kind, Part, Sender, Summary, Trace, Within};

/// What is written down of a request that is under way.
#[derive(Debug)]
pub(super) struct Account<'g> {
    gate: &'g Gate,
    counter: Counter<'g>,
    mode: Mode,
    began: Instant,
    trace: Option<Trace<'g>>,
}

impl<'g> Account<'g> {
    /// Opens the account of a request that came in this way and at this moment, with these headers, of this
    /// sender.
    pub(super) fn open(
        gate: &'g Gate,
        mode: Mode,
        began: Instant,
        headers: &HeaderMap,
        sender: impl FnOnce() -> Sender,
    ) -> Self {
        Self {
            gate,
            counter: Counter::of(gate, mode),
            mode,
            began,
            trace: gate.traces.begin(headers, sender, began, || gate.now_ms()),
        }
    }

    /// What whoever is asked next is told of the trace.
    pub(super) fn told(&self) -> Option<&Outbound> {
        self.trace.as_ref().map(Trace::told)
    }

    /// Closes the account of a request that was not judged.
    pub(super) fn unread(
        self,
        line: &AccessLine<'_>,
        method: &Method,
        snapshot: &Snapshot,
        reason: Reason,
        status: u16,
    ) {
        self.counter.unread(reason, status);
        log_line::unread(line, reason, status);
        let trace_id = self.trace_id();
        if self.gate.decisions.are_kept() {
            self.gate.decisions.keep(Entry {
                at_ms: self.gate.now_ms(),
                request_id: line.request_id.to_owned(),
                mode: self.mode,
                method: method.to_string(),
                path: None,
                host: None,
                route: UNREAD.to_owned(),
                decision: Action::Refuse,
                reason: Some(reason.code().to_owned()),
                reading: None,
                user: None,
                status,
                upstream_status: None,
                verdict: Duration::ZERO,
                upstream: None,
                total: self.began.elapsed(),
                generation: snapshot.meters.generation,
                trace: trace_id,
                recorded: None,
            });
        }
        let came_to = CameTo {
            route: UNREAD,
            decision: Action::Refuse,
            reason: Some(reason.code().to_owned()),
            status,
        };
        self.end_trace(line, method, snapshot, came_to, Vec::new);
    }

    /// Closes the account of a request that was sent to TLS, as its line says. It is not among the last
    /// decisions: nothing was decided of it, and whoever comes by would drive out what was.
    pub(super) fn sent_to_https(self, line: &AccessLine<'_>, method: &Method, snapshot: &Snapshot) {
        self.counter.sent_to_https(line.status);
        line.write();
        let came_to = CameTo {
            route: NO_ROUTE,
            decision: line.decision,
            reason: None,
            status: line.status,
        };
        self.end_trace(line, method, snapshot, came_to, Vec::new);
    }

    /// Closes the account of a request that was judged.
    pub(super) fn judged(
        self,
        line: &AccessLine<'_>,
        snapshot: &Snapshot,
        facts: &RequestFacts<'_>,
        ruling: &Ruling,
        outcome: &Outcome,
    ) {
        self.counter
            .judged(line.verdict, snapshot, facts, ruling, outcome);
        log_line::judged(line, snapshot, facts, ruling, outcome);
        let kept = self.gate.decisions.are_kept();
        if !kept && self.trace_id().is_none() {
            return;
        }
        let verdict = &ruling.verdict;
        let route = counter::route_name(snapshot, facts, verdict);
        let cause = verdict.cause.as_ref();
        let failure = outcome.failure.map(|reason| reason.code().to_owned());
        let reason = failure.or_else(|| cause.map(ToString::to_string));
        if kept {
            let found = verdict.route.as_ref();
            let stricter = found.and_then(|found| found.stricter.first());
            self.gate.decisions.keep(Entry {
                at_ms: self.gate.now_ms(),
                request_id: line.request_id.to_owned(),
                mode: self.mode,
                method: facts.method.to_string(),
                path: Some(facts.path.to_string()),
                host: Some(facts.host.to_string()),
                route: route.to_owned(),
                decision: outcome.decision,
                reason: reason.clone(),
                reading: stricter.map(|other| other.reading.kind.name()),
                user: verdict.who.as_ref().map(|who| who.user.clone()),
                status: outcome.status,
                upstream_status: outcome.upstream_status,
                verdict: line.verdict,
                upstream: outcome.upstream,
                total: self.began.elapsed(),
                generation: snapshot.meters.generation,
                trace: self.trace_id(),
                recorded: ruling.recorded.clone(),
            });
        }
        let came_to = CameTo {
            route,
            decision: outcome.decision,
            reason,
            status: outcome.status,
        };
        let began = self.began;
        self.end_trace(line, facts.method, snapshot, came_to, || {
            parts(began, line, ruling, outcome)
        });
    }
}

/// What a request came to, for its trace.
struct CameTo<'a> {
    route: &'a str,
    decision: Action,
    reason: Option<String>,
    status: u16,
}

impl Account<'_> {
    /// Ends the trace, where it is written down, with these parts.
    fn end_trace(
        self,
        line: &AccessLine<'_>,
        method: &Method,
        snapshot: &Snapshot,
        came_to: CameTo<'_>,
        parts: impl FnOnce() -> Vec<Part>,
    ) {
        let Some(trace) = self.trace.filter(Trace::is_written) else {
            return;
        };
        let summary = Summary {
            method: known(method),
            route: came_to.route.to_owned(),
            mode: self.mode.name(),
            decision: came_to.decision.name(),
            reason: came_to.reason,
            status: came_to.status,
            request_id: line.request_id.to_owned(),
            generation: snapshot.meters.generation,
        };
        trace.end(summary, parts());
    }

    /// The trace, where it is written down.
    fn trace_id(&self) -> Option<String> {
        let trace = self.trace.as_ref().filter(|trace| trace.is_written())?;
        Some(trace.id().to_string())
    }
}

/// What was done for a request: the verdict, what it waited for, and whoever was asked then.
fn parts(began: Instant, line: &AccessLine<'_>, ruling: &Ruling, outcome: &Outcome) -> Vec<Part> {
    let verdict = Part {
        name: "verdict",
        kind: Kind::Internal,
        within: Within::Request,
        began,
        took: line.verdict,
        status: None,
        failure: None,
    };
    let mut parts = vec![verdict];
    parts.extend(ruling.effects.iter().map(|effect| Part {
        name: effect.name,
        kind: effect.kind,
        within: Within::FirstPart,
        began: effect.began,
        took: effect.took,
        status: None,
        failure: None,
    }));
    parts.extend(outcome.upstream.map(|took| Part {
        name: match &ruling.verdict.decision {
            Decision::Relay(_) => "frontend-api",
            _ => "upstream",
        },
        kind: Kind::Client,
        within: Within::Request,
        // It is asked as soon as the verdict is there.
        began: began + line.verdict,
        took,
        status: outcome.upstream_status,
        failure: outcome.failure.map(Reason::code),
    }));
    parts
}

/// The method, if everybody knows it: nobody makes up names of spans.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ];
    let mut names = KNOWN.into_iter();
    names
        .find(|name| *name == method.as_str())
        .unwrap_or("_OTHER")
}
