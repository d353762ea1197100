//! `[[limit]]`, and `limit` of a route: how much somebody may ask for.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::model::DoorConfig;
use super::report::{Place, Problem, Problems};
use super::requirement::{self, claim_path, claim_shape};
use super::routes::WrittenRoute;
use super::section::{Placed, Section, wrong_kind};
use super::shape::Shape;
use super::tree::{Node, Value};
use crate::core::budget::{Budget, By, Enforcement, Figures, Rate, Tier, Told};
use crate::core::policy::CredentialUse;

/// The largest figure.
pub(super) const MOST: i64 = 1_000_000_000;

/// What the table of a limit is called, wherever it stands.
const TABLE: &str = "[[limit]]";

/// What the table of `by` is called.
const BY: &str = "[limit.by]";

/// Whom a limit may count, but for claims.
const WORDS: [(&str, By); 5] = [
    ("user", By::User),
    ("organization", By::Organization),
    ("session", By::Session),
    ("machine", By::Machine),
    ("address", By::Address),
];

/// How long a window may be.
const WINDOW: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(24 * 30);

/// How much of an IPv6 address one client usually has.
const IPV6_PREFIX: u8 = 64;

/// A limit, and where it was written.
pub(super) struct WrittenLimit {
    pub(super) budget: Arc<Budget>,
    pub(super) name: Place,
    place: Place,
}

/// Which way of counting is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    SlidingWindow,
    TokenBucket,
}

/// Figures as they are written.
#[derive(Clone, Copy, Default)]
struct Written {
    requests: Option<u32>,
    window: Option<Duration>,
    refill: Option<u32>,
    burst: Option<u32>,
    in_flight: Option<u32>,
}

/// Reads every `[[limit]]`, and looks at all limits beside each other.
pub(super) fn of_all(
    sections: Vec<Section<'_>>,
    routes: &[WrittenRoute],
    doors: Option<&Placed<DoorConfig>>,
    problems: &Problems,
) -> Vec<Arc<Budget>> {
    let numbered = sections.into_iter().zip(1..);
    let limits: Vec<WrittenLimit> = numbered
        .filter_map(|(section, number)| read(section, &format!("limit-{number}")))
        .collect();
    beside_each_other(&limits, routes, problems);
    if doors.is_some() {
        let of_routes = routes.iter().flat_map(|route| &route.limits);
        limits
            .iter()
            .chain(of_routes)
            .for_each(|limit| in_flight_behind_doors(limit, problems));
    }
    limits.into_iter().map(|limit| limit.budget).collect()
}

/// Reads the `limit` of a route: one, or several.
pub(super) fn of_route(section: &mut Section<'_>, route: &str) -> Vec<WrittenLimit> {
    let problems = section.problems();
    let Some(node) = section.node("limit", Shape::table(TABLE).or_several()) else {
        return Vec::new();
    };
    let nodes = match node.value {
        Value::List(nodes) => nodes,
        value => vec![Node {
            place: node.place,
            value,
        }],
    };
    let numbered = nodes.into_iter().zip(1..);
    numbered
        .filter_map(|(node, number)| {
            let Value::Table(table) = node.value else {
                wrong_kind(
                    "limit",
                    &node,
                    "a table such as `{ requests = 10, window = \"10s\" }`",
                    problems,
                );
                return None;
            };
            let section = Section::new(table, TABLE, node.place, problems);
            let name = match number {
                1 => route.to_owned(),
                _ => format!("{route}-{number}"),
            };
            read(section, &name)
        })
        .collect()
}

