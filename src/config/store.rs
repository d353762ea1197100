//! `[store.redis]`: where counts are kept that several gates share.

use std::time::Duration;

use super::clerk::ReadFile;
use super::keys::value_or_file;
use super::model::RedisConfig;
use super::report::{Place, Problem};
use super::section::Section;
use crate::store::Redis;
use crate::store::redis::OnError;

/// How long an answer may take where nothing is said.
const TIMEOUT: Duration = Duration::from_millis(50);

/// Reads `[store]`. `None` if counts stay in memory.
pub(super) fn read(mut section: Section<'_>, files: ReadFile<'_>) -> Option<RedisConfig> {
    let written = section.has("redis");
    let mut redis = section.section("redis");
    section.finish();
    let (problems, place) = (redis.problems(), redis.place().clone());
    let before = problems.count();
    let url = value_or_file(&mut redis, "url", "url-file", files);
    let timeout = redis.duration("timeout", Duration::from_millis(1)..=Duration::from_secs(5));
    let on_error = redis.choice(
        "on-error",
        &[
            ("local", OnError::Local),
            ("allow", OnError::Allow),
            ("refuse", OnError::Refuse),
        ],
    );
    redis.finish();
    let (timeout, on_error) = (
        timeout.unwrap_or(TIMEOUT),
        on_error.map_or(OnError::Local, |read| read.value),
    );
    let Some(url) = url else {
        if written && problems.count() == before && place != Place::Nowhere {
            problems
                .add(Problem::error(&place, "`[store.redis]` has no `url`").hint(
                    "write `url = \"redis://127.0.0.1:6379\"`, or name a file in `url-file`",
                ));
        }
        return None;
    };
    // SECURITY: nothing of the address is told: there may be a password in it.
    if Redis::new(&url.value, timeout, on_error).is_err() {
        problems.add(
            Problem::error(&url.place, "`url` is no address of a Redis")
                .hint("it is such as `redis://user:password@host:6379/0`, or `rediss://` for TLS"),
        );
        return None;
    }
    Some(RedisConfig {
        url: url.value.into(),
        timeout,
        on_error,
    })
}
