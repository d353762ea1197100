//! The page of the last decisions, for whoever runs the gate.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use bytes::Bytes;
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::{Document, common, json_document, page_document, policy_of};
use crate::telemetry::decisions::{Entry, Filter};

/// The style of the page.
const STYLE: &str = concat!(
    include_str!("../../templates/page.css"),
    "\n",
    include_str!("../../templates/decisions.css")
);

static POLICY: LazyLock<String> = LazyLock::new(|| policy_of(STYLE));

/// What the page shows.
#[derive(Debug)]
pub struct DecisionsView<'a> {
    /// The decisions, the youngest first.
    pub entries: &'a [Arc<Entry>],
    /// How many there are that were asked for.
    pub found: usize,
    /// What was asked for.
    pub filter: &'a Filter,
    /// Routes that can be asked for.
    pub routes: &'a [&'a str],
    /// Decisions that can be.
    pub decisions: [&'static str; 5],
    /// Whether any are kept.
    pub kept: bool,
}

#[derive(Template)]
#[template(path = "decisions.html")]
struct DecisionsPage<'a> {
    lines: Vec<Line<'a>>,
    more: usize,
    filtered: bool,
    kept: bool,
    routes: Vec<Choice<'a>>,
    decisions: Vec<Choice<'a>>,
    reason: &'a str,
    status: &'a str,
    request_id: &'a str,
    style: &'static str,
}

/// Something that can be asked for.
struct Choice<'a> {
    name: &'a str,
    chosen: bool,
}

/// A decision, in words.
struct Line<'a> {
    moment: String,
    time: String,
    method: &'a str,
    path: &'a str,
    host: Option<&'a str>,
    route: &'a str,
    decision: &'static str,
    status: u16,
    /// Whether it let somebody through.
    went: bool,
    reason: Option<&'a str>,
    reading: Option<&'static str>,
    user: Option<&'a str>,
    times: Vec<String>,
    request_id: &'a str,
    mode: &'static str,
}

/// The page.
pub fn decisions(view: &DecisionsView<'_>) -> Document {
    let filter = view.filter;
    let chosen = |wanted: &'_ Option<String>, name: &str| wanted.as_deref() == Some(name);
    let text = |wanted: &'_ Option<String>| wanted.clone().unwrap_or_default();
    let (reason, status, request_id) = (
        text(&filter.reason),
        text(&filter.status),
        text(&filter.request_id),
    );
    let routes = view.routes.iter();
    let page = DecisionsPage {
        lines: view.entries.iter().map(|entry| line(entry)).collect(),
        more: view.found - view.entries.len(),
        filtered: *filter != Filter::default(),
        kept: view.kept,
        routes: routes
            .map(|name| Choice {
                name,
                chosen: chosen(&filter.route, name),
            })
            .collect(),
        decisions: view
            .decisions
            .iter()
            .map(|name| Choice {
                name,
                chosen: chosen(&filter.decision, name),
            })
            .collect(),
        reason: &reason,
        status: &status,
        request_id: &request_id,
        style: STYLE,
    };
    // Rendering fails only if writing into a string does.
    let body = page.render().unwrap_or_else(|_| "Decisions".to_owned());
    let mut document = page_document(StatusCode::OK, body, &[]);
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        document.headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    document
}

fn line(entry: &Entry) -> Line<'_> {
    let moment = moment(entry.at_ms);
    Line {
        time: moment.get(11..23).unwrap_or_default().to_owned(),
        moment,
        method: &entry.method,
        path: entry.path.as_deref().unwrap_or("(unread)"),
        host: entry.host.as_deref(),
        route: &entry.route,
        decision: entry.decision.name(),
        status: entry.status,
        went: entry.status < 400,
        reason: entry.reason.as_deref(),
        reading: entry.reading,
        user: entry.user.as_deref(),
        times: times(entry),
        request_id: &entry.request_id,
        mode: entry.mode.name(),
    }
}

/// How long it took, and where.
fn times(entry: &Entry) -> Vec<String> {
    let verdict = entry.path.is_some().then_some(entry.verdict);
    let parts = [
        Some(format!("{} in all", span(entry.total))),
        verdict.map(|verdict| format!("verdict {}", span(verdict))),
        entry
            .upstream
            .map(|time| format!("upstream {}", span(time))),
    ];
    parts.into_iter().flatten().collect()
}

/// A span of time in milliseconds, which no line parts from their unit. Most verdicts take less than a
/// tenth of one.
fn span(span: Duration) -> String {
    let us = span.as_micros();
    format!("{}.{:02}\u{a0}ms", us / 1000, us % 1000 / 10)
}

/// A moment, in UTC.
pub fn moment(at_ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at_ms)).to_string()
}

/// A list for programs.
pub fn list(value: &Value) -> Document {
    json_document(StatusCode::OK, value)
}

/// A plain text.
pub fn plain(status: StatusCode, text: String) -> Document {
    Document {
        status,
        headers: common("text/plain; charset=utf-8"),
        body: Bytes::from(text),
    }
}
