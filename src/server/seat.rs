//! A connection with its place among those that may be open at once, and with an end to patience.
//!
//! A client that takes nothing of its answer is cut off: it would hold the place, and the upstream's
//! connection, for ever. The place belongs to the stream and not to the task that serves HTTP on it: a tunnel outlives
//! that task, and costs as much as before.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::stream::Stream;
use crate::telemetry::meters::OneOpen;
use crate::upstream::stall::Stall;

/// A connection that gives its place back when it is closed.
pub(super) struct Seated {
    stream: Stream,
    stall: Stall,
    /// What counts it by what is spoken, once that is known.
    spoken: Option<OneOpen>,
    _place: Place,
}

/// A place among those that may be taken, and what counts it as taken.
pub(super) type Place = (OwnedSemaphorePermit, OneOpen);

impl Seated {
    /// Seats a connection that is cut off when it takes nothing for as long as `patience`.
    pub(super) fn new(stream: Stream, place: Place, patience: Duration) -> Self {
        Self {
            stream,
            stall: Stall::new(patience),
            spoken: None,
            _place: place,
        }
    }

    /// Has this count it for as long as it is open.
    pub(super) fn counts_as(&mut self, spoken: OneOpen) {
        self.spoken = Some(spoken);
    }

    /// Whether it comes from a program on this machine, over a socket of the file system.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.stream, Stream::Unix(_))
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut Stream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl AsyncRead for Seated {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = self.as_mut().stream().poll_write(cx, bytes);
        self.stall.unless_stalled(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.as_mut().stream().poll_flush(cx);
        self.stall.unless_stalled(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.as_mut().stream().poll_shutdown(cx);
        self.stall.unless_stalled(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = self.as_mut().stream().poll_write_vectored(cx, bufs);
        self.stall.unless_stalled(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
