//! `strip-prefix` and `add-prefix`: what becomes of the beginning of a path.

use http::Method;

use super::lints;
use super::report::{Place, Problem, Problems};
use super::routes::WrittenRoute;
use super::section::{Placed, Section};
use crate::core::pattern::PathPattern;
use crate::core::policy::{Policy, Route};
use crate::core::prefix::{Prefix, Prefixes};
use crate::core::requirement::Requirement;

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

/// Warns of a route that leads to what another one guards at the same application, and asks less.
///
/// Tells by an example of each path of the other one, and so not of everything.
pub(super) fn lint(
    route: &WrittenRoute,
    all: &[WrittenRoute],
    policy: &Policy,
    problems: &Problems,
) {
    let implied = (policy.route(None), None);
    let others = all
        .iter()
        .map(|other| (&other.route, other.prefix.as_ref()));
    for (other, place) in others.chain([implied]) {
        let shared = other.upstream == route.route.upstream && other.name != route.route.name;
        let Some(place) = route.prefix.as_ref().or(place) else {
            continue;
        };
        if !shared || other.requirement.is_open() {
            continue;
        }
        if let Some((asked, inside)) = way_past(&route.route, other, policy) {
            let (name, other) = (&route.route.name, &other.name);
            problems.add(
                Problem::warning(
                    place,
                    format!("`{asked}` of route `{name}` is `{inside}` to the application, past what route `{other}` asks"),
                )
                .hint(format!("add a route above `{name}` that asks the same, or give them an application each")),
            );
        }
    }
}

/// A path by which a route leads to what another one guards, and which path that is to the application.
fn way_past(route: &Route, other: &Route, policy: &Policy) -> Option<(String, String)> {
    let hosts: Vec<&str> = [&route.hosts, &other.hosts]
        .into_iter()
        .find(|hosts| !hosts.is_empty())
        .map_or_else(
            || vec!["localhost"],
            |hosts| hosts.iter().map(lints::host_example).collect(),
        );
    let methods: &[Method] = match (other.methods.as_slice(), route.methods.as_slice()) {
        ([], []) => &[Method::GET],
        ([], methods) | (methods, _) => methods,
    };
    for path in other.paths.iter().filter_map(lints::example) {
        let inside = match &other.prefixes {
            Some(prefixes) => prefixes.inside(&path).ok(),
            None => Some(path),
        };
        let asked = match (&route.prefixes, &inside) {
            (Some(prefixes), Some(inside)) => prefixes.outside(inside),
            (None, inside) => inside.clone(),
            (Some(_), None) => None,
        };
        let (Some(asked), Some(inside)) = (asked, inside) else {
            continue;
        };
        let leads_past = |host: &&str, method: &Method| {
            let found = policy.find(method, host, &asked);
            let stricter = found.stricter.iter().map(|other| other.route);
            let mut judged = std::iter::once(found.route).chain(stricter);
            policy.route(found.route).name == route.name
                && !judged.any(|at| asks_as_much(&policy.route(at).requirement, &other.requirement))
        };
        if hosts
            .iter()
            .any(|host| methods.iter().any(|method| leads_past(host, method)))
        {
            return Some((asked.to_string(), inside.to_string()));
        }
    }
    None
}

/// Whether somebody who meets one requirement meets the other, as far as that is plain.
fn asks_as_much(one: &Requirement, other: &Requirement) -> bool {
    one == other || (*other == Requirement::SignedIn && !one.is_open())
}
