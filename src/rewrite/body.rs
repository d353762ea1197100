//! The body of a page on its way through: streamed, with what is put into it.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::page::{Search, Step};
use super::{Outcome, Tally, answer};

/// A page on its way through.
pub struct Page<B: Body<Data = Bytes>> {
    inner: B,
    /// Until the place is found or there is none.
    search: Option<Box<Search>>,
    /// What comes next, before the inner body is asked again.
    next: Next<B::Error>,
    tally: Arc<Tally>,
}

enum Next<E> {
    Inner,
    Frame(Frame<Bytes>),
    Error(E),
}

impl<B: Body<Data = Bytes>> Page<B> {
    pub(super) fn new(inner: B, search: Box<Search>, tally: Arc<Tally>) -> Self {
        Self {
            inner,
            search: Some(search),
            next: Next::Inner,
            tally,
        }
    }

    /// A piece of the page: what may be passed on of it, if anything.
    fn piece(&mut self, search: Box<Search>, mut piece: Bytes) -> Option<Bytes> {
        let mut out = Vec::with_capacity(piece.len());
        match search.next(&piece, &mut out) {
            Step::GoesOn(search) => self.search = Some(search),
            Step::Over(outcome, looked_at) => {
                self.tally.count(outcome);
                let rest = piece.split_off(looked_at.min(piece.len()));
                if out.is_empty() {
                    out.extend_from_slice(&rest);
                } else if !rest.is_empty() {
                    self.next = Next::Frame(Frame::data(rest));
                }
            }
        }
        (!out.is_empty()).then(|| out.into())
    }

    /// The page is over, or has broken off: what was held back is passed on.
    fn over(&mut self, search: Box<Search>, ending: Ending) -> Option<Bytes> {
        let mut out = Vec::new();
        let outcome = search.end(&mut out);
        if ending == Ending::Whole || outcome == Outcome::Injected {
            self.tally.count(outcome);
        }
        (!out.is_empty()).then(|| out.into())
    }
}

/// Trailers without what they say of the very bytes of the page.
fn without_digests(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            answer::drop_what_was_true(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// How a page ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    BrokenOff,
}

impl<B: Body<Data = Bytes>> fmt::Debug for Page<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

impl<B> Body for Page<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        loop {
            match mem::replace(&mut this.next, Next::Inner) {
                Next::Inner => {}
                Next::Frame(frame) => return Poll::Ready(Some(Ok(frame))),
                Next::Error(error) => return Poll::Ready(Some(Err(error))),
            }
            let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
            let Some(search) = this.search.take() else {
                return Poll::Ready(frame.map(|frame| frame.map(without_digests)));
            };
            let out = match frame {
                None => this.over(search, Ending::Whole),
                // What is cut off stays cut off: the error comes behind what was held back.
                Some(Err(error)) => {
                    this.next = Next::Error(error);
                    this.over(search, Ending::BrokenOff)
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => this.piece(search, piece),
                    Err(frame) => {
                        this.next = Next::Frame(without_digests(frame));
                        this.over(search, Ending::Whole)
                    }
                },
            };
            if let Some(out) = out {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.search.is_none() && matches!(self.next, Next::Inner) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // However long the page is, it may get longer.
        SizeHint::default()
    }
}
