//! Traces: `sampling` says which requests are written down, `spans` what of them, and `exporter` sends it
//! away.
//!
//! A span holds names of the configuration, codes, statuses, times and the id of the request. It never
//! holds a path, a query, a host, a person, a token or an address of a client: traces go to other
//! machines, and the log, which the id leads to, stays.

mod exporter;
pub mod otlp;
mod sampling;
mod spans;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::meters::Count;
use crate::core::trace_context::{Inbound, Outbound, SpanId, TraceId};
pub use exporter::{Destination, Exporter, ExporterError};
pub use sampling::{Sender, Share};
pub use spans::{Kind, Part, Summary, Within};

use spans::Finished;

/// How many requests may wait to be sent away.
const QUEUE: usize = 2048;

/// What became of spans.
#[derive(Debug, Default)]
pub struct SpanCounts {
    /// They were taken.
    pub sent: Count,
    /// There was no room for them to wait in.
    pub queue_full: Count,
    /// Whoever takes them could not be reached, or had no use for them.
    pub failed: Count,
    /// They arrived, and were not taken.
    pub rejected: Count,
}

impl SpanCounts {
    /// What there is to count, by name.
    pub fn outcomes(&self) -> [(&'static str, u64); 4] {
        [
            ("sent", self.sent.total()),
            ("queue-full", self.queue_full.total()),
            ("failed", self.failed.total()),
            ("rejected", self.rejected.total()),
        ]
    }
}

/// Begins traces, or does nothing.
#[derive(Debug, Default)]
pub struct Traces(Option<Tracer>);

#[derive(Debug)]
struct Tracer {
    share: Share,
    queue: mpsc::Sender<Finished>,
    counts: Arc<SpanCounts>,
}

impl Traces {
    /// Writes this share of requests down, and has an exporter that sends it away and counts what becomes
    /// of it.
    pub fn to(
        destination: &Destination,
        share: Share,
        counts: &Arc<SpanCounts>,
    ) -> Result<(Self, Exporter), ExporterError> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let exporter = Exporter::new(destination, waiting, Arc::clone(counts))?;
        let tracer = Tracer {
            share,
            queue,
            counts: Arc::clone(counts),
        };
        Ok((Self(Some(tracer)), exporter))
    }

    /// Whether there are any.
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the trace of a request that came at this moment, with these headers, or goes on with the one
    /// that it is part of. Who has sent it is asked only if there are traces, and what time it is by the clock
    /// only where that is written down.
    pub fn begin(
        &self,
        headers: &HeaderMap,
        sender: impl FnOnce() -> Sender,
        began: Instant,
        now_ms: impl FnOnce() -> u64,
    ) -> Option<Trace<'_>> {
        let tracer = self.0.as_ref()?;
        let inbound = Inbound::read(headers);
        let written = tracer.share.takes(inbound.as_ref(), sender());
        let (trace, parent, state) = match inbound {
            Some(inbound) => (inbound.trace, Some(inbound.parent), inbound.state),
            None => (new_trace(), None, None),
        };
        let outbound = new_span();
        Some(Trace {
            tracer,
            id: trace,
            written: written.then(|| Written {
                span: new_span(),
                parent,
                state: state.as_ref().map(|state| {
                    let state = state.to_str().unwrap_or_default();
                    state.to_owned()
                }),
                began,
                began_ns: now_ms().saturating_mul(1_000_000),
            }),
            outbound,
            told: Outbound::new(trace, outbound, written, state),
        })
    }
}

/// The trace of a request that is under way.
#[derive(Debug)]
pub struct Trace<'t> {
    tracer: &'t Tracer,
    id: TraceId,
    /// What is written down, if anything is.
    written: Option<Written>,
    /// The span in which somebody else is asked.
    outbound: SpanId,
    told: Outbound,
}

#[derive(Debug)]
struct Written {
    span: SpanId,
    parent: Option<SpanId>,
    state: Option<String>,
    began: Instant,
    began_ns: u64,
}

impl Trace<'_> {
    /// What whoever is asked next is told of it.
    pub fn told(&self) -> &Outbound {
        &self.told
    }

    /// The id of the trace.
    pub fn id(&self) -> TraceId {
        self.id
    }

    /// Whether anything is written down.
    pub fn is_written(&self) -> bool {
        self.written.is_some()
    }

    /// Writes the request down. The part that asks somebody else is the one that they were told of.
    /// Waits for nothing: where there is no room, that is counted.
    pub fn end(self, summary: Summary, parts: Vec<Part>) {
        let Some(written) = self.written else {
            return;
        };
        let took = written.began.elapsed();
        let finished = Finished {
            trace: self.id,
            outbound: self.outbound,
            written,
            took,
            summary,
            parts,
        };
        if let Err(unsent) = self.tracer.queue.try_send(finished) {
            let (mpsc::error::TrySendError::Full(lost) | mpsc::error::TrySendError::Closed(lost)) =
                unsent;
            self.tracer.counts.queue_full.add_many(lost.spans());
        }
    }
}

/// A number that nobody can guess: a count, through a hash with keys that this process made at its start.
fn chance() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEYS.hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

fn new_trace() -> TraceId {
    let number = u128::from(chance()) << 64 | u128::from(chance());
    TraceId::of(number).unwrap_or_else(new_trace)
}

fn new_span() -> SpanId {
    SpanId::of(chance()).unwrap_or_else(new_span)
}

#[cfg(test)]
mod tests;
