//! The body of a forwarded request: counted, timed, and without trailers that only we may send.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use super::head::HeaderRules;
use crate::core::reason::Reason;

/// A client's body on its way to the upstream. Most requests have none, and then it costs nothing.
pub struct ClientBody(Option<Box<Streamed>>);

struct Streamed {
    inner: Incoming,
    left: Option<u64>,
    pause: Option<Pause>,
    rules: Arc<HeaderRules>,
    watch: Watch,
}

/// How long nothing may come.
struct Pause {
    longest: Duration,
    timer: Pin<Box<Sleep>>,
}

/// What whoever waits for the answer can see of a body that is under way.
#[derive(Clone, Debug)]
pub struct Watch {
    /// What went wrong with it.
    pub fault: Fault,
    /// When it last moved on.
    pub pulse: Pulse,
    /// Whether more of it was asked for, and has not come.
    pub waits: Arc<AtomicBool>,
}

/// When a body last moved on, for whoever waits for the answer.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// When the last piece went by; before the first, when the body was made.
    pub fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// What went wrong with a client's body, for whoever answers the client.
#[derive(Clone, Debug, Default)]
pub struct Fault(Arc<AtomicU8>);

/// Why a body ended early.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BodyError {
    /// More came than the route takes.
    #[error("the body is too large")]
    TooLarge,
    /// Nothing came for too long.
    #[error("the body did not arrive in time")]
    Idle,
    /// The client went away, or its framing broke.
    #[error("the body broke off")]
    Broken,
}

impl Fault {
    /// The reason to refuse with, if it was the client's body that failed.
    pub fn reason(&self) -> Option<Reason> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Reason::BodyTooLarge),
            2 => Some(Reason::BodyTimeout),
            3 => Some(Reason::FramingAmbiguous),
            _ => None,
        }
    }

    fn note(&self, error: BodyError) -> BodyError {
        let code = match error {
            BodyError::TooLarge => 1,
            BodyError::Idle => 2,
            BodyError::Broken => 3,
        };
        self.0.store(code, Ordering::Release);
        error
    }
}

impl ClientBody {
    /// A body of which at most `limit` bytes are taken, with pauses of at most `pause`.
    pub fn new(
        inner: Incoming,
        limit: Option<u64>,
        pause: Option<Duration>,
        rules: &Arc<HeaderRules>,
    ) -> Self {
        if inner.is_end_stream() {
            return Self::none();
        }
        Self(Some(Box::new(Streamed {
            inner,
            left: limit,
            pause: pause.map(|longest| Pause {
                longest,
                timer: Box::pin(tokio::time::sleep(longest)),
            }),
            rules: Arc::clone(rules),
            watch: Watch {
                fault: Fault::default(),
                pulse: Pulse::new(),
                waits: Arc::default(),
            },
        })))
    }

    /// No body, whatever the client sends.
    pub fn none() -> Self {
        Self(None)
    }

    /// Where to look while the upstream's answer is not there yet; `None` without a body.
    pub fn watch(&self) -> Option<Watch> {
        self.0.as_ref().map(|streamed| streamed.watch.clone())
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(this) = self.get_mut().0.as_deref_mut() else {
            return Poll::Ready(None);
        };
        let fault = &this.watch.fault;
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        this.watch
            .waits
            .store(polled.is_pending(), Ordering::Release);
        let Poll::Ready(next) = polled else {
            let Some(pause) = &mut this.pause else {
                return Poll::Pending;
            };
            ready!(pause.timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(fault.note(BodyError::Idle))));
        };
        if let Some(pause) = &mut this.pause {
            pause.timer.as_mut().reset(Instant::now() + pause.longest);
        }
        this.watch.pulse.beat();
        let frame = match next {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(fault.note(BodyError::Broken)))),
            Some(Ok(frame)) => frame,
        };
        if let (Some(left), Some(data)) = (&mut this.left, frame.data_ref()) {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let Some(rest) = left.checked_sub(length) else {
                return Poll::Ready(Some(Err(fault.note(BodyError::TooLarge))));
            };
            *left = rest;
        }
        let frame = match frame.into_trailers() {
            Err(data) => data,
            Ok(trailers) => {
                let kept: HeaderMap = trailers
                    .iter()
                    .filter(|(name, _)| this.rules.passes_trailer(name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                Frame::trailers(kept)
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let streamed = self.0.as_ref();
        streamed.is_none_or(|streamed| streamed.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Some(streamed) => streamed.inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
