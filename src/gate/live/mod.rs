//! What stays open in somebody's name: tunnels, event streams, long answers.
//!
//! A request is judged once, and what it opened may last for hours. Here is who has something open,
//! and each of them is told when it has to end: at once when the session is over, and else when
//! Clerk, asked now and then, says so or says nothing for too long. Nothing here knows what it is
//! that ends, nor how that is done: `modes/` and `upstream/` see to it.
//!
//! There is one task for all of it, in `watch`, from the first connection on. A connection is a few
//! words in memory.

mod place;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::denials::{self, Denials, Told};
use super::{Site, Snapshot};
use crate::clerk::backend::BackendApi;
use crate::clock::SharedClock;
use crate::core::binding::{Binding, MachineBinding, SessionBinding};
use crate::core::jwt::Token;
use crate::core::question::TokenStanding;
use crate::core::reason::Reason;
pub use place::Lease;
use place::{Slot, Whose};

/// How long a token of another request counts as Clerk's word from its issue on, in milliseconds.
const WORD_MS: u64 = 60_000;

/// How long what is open may stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveRules {
    /// How often Clerk is asked about a session whose token has ended; `None` for never.
    pub check: Option<Duration>,
    /// How long Clerk may say nothing when it is asked.
    pub grace: Duration,
    /// How long a connection may last where Clerk is not asked.
    pub max: Duration,
}

impl Default for LiveRules {
    fn default() -> Self {
        Self {
            check: Some(Duration::from_secs(30)),
            grace: Duration::from_mins(10),
            max: Duration::from_hours(1),
        }
    }
}

/// The registry of what is open.
pub struct Live {
    clock: SharedClock,
    denials: Arc<Denials>,
    board: Mutex<Board>,
    /// What the task hears of the denials, until it runs.
    changes: Mutex<Option<tokio::sync::watch::Receiver<u64>>>,
    /// Whether the task is running.
    watched: AtomicBool,
    /// The next place.
    next: AtomicU64,
    /// Tells the task that there is something again.
    stirred: Arc<Notify>,
}

type Board = HashMap<Arc<Whose>, Entry>;

/// What one session, or one machine, has open.
#[derive(Default)]
struct Entry {
    /// Whom to ask about it, if anybody is asked.
    asked: Option<Asked>,
    open: HashMap<u64, Arc<Slot>>,
    /// Until when the youngest of its tokens holds: so long Clerk has given its word already.
    holds_ms: u64,
}

/// How Clerk is asked about a session, and how that goes.
struct Asked {
    by: BackendApi,
    every: Duration,
    grace: Duration,
    max: Duration,
    /// How many of its intervals lie between two questions: more where calls are short.
    stretch: u32,
    /// When all of it ends that nobody could be asked about; `None` while that is not so.
    ends_ms: Option<u64>,
    /// When it is asked next; `None` before the first time.
    next: Option<Instant>,
    /// Whether it is being asked.
    asking: bool,
    /// Since when a word of Clerk's is missing.
    silent_since_ms: Option<u64>,
}

impl Asked {
    /// Has Clerk asked as another configuration says from now on; how it went so far stays.
    fn go_by(&mut self, new: Self) {
        let Self {
            by,
            every,
            grace,
            max,
            ..
        } = new;
        (self.by, self.every, self.grace, self.max) = (by, every, grace, max);
    }
}

impl Entry {
    /// There is a token that holds until then.
    fn holds(&mut self, until_ms: u64) {
        if until_ms > self.holds_ms {
            self.holds_ms = until_ms;
            if let Some(asked) = &mut self.asked {
                asked.has_word();
            }
        }
    }
}

/// Leave to bind what a request opens, should it stay open.
#[derive(Clone)]
pub struct Ticket {
    live: Arc<Live>,
    snapshot: Arc<Snapshot>,
    binding: Binding,
}

impl Ticket {
    /// Enters something into the registry, for as long as the lease is held.
    pub fn bind(&self) -> Lease {
        match &self.binding {
            Binding::Nobody => Lease::of_nobody(),
            Binding::Session(session) => {
                let site = self.snapshot.site(session.site);
                self.live.bind_session(session, site)
            }
            Binding::Machine(machine) => {
                let site = self.snapshot.site(machine.site);
                self.live.bind_machine(machine, site)
            }
        }
    }
}

