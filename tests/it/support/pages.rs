//! Pages that clerk-js is put into, without a gate and without a network.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use clerk_gate::core::injection::{ClerkJsVersion, Injection, Insertion};
use clerk_gate::core::instance::{BackendApi, Instance};
use clerk_gate::core::key::PublishableKey;
use clerk_gate::core::origin::Origin;
use clerk_gate::rewrite::{self, Answer, Outcome, Tally};
use http::{HeaderMap, Method, Response};
use http_body::{Body, Frame};

use super::pure::LIVE;

/// What pages get.
pub fn injection() -> Injection {
    Injection {
        version: ClerkJsVersion::parse("6.29.3").unwrap(),
        src: None,
    }
}

/// What a page at `https://app.example.com` gets.
pub fn insertion() -> Insertion {
    let key = PublishableKey::parse(LIVE).unwrap();
    let mut instance = Instance::of(key, BackendApi::Available);
    instance.injection = Some(injection());
    let origin = Origin::parse("https://app.example.com").unwrap();
    Insertion::of(&instance, &origin, "/_gate/").unwrap()
}

/// A body of these pieces, which are all there.
#[derive(Debug)]
pub struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.get_mut().0.pop_front();
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// What became of a page.
pub struct Rewritten {
    pub headers: HeaderMap,
    /// The pieces that came out.
    pub pieces: Vec<Bytes>,
    /// What was counted, once.
    pub outcome: Option<Outcome>,
}

impl Rewritten {
    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// Sends an answer through, its body in these pieces.
pub fn rewritten(head: Response<()>, method: &Method, pieces: Vec<Bytes>) -> Rewritten {
    let tally = Arc::new(Tally::default());
    let response = head.map(|()| Pieces(pieces.into()));
    let (parts, body) = rewrite::insert(response, method, &insertion(), &tally).into_parts();
    let pieces = match body {
        Answer::AsItIs(body) => body.0.into(),
        Answer::Page(page) => all_of(*page),
    };
    let mut counted = Outcome::ALL.into_iter().filter(|one| tally.of(*one) > 0);
    let outcome = counted.next();
    assert_eq!(counted.next(), None, "one outcome of one page");
    assert!(outcome.is_none_or(|one| tally.of(one) == 1));
    Rewritten {
        headers: parts.headers,
        pieces,
        outcome,
    }
}

/// Asserts that nothing of a page is lost: without what was put in it is the page, however it arrives.
/// Gives what became of it.
pub fn nothing_is_lost(page: &[u8], pieces: Vec<Bytes>) -> Result<String, String> {
    let head = || html("text/html");
    let whole = rewritten(head(), &Method::GET, vec![Bytes::copy_from_slice(page)]);
    let cut = rewritten(head(), &Method::GET, pieces);
    let out = cut.bytes();
    if whole.outcome != cut.outcome || whole.bytes() != out {
        return Err(format!(
            "{:?} in one piece, {:?} in several",
            whole.outcome, cut.outcome
        ));
    }
    let insertion = insertion();
    let markup = insertion.markup().as_bytes();
    let left = if cut.outcome == Some(Outcome::Injected) {
        let at = out
            .windows(markup.len())
            .position(|window| window == markup);
        let at = at.ok_or("nothing was put in")?;
        [&out[..at], &out[at + markup.len()..]].concat()
    } else {
        out
    };
    if left == page {
        Ok(format!("{:?}", cut.outcome))
    } else {
        Err(format!("it became {:?}", String::from_utf8_lossy(&left)))
    }
}

/// Everything of a body that never has to wait.
fn all_of(body: impl Body<Data = Bytes, Error = Infallible>) -> Vec<Bytes> {
    let mut body = pin!(body);
    let mut context = Context::from_waker(Waker::noop());
    let mut pieces = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut context) {
        pieces.push(frame.into_data().unwrap());
    }
    pieces
}

/// The head of a page.
pub fn html(content_type: &str) -> Response<()> {
    let response = Response::builder().header("content-type", content_type);
    response.body(()).unwrap()
}

/// A page in pieces of this size.
pub fn in_pieces(page: &[u8], size: usize) -> Vec<Bytes> {
    page.chunks(size).map(Bytes::copy_from_slice).collect()
}
