//! What a gate tells the others: sessions and people that are out, and that Clerk's keys have changed.
//!
//! In Redis there is one stream for it. Each gate reads it from the beginning when it starts, and waits
//! for more on a connection of its own; what could not be written is kept and written later. Whoever can
//! write there can have people signed out, and keys fetched. Nobody gets in by it.

mod reading;
mod touch;
mod wire;
mod writing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::redis::Link;
use touch::InTouch;
use writing::Outbox;

/// The stream. What stands between the braces is what a cluster places it by.
pub const STREAM: &str = "clerk-gate:{notices}";

/// How many notices the stream holds, more or less. The oldest go first.
const MOST: usize = 100_000;

/// Something that every gate has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Somebody is out, or has to renew their tokens.
    Out(Out),
    /// The keys of an instance have changed.
    Keys {
        /// Which instance, by its publishable key.
        instance: String,
        /// Which keys it has now, by their digest.
        digest: String,
    },
}

/// Whose tokens do not count any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Out {
    /// Who it is about.
    pub whose: Whose,
    /// Tokens issued up to this second are out; 0 if none are.
    pub revoked_to: u64,
    /// Tokens issued before this second have to be renewed; 0 if none have.
    pub outdated_before: u64,
    /// When this may be forgotten, in milliseconds since the epoch.
    pub forget_at_ms: u64,
}

/// Whom a notice is about, by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// A session.
    Session(Box<str>),
    /// A person.
    User(Box<str>),
    /// Everybody whose token names this organisation as the active one.
    Organization(Box<str>),
}

/// How to tell other gates something, and to hear of it.
#[derive(Clone, Debug, Default)]
pub struct Notices(Option<Arc<Board>>);

/// The stream in Redis.
struct Board {
    link: Arc<Link>,
    outbox: Arc<Outbox>,
    /// What this gate's own notices are known by.
    me: Box<str>,
}

/// Somebody hears notices, until this is dropped.
#[derive(Debug)]
pub struct Hearing {
    tasks: Vec<JoinHandle<()>>,
    first: watch::Receiver<bool>,
    /// Whether what others write is heard at the moment; `None` where there is nobody else.
    in_touch: Option<Arc<InTouch>>,
}

impl Notices {
    /// For a gate that is alone: nobody is told, and nothing heard.
    pub fn alone() -> Self {
        Self(None)
    }

    pub(super) fn by(link: &Arc<Link>) -> Self {
        let mut name = [0; 16];
        // Should chance fail, a gate without a name hears its own notices too, which changes nothing.
        let named = aws_lc_rs::rand::fill(&mut name).is_ok();
        let me = format!("{:032x}", u128::from_be_bytes(name));
        Self(Some(Arc::new(Board {
            link: Arc::clone(link),
            outbox: Arc::default(),
            me: if named { me.into() } else { Box::default() },
        })))
    }

    /// Tells every other gate. Waits for nothing.
    pub fn tell(&self, notice: Notice) {
        if let Some(board) = &self.0 {
            board.outbox.put(notice);
        }
    }

    /// Begins to hear what others tell and have told, and to write what is told here. Notices of this
    /// gate's own are not heard, and those that say nothing that can be understood are passed over.
    pub fn hear(&self, ear: impl Fn(Notice) + Send + Sync + 'static) -> Hearing {
        let (reached, first) = watch::channel(self.0.is_none());
        let in_touch = Arc::<InTouch>::default();
        let tasks = self.0.as_ref().map(|board| {
            let outbox = Arc::clone(&board.outbox);
            let again = Arc::clone(&board.outbox);
            let writing = writing::write(Arc::clone(&board.link), outbox, board.me.clone());
            let touch = touch::Touch::new(Arc::clone(&in_touch));
            let (link, me) = (Arc::clone(&board.link), board.me.clone());
            let reading = reading::Reader::new(link, again, me, touch);
            vec![
                tokio::spawn(writing),
                tokio::spawn(reading.read(ear, reached)),
            ]
        });
        Hearing {
            tasks: tasks.unwrap_or_default(),
            first,
            in_touch: self.0.is_some().then_some(in_touch),
        }
    }
}

impl Hearing {
    /// Waits until everything was heard that had been told before, or until it is clear that it cannot
    /// be had now; no longer than `most`.
    pub async fn caught_up(&self, most: Duration) {
        let mut first = self.first.clone();
        let reached = first.wait_for(|reached| *reached);
        let _ = tokio::time::timeout(most, reached).await;
    }

    /// Looks from now on whether others are heard, or does so no more. Whoever needs it says so, because
    /// it costs a write a second; without it nobody is said to be in touch.
    pub fn stay_in_touch(&self, needed: bool) {
        if let Some(in_touch) = &self.in_touch {
            in_touch.want(needed);
        }
    }

    /// Whether what others have written is heard, all of it up to a moment ago, and they could write more
    /// where it is read. A gate that is alone misses nothing.
    ///
    /// Another gate that has lost the server by itself keeps what it would say, and nobody notices.
    pub fn is_in_touch(&self) -> bool {
        self.in_touch.as_ref().is_none_or(|it| it.is())
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("link", &self.link)
            .field("waiting", &self.outbox.waiting())
            .finish_non_exhaustive()
    }
}
