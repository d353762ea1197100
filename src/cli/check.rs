//! `clerk-gate check`.

use super::settings::{Settings, summary};
use super::{Ending, colour, hand_out};
use crate::config::{self, Environment};

/// Reports every problem on standard error, and the routes on standard output.
pub(super) fn check(settings: &Settings, environment: &Environment) -> Ending {
    let found = match settings.load(environment) {
        Ok(found) => found,
        Err(ending) => return ending,
    };
    if !found.warnings.is_empty() {
        eprintln!("{}\n", found.warnings.render(colour(environment)));
    }
    let summary = summary(&found.warnings);
    let routes = config::route_table(&found.config);
    hand_out(format!("{}: {summary}\n\n{routes}", found.name).as_bytes())
}
