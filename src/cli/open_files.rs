//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::Config;

/// What the process has open besides connections.
const OTHERS: u64 = 100;

/// Takes as many as the process may have. Service managers give a low number to begin with, for programs of
/// old that cannot count further, and leave it to others to ask for more.
pub(super) fn raise(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // None means that there is no end to it.
    let Some(mut allowed) = current else {
        return;
    };
    if current != maximum {
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => match maximum {
                Some(maximum) => allowed = maximum,
                None => return,
            },
            Err(error) => info!(cause = %error, "the limit of open files stays as it is"),
        }
    }
    // Each of them may have one to the application.
    let needed = config.limits.connections as u64 * 2 + OTHERS;
    if allowed < needed {
        warn!(
            open_files = allowed,
            needed, "`[limits] connections` takes more files than this process may have open"
        );
    }
}
