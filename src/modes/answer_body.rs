//! The body of an answer, wherever it comes from.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::call::CallBody;
use super::live::{AnswerError, LiveBody};
use crate::gate::Hold;
use crate::rewrite;
use crate::upstream::{UpstreamBody, head};

/// The body of an answer: ours, or the upstream's as it comes.
#[derive(Debug)]
pub enum AnswerBody {
    /// A document of ours.
    Own(Full<Bytes>),
    /// What the upstream sends.
    Upstream(UpstreamBody),
    /// What Clerk's Frontend API sends, without anything behind it.
    Relayed(UpstreamBody),
    /// What the upstream sends, as long as it may go on.
    Live(Box<LiveBody>),
    /// A page of the upstream's, with something put into it.
    Page(Box<rewrite::Page<AnswerBody>>),
    /// One of these, of a call of gRPC.
    Call(Box<CallBody>),
    /// One of these, of a request that counts as in flight until it has ended.
    Held(Box<HeldBody>),
}

/// A body, and what is kept until it has ended.
#[derive(Debug)]
pub struct HeldBody {
    body: AnswerBody,
    _hold: Arc<Hold>,
}

impl HeldBody {
    /// `body`, with `hold` kept until it has ended or is dropped.
    pub fn answer(body: AnswerBody, hold: Arc<Hold>) -> AnswerBody {
        AnswerBody::Held(Box::new(Self { body, _hold: hold }))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let polled = match self.get_mut() {
            Self::Own(body) => {
                return Pin::new(body)
                    .poll_frame(cx)
                    .map_err(|never| match never {});
            }
            Self::Upstream(body) => Pin::new(body).poll_frame(cx).map_err(AnswerError::Upstream),
            // SECURITY: its headers were looked at for what only the gate may know, and trailers would be
            // behind that.
            Self::Relayed(body) => {
                return match Pin::new(body).poll_frame(cx).map_err(AnswerError::Upstream) {
                    Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => Poll::Ready(None),
                    polled => polled,
                };
            }
            Self::Live(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Page(page) => return Pin::new(&mut **page).poll_frame(cx),
            Self::Call(call) => return Pin::new(&mut **call).poll_frame(cx),
            Self::Held(held) => return Pin::new(&mut held.body).poll_frame(cx),
        };
        polled.map_ok(|frame| match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(head::answer_trailers(trailers)),
            Err(data) => data,
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Upstream(body) | Self::Relayed(body) => body.is_end_stream(),
            Self::Live(body) => body.is_end_stream(),
            Self::Page(page) => page.is_end_stream(),
            Self::Call(call) => call.is_end_stream(),
            Self::Held(held) => held.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Upstream(body) | Self::Relayed(body) => body.size_hint(),
            Self::Live(body) => body.size_hint(),
            Self::Page(page) => page.size_hint(),
            Self::Call(call) => call.size_hint(),
            Self::Held(held) => held.body.size_hint(),
        }
    }
}
