//! The one task that watches over what is open: it hears of sessions that end, looks at the time,
//! and asks Clerk.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::place::{Slot, Whose};
use super::{Asked, Entry, Live, milliseconds};
use crate::clerk::backend::{BackendApi, Lookup, SessionWord};
use crate::clerk::budget::Purpose;
use crate::core::reason::Reason;

/// How many sessions Clerk is asked about at once.
const AT_ONCE: usize = 16;

/// The longest time between two looks at the time.
const LONGEST_PACE: Duration = Duration::from_secs(1);

/// The shortest one.
const SHORTEST_PACE: Duration = Duration::from_millis(10);

/// How much longer than its grace a session may wait for its turn to be asked about.
const QUEUE: Duration = Duration::from_secs(30);

/// How many times its interval a session waits at most that there is no call for.
const MOST_STRETCH: u32 = 8;

/// Watches until the gate is gone.
pub(super) async fn watch(
    live: Weak<Live>,
    stirred: Arc<Notify>,
    mut changes: watch::Receiver<u64>,
) {
    let mut asks: JoinSet<(Arc<Whose>, Lookup<SessionWord>)> = JoinSet::new();
    let mut due: VecDeque<(Arc<Whose>, BackendApi)> = VecDeque::new();
    // When the time is looked at next; not at all while nothing is open.
    let mut look = Some(Instant::now());
    loop {
        let looking = async {
            match look {
                Some(at) => tokio::time::sleep_until(at).await,
                None => stirred.notified().await,
            }
        };
        tokio::select! {
            news = changes.changed() => {
                let (Ok(()), Some(live)) = (news, live.upgrade()) else {
                    return;
                };
                live.sweep();
            }
            () = looking => {
                let Some(live) = live.upgrade() else {
                    return;
                };
                let pace = live.look(Instant::now(), &mut due);
                look = pace.map(|pace| Instant::now() + pace);
            }
            Some(asked) = asks.join_next(), if !asks.is_empty() => {
                let Some(live) = live.upgrade() else {
                    return;
                };
                if let Ok((whose, word)) = asked {
                    live.heard(&whose, &word);
                }
            }
        }
        while asks.len() < AT_ONCE
            && let Some((whose, backend)) = due.pop_front()
        {
            asks.spawn(async move {
                let word = match whose.session() {
                    Some(session) => backend.session(Purpose::LiveCheck, session).await,
                    None => Lookup::Unavailable,
                };
                (whose, word)
            });
        }
    }
}

impl Live {
    /// Ends what is known to be over.
    fn sweep(&self) {
        let now_ms = self.clock.now_ms();
        // Judged when the registry is free again: others come and go meanwhile.
        let open: Vec<(Arc<Whose>, Vec<Arc<Slot>>)> = (self.board().iter())
            .map(|(whose, entry)| (Arc::clone(whose), entry.open.values().cloned().collect()))
            .collect();
        for (whose, slots) in &open {
            for slot in slots {
                if let Some(reason) = self.over(whose, slot, now_ms)
                    && slot.end(reason)
                {
                    tell(whose, reason);
                }
            }
        }
    }

    /// Ends what has had its time, puts into `due` whom Clerk has to be asked about, and says when to
    /// look again; `None` if nothing is open.
    fn look(&self, now: Instant, due: &mut VecDeque<(Arc<Whose>, BackendApi)>) -> Option<Duration> {
        let now_ms = self.clock.now_ms();
        let mut pace = LONGEST_PACE;
        let mut board = self.board();
        for (whose, entry) in &mut *board {
            for slot in entry.open.values() {
                if slot.ends_ms <= now_ms && slot.end(whose.expired()) {
                    tell(whose, whose.expired());
                }
            }
            let holds_ms = entry.holds_ms;
            let Some(asked) = &mut entry.asked else {
                continue;
            };
            pace = pace.min(asked.every / 4).max(SHORTEST_PACE);
            // A token that is young is Clerk's word as well.
            if now_ms < holds_ms {
                continue;
            }
            if asked.is_due(whose, now) {
                asked.silent_since_ms.get_or_insert(now_ms);
                due.push_back((Arc::clone(whose), asked.by.clone()));
            }
            let too_late = asked.ends_ms.is_some_and(|ends| ends <= now_ms);
            if too_late || asked.is_silent_for(asked.grace + QUEUE, now_ms) {
                entry.end_all(whose);
            }
        }
        (!board.is_empty()).then_some(pace)
    }

