//! What goes to the client of one stream, and how much of it has been taken.
//!
//! hyper hands a whole piece over as soon as the client takes one byte of it, and its task is done with
//! the last one. What the client has not taken by then, `h2` keeps for as long as the stream is open. So
//! the end of an answer is held back until little is left of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use futures_util::task::AtomicWaker;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// So many bytes may be left to take when the end is handed over; an answer that has no more costs
/// nothing further.
const LITTLE: usize = 4 * 1024;

/// What the client of one stream has still to take.
#[derive(Debug, Default)]
pub(super) struct Due {
    bytes: AtomicUsize,
    /// Whether its patience begins anew.
    moved: AtomicBool,
    /// Waits until little is left.
    waker: AtomicWaker,
}

impl Due {
    /// Whether there is anything to take.
    pub(super) fn is_any(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > 0
    }

    /// Whether any of it was taken, or the first of it came, since this was last asked.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.swap(false, Ordering::AcqRel)
    }

    fn is_little(&self) -> bool {
        self.bytes.load(Ordering::Acquire) <= LITTLE
    }

    fn poll_little(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_little() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // It may have been taken meanwhile.
        if self.is_little() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn add(&self, count: usize) {
        if self.bytes.fetch_add(count, Ordering::AcqRel) == 0 {
            self.moved.store(true, Ordering::Release);
        }
    }

    fn take(&self, count: usize) {
        self.moved.store(true, Ordering::Release);
        let before = self.bytes.fetch_sub(count, Ordering::AcqRel);
        if before > LITTLE && before.saturating_sub(count) <= LITTLE {
            self.waker.wake();
        }
    }
}

/// A piece of an answer, which tells how much of it is written.
#[derive(Debug)]
pub(super) struct Piece<D: Buf> {
    data: D,
    due: Arc<Due>,
}

impl<D: Buf> Piece<D> {
    fn new(data: D, due: &Arc<Due>) -> Self {
        due.add(data.remaining());
        Self {
            data,
            due: Arc::clone(due),
        }
    }
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
        self.due.take(count);
    }
}

impl<D: Buf> Drop for Piece<D> {
    fn drop(&mut self) {
        let left = self.data.remaining();
        if left > 0 {
            self.due.take(left);
        }
    }
}

/// The body of an answer, of which it is known how much is taken.
#[derive(Debug)]
pub(super) struct Sent<B> {
    body: B,
    due: Arc<Due>,
    end: Option<End>,
}

/// What comes behind all data.
#[derive(Debug)]
enum End {
    Nothing,
    Trailers(HeaderMap),
}

impl<B> Sent<B> {
    pub(super) fn new(body: B, due: Arc<Due>) -> Self {
        Self {
            body,
            due,
            end: None,
        }
    }
}

impl<B: Body + Unpin> Body for Sent<B> {
    type Data = Piece<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        let this = self.get_mut();
        if this.end.is_none() && !this.body.is_end_stream() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => Some(frame),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => None,
            };
            let trailers = match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    let piece = Piece::new(data, &this.due);
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Some(Err(other)) => other.into_trailers().ok(),
                None => None,
            };
            this.end = Some(trailers.map_or(End::Nothing, End::Trailers));
        }
        // SECURITY: a client could leave all of many answers here, on a connection that it keeps busy.
        ready!(this.due.poll_little(cx));
        Poll::Ready(match this.end.replace(End::Nothing) {
            Some(End::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(End::Nothing) | None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        match self.end {
            None => self.body.is_end_stream() && self.due.is_little(),
            Some(End::Nothing) => self.due.is_little(),
            Some(End::Trailers(_)) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
