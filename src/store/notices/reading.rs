//! Reading the stream: from its beginning, and then what is added.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::sync::watch;
use tracing::{info, warn};

use super::touch::Touch;
use super::writing::Outbox;
use super::{Notice, STREAM, wire};
use crate::store::redis::{Connection, Link, described};

/// How many entries are read at once.
const AT_ONCE: usize = 500;

/// How long the server lets a reader wait before it says that there is nothing.
pub(super) const BLOCK: Duration = Duration::from_secs(1);

/// How long it takes until a server that failed is read again: first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// How much is read once more from a server that failed, in milliseconds: the one that stands in for it
/// may lack something, and its clock be behind. What was heard before changes nothing.
const OVERLAP_MS: u64 = 60_000;

/// Where the stream begins.
const BEGINNING: &str = "0-0";

pub(super) struct Reader {
    link: Arc<Link>,
    outbox: Arc<Outbox>,
    me: Box<str>,
    /// The id behind which is read on.
    last: String,
    /// The id of the last entry that was ever read.
    newest: String,
    /// Whether all that there was has been read: from then on it waits for more.
    reached: bool,
    touch: Touch,
    /// Whether the log says that it cannot be read.
    told: bool,
    /// Whether the log says that an entry was not understood.
    puzzled: bool,
}

impl Reader {
    pub(super) fn new(link: Arc<Link>, outbox: Arc<Outbox>, me: Box<str>, touch: Touch) -> Self {
        Self {
            link,
            outbox,
            me,
            last: BEGINNING.to_owned(),
            newest: BEGINNING.to_owned(),
            reached: false,
            touch,
            told: false,
            puzzled: false,
        }
    }

    /// Reads for ever. `reached` becomes true when all that there is was read, or cannot be.
    pub(super) async fn read(mut self, ear: impl Fn(Notice), reached: watch::Sender<bool>) {
        let [shortest, longest] = PAUSES;
        let mut pause = shortest;
        loop {
            let Err(why) = self.read_on(&ear, &reached, &mut pause).await;
            self.touch.lost();
            reached.send_replace(true);
            if !std::mem::replace(&mut self.told, true) {
                warn!(cause = why, "notices cannot be read from redis");
            }
            self.last = before(&self.last);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Reads over one connection, until it fails.
    async fn read_on(
        &mut self,
        ear: &impl Fn(Notice),
        reached: &watch::Sender<bool>,
        pause: &mut Duration,
    ) -> Result<Infallible, String> {
        let mut connection = self.link.another(BLOCK + self.link.patience()).await?;
        self.look_for_the_newest(&mut connection).await?;
        loop {
            let count = self.next(&mut connection, ear).await?;
            if count == AT_ONCE {
                continue;
            }
            self.reached = true;
            reached.send_replace(true);
            let patience = self.link.patience();
            self.touch.heard_all(&mut connection, patience).await?;
            [*pause, _] = PAUSES;
            if std::mem::take(&mut self.told) {
                info!("notices are read from redis");
            }
        }
    }

    /// A server that was started again without what it had, and one that stands in for it and lacks the
    /// last of it, are told once more.
    async fn look_for_the_newest(&mut self, connection: &mut Connection) -> Result<(), String> {
        if self.newest == BEGINNING {
            return Ok(());
        }
        let mut look = cmd("XRANGE");
        look.arg(STREAM).arg(&self.newest).arg(&self.newest);
        if let Value::Array(found) = self.answer(&look, connection).await?
            && found.is_empty()
        {
            BEGINNING.clone_into(&mut self.newest);
            // The ids of what is added there may be lower than any that was read.
            BEGINNING.clone_into(&mut self.last);
            self.outbox.again();
        }
        Ok(())
    }

    async fn answer(&self, asked: &Cmd, connection: &mut Connection) -> Result<Value, String> {
        let answer = asked.query_async::<Value>(connection);
        // A connection whose other end is gone may say nothing at all.
        let answer = tokio::time::timeout(BLOCK + self.link.patience() * 2, answer).await;
        answer
            .map_err(|_| "no answer in time".to_owned())?
            .map_err(|error| described(&error))
    }

    /// Hears the next entries, and says how many there were.
    async fn next(
        &mut self,
        connection: &mut Connection,
        ear: &impl Fn(Notice),
    ) -> Result<usize, String> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(AT_ONCE);
        if self.reached {
            read.arg("BLOCK").arg(BLOCK.as_millis());
        }
        read.arg("STREAMS").arg(STREAM).arg(&self.last);
        let answer = self.answer(&read, connection).await?;
        let entries = wire::entries(&answer).ok_or("an answer that is none")?;
        for (id, fields) in &entries {
            match wire::entry(fields) {
                Some((by, notice)) if by.is_empty() || by != &*self.me => ear(notice),
                Some(_) => {}
                None if std::mem::replace(&mut self.puzzled, true) => {}
                None => warn!("a notice in redis is not understood, and passed over"),
            }
            (*id).clone_into(&mut self.last);
            (*id).clone_into(&mut self.newest);
        }
        Ok(entries.len())
    }
}

/// An id that is a minute older than this one.
fn before(id: &str) -> String {
    let time = id
        .split('-')
        .next()
        .and_then(|time| time.parse::<u64>().ok());
    let time = time.unwrap_or_default().saturating_sub(OVERLAP_MS);
    format!("{time}-0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_back_a_minute_and_never_before_the_beginning() {
        for (id, expected) in [
            ("1790000000000-5", "1789999940000-0"),
            ("5-1", BEGINNING),
            (BEGINNING, BEGINNING),
            ("x", BEGINNING),
        ] {
            assert_eq!(before(id), expected);
        }
    }
}
