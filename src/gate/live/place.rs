//! A place in the registry, and the sign by which whoever holds it learns that it has to end.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::Live;
use crate::core::reason::Reason;

/// In whose name something is open.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// A person's session, at the Clerk instance of a site.
    Session {
        site: usize,
        session: Option<Box<str>>,
        user: Box<str>,
    },
    /// A machine, which has no session.
    Machine { site: usize, subject: Box<str> },
}

impl Whose {
    /// The session, if it is one that Clerk can be asked about.
    pub(super) fn session(&self) -> Option<&str> {
        match self {
            Self::Session { session, .. } => session.as_deref(),
            Self::Machine { .. } => None,
        }
    }

    /// Why it ends when its time has come.
    pub(super) fn expired(&self) -> Reason {
        match self {
            Self::Session { .. } => Reason::SessionTokenExpired,
            Self::Machine { .. } => Reason::TokenExpired,
        }
    }
}

/// What is known of one connection.
pub(super) struct Slot {
    /// By which its place is found.
    pub(super) id: u64,
    /// When the token that opened it was issued, in seconds since the epoch.
    pub(super) issued: u64,
    /// The organisation that was active in that token.
    pub(super) organization: Option<Box<str>>,
    /// When it ends whatever happens, in milliseconds since the epoch.
    pub(super) ends_ms: u64,
    /// Why it has to end: 0 while it need not, else one more than a place in [`REASONS`].
    over: AtomicU8,
    waker: AtomicWaker,
}

/// Why something ends that was open.
const REASONS: [Reason; 4] = [
    Reason::SessionRevoked,
    Reason::SessionTokenOutdated,
    Reason::SessionTokenExpired,
    Reason::TokenExpired,
];

impl Slot {
    /// A connection that nothing has ended yet.
    pub(super) fn new(id: u64, issued: u64, organization: Option<&str>, ends_ms: u64) -> Self {
        Self {
            id,
            issued,
            organization: organization.map(Box::from),
            ends_ms,
            over: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        }
    }

    /// Tells whoever holds it to end; whether that is news. The first reason counts.
    pub(super) fn end(&self, reason: Reason) -> bool {
        let at = REASONS.iter().position(|known| *known == reason);
        // INVARIANT: nothing ends for a reason that is not listed. It would end for the first.
        let code = u8::try_from(at.unwrap_or_default() + 1).unwrap_or(1);
        let news = self
            .over
            .compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if news {
            self.waker.wake();
        }
        news
    }

    fn over(&self) -> Option<Reason> {
        let code = self.over.load(Ordering::Acquire);
        REASONS.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// A place in the registry. It is free again when this is dropped.
pub struct Lease(Option<Held>);

struct Held {
    live: Arc<Live>,
    whose: Arc<Whose>,
    slot: Arc<Slot>,
}

impl Lease {
    /// No place: nobody takes back what was given to nobody.
    pub fn of_nobody() -> Self {
        Self(None)
    }

    pub(super) fn new(live: Arc<Live>, whose: Arc<Whose>, slot: Arc<Slot>) -> Self {
        Self(Some(Held { live, whose, slot }))
    }

    /// Ready with the reason when what holds this has to end.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Reason> {
        let Some(held) = &self.0 else {
            return Poll::Pending;
        };
        if let Some(reason) = held.slot.over() {
            return Poll::Ready(reason);
        }
        held.slot.waker.register(cx.waker());
        held.slot.over().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until what holds this has to end.
    pub async fn ended(&self) -> Reason {
        poll_fn(|cx| self.poll_ended(cx)).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(held) = &self.0 {
            held.live.leave(&held.whose, &held.slot);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = self.0.as_ref().and_then(|held| held.slot.over());
        f.debug_struct("Lease").field("over", &over).finish()
    }
}
