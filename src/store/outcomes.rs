//! One call for the askers of many gates: one of them makes it, and the others share what comes of it.
//!
//! In Redis there is one entry for each question: first the name of whoever makes the call, then what came
//! of it, for some seconds. SECURITY: whoever reads there learns nothing and whoever writes there can
//! make nobody believe anything: entries are called by a hash that cannot be made up without the secret
//! key of the instance, and what came of a call is sealed under a key of that question alone. What does
//! not open is as good as absent.

mod question;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::redis::Link;
pub use question::{OutcomeKeys, Question};

/// How long somebody may take to make a call before somebody else does, in milliseconds: one call to
/// Clerk, and some more.
const TAKEN_MS: u64 = 6_000;

/// How long what somebody else asks is waited for.
const PATIENCE: Duration = Duration::from_millis(TAKEN_MS + 500);

/// How long it takes until it is looked for again: first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(50)];

/// The largest entry, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// What an entry begins with that says who makes the call.
const TAKEN: u8 = b't';

/// What an entry begins with that holds an outcome.
const OUTCOME: u8 = b'o';

/// Gives the entry that there is, or puts one there. One that is as `ARGV[3]` says is none, and so is one
/// that is longer than any of ours.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local seen = redis.call('GET', KEYS[1])
if seen and seen ~= ARGV[3] and #seen <= tonumber(ARGV[4]) then
  return seen
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''
",
    )
});

/// Puts another entry in the place of ours, or nothing.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
",
    )
});

/// How gates share what comes of calls.
#[derive(Clone, Debug, Default)]
pub struct Outcomes(Option<Arc<Link>>);

impl Outcomes {
    /// For a gate that is alone: it makes every call.
    pub fn alone() -> Self {
        Self(None)
    }

    pub(super) fn by(link: &Arc<Link>) -> Self {
        Self(Some(Arc::clone(link)))
    }

    /// What comes of `call`, or of the call of another gate for the same question, if it `does`. What
    /// came of a call is kept for as long as `kept` says; `None` for what others must not be told.
    ///
    /// While the others cannot be asked, each gate makes its own call. Nobody waits for somebody else's
    /// for longer than six seconds and a half.
    pub async fn once<T: Serialize + DeserializeOwned>(
        &self,
        question: Option<Question>,
        does: impl Fn(&T) -> bool,
        kept: impl Fn(&T) -> Option<Duration>,
        call: impl Future<Output = T>,
    ) -> T {
        let (Some(link), Some(question)) = (&self.0, question) else {
            return call.await;
        };
        let until = Instant::now() + PATIENCE;
        let [mut pause, longest] = PAUSES;
        let mut of_no_use = Vec::new();
        let mine = mine();
        // Whether it is ours is not known where no answer comes: then it is ended as if it were, which
        // changes nothing of anybody else's.
        let taken = Taken::new(link, &question, mine.clone());
        while Instant::now() < until {
            let mut take = TAKE.key(question.name());
            take.arg(&mine).arg(TAKEN_MS).arg(&of_no_use).arg(MAX_BYTES);
            let Some(seen) = link.run::<Vec<u8>>(&take).await else {
                break;
            };
            match seen.split_first() {
                None => break,
                Some((&OUTCOME, sealed)) => match question.opened::<T>(sealed) {
                    Some(outcome) if does(&outcome) => {
                        taken.let_go();
                        return outcome;
                    }
                    _ if of_no_use.is_empty() => {
                        of_no_use = seen;
                        continue;
                    }
                    _ => of_no_use = seen,
                },
                Some((&TAKEN, _)) => {}
                Some(_) => of_no_use = seen,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(longest);
        }
        let outcome = call.await;
        if let Some(kept) = kept(&outcome)
            && let Some(sealed) = question.sealed(&outcome)
            && sealed.len() < MAX_BYTES
        {
            taken.put(&sealed, kept).await;
        }
        outcome
    }
}

/// Perhaps the call is made here. Dropped before anything came of it, it is free for the next one.
struct Taken {
    link: Arc<Link>,
    name: String,
    mine: Option<Vec<u8>>,
}

impl Taken {
    fn new(link: &Arc<Link>, question: &Question, mine: Vec<u8>) -> Self {
        Self {
            link: Arc::clone(link),
            name: question.name().to_owned(),
            mine: Some(mine),
        }
    }

    /// Nobody here makes the call.
    fn let_go(mut self) {
        self.mine = None;
    }

    async fn put(mut self, sealed: &[u8], kept: Duration) {
        let Some(mine) = self.mine.take() else {
            return;
        };
        let mut outcome = vec![OUTCOME];
        outcome.extend_from_slice(sealed);
        let mut put = PUT.key(&self.name);
        put.arg(mine).arg(outcome).arg(kept.as_millis().max(1));
        self.link.run::<u8>(&put).await;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Whoever made the call may have gone away in the middle of it.
        if let Some(mine) = self.mine.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (link, name) = (Arc::clone(&self.link), std::mem::take(&mut self.name));
            runtime.spawn(async move {
                let mut put = PUT.key(name);
                put.arg(mine).arg("").arg(0);
                link.run::<u8>(&put).await;
            });
        }
    }
}

/// An entry that nobody else makes.
fn mine() -> Vec<u8> {
    let mut mine = vec![TAKEN; 17];
    if let Some((_, name)) = mine.split_first_mut() {
        // Should chance fail, somebody else may end what is ours: one call more is made.
        let _ = aws_lc_rs::rand::fill(name);
    }
    mine
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken").finish_non_exhaustive()
    }
}
