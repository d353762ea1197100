//! Early hints (RFC 8297) on their way from the application to a client of HTTP/1.1: what a browser may begin
//! to load while the application still thinks.
//!
//! hyper reads interim answers and cannot send them. So they wait here until whoever writes to the client has
//! written all that came before, and what is not gone by the time of the answer itself is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use http::header::LINK;
use http::{HeaderMap, Request, StatusCode};

/// The most bytes of them before one answer.
// SECURITY: an application that never stops hinting holds no more than this for each client.
const MOST_BYTES: usize = 8 * 1024;

const BEGINNING: &[u8] = b"HTTP/1.1 103 Early Hints\r\n";

/// The hints of one connection; a request at a time has a say.
#[derive(Clone, Debug, Default)]
pub struct EarlyHints(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// How many requests there were, and whether the last one is still without an answer.
    requests: u64,
    is_open: bool,
    waiting: Vec<u8>,
    /// How many more bytes the request may have.
    left: usize,
    writer: Option<Waker>,
}

/// The say of one request: nothing of it is heard once it has been answered.
#[derive(Clone, Debug)]
pub(super) struct Hinting {
    hints: EarlyHints,
    request: u64,
}

impl EarlyHints {
    /// A request has come that may be told.
    pub fn begin(&self) {
        self.change(|state| {
            state.requests += 1;
            state.is_open = true;
            state.left = MOST_BYTES;
            state.waiting.clear();
        });
    }

    /// It has its answer: what has not gone out by now would come behind it.
    pub fn end(&self) {
        self.change(|state| {
            state.is_open = false;
            state.waiting.clear();
        });
    }

    /// What is to be written; called by whoever writes, where everything else has been.
    pub fn take(&self, cx: &mut Context<'_>) -> Vec<u8> {
        self.change(|state| {
            let known = state.writer.as_ref();
            if !known.is_some_and(|known| known.will_wake(cx.waker())) {
                state.writer = Some(cx.waker().clone());
            }
            std::mem::take(&mut state.waiting)
        })
    }

    /// The say of the request that is under way.
    pub(super) fn of_request(&self) -> Hinting {
        Hinting {
            hints: self.clone(),
            request: self.change(|state| state.requests),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Hinting {
    /// Has the hints that come before the answer to `request` told.
    pub(super) fn listen(&self, request: &mut Request<()>) {
        let hinting = self.clone();
        hyper::ext::on_informational(request, move |interim| {
            if interim.status() == StatusCode::EARLY_HINTS {
                hinting.tell(interim.headers());
            }
        });
    }

    /// Passes on what may be loaded, and nothing else: the head of an answer is judged when it comes.
    fn tell(&self, headers: &HeaderMap) {
        let mut head = BEGINNING.to_vec();
        for link in headers.get_all(LINK) {
            head.extend_from_slice(b"link: ");
            head.extend_from_slice(link.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        if head.len() == BEGINNING.len() {
            return;
        }
        head.extend_from_slice(b"\r\n");
        let writer = self.hints.change(|state| {
            let is_heard = state.is_open && state.requests == self.request;
            if !is_heard || head.len() > state.left {
                return None;
            }
            state.left -= head.len();
            state.waiting.extend_from_slice(&head);
            state.writer.clone()
        });
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}
