//! Whether the Redis that gates share can be asked.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::finding::{Check, Finding};
use crate::config::Config;
use crate::store::Redis;

/// How long it may take to connect: longer than a command may.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often is looked whether it is there.
const PAUSE: Duration = Duration::from_millis(20);

/// What is said of it.
pub(super) async fn all(config: &Config) -> Vec<Finding> {
    let check = Check::Store;
    let Some(written) = &config.store else {
        return vec![Finding::well(check, "counts are kept in memory")];
    };
    let hint = "see whether it runs and whether address, name and password are right";
    let redis = match Redis::new(&written.addresses, written.timeout, written.on_error) {
        Ok(redis) => redis,
        Err(why) => return vec![Finding::problem(check, why, hint)],
    };
    redis.connect();
    let until = Instant::now() + PATIENCE;
    while !redis.is_up() && Instant::now() < until {
        sleep(PAUSE).await;
    }
    vec![if redis.is_up() {
        Finding::well(check, "Redis answers")
    } else {
        let said = format!("Redis does not answer within {} s", PATIENCE.as_secs());
        Finding::problem(check, said, hint)
    }]
}
