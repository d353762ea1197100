//! Early hints (RFC 8297) on their way from the application to a client of HTTP/1.1: what a browser may begin
//! to load while the application still thinks.
//!
//! hyper reads interim answers and cannot send them. So they wait here until whoever writes to the client has
//! written all that came before, and what is not gone by the time of the answer itself is dropped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use http::header::LINK;
use http::{HeaderMap, Request, StatusCode};

/// The most bytes of them before one answer.
// SECURITY: an application that never stops hinting holds no more than this for each client.
const MOST_BYTES: usize = 8 * 1024;

const BEGINNING: &[u8] = b"HTTP/1.1 103 Early Hints\r\n";

/// The hints of one connection to a client.
#[derive(Clone, Debug, Default)]
pub struct EarlyHints(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether a request waits for its answer that may be told.
    is_open: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of that request.
    request: u64,
    waiting: Vec<u8>,
    /// How many more bytes it may have.
    left: usize,
    writer: Option<Waker>,
}

/// The say of one request. When it is dropped there is an answer, and what has not gone out by then would
/// come behind it.
#[derive(Debug)]
pub(super) struct Hinting {
    hints: EarlyHints,
    request: u64,
}

impl EarlyHints {
    /// What is to be written; called by whoever writes, where everything else has been.
    pub fn take(&self, cx: &mut Context<'_>) -> Vec<u8> {
        if !self.0.is_open.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut state = self.state();
        match &mut state.writer {
            Some(writer) => writer.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        std::mem::take(&mut state.waiting)
    }

    /// A request goes out whose sender may be told.
    pub(super) fn begin(&self) -> Hinting {
        let mut state = self.state();
        state.request += 1;
        state.left = MOST_BYTES;
        self.0.is_open.store(true, Ordering::Release);
        Hinting {
            hints: self.clone(),
            request: state.request,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what may be loaded, and nothing else: the head of an answer is judged when it comes.
    fn tell(&self, request: u64, headers: &HeaderMap) {
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
        let mut state = self.state();
        let is_heard = self.0.is_open.load(Ordering::Acquire) && state.request == request;
        if !is_heard || head.len() > state.left {
            return;
        }
        state.left -= head.len();
        state.waiting.extend_from_slice(&head);
        if let Some(writer) = &state.writer {
            writer.wake_by_ref();
        }
    }
}

impl Hinting {
    /// Has the hints that come before the answer to `request` told.
    pub(super) fn listen(&self, request: &mut Request<()>) {
        let (hints, number) = (self.hints.clone(), self.request);
        hyper::ext::on_informational(request, move |interim| {
            if interim.status() == StatusCode::EARLY_HINTS {
                hints.tell(number, interim.headers());
            }
        });
    }
}

impl Drop for Hinting {
    fn drop(&mut self) {
        let mut state = self.hints.state();
        self.hints.0.is_open.store(false, Ordering::Release);
        state.waiting.clear();
    }
}
