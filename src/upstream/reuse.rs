//! Whom a connection to an upstream may serve that has served somebody.

use std::sync::atomic::{AtomicU64, Ordering};

/// A client's connection, told from every other that there is or was in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLine(u64);

impl ClientLine {
    /// One that was not there before.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for ClientLine {
    fn default() -> Self {
        Self::new()
    }
}

/// What becomes of a connection to an upstream between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It serves the client's connection again that it has served, and no other.
    ///
    /// SECURITY: an answer that comes late, or one more than was asked for, is then heard by who asked
    /// or by nobody. Nothing in HTTP/1.1 says which request an answer belongs to.
    Safe,
    /// It serves whoever comes next.
    Always,
}

impl Reuse {
    /// Whether a connection that served `before` may serve `now`.
    pub(super) fn allows(self, before: ClientLine, now: ClientLine) -> bool {
        match self {
            Self::Safe => before == now,
            Self::Always => true,
        }
    }
}
