//! `strip-prefix` and `add-prefix`: what becomes of the beginning of a path.

use http::Method;

use super::lints;
use super::report::{Place, Problem, Problems};
use super::routes::WrittenRoute;
use super::section::{Placed, Section};
use crate::core::pattern::PathPattern;
use crate::core::policy::Policy;
use crate::core::prefix::{Prefix, Prefixes};

/// The prefixes of a route, and where one is written.
pub(super) struct WrittenPrefixes {
    pub(super) prefixes: Option<Prefixes>,
    pub(super) place: Option<Place>,
}

/// Reads the prefixes of a route. All its paths have to begin with what is taken away.
pub(super) fn of_route(
    section: &mut Section<'_>,
    called: &str,
    paths: &[Placed<PathPattern>],
) -> WrittenPrefixes {
    let problems = section.problems();
    let prefix = |text: &str| Prefix::parse(text).map_err(|error| error.to_string());
    let strip = section.parsed("strip-prefix", prefix);
    let add = section.parsed("add-prefix", prefix);
    if let Some(strip) = &strip {
        let strip = &strip.value;
        for path in paths {
            if !strip.is_of(path.value.canonical()) {
                let (path_text, prefix) = (path.value.as_str(), strip.as_str());
                problems.add(
                    Problem::error(
                        &path.place,
                        format!("`{path_text}` is not below `{prefix}`, which {called} strips"),
                    )
                    .hint(format!("write paths such as `{prefix}/**`")),
                );
            }
        }
    }
    let written = [&strip, &add].into_iter().flatten().next();
    WrittenPrefixes {
        place: written.map(|prefix| prefix.place.clone()),
        prefixes: Prefixes::new(
            strip.map(|prefix| prefix.value),
            add.map(|prefix| prefix.value),
        ),
    }
}

/// Warns of a route that leads past what another one asks at the same application.
pub(super) fn lint(
    route: &WrittenRoute,
    all: &[WrittenRoute],
    policy: &Policy,
    problems: &Problems,
) {
    let (Some(prefixes), Some(place)) = (&route.route.prefixes, &route.prefix) else {
        return;
    };
    let others = all.iter().filter(|other| {
        other.route.upstream == route.route.upstream
            && other.route.prefixes.is_none()
            && !other.route.requirement.is_open()
    });
    for other in others {
        let hosts = route.route.hosts.first().or(other.route.hosts.first());
        let host = hosts.map_or("localhost", lints::host_example);
        let method = other.route.methods.first().unwrap_or(&Method::GET);
        let paths = other.route.paths.iter().filter(|path| !path.is_catch_all());
        let past = paths.filter_map(|path| {
            let asked = prefixes.asked_for(&lints::example(path)?)?;
            let found = policy.find(method, host, &asked);
            let stricter = found.stricter.iter().map(|other| other.route);
            let mut judged = std::iter::once(found.route).chain(stricter);
            let is_past = *policy.route(found.route).name == *route.route.name
                && !judged.any(|at| policy.route(at).requirement == other.route.requirement);
            is_past.then_some(path)
        });
        for inside in past {
            let (name, other) = (&route.route.name, &other.route.name);
            let added = prefixes.added().map_or("", Prefix::as_str);
            let rest = inside.as_str().strip_prefix(added).unwrap_or_default();
            let asked = [prefixes.outside(), rest].concat();
            let inside = inside.as_str();
            problems.add(
                Problem::warning(
                    place,
                    format!("`{asked}` of route `{name}` is `{inside}` to the application, past what route `{other}` asks"),
                )
                .hint(format!("add a route for `{asked}` that asks the same, above `{name}`")),
            );
        }
    }
}
