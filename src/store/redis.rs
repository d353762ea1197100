//! Counts in Redis or Valkey: one script for each charge, over one connection for all.
//!
//! The arithmetic is that of `core::budget`, and the time is the server's. A charge takes `timeout` at
//! most. After the first that fails, none is tried until the server has answered again, so that a dead
//! one costs a request nothing; what happens meanwhile is [`OnError`].

use std::fmt;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script, ScriptInvocation};
use tracing::{info, warn};

use super::{Memory, Unavailable};
use crate::core::budget::{BudgetKey, Holder, Rate, Standing, Tally};

/// How long it takes until a server that failed is tried again: first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// The longest id that stands in a key as it is.
const MAX_ID_BYTES: usize = 128;

/// What happens to a charge while the server cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// This gate counts by itself.
    Local,
    /// Nobody counts, and everybody goes on.
    Allow,
    /// Nobody goes on.
    Refuse,
}

/// Counts in Redis.
pub struct Redis {
    link: Arc<Link>,
    timeout: Duration,
    on_error: OnError,
    local: Memory,
}

/// The connection, while there is one.
struct Link {
    client: Client,
    timeout: Duration,
    connection: ArcSwapOption<MultiplexedConnection>,
    connecting: AtomicBool,
    /// Whether the log says that it is down.
    told: AtomicBool,
}

/// What a script answers: whether the charge was made, and the tally.
type Answer = (u8, u64, u32, u32, u64);

static WINDOW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local requests, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local seen = redis.call('HMGET', KEYS[1], 'at', 'previous', 'current')
local at, previous, current = tonumber(seen[1]), tonumber(seen[2]), tonumber(seen[3])
local number = math.floor(now / window)
if at and at + 1 == number then
  at, previous, current = number, current, 0
elseif not at or (at ~= number and at ~= number + 1) then
  at, previous, current = number, 0, 0
end
local elapsed = math.max(0, math.min(window, now - at * window))
local weighted = math.floor((1 - elapsed / window) * previous)
if weighted + current + cost > requests then
  return {0, at, previous, current, now}
end
current = current + cost
redis.call('HSET', KEYS[1], 'at', at, 'previous', previous, 'current', current)
redis.call('PEXPIRE', KEYS[1], (at + 2) * window - now)
return {1, at, previous, current, now}
",
    )
});

static BUCKET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local burst, refill, interval = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cost = tonumber(ARGV[4])
local seen = redis.call('HMGET', KEYS[1], 'at', 'current', 'void')
local at, current, void = tonumber(seen[1]), tonumber(seen[2]), tonumber(seen[3])
if not at or now >= void or at > now + interval then
  at, current = now, 0
else
  local refills = math.floor(math.max(0, now - at) / interval)
  at, current = at + refills * interval, math.max(0, current - refills * refill)
end
if current + cost > burst then
  return {0, at, 0, current, now}
end
current = current + cost
void = now + math.ceil(current / refill) * interval + 1
redis.call('HSET', KEYS[1], 'at', at, 'current', current, 'void', void)
redis.call('PEXPIRE', KEYS[1], void - now)
return {1, at, 0, current, now}
",
    )
});

impl Redis {
    /// Counts at the server of this address, which is not asked yet. The error says what is wrong with
    /// the address, and nothing of what is in it.
    pub fn new(url: &str, timeout: Duration, on_error: OnError) -> Result<Self, String> {
        let client = Client::open(url).map_err(|error| format!("{:?}", error.kind()))?;
        Ok(Self {
            link: Arc::new(Link {
                client,
                timeout,
                connection: ArcSwapOption::empty(),
                connecting: AtomicBool::new(false),
                told: AtomicBool::new(false),
            }),
            timeout,
            on_error,
            local: Memory::new(),
        })
    }

    /// Whether the server answers, as far as is known.
    pub fn is_up(&self) -> bool {
        self.link.connection.load().is_some()
    }

    /// Connects, if nobody does; whoever asks does not wait.
    pub fn connect(&self) {
        self.link.connect();
    }

