//! The scripts that count, and what counts are called.

use std::fmt::Write as _;
use std::sync::LazyLock;

use redis::{Script, ScriptInvocation};

use crate::core::budget::{BudgetKey, Holder, Rate};

/// The longest id that stands in a key as it is.
const MAX_ID_BYTES: usize = 128;

/// What a script answers: whether the charge was made, and the tally.
pub(super) type Answer = (u8, u64, u32, u32, u64);

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

/// The script that makes a charge, with all that it needs.
pub(super) fn invocation(key: &BudgetKey, rate: Rate, cost: u32) -> ScriptInvocation<'static> {
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
