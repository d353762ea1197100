//! The spans that are made of a request at its end: one for the request, and one for each part of it.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::{Written, new_span, otlp};
use crate::core::trace_context::{SpanId, TraceId};

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something that the gate does by itself.
    Internal,
    /// A request that came.
    Server,
    /// Somebody else who was asked.
    Client,
}

/// A part of what was done for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is called.
    pub name: &'static str,
    /// What it is about.
    pub kind: Kind,
    /// What it is part of.
    pub within: Within,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// The status of an answer, if there was one.
    pub status: Option<u16>,
    /// Why it failed, if it did.
    pub failure: Option<&'static str>,
}

/// What a part is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// The request.
    Request,
    /// Its first part.
    FirstPart,
}

/// What is known of a request at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The method, if it is one that is known.
    pub method: &'static str,
    /// The route, or what stands for it.
    pub route: String,
    /// How it came.
    pub mode: &'static str,
    /// What was done.
    pub decision: &'static str,
    /// Why, if there is a reason.
    pub reason: Option<String>,
    /// What the client sees.
    pub status: u16,
    /// The id that the log has too.
    pub request_id: String,
    /// The number of the configuration that it was judged by.
    pub generation: u64,
}

/// A request that waits to be sent away.
pub(super) struct Finished {
    pub(super) trace: TraceId,
    pub(super) outbound: SpanId,
    pub(super) written: Written,
    pub(super) took: Duration,
    pub(super) summary: Summary,
    pub(super) parts: Vec<Part>,
}

impl Finished {
    /// How many spans it makes.
    pub(super) fn spans(&self) -> u64 {
        self.parts.len() as u64 + 1
    }

    /// Writes its spans.
    pub(super) fn write(self, spans: &mut Vec<otlp::Span>) {
        let Self {
            trace,
            outbound,
            written,
            took,
            summary,
            parts,
        } = self;
        let began_ns = written.began_ns;
        let since = |moment: Instant| {
            let later = moment.saturating_duration_since(written.began);
            began_ns.saturating_add(nanoseconds(later))
        };
        let state = written.state.unwrap_or_default();
        let base = |span: SpanId, name: String, kind: Kind| otlp::Span {
            trace_id: trace.bytes().to_vec(),
            span_id: span.bytes().to_vec(),
            trace_state: state.clone(),
            name,
            kind: match kind {
                Kind::Internal => 1,
                Kind::Server => 2,
                Kind::Client => 3,
            },
            flags: SAMPLED | PARENT_IS_KNOWN,
            ..otlp::Span::default()
        };
        let mut first = None;
        let mut told = Some(outbound);
        for part in parts {
            // Whoever is asked for the request was told of it: questions to Clerk say nothing.
            let span = match part.kind {
                Kind::Client if part.within == Within::Request => told.take(),
                Kind::Internal | Kind::Server | Kind::Client => None,
            };
            let span = span.unwrap_or_else(new_span);
            let parent = match part.within {
                Within::Request => written.span,
                Within::FirstPart => first.unwrap_or(written.span),
            };
            first.get_or_insert(span);
            let mut attributes = Vec::new();
            attributes.extend(part.status.map(|s| whole("http.response.status_code", s)));
            attributes.extend(part.failure.map(|why| text("error.type", why)));
            let began = since(part.began);
            spans.push(otlp::Span {
                parent_span_id: parent.bytes().to_vec(),
                start_time_unix_nano: began,
                end_time_unix_nano: began.saturating_add(nanoseconds(part.took)),
                attributes,
                status: part.failure.map(|_| otlp::Status { code: FAILED }),
                ..base(span, part.name.to_owned(), part.kind)
            });
        }
        let name = format!("{} {}", summary.method, summary.route);
        let failed = summary.status >= 500;
        let remote = if written.parent.is_some() {
            PARENT_IS_REMOTE
        } else {
            0
        };
        let server = base(written.span, name, Kind::Server);
        spans.push(otlp::Span {
            parent_span_id: written
                .parent
                .map(|p| p.bytes().to_vec())
                .unwrap_or_default(),
            start_time_unix_nano: began_ns,
            end_time_unix_nano: began_ns.saturating_add(nanoseconds(took)),
            status: failed.then_some(otlp::Status { code: FAILED }),
            flags: server.flags | remote,
            attributes: attributes(&summary, failed),
            ..server
        });
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finished")
            .field("trace", &self.trace)
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

/// Of the flags of a span: that it is written down; that something is known of its parent; and that that
/// is elsewhere.
const SAMPLED: u32 = 1;
const PARENT_IS_KNOWN: u32 = 1 << 8;
const PARENT_IS_REMOTE: u32 = 1 << 9;

/// `STATUS_CODE_ERROR`.
const FAILED: i32 = 2;

fn attributes(summary: &Summary, failed: bool) -> Vec<otlp::KeyValue> {
    let mut attributes = vec![
        text("http.request.method", summary.method),
        whole("http.response.status_code", summary.status),
        text("clerk_gate.route", &summary.route),
        text("clerk_gate.mode", summary.mode),
        text("clerk_gate.decision", summary.decision),
        text("clerk_gate.request_id", &summary.request_id),
        whole("clerk_gate.config_generation", summary.generation),
    ];
    if let Some(reason) = &summary.reason {
        attributes.push(text("clerk_gate.reason", reason));
        if failed {
            attributes.push(text("error.type", reason));
        }
    }
    attributes
}

pub(super) fn text(key: &str, value: &str) -> otlp::KeyValue {
    attribute(key, otlp::Value::Text(value.to_owned()))
}

fn whole(key: &str, number: impl Into<u64>) -> otlp::KeyValue {
    let number = i64::try_from(number.into()).unwrap_or(i64::MAX);
    attribute(key, otlp::Value::Whole(number))
}

fn attribute(key: &str, value: otlp::Value) -> otlp::KeyValue {
    otlp::KeyValue {
        key: key.to_owned(),
        value: Some(otlp::AnyValue { value: Some(value) }),
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
