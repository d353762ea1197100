//! The answer to a call of gRPC, which says at its end what the call came to.
//!
//! Where the answer breaks off, the caller is told so in the same way, and why: a stream that may not go
//! on, and one of which nothing more came.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::answer_body::AnswerBody;
use super::live::AnswerError;
use crate::core::decide::RefusalKind;
use crate::core::reason::Reason;
use crate::core::reply::{self, call};

/// The body of an answer to a call.
#[derive(Debug)]
pub struct CallBody {
    inner: AnswerBody,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Open,
    /// What it came to has been said.
    Over,
}

impl CallBody {
    /// `body`, with a status at its end even where it breaks off.
    pub(super) fn answer(body: AnswerBody) -> AnswerBody {
        AnswerBody::Call(Box::new(Self {
            inner: body,
            stage: Stage::Open,
        }))
    }
}

/// What is said at the end of an answer that breaks off.
fn last_words(error: &AnswerError) -> HeaderMap {
    let (kind, reason) = match error {
        AnswerError::Ended(reason) => (RefusalKind::SignedOut, *reason),
        AnswerError::Upstream(_) => (RefusalKind::Request, Reason::UpstreamUnreachable),
    };
    let mut trailers = HeaderMap::new();
    trailers.extend(call::status_lines(
        call::code(kind, reason),
        reason.message(),
    ));
    let code = HeaderValue::from_static(reason.code());
    trailers.insert(reply::AUTH_REASON, code);
    trailers
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = self.get_mut();
        match this.stage {
            Stage::Over => return Poll::Ready(None),
            Stage::Open => {}
        }
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        polled.map(|next| match next {
            Some(Err(error)) => {
                this.stage = Stage::Over;
                Some(Ok(Frame::trailers(last_words(&error))))
            }
            next => next,
        })
    }

    fn is_end_stream(&self) -> bool {
        match self.stage {
            Stage::Over => true,
            Stage::Open => self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        // However much is said to come: it may break off.
        SizeHint::new()
    }
}