impl Live {
    /// Nothing is open yet.
    pub(super) fn new(clock: SharedClock, denials: Arc<Denials>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            // INVARIANT: listening begins before anything is entered, so that no note is missed.
            changes: Mutex::new(Some(denials.changes())),
            denials,
            board: Mutex::default(),
            watched: AtomicBool::new(false),
            next: AtomicU64::new(0),
            stirred: Arc::default(),
        })
    }

    /// A ticket for what a request with this binding opens; `None` if that is nobody's.
    pub(super) fn ticket(
        self: &Arc<Self>,
        snapshot: &Arc<Snapshot>,
        binding: &Binding,
    ) -> Option<Ticket> {
        (!binding.is_nobody()).then(|| Ticket {
            live: Arc::clone(self),
            snapshot: Arc::clone(snapshot),
            binding: binding.clone(),
        })
    }

    /// How many connections are open, and of how many sessions and machines.
    pub fn open(&self) -> (usize, usize) {
        let board = self.board();
        let open = board.values().map(|entry| entry.open.len()).sum();
        (open, board.len())
    }

    fn bind_session(self: &Arc<Self>, session: &SessionBinding, site: Option<&Site>) -> Lease {
        let rules = site.map(|site| site.live).unwrap_or_default();
        let backend = site.and_then(|site| site.backend.as_ref());
        let asked = match (session.session(), rules.check, backend) {
            (Some(_), Some(every), Some(backend)) => Some(Asked {
                by: backend.clone(),
                every,
                grace: rules.grace,
                max: rules.max,
                stretch: 1,
                ends_ms: None,
                next: None,
                asking: false,
                silent_since_ms: None,
            }),
            _ => None,
        };
        let ends_ms = match asked {
            Some(_) => u64::MAX,
            None => self.at_most(rules.max),
        };
        let ends_ms = session.until_ms.map_or(ends_ms, |until| ends_ms.min(until));
        let slot = Slot::new(
            self.next_place(),
            denials::issued(&session.token),
            session.organization(),
            ends_ms,
        );
        let whose = Whose::Session {
            site: session.site,
            session: session.session().map(Box::from),
            user: session.user().unwrap_or_default().into(),
        };
        self.enter(whose, slot, asked, session.ends_ms())
    }

    /// Nobody is asked about a machine: its stream ends with its token, or in its time.
    fn bind_machine(self: &Arc<Self>, machine: &MachineBinding, site: Option<&Site>) -> Lease {
        let rules = site.map(|site| site.live).unwrap_or_default();
        let most = self.at_most(rules.max);
        let ends_ms = machine.ends_ms.map_or(most, |ends| ends.min(most));
        let slot = Slot::new(self.next_place(), 0, None, ends_ms);
        let whose = Whose::Machine {
            site: machine.site,
            subject: machine.subject.as_str().into(),
        };
        self.enter(whose, slot, None, 0)
    }

    /// Hears of a token that was verified for the first time: Clerk's word, if it is young, for what its
    /// session has open.
    pub(super) fn hears(&self, site: usize, token: &Arc<Token>) {
        if !self.watched.load(Ordering::Acquire) {
            return;
        }
        let told = SessionBinding {
            site,
            token: Arc::clone(token),
            until_ms: None,
        };
        let (Some(session), Some(user)) = (told.session(), told.user()) else {
            return;
        };
        // SECURITY: one that lives long is no word for so long, nor one that is old.
        let word_ms = denials::issued(token).saturating_mul(1000);
        let holds_ms = told.ends_ms().min(word_ms.saturating_add(WORD_MS));
        let whose = Whose::Session {
            site,
            session: Some(session.into()),
            user: user.into(),
        };
        if let Some(entry) = self.board().get_mut(&whose) {
            entry.holds(holds_ms);
        }
    }

    fn next_place(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn take_changes(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.take()
    }

    fn at_most(&self, time: Duration) -> u64 {
        self.clock.now_ms().saturating_add(milliseconds(time))
    }

    fn enter(
        self: &Arc<Self>,
        whose: Whose,
        slot: Slot,
        asked: Option<Asked>,
        holds_ms: u64,
    ) -> Lease {
        if !self.watched.swap(true, Ordering::AcqRel)
            && let Some(changes) = self.take_changes()
        {
            let (live, stirred) = (Arc::downgrade(self), Arc::clone(&self.stirred));
            tokio::spawn(watch::watch(live, stirred, changes));
        }
        let slot = Arc::new(slot);
        let whose = {
            let mut board = self.board();
            if board.is_empty() {
                self.stirred.notify_one();
            }
            let whose = board
                .get_key_value(&whose)
                .map_or_else(|| Arc::new(whose), |(known, _)| Arc::clone(known));
            let entry = board.entry(Arc::clone(&whose)).or_default();
            match (&mut entry.asked, asked) {
                (Some(known), Some(new)) => known.go_by(new),
                (known @ None, new) => *known = new,
                (Some(_), None) => {}
            }
            entry.holds(holds_ms);
            entry.open.insert(slot.id, Arc::clone(&slot));
            whose
        };
        // The session may have ended since the request was judged.
        let now_ms = self.clock.now_ms();
        if let Some(reason) = self.over(&whose, &slot, now_ms) {
            slot.end(reason);
        }
        Lease::new(Arc::clone(self), whose, slot)
    }

    /// Why something has to end by what is known here; `None` if it may go on.
    fn over(&self, whose: &Whose, slot: &Slot, now_ms: u64) -> Option<Reason> {
        let standing = match whose {
            Whose::Session { session, user, .. } => {
                let told = Told {
                    session: session.as_deref(),
                    user: Some(user),
                    organization: slot.organization.as_deref(),
                    issued: slot.issued,
                };
                self.denials.standing_of(&told, now_ms)
            }
            Whose::Machine { .. } => TokenStanding::Stands,
        };
        match standing {
            TokenStanding::Revoked => Some(Reason::SessionRevoked),
            TokenStanding::Outdated => Some(Reason::SessionTokenOutdated),
            TokenStanding::Stands => (slot.ends_ms <= now_ms).then(|| whose.expired()),
        }
    }

    fn leave(&self, whose: &Arc<Whose>, slot: &Arc<Slot>) {
        let mut board = self.board();
        if let Some(entry) = board.get_mut(whose) {
            entry.open.remove(&slot.id);
            if entry.open.is_empty() {
                board.remove(whose);
            }
        }
        if board.is_empty() {
            *board = Board::default();
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, whose) = self.open();
        f.debug_struct("Live")
            .field("open", &open)
            .field("whose", &whose)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticket").field(&self.binding).finish()
    }
}
