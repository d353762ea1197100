//! The last decisions: which there were, and why one was as it was.
//!
//! The explanation is that of the very function that decides, run once more on what was kept.

use http::StatusCode;
use serde_json::{Value, json};

use super::Views;
use crate::core::decide::Inputs;
use crate::core::explain::{Act, Explanation, Rehearsal};
use crate::core::recorded::Recorded;
use crate::core::verify::Signature;
use crate::gate::Snapshot;
use crate::pages::{self, DecisionsView, Document};
use crate::telemetry::access::Action;
use crate::telemetry::decisions::{Entry, Filter};

/// The status where no decision of a request id is kept.
pub const NOT_KEPT: StatusCode = StatusCode::GONE;

/// The status where a gate keeps none at all.
pub const NONE_KEPT: StatusCode = StatusCode::NOT_IMPLEMENTED;

/// How many are shown on the page; a list for programs has them all.
const ON_A_PAGE: usize = 200;

/// Of how many with one id it is told why: clients choose ids, and may choose one often.
const EXPLAINED: usize = 10;

/// Answers a request for one of these pages.
pub(super) fn answer(path: &str, query: Option<&str>, views: &Views) -> Document {
    let filter = match filter(query.unwrap_or_default()) {
        Ok(filter) => filter,
        Err(name) => {
            let why = format!("there is no `{name}` to look for\n");
            return pages::plain(StatusCode::BAD_REQUEST, why);
        }
    };
    match path {
        "/decisions" => page(&filter, views),
        "/decisions.json" => {
            let found = views.decisions.found(&filter);
            let all: Vec<Value> = found.iter().map(|entry| written(entry)).collect();
            pages::list(&json!({ "decisions": all }))
        }
        _ => explain(path == "/explain.json", &filter, views),
    }
}

/// What a query asks for. The error is a name that means nothing.
fn filter(query: &str) -> Result<Filter, String> {
    let mut filter = Filter::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let place = match &*name {
            "route" => &mut filter.route,
            "decision" => &mut filter.decision,
            "reason" => &mut filter.reason,
            "status" => &mut filter.status,
            "request-id" => &mut filter.request_id,
            _ => return Err(name.into_owned()),
        };
        let value = value.trim();
        *place = (!value.is_empty()).then(|| value.to_owned());
    }
    Ok(filter)
}

fn page(filter: &Filter, views: &Views) -> Document {
    let found = views.decisions.found(filter);
    let snapshot = views.in_force.snapshot();
    let named = snapshot.policy.routes().iter().map(|route| &*route.name);
    let mut routes: Vec<&str> = named.chain([&*snapshot.policy.route(None).name]).collect();
    routes.extend(found.iter().map(|entry| &*entry.route));
    routes.sort_unstable();
    routes.dedup();
    pages::decisions(&DecisionsView {
        entries: found.get(..ON_A_PAGE).unwrap_or(&found),
        found: found.len(),
        filter,
        routes: &routes,
        decisions: Action::ALL.map(Action::name),
        kept: views.decisions.are_kept(),
    })
}

/// Why requests of this id fell as they did, the youngest first.
fn explain(program: bool, filter: &Filter, views: &Views) -> Document {
    if filter.request_id.is_none() {
        let why = "say which: `?request-id=…`\n".to_owned();
        return pages::plain(StatusCode::BAD_REQUEST, why);
    }
    let mut found = views.decisions.found(filter);
    found.truncate(EXPLAINED);
    if found.is_empty() {
        let (status, why) = if views.decisions.are_kept() {
            (NOT_KEPT, "no decision of this request id is kept\n")
        } else {
            (
                NONE_KEPT,
                "no decisions are kept: `[admin] decisions` is 0\n",
            )
        };
        return pages::plain(status, why.to_owned());
    }
    let snapshot = views.in_force.snapshot();
    let generation = snapshot.meters.generation;
    let (mut list, mut text) = (Vec::new(), String::new());
    for entry in &found {
        let explanation = again(entry, &snapshot);
        if program {
            list.push(json!({
                "decision": written(entry),
                "explained_by": generation,
                "explanation": explanation.map(|explanation| explanation.to_json()),
            }));
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text += &told(entry, generation);
        text += &explanation.map(|e| e.to_string()).unwrap_or_default();
    }
    if program {
        pages::list(&json!({ "decisions": list }))
    } else {
        pages::plain(StatusCode::OK, text)
    }
}

/// What became of a request, in the lines that stand above their explanation.
fn told(entry: &Entry, generation: u64) -> String {
    let reason = entry.reason.as_deref();
    let mut lines = vec![
        format!(
            "decided   {}: {}, {}{}",
            pages::moment(entry.at_ms),
            entry.decision.name(),
            entry.status,
            reason.map_or_else(String::new, |reason| format!(", {reason}")),
        ),
        format!("id        {}", entry.request_id),
        format!(
            "judged    by configuration {}, as {}",
            entry.generation,
            entry.mode.name()
        ),
    ];
    if entry.generation != generation {
        lines.push(format!(
            "by        configuration {generation} is what follows: it is in force now, and may say something else"
        ));
    }
    if entry.recorded.is_none() {
        let method = &entry.method;
        lines.push(format!(
            "request   {method} (unread): no route was looked for"
        ));
    }
    lines.join("\n") + "\n"
}

/// Why, by what is in force now and with the answers that there were; `None` for what was not judged.
fn again(entry: &Entry, snapshot: &Snapshot) -> Option<Explanation> {
    let recorded: &Recorded = entry.recorded.as_deref()?;
    let facts = recorded.facts();
    let site = snapshot.site(facts.site)?;
    let inputs = Inputs {
        facts: &facts,
        instance: &site.instance,
        policy: &snapshot.policy,
        headers: &snapshot.headers,
        pages_prefix: &snapshot.pages_prefix,
        webhooks: snapshot.webhooks(),
        now_ms: recorded.now_ms(),
    };
    let mut rehearsal = Rehearsal::again(inputs, recorded);
    loop {
        match rehearsal.go_on() {
            Act::Verdict(verdict) => {
                let mut explanation = rehearsal.explain(&verdict);
                explanation.site = snapshot.edge.site_name(facts.site);
                // What the application was told of a person is nobody else's business but for ids.
                explanation.cover_claims();
                return Some(explanation);
            }
            // A token that was not looked at then: its text is not there any more.
            Act::Signature(slot) => rehearsal.answer(slot, Signature::Bad),
        }
    }
}

/// A decision for programs.
fn written(entry: &Entry) -> Value {
    let us = |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    json!({
        "time": pages::moment(entry.at_ms),
        "request_id": entry.request_id,
        "mode": entry.mode.name(),
        "method": entry.method,
        "path": entry.path,
        "host": entry.host,
        "route": entry.route,
        "decision": entry.decision.name(),
        "reason": entry.reason,
        "reading": entry.reading,
        "user": entry.user,
        "status": entry.status,
        "upstream_status": entry.upstream_status,
        "verdict_us": us(entry.verdict),
        "upstream_us": entry.upstream.map(us),
        "total_us": us(entry.total),
        "config_generation": entry.generation,
        "trace_id": entry.trace,
    })
}