fn read(mut section: Section<'_>, usual_name: &str) -> Option<WrittenLimit> {
    let (problems, place) = (section.problems(), section.place().clone());
    let before = problems.count();
    let name = section
        .parsed("name", super::routes::route_name)
        .unwrap_or_else(|| Placed::new(usual_name.to_owned(), place.clone()));
    let called = format!("limit `{}`", name.value);
    let by = match section.node(
        "by",
        Shape::words(WORDS.iter().map(|(word, _)| word)).or(Shape::table(BY)),
    ) {
        None => Some(By::User),
        Some(node) => by(node, problems),
    };
    let algorithm = section.choice(
        "algorithm",
        &[
            ("sliding-window", Algorithm::SlidingWindow),
            ("token-bucket", Algorithm::TokenBucket),
        ],
    );
    let algorithm = algorithm.map_or(Algorithm::SlidingWindow, |read| read.value);
    let written = Written::read(&mut section);
    // What was written wrongly says nothing about the rest.
    let figures = if problems.count() == before {
        written.figures(algorithm, &called, &place, problems)
    } else {
        None
    };
    let tiers = tiers(&mut section, written, algorithm, &called);
    let prefix = section.integer("ipv6-prefix", 16..=128);
    let dry_run = section.flag("dry-run");
    let headers = section.flag("headers");
    section.finish();
    if problems.count() > before {
        return None;
    }
    let by = by?;
    if by == By::Address && !tiers.is_empty() {
        problems.add(
            Problem::error(&place, format!("{called} counts addresses and asks who calls"))
                .hint("it is charged before anybody looks at credentials: leave `tier` out, or count by something else"),
        );
        return None;
    }
    let budget = Budget {
        name: name.value.as_str().into(),
        by,
        figures: figures?,
        tiers,
        ipv6_prefix: prefix
            .and_then(|p| u8::try_from(p).ok())
            .unwrap_or(IPV6_PREFIX),
        enforcement: match dry_run {
            Some(flag) if flag.value => Enforcement::DryRun,
            _ => Enforcement::Refuse,
        },
        disclosure: match headers {
            Some(flag) if !flag.value => Told::Never,
            _ => Told::InHeaders,
        },
    };
    Some(WrittenLimit {
        budget: Arc::new(budget),
        name: name.place,
        place,
    })
}

/// `by`: a word, or a table that names a claim.
fn by(node: Node, problems: &Problems) -> Option<By> {
    match node.value {
        Value::Table(table) => {
            let mut section = Section::new(table, BY, node.place.clone(), problems);
            section.needs("claim");
            let path = section.node("claim", claim_shape());
            section.finish();
            if path.is_none() {
                problems.add(Problem::error(&node.place, "`by` needs `claim`"));
            }
            Some(By::Claim(claim_path(path?, problems)?))
        }
        Value::Text(word) => {
            let found = WORDS.into_iter().find(|(name, _)| *name == word);
            if found.is_none() {
                problems.add(Problem::error(
                    &node.place,
                    "`by` is `user`, `organization`, `session`, `machine`, `address` or a table such as `{ claim = \"metadata.team\" }`",
                ));
            }
            found.map(|(_, by)| by)
        }
        _ => {
            wrong_kind("by", &node, "a text or a table", problems);
            None
        }
    }
}

/// `tier`: other figures for some. What one does not say is as for everybody.
fn tiers(
    section: &mut Section<'_>,
    usual: Written,
    algorithm: Algorithm,
    called: &str,
) -> Vec<Tier> {
    let problems = section.problems();
    let mut tiers = Vec::new();
    for mut tier in section.sections("tier") {
        let place = tier.place().clone();
        tier.needs("when");
        let when = tier.node("when", requirement::shape());
        if when.is_none() {
            problems.add(
                Problem::error(
                    &place,
                    format!("a tier of {called} does not say for whom it is"),
                )
                .hint("write `when = { plan = \"pro\" }`, or another requirement"),
            );
        }
        let when = when.and_then(|node| requirement::read(node, problems));
        let written = Written::read(&mut tier).over(usual);
        let figures = written.figures(algorithm, called, &place, problems);
        tier.finish();
        if let (Some(when), Some(figures)) = (when, figures) {
            tiers.push(Tier { when, figures });
        }
    }
    tiers
}