    /// Charges a request to a rate.
    pub(super) async fn spend(
        &self,
        key: &BudgetKey,
        rate: Rate,
        cost: u32,
        now_ms: u64,
    ) -> Result<Option<Standing>, Unavailable> {
        if let Some(standing) = self.ask(key, rate, cost).await {
            return Ok(Some(standing));
        }
        match self.on_error {
            OnError::Local => Ok(Some(self.local.spend(key, rate, cost, now_ms))),
            OnError::Allow => Ok(None),
            OnError::Refuse => Err(Unavailable),
        }
    }

    /// `None` if the server cannot be asked.
    async fn ask(&self, key: &BudgetKey, rate: Rate, cost: u32) -> Option<Standing> {
        let Some(connection) = self.link.connection.load_full() else {
            self.link.connect();
            return None;
        };
        let invocation = invocation(key, rate, cost);
        let mut asked = (*connection).clone();
        let call = invocation.invoke_async::<Answer>(&mut asked);
        let why = match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok((made, at, previous, current, now_ms))) => {
                let tally = Tally {
                    at,
                    previous,
                    current,
                    void_from_ms: 0,
                };
                return Some(rate.standing(tally, made == 1, cost, now_ms));
            }
            Ok(Err(error)) => described(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        self.link.drop_connection(&connection, &why);
        None
    }
}

impl Link {
    /// The connection is not used any more, and another one is looked for.
    fn drop_connection(self: &Arc<Self>, failed: &Arc<MultiplexedConnection>, why: &str) {
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

    fn connect(self: &Arc<Self>) {
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
            if link.told.swap(false, Ordering::AcqRel) {
                info!("redis answers");
            }
        });
    }

    /// A connection over which a script was run: that the server listens says little.
    async fn try_connect(&self) -> Result<MultiplexedConnection, String> {
        let patience = self.timeout.max(Duration::from_millis(500));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let connecting = async {
            let mut connection = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            // What is full answers, and takes nothing.
            let probe = "return redis.call('SET', KEYS[1], '1', 'PX', 1000)";
            let script = Script::new(probe);
            let invocation = script.key("clerk-gate:{probe}");
            invocation.invoke_async::<()>(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        match tokio::time::timeout(patience * 2, connecting).await {
            Ok(connected) => connected.map_err(|error| described(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

/// What is told of an error: its kind, and never what the server says, which may repeat what was asked.
fn described(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.chars().take(32).collect(),
        None => format!("{:?}", error.kind()),
    }
}

fn invocation(key: &BudgetKey, rate: Rate, cost: u32) -> ScriptInvocation<'static> {
    let name = name(key, rate);
    match rate {
        Rate::SlidingWindow {
            requests,
            window_ms,
        } => {
            let mut invocation = WINDOW.key(name);
            invocation.arg(requests).arg(window_ms).arg(cost);
            invocation
        }
        Rate::TokenBucket {
            refill,
            interval_ms,
            burst,
        } => {
            let mut invocation = BUCKET.key(name);
            let mut figures = invocation.arg(burst);
            figures = figures.arg(refill).arg(interval_ms);
            figures.arg(cost);
            invocation
        }
    }
}

/// The name of a count: `clerk-gate:{<budget>:<kind>:<id>}:<shape>`. What stands between the braces is
/// what a cluster places it by.
pub fn name(key: &BudgetKey, rate: Rate) -> String {
    let mut name = format!("clerk-gate:{{{}:", key.budget);
    match &key.holder {
        Holder::Address(address) => {
            let _ = write!(name, "address:{address}");
        }
        Holder::Caller { kind, id } => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
            name.push_str(kind);
            name.push(':');
            // SECURITY: a claim may say anything about a person, and an id end the braces early.
            if *kind != "claim" && id.len() <= MAX_ID_BYTES && id.bytes().all(plain) {
                name.push_str(id);
            } else {
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
                for byte in digest.as_ref() {
                    let _ = write!(name, "{byte:02x}");
                }
            }
        }
    }
    let _ = match rate {
        Rate::SlidingWindow { window_ms, .. } => write!(name, "}}:w{window_ms}"),
        Rate::TokenBucket {
            refill,
            interval_ms,
            burst,
        } => write!(name, "}}:b{burst}-{refill}-{interval_ms}"),
    };
    name
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("timeout", &self.timeout)
            .field("on_error", &self.on_error)
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}