    /// Takes note of what Clerk says of a session.
    fn heard(&self, whose: &Whose, word: &Lookup<SessionWord>) {
        let now_ms = self.clock.now_ms();
        let over = match word {
            Lookup::Found(session) => !session.is_live(),
            Lookup::Unknown => true,
            Lookup::Unavailable | Lookup::Unasked => false,
        };
        if let Some(session) = whose.session().filter(|_| over) {
            // The next thing that this task hears is that note.
            self.denials.deny_session(session, now_ms);
        }
        let mut board = self.board();
        let Some(entry) = board.get_mut(whose) else {
            return;
        };
        let Some(asked) = &mut entry.asked else {
            return;
        };
        asked.asking = false;
        match word {
            Lookup::Found(_) | Lookup::Unknown => asked.has_word(),
            Lookup::Unavailable if asked.is_silent_for(asked.grace, now_ms) => {
                entry.end_all(whose);
            }
            Lookup::Unavailable => {}
            // Nobody was asked, so nobody is silent: there are more sessions than calls.
            Lookup::Unasked => asked.is_put_off(Instant::now(), now_ms),
        }
    }
}

impl Asked {
    /// Whether it is time to ask; if so, it is being asked.
    fn is_due(&mut self, whose: &Whose, now: Instant) -> bool {
        let every = self.every;
        // Whatever was opened at the same time is asked about at different ones.
        let next = *self
            .next
            .get_or_insert_with(|| now + every.mul_f64(share(whose)));
        if self.asking || now < next {
            return false;
        }
        self.asking = true;
        self.next = Some(now + every * self.stretch);
        true
    }

    /// Takes note of a word of Clerk's on the session, or of a young token of it.
    pub(super) fn has_word(&mut self) {
        self.silent_since_ms = None;
        self.ends_ms = None;
        self.stretch = 1;
    }

    /// There was no call left to ask with: it is asked later, and less and less often.
    // INVARIANT: without any word, what is open ends all the same when its time has come.
    fn is_put_off(&mut self, now: Instant, now_ms: u64) {
        self.silent_since_ms = None;
        let ends_ms = now_ms.saturating_add(milliseconds(self.max));
        self.ends_ms.get_or_insert(ends_ms);
        self.stretch = (self.stretch * 2).min(MOST_STRETCH);
        self.next = Some(now + self.every * self.stretch);
    }

    fn is_silent_for(&self, time: Duration, now_ms: u64) -> bool {
        let end = |since: u64| since.saturating_add(milliseconds(time));
        self.silent_since_ms
            .is_some_and(|since| end(since) <= now_ms)
    }
}

impl Entry {
    /// Ends all of it: Clerk has said nothing for too long.
    fn end_all(&self, whose: &Whose) {
        for slot in self.open.values() {
            if slot.end(Reason::SessionTokenExpired) {
                warn!(
                    session = whose.session(),
                    "a live connection ends: clerk has not confirmed its session"
                );
            }
        }
    }
}

/// A number from 0 to 1 that differs from session to session.
fn share(whose: &Whose) -> f64 {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(whose);
    f64::from(u16::try_from(hash >> 48).unwrap_or_default()) / f64::from(u16::MAX)
}

fn tell(whose: &Whose, reason: Reason) {
    info!(
        session = whose.session(),
        reason = reason.code(),
        "a live connection ends"
    );
}
