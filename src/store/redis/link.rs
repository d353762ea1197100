//! The connection that charges, locks and notices share, while there is one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation};
use tracing::{info, warn};

use super::connect::{Client, Connection};

/// How long it takes until a server that failed is tried again: first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// What a server says of one command and not of itself: others may do.
const ABOUT_A_COMMAND: [&str; 3] = ["NOPERM", "WRONGTYPE", "ERR"];

/// What a server says of itself, in the middle of what it says of a script.
const OF_THE_SERVER: [&str; 5] = ["-READONLY", "-OOM", "-MISCONF", "-MASTERDOWN", "-LOADING"];

/// Writes something that is gone at once.
static PROBE: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], '1', 'PX', 1000)"));

/// The servers, and the connection to them.
pub(in crate::store) struct Link {
    client: Client,
    timeout: Duration,
    connection: ArcSwapOption<Connection>,
    connecting: AtomicBool,
    /// Whether the log says that it is down.
    told: AtomicBool,
    /// Whether the log says that it refuses something.
    refused: AtomicBool,
}

impl Link {
    pub(super) fn new(client: Client, timeout: Duration) -> Self {
        Self {
            client,
            timeout,
            connection: ArcSwapOption::empty(),
            connecting: AtomicBool::new(false),
            told: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    /// Whether the server answers, as far as is known.
    pub(in crate::store) fn is_up(&self) -> bool {
        self.connection.load().is_some()
    }

    /// Runs a script. `None` if that cannot be had in time; then nobody is kept waiting again until the
    /// server has answered.
    pub(in crate::store) async fn run<T: FromRedisValue>(
        self: &Arc<Self>,
        script: &ScriptInvocation<'_>,
    ) -> Option<T> {
        let Some(connection) = self.connection.load_full() else {
            self.connect();
            return None;
        };
        let mut asked = (*connection).clone();
        let call = script.invoke_async(&mut asked);
        let why = match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => {
                let why = described(&error);
                if is_about_a_command(&error) {
                    if !self.refused.swap(true, Ordering::AcqRel) {
                        warn!(cause = why, "redis refuses a command");
                    }
                    return None;
                }
                why
            }
            Err(_) => "no answer in time".to_owned(),
        };
        self.drop_connection(&connection, &why);
        None
    }

    /// A connection of somebody's own, for what keeps others waiting: an answer may take this long.
    pub(in crate::store) async fn another(&self, patience: Duration) -> Result<Connection, String> {
        self.client
            .connect(patience)
            .await
            .map_err(|error| described(&error))
    }

    /// The connection is not used any more, and another one is looked for.
    fn drop_connection(self: &Arc<Self>, failed: &Arc<Connection>, why: &str) {
        let current = self.connection.load();
        // Of many that fail at once the first does this.
        let same = current.as_ref().is_some_and(|c| Arc::ptr_eq(c, failed));
        if same {
            self.connection.store(None);
            self.tell(why);
        }
        self.connect();
    }

    fn tell(&self, why: &str) {
        if !self.told.swap(true, Ordering::AcqRel) {
            warn!(cause = why, "redis cannot be asked");
        }
    }

    /// Connects, if nobody does; whoever asks does not wait.
    pub(in crate::store) fn connect(self: &Arc<Self>) {
        if self.connection.load().is_some() || self.connecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let link = Arc::clone(self);
        tokio::spawn(async move {
            let [mut pause, longest] = PAUSES;
            loop {
                match link.try_connect().await {
                    Ok(connection) => {
                        link.connection.store(Some(Arc::new(connection)));
                        break;
                    }
                    Err(why) => link.tell(&why),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
            link.connecting.store(false, Ordering::Release);
            link.refused.store(false, Ordering::Release);
            if link.told.swap(false, Ordering::AcqRel) {
                info!("redis answers");
            }
        });
    }

    /// A connection over which a script was run: that the server listens says little.
    async fn try_connect(&self) -> Result<Connection, String> {
        let patience = self.patience();
        let connecting = async {
            let mut connection = self.client.connect(patience).await?;
            // What is full answers, and takes nothing.
            let probe = PROBE.key("clerk-gate:{probe}");
            probe.invoke_async::<()>(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        match tokio::time::timeout(patience * 2, connecting).await {
            Ok(connected) => connected.map_err(|error| described(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// How long a connection may take, where nobody waits for it.
    pub(in crate::store) fn patience(&self) -> Duration {
        self.timeout.max(Duration::from_millis(500))
    }
}

/// Whether an error is one of a command, after which the server may be asked again.
fn is_about_a_command(error: &RedisError) -> bool {
    // An answer of another shape than that of ours: somebody else has put it there.
    if error.kind() == ErrorKind::UnexpectedReturnType {
        return true;
    }
    // Before version 7, what a script meets is an `ERR` that tells the rest.
    let of_the_server = |detail: &str| OF_THE_SERVER.iter().any(|code| detail.contains(code));
    error.code().is_some_and(|c| ABOUT_A_COMMAND.contains(&c))
        && !error.detail().is_some_and(of_the_server)
}

/// What is told of an error: its kind, and never what the server says, which may repeat what was asked.
pub(in crate::store) fn described(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.chars().take(32).collect(),
        None => format!("{:?}", error.kind()),
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("timeout", &self.timeout)
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}
