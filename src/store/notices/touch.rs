//! Whether a gate would know by now what the others have written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{RedisError, cmd};
use tokio::time::Instant;
use tracing::{info, warn};

use super::reading::BLOCK;
use crate::store::redis::{Connection, described};

/// How long the stream has to be heard without a break, beside what an attempt to connect may take: others
/// that could not write try to connect again after a second at most, and to write after half of one.
const SETTLED: Duration = Duration::from_secs(2);

/// What is written to see whether the stream could be: a cluster keeps it in the same place.
const PROBED: &str = "clerk-gate:{notices}:probe";

/// How long what is written for that stays there, in milliseconds.
const PROBED_MS: u64 = 1000;

/// What a server says that follows another one by now: whoever connects anew may find that one.
const FOLLOWS: &str = "READONLY";

/// What whoever hears notices wants to know, and is told.
#[derive(Debug, Default)]
pub(super) struct InTouch {
    /// Whether it is to be known: it costs a write a second.
    wanted: AtomicBool,
    is: AtomicBool,
}

/// Whether the stream is read to its end, others can write to it, and both have held for a while.
pub(super) struct Touch {
    since: Option<Instant>,
    /// When it was last looked whether others can write.
    looked: Option<Instant>,
    /// Whether the log says that they cannot.
    told: bool,
    /// Others look at this.
    shown: Arc<InTouch>,
}

impl InTouch {
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Release);
    }

    pub(super) fn is(&self) -> bool {
        self.is.load(Ordering::Acquire)
    }
}

impl Touch {
    pub(super) fn new(shown: Arc<InTouch>) -> Self {
        Self {
            since: None,
            looked: None,
            told: false,
            shown,
        }
    }

    /// The stream cannot be read.
    pub(super) fn lost(&mut self) {
        (self.since, self.looked) = (None, None);
        self.shown.is.store(false, Ordering::Release);
    }

    /// All that stood in the stream has been read over this connection. The error says that it is one to
    /// a server that does not answer, or not to the one that others write to.
    // SECURITY: a server that is full tells what it has. What another gate cannot write there is not heard,
    // nor what it has not yet written since it can again.
    pub(super) async fn heard_all(
        &mut self,
        connection: &mut Connection,
        patience: Duration,
    ) -> Result<(), String> {
        if !self.shown.wanted.load(Ordering::Acquire) {
            self.lost();
            return Ok(());
        }
        if self.looked.is_none_or(|then| then.elapsed() >= BLOCK) {
            if !self.others_can_write(connection, patience).await? {
                self.lost();
                return Ok(());
            }
            self.looked = Some(Instant::now());
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let settled = since.elapsed() >= SETTLED + patience * 2;
        self.shown.is.store(settled, Ordering::Release);
        Ok(())
    }

    /// Whether the server takes what is written beside the stream. It is asked over the connection that the
    /// stream is read by, because another one may lead to another server.
    async fn others_can_write(
        &mut self,
        connection: &mut Connection,
        patience: Duration,
    ) -> Result<bool, String> {
        let mut probe = cmd("SET");
        probe.arg(PROBED).arg(1).arg("PX").arg(PROBED_MS);
        let written = tokio::time::timeout(patience, probe.exec_async(connection)).await;
        match written.map_err(|_| "no answer in time".to_owned())? {
            Ok(()) => {
                if std::mem::take(&mut self.told) {
                    info!("redis takes notices");
                }
                Ok(true)
            }
            Err(error) if is_refusal(&error) => {
                if !std::mem::replace(&mut self.told, true) {
                    warn!(cause = described(&error), "redis takes no notices");
                }
                Ok(false)
            }
            Err(error) => Err(described(&error)),
        }
    }
}

/// Whether the server that others write to has answered, and takes nothing.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some_and(|code| code != FOLLOWS)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_server_that_is_full_is_read_on_and_one_that_follows_or_is_gone_is_not() {
        for (said, expected) in [
            (
                "-OOM command not allowed when used memory > 'maxmemory'.",
                true,
            ),
            ("-MISCONF Redis is configured to save RDB snapshots", true),
            ("-NOREPLICAS Not enough good replicas to write.", true),
            ("-MASTERDOWN Link with MASTER is down", true),
            (
                "-READONLY You can't write against a read only replica.",
                false,
            ),
        ] {
            let line = format!("{said}\r\n");
            let answer = redis::parse_redis_value(line.as_bytes()).unwrap();
            let error = answer.extract_error().unwrap_err();
            assert_eq!(is_refusal(&error), expected, "{said}");
        }
        let gone = RedisError::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(!is_refusal(&gone));
    }
}
