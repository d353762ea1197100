//! Whether a gate would know by now what the others have told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::reading::BLOCK;
use crate::store::redis::Link;

/// How long the stream has to be heard without a break, beside what an attempt to connect may take: others
/// that could not write try to connect again after a second at most, and to write after half of one.
const SETTLED: Duration = Duration::from_secs(2);

/// What is written to see whether the stream could be: a cluster keeps it in the same place.
const PROBED: &str = "clerk-gate:{notices}:probe";

/// Whether the stream is read to its end, others can write to it, and both have held for a while.
pub(super) struct Touch {
    since: Option<Instant>,
    /// When it was last looked whether others can write.
    looked: Option<Instant>,
    /// Others look at this.
    told: Arc<AtomicBool>,
}

impl Touch {
    pub(super) fn new(told: Arc<AtomicBool>) -> Self {
        Self {
            since: None,
            looked: None,
            told,
        }
    }

    /// The stream cannot be read.
    pub(super) fn lost(&mut self) {
        (self.since, self.looked) = (None, None);
        self.told.store(false, Ordering::Release);
    }

    /// All that stood in the stream has been read.
    // SECURITY: a server that is full tells what it has. What another gate cannot write there is not heard,
    // nor what it has not yet written since it can again.
    pub(super) async fn heard_all(&mut self, link: &Arc<Link>) {
        if self.looked.is_none_or(|then| then.elapsed() >= BLOCK) {
            if !link.takes_more(PROBED).await {
                return self.lost();
            }
            self.looked = Some(Instant::now());
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let settled = since.elapsed() >= SETTLED + link.patience() * 2;
        self.told.store(settled, Ordering::Release);
    }
}