impl Written {
    fn read(section: &mut Section<'_>) -> Self {
        let mut figure = |key: &'static str| {
            let number = section.integer(key, 1..=MOST);
            number.and_then(|number| u32::try_from(number).ok())
        };
        let (requests, refill) = (figure("requests"), figure("refill"));
        let (burst, in_flight) = (figure("burst"), figure("in-flight"));
        Self {
            requests,
            window: section.duration("window", WINDOW),
            refill,
            burst,
            in_flight,
        }
    }

    fn over(self, usual: Self) -> Self {
        Self {
            requests: self.requests.or(usual.requests),
            window: self.window.or(usual.window),
            refill: self.refill.or(usual.refill),
            burst: self.burst.or(usual.burst),
            in_flight: self.in_flight.or(usual.in_flight),
        }
    }

    /// The figures, if they say something and say it whole.
    fn figures(
        self,
        algorithm: Algorithm,
        called: &str,
        place: &Place,
        problems: &Problems,
    ) -> Option<Figures> {
        let complain = |what: &str, hint: &str| {
            problems.add(Problem::error(place, format!("{called} {what}")).hint(hint));
            None
        };
        let window_ms = self
            .window
            .and_then(|window| u64::try_from(window.as_millis()).ok());
        let rate = match (algorithm, window_ms) {
            (Algorithm::SlidingWindow, _) if self.refill.or(self.burst).is_some() => {
                return complain(
                    "has `refill` or `burst`, and a sliding window has neither",
                    "write `algorithm = \"token-bucket\"`, or `requests`",
                );
            }
            (Algorithm::TokenBucket, _) if self.requests.is_some() => {
                return complain(
                    "has `requests`, and a token bucket has none",
                    "a bucket holds `burst` and gets `refill` back in each `window`",
                );
            }
            (Algorithm::SlidingWindow, window) => match (self.requests, window) {
                (Some(requests), Some(window_ms)) => Some(Rate::SlidingWindow {
                    requests,
                    window_ms,
                }),
                (None, None) if self.in_flight.is_some() => None,
                (None, None) => {
                    return complain(
                        "limits nothing",
                        "write `requests = 10` and `window = \"10s\"`, or `in-flight = 5`",
                    );
                }
                _ => return complain("needs `requests` and `window`", "one says nothing alone"),
            },
            (Algorithm::TokenBucket, window) => match (self.refill, self.burst, window) {
                (Some(refill), Some(burst), Some(interval_ms)) => Some(Rate::TokenBucket {
                    refill,
                    interval_ms,
                    burst,
                }),
                _ => {
                    return complain(
                        "needs `refill`, `window` and `burst`",
                        "a bucket holds `burst` and gets `refill` back in each `window`",
                    );
                }
            },
        };
        Some(Figures {
            rate,
            in_flight: self.in_flight,
        })
    }
}

/// Reports a limit of requests at once where gateways ask, who never say that a request has ended.
fn in_flight_behind_doors(limit: &WrittenLimit, problems: &Problems) {
    let budget = &limit.budget;
    let tiers = budget.tiers.iter().map(|tier| tier.figures);
    let mut figures = std::iter::once(budget.figures).chain(tiers);
    if figures.any(|figures| figures.in_flight.is_some()) {
        let name = &budget.name;
        problems.add(
            Problem::warning(
                &limit.place,
                format!("a gateway that asks never says when a request ends: `in-flight` of limit `{name}` holds nobody back there"),
            )
            .hint("limit requests at once in the gateway, or count them with `requests` and `window`"),
        );
    }
}

/// What only shows beside the others: names that are taken, and costs that nobody could ever pay.
fn beside_each_other(of_all: &[WrittenLimit], routes: &[WrittenRoute], problems: &Problems) {
    let mut seen: Vec<&str> = Vec::new();
    for limit in of_all.iter().chain(routes.iter().flat_map(|r| &r.limits)) {
        let name = &*limit.budget.name;
        if seen.contains(&name) {
            problems.add(
                Problem::error(&limit.name, format!("there are two limits called `{name}`"))
                    .hint("counts are kept under names: give each limit its own `name`"),
            );
        }
        seen.push(name);
    }
    for route in routes {
        let WrittenRoute { route, limits, .. } = route;
        for limit in of_all.iter().chain(limits) {
            let budget = &limit.budget;
            let tiers = budget.tiers.iter().map(|tier| tier.figures);
            let rates = std::iter::once(budget.figures)
                .chain(tiers)
                .filter_map(|figures| figures.rate);
            if rates.into_iter().any(|rate| rate.most() < route.cost) {
                problems.add(
                    Problem::error(
                        &limit.place,
                        format!(
                            "nobody could ever pay for route `{}`: it costs {}, and limit `{}` has less",
                            route.name, route.cost, budget.name
                        ),
                    )
                    .hint("raise the limit, or lower `cost`"),
                );
            }
        }
        for limit in limits {
            let known = limit.budget.by == By::Address || limit.budget.by == By::User;
            if route.credentials == CredentialUse::Ignore && !known {
                problems.add(
                    Problem::warning(
                        &limit.place,
                        format!(
                            "route `{}` never knows who calls: limit `{}` counts addresses",
                            route.name, limit.budget.name
                        ),
                    )
                    .hint("write `by = \"address\"`, or take `authenticate = false` away"),
                );
            }
        }
    }
}
