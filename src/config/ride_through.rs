//! `[ride-through]`: how long sessions stay accepted while Clerk is out of reach, on routes that say so.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::model::ClerkConfig;
use super::report::{Place, Problem, Problems};
use super::routes::WrittenRoute;
use super::section::Section;
use crate::core::instance::Continuity;
use crate::core::machine::TokenType;
use crate::core::policy::CredentialUse;

/// Shorter than a minute is over before anybody has noticed; longer than four hours, somebody who is
/// banned at Clerk would have the rest of the day.
const MAX: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(4);

/// The table as written.
pub(super) struct RideThrough {
    place: Place,
    /// `None` where there is none, or none that can be used, which has been reported.
    max: Option<Duration>,
    is_there: bool,
}

/// Reads the table, and tells each route that asks for it how long sessions ride through on it.
pub(super) fn read(mut section: Section<'_>, routes: &mut [WrittenRoute]) -> RideThrough {
    let (problems, place) = (section.problems(), section.place().clone());
    let written = section.has("max");
    let max = section.duration("max", MAX);
    let is_there = written || !matches!(place, Place::Nowhere);
    section.finish();
    if is_there && !written {
        problems.add(
            Problem::error(&place, "`[ride-through]` does not say for how long")
                .hint("add the longest time, such as `max = \"15m\"`, or take the table out"),
        );
    }
    let ride_through = RideThrough {
        place,
        max,
        is_there,
    };
    ride_through.apply(routes, problems);
    ride_through
}

/// Where a route says that sessions ride through on it.
pub(super) fn of_route(section: &mut Section<'_>) -> Option<Place> {
    let flag = section.flag("ride-through")?;
    flag.value.then_some(flag.place)
}

impl RideThrough {
    /// Tells each route, and reports where it cannot be.
    pub(super) fn apply(&self, routes: &mut [WrittenRoute], problems: &Problems) {
        for written in routes {
            let Some(place) = &written.ride_through else {
                continue;
            };
            let name = &written.route.name;
            if !self.is_there {
                problems.add(
                    Problem::error(place, "`ride-through` needs `[ride-through]`")
                        .hint("add the table, with the longest time: `[ride-through]` and `max = \"15m\"`"),
                );
            }
            let requirement = &written.route.requirement;
            let sessions = written.route.credentials == CredentialUse::Look
                && (requirement.token_types().iter()).any(|kind| kind == TokenType::Session);
            let why = if requirement.asks_for_freshness() {
                Some((
                    "asks how long ago something was",
                    "`max-age`, `max-token-age` and `reverified` mean that the past is not enough: take one of the two out",
                ))
            } else if written.route.template.is_some() {
                Some((
                    "has a `template`, whose token comes from Clerk",
                    "take one of the two out: without Clerk there is no token of a template",
                ))
            } else if !sessions {
                Some((
                    "never has a session to ride through",
                    "leave `ride-through` out, or let sessions in",
                ))
            } else {
                None
            };
            if let Some((what, hint)) = why {
                problems.add(
                    Problem::error(
                        place,
                        format!("nobody rides through on route `{name}`: it {what}"),
                    )
                    .hint(hint),
                );
            }
            written.route.ride_through = self.max;
        }
    }

    /// Reports what of the rest of the configuration does not go with it.
    pub(super) fn suits<'c>(
        &self,
        instances: impl Iterator<Item = &'c ClerkConfig>,
        routes: &[WrittenRoute],
        problems: &Problems,
    ) {
        if !self.is_there {
            return;
        }
        if !routes.iter().any(|route| route.ride_through.is_some()) {
            problems.add(
                Problem::warning(
                    &self.place,
                    "`[ride-through]` does nothing: no route says `ride-through = true`",
                )
                .hint("add `ride-through = true` to the routes that people need while Clerk is out of reach"),
            );
        }
        let (mut faithful, mut mute) = (false, false);
        for clerk in instances {
            faithful |= clerk.instance.continuity == Continuity::Faithful;
            mute |= clerk.secret_key.is_none();
        }
        if faithful {
            problems.add(
                Problem::error(
                    &self.place,
                    "`[ride-through]` goes beyond Clerk's SDK, and `continuity` is `faithful`",
                )
                .hint("take one of them out: a faithful gate takes no token that has ended"),
            );
        }
        if mute {
            problems.add(
                Problem::error(
                    &self.place,
                    "`[ride-through]` needs the secret key of each instance: nothing else proves that Clerk is out of reach",
                )
                .hint("add `secret-key-file`, or set `CLERK_SECRET_KEY`"),
            );
        }
    }
}
