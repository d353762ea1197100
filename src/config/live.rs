//! What `[session]` says of connections that stay open.

use std::time::Duration;

use super::quantities::SPAN;
use super::report::Problem;
use super::section::Section;
use super::shape::Shape;
use crate::core::instance::Continuity;
use crate::gate::live::LiveRules;

const CHECKS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// Reads the keys. `can_ask` is whether there is a secret key.
pub(super) fn read(section: &mut Section<'_>, continuity: Continuity, can_ask: bool) -> LiveRules {
    let problems = section.problems();
    let check = section.shaped(
        "live-check",
        Shape::Like(SPAN).or(Shape::words(["off"])),
        |text| {
            if text == "off" {
                return Ok(None);
            }
            let wanted = || "it is a span of time from 1s to 1h, or `\"off\"`".to_owned();
            let span = humantime::parse_duration(text).map_err(|_| wanted())?;
            CHECKS
                .contains(&span)
                .then_some(Some(span))
                .ok_or_else(wanted)
        },
    );
    if let Some(read) = check.as_ref().filter(|read| read.value.is_some()) {
        let why = match continuity {
            Continuity::Faithful => Some(
                "`live-check` does nothing with `continuity = \"faithful\"`: clerk is not asked about sessions",
            ),
            Continuity::Full if !can_ask => {
                Some("`live-check` does nothing without the secret key: clerk cannot be asked")
            }
            Continuity::Full => None,
        };
        if let Some(why) = why {
            let hint = "live connections then end after `live-max`, or when their session is known to be over";
            problems.add(Problem::warning(&read.place, why).hint(hint));
        }
    }
    let grace = section.duration("live-grace", Duration::ZERO..=Duration::from_hours(24));
    let max = section.duration(
        "live-max",
        Duration::from_mins(1)..=Duration::from_hours(24 * 7),
    );
    let usual = LiveRules::default();
    LiveRules {
        check: check.map_or(usual.check, |read| read.value),
        grace: grace.unwrap_or(usual.grace),
        max: max.unwrap_or(usual.max),
    }
}
