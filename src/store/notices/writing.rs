//! What is told waits here until it stands in the stream.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Script;
use tokio::sync::Notify;
use tracing::warn;

use super::{MOST, Notice, STREAM, wire};
use crate::store::redis::Link;

/// How many notices wait at most, and how many that were written are kept for a server that forgets. The
/// oldest go first: Clerk has been told of them.
const WAITING: usize = 10_000;

/// How long it takes until what could not be written is tried again: first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// How long the stream is kept, in milliseconds: longer than a notice in it counts.
const KEPT_MS: u64 = 31 * 24 * 60 * 60 * 1000;

/// Adds an entry, and lets go of those that have had their time; where that is refused, of those that are
/// too many.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local oldest = time[1] * 1000 - tonumber(ARGV[2])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3))
redis.pcall('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', oldest))
redis.pcall('PEXPIRE', KEYS[1], ARGV[2])
return 1
",
    )
});

/// Notices of this gate's own.
#[derive(Default)]
pub(super) struct Outbox {
    notices: Mutex<Own>,
    put: Notify,
}

/// Those that are not written yet, and those that are; the oldest first.
#[derive(Default)]
struct Own {
    waiting: VecDeque<Notice>,
    written: VecDeque<Notice>,
}

impl Outbox {
    pub(super) fn put(&self, notice: Notice) {
        let mut own = self.own();
        if own.waiting.len() >= WAITING {
            own.waiting.pop_front();
            warn!("too much waits for redis: other gates are not told of the oldest notice");
        }
        own.waiting.push_back(notice);
        drop(own);
        self.put.notify_one();
    }

    pub(super) fn waiting(&self) -> usize {
        self.own().waiting.len()
    }

    /// Has written again what was written: the server has forgotten it.
    pub(super) fn again(&self) {
        let mut own = self.own();
        let mut all = std::mem::take(&mut own.written);
        all.append(&mut own.waiting);
        let too_many = all.len().saturating_sub(WAITING);
        own.waiting = all.split_off(too_many);
        drop(own);
        self.put.notify_one();
    }

    /// The oldest that waits.
    fn next(&self) -> Option<Notice> {
        self.own().waiting.pop_front()
    }

    fn keep(&self, notice: Notice) {
        let mut own = self.own();
        if own.written.len() >= WAITING {
            own.written.pop_front();
        }
        own.written.push_back(notice);
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes whatever is put into the outbox, for ever.
pub(super) async fn write(link: Arc<Link>, outbox: Arc<Outbox>, me: Box<str>) {
    loop {
        while let Some(notice) = outbox.next() {
            let mut add = ADD.key(STREAM);
            add.arg(MOST).arg(KEPT_MS).arg("by").arg(&*me);
            for (name, value) in wire::fields(&notice) {
                add.arg(name).arg(value);
            }
            let [mut pause, longest] = PAUSES;
            // An answer that is too late may mean that it stands there twice, which changes nothing.
            while link.run::<u8>(&add).await.is_none() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
            outbox.keep(notice);
        }
        outbox.put.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(number: usize) -> Notice {
        Notice::Keys {
            instance: "pk_test_x".to_owned(),
            digest: number.to_string(),
        }
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes_first() {
        let outbox = Outbox::default();
        for number in 0..WAITING + 3 {
            outbox.put(notice(number));
        }
        assert_eq!(outbox.waiting(), WAITING);
        assert_eq!(outbox.next(), Some(notice(3)));
    }

    #[test]
    fn what_the_server_has_forgotten_comes_before_what_is_new() {
        let outbox = Outbox::default();
        for number in 0..WAITING + 3 {
            outbox.keep(notice(number));
        }
        outbox.put(notice(WAITING + 3));
        outbox.again();
        assert_eq!(outbox.waiting(), WAITING);
        let all: Vec<Notice> = std::iter::from_fn(|| outbox.next()).collect();
        let expected: Vec<Notice> = (4..=WAITING + 3).map(notice).collect();
        assert!(all == expected);
        outbox.again();
        assert_eq!(outbox.waiting(), 0);
    }
}
