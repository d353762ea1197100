//! How the servers of an upstream share its requests, and when one of them is left out.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::health;
use super::section::Section;
use crate::upstream::group::{Balance, Ejection, GroupRules};

/// Reads the keys of an upstream that are about its servers.
pub(super) fn read(section: &mut Section<'_>) -> GroupRules {
    let balance = section.choice(
        "balance",
        &[
            ("round-robin", Balance::RoundRobin),
            ("least-requests", Balance::LeastRequests),
        ],
    );
    let max_in_flight = section.integer("max-in-flight", 1..=1_000_000);
    GroupRules {
        balance: balance.map_or(Balance::RoundRobin, |balance| balance.value),
        max_in_flight: max_in_flight.and_then(|most| usize::try_from(most).ok()),
        ejection: ejection(section.section("ejection")),
        health: health::read(section.section("health")),
    }
}

/// Reads `ejection`; no failures at all switch it off.
fn ejection(mut section: Section<'_>) -> Option<Ejection> {
    let usual = Ejection::default();
    let failures = section.integer("failures", 0..=1000);
    let failures = failures.map_or(Some(usual.failures), |many| u32::try_from(many).ok());
    let time = section.duration("for", Duration::from_millis(100)..=Duration::from_hours(1));
    let statuses = statuses(&mut section, "statuses", 500..=599);
    section.finish();
    failures.filter(|many| *many > 0).map(|failures| Ejection {
        failures,
        time: time.unwrap_or(usual.time),
        statuses: statuses.unwrap_or(usual.statuses),
    })
}

/// Reads statuses.
pub(super) fn statuses(
    section: &mut Section<'_>,
    key: &'static str,
    range: RangeInclusive<i64>,
) -> Option<Vec<u16>> {
    let numbers = section.integers(key, range)?.into_iter();
    Some(
        numbers
            .filter_map(|number| u16::try_from(number.value).ok())
            .collect(),
    )
}
