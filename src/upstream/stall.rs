//! An end to patience with somebody who takes nothing of what is written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

/// Watches over writes to one side.
#[derive(Default)]
pub(crate) struct Stall {
    /// How long it may take nothing, if there is an end to it.
    patience: Option<Duration>,
    /// Runs while it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Over a side that may take nothing for as long as `patience`.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience: Some(patience),
            stalled: None,
        }
    }

    /// Passes on what came of a write, unless nothing has come of any for too long.
    pub(crate) fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let patience = match self.patience {
            Some(patience) if outcome.is_pending() => patience,
            _ => {
                self.stalled = None;
                return outcome;
            }
        };
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
