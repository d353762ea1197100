//! `clerk-gate schema`.

use super::{Ending, hand_out};
use crate::config;

/// Prints the schema.
pub(super) fn schema() -> Ending {
    hand_out(format!("{:#}\n", config::schema()).as_bytes())
}
