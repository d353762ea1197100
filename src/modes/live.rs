//! An answer that goes on in somebody's name, and ends when it may not.
//!
//! Most answers are there at once and are over before anybody is told of them. Those that take their
//! time are entered into the registry, and end early if it says so: an event stream at the end of a
//! piece, as if the application had ended it, so that the page connects anew; any other answer as one
//! that broke off, so that nobody takes a part of it for the whole.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::Sleep;

use crate::core::reason::Reason;
use crate::gate::live::{Lease, Ticket};
use crate::upstream::{BRIEF, UpstreamBody};

/// An answer that says it is no longer than this is never looked after: it is as good as there.
const SMALL: u64 = 64 * 1024;

/// How many pieces may come without a pause before an answer counts as one that takes its time.
const MANY: u8 = 16;

/// The body of an answer that goes on in somebody's name.
pub struct LiveBody {
    inner: UpstreamBody,
    stage: Stage,
    kind: Kind,
    /// How many pieces have come without a pause.
    pieces: u8,
}

enum Stage {
    /// Nobody has been told of it yet.
    Brief {
        ticket: Ticket,
        /// Until when; `None` before its first pause.
        until: Option<Pin<Box<Sleep>>>,
    },
    /// It is in the registry.
    Entered(Lease),
    /// It has ended early.
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `text/event-stream`: each event is whole by itself.
    Events,
    /// Anything else is whole at its end.
    Whole,
}

/// Why the body of an answer broke off.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// The upstream's broke off.
    #[error("the answer of the upstream broke off")]
    Upstream(#[source] hyper::Error),
    /// It may not go on.
    #[error("the answer may not go on: {0}")]
    Ended(Reason),
}

/// Whether the body of this answer may take its time.
pub(super) fn needs_care(response: &Response<UpstreamBody>) -> bool {
    let body = response.body();
    let small = body.size_hint().exact().is_some_and(|size| size <= SMALL);
    !body.is_end_stream() && (!small || is_event_stream(response.headers()))
}

impl LiveBody {
    /// The body of an answer with these headers; `ticket` is what its request came with.
    pub(super) fn new(inner: UpstreamBody, headers: &HeaderMap, ticket: Ticket) -> Box<Self> {
        let kind = if is_event_stream(headers) {
            Kind::Events
        } else {
            Kind::Whole
        };
        let stage = match kind {
            Kind::Events => Stage::Entered(ticket.bind()),
            Kind::Whole => Stage::Brief {
                ticket,
                until: None,
            },
        };
        Box::new(Self {
            inner,
            stage,
            kind,
            pieces: 0,
        })
    }
}

impl Body for LiveBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = self.get_mut();
        if let Stage::Brief {
            ticket,
            until: Some(until),
        } = &mut this.stage
            && until.as_mut().poll(cx).is_ready()
        {
            this.stage = Stage::Entered(ticket.bind());
        }
        match &this.stage {
            Stage::Brief { .. } => {}
            Stage::Over => return Poll::Ready(None),
            // SECURITY: before the next piece, which may be there already.
            Stage::Entered(lease) => {
                if let Poll::Ready(reason) = lease.poll_ended(cx) {
                    this.stage = Stage::Over;
                    return Poll::Ready(match this.kind {
                        Kind::Events => None,
                        Kind::Whole => Some(Err(AnswerError::Ended(reason))),
                    });
                }
            }
        }
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let Stage::Brief { until, .. } = &mut this.stage
            && until.is_none()
        {
            this.pieces = this.pieces.saturating_add(1);
            if polled.is_pending() || this.pieces >= MANY {
                let until = until.insert(Box::pin(tokio::time::sleep(BRIEF)));
                // Only to be woken: it has just begun.
                let _ = until.as_mut().poll(cx);
            }
        }
        polled.map_err(AnswerError::Upstream)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::Over) || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl fmt::Debug for LiveBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveBody").finish_non_exhaustive()
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = value.and_then(|value| value.split(|byte| *byte == b';').next());
    essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"text/event-stream")
    })
}
