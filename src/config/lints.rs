//! What is written well and still means something else than its author thinks: routes beside each other.
//! `views` looks at them for each site.

use http::Method;

use super::coverage::{covers, may_meet};
use super::prefix;
use super::report::{Problem, Problems};
use super::routes::WrittenRoute;
use crate::core::path::CanonicalPath;
use crate::core::pattern::PathPattern;
use crate::core::policy::{HostPattern, Policy, Route};

/// Looks at each route in the light of the others.
pub(super) fn routes(
    written: &[WrittenRoute],
    policy: &Policy,
    pages_prefix: &str,
    problems: &Problems,
) {
    for (index, later) in written.iter().enumerate() {
        let earlier = written.get(..index).unwrap_or_default();
        unreachable(later, earlier, problems);
        suffixes(later, written, problems);
        other_methods(later, policy, problems);
        under_pages(later, pages_prefix, problems);
        prefix::lint(later, written, policy, problems);
    }
}

/// A route that others above it leave nothing to.
fn unreachable(later: &WrittenRoute, earlier: &[WrittenRoute], problems: &Problems) {
    let mut hidden = Vec::new();
    for (path, place) in later.route.paths.iter().zip(&later.paths) {
        let above = earlier.iter().find(|above| {
            takes_all_of(&above.route, &later.route)
                && above.route.paths.iter().any(|outer| covers(outer, path))
        });
        if let Some(above) = above {
            hidden.push((path, place, above));
        }
    }
    let whole = hidden.len() == later.route.paths.len();
    for (path, place, above) in hidden {
        let name = &later.route.name;
        let title = if whole {
            format!(
                "route `{name}` can never match: `{}` above it takes all its paths",
                above.route.name
            )
        } else {
            format!(
                "`{}` of route `{name}` can never match: `{}` above it takes it",
                path.as_str(),
                above.route.name
            )
        };
        let problem = if whole {
            Problem::error(place, title)
        } else {
            Problem::warning(place, title)
        };
        problems.add(problem.hint(format!("move `{name}` above `{}`", above.route.name)));
        if whole {
            return;
        }
    }
}

/// Whether `outer` takes every host and every method that `inner` takes.
fn takes_all_of(outer: &Route, inner: &Route) -> bool {
    let hosts = outer.hosts.is_empty()
        || (!inner.hosts.is_empty() && inner.hosts.iter().all(|host| outer.hosts.contains(host)));
    let methods = outer.methods.is_empty()
        || (!inner.methods.is_empty()
            && inner
                .methods
                .iter()
                .all(|method| outer.methods.contains(method)));
    hosts && methods
}

/// `/**/*.css` as public: whoever may call a page `/admin/x.css` opens it.
fn suffixes(route: &WrittenRoute, all: &[WrittenRoute], problems: &Problems) {
    if !route.route.requirement.is_open() {
        return;
    }
    for (path, place) in route.route.paths.iter().zip(&route.paths) {
        if !path.names_extension() || !path.canonical().contains("**") {
            continue;
        }
        let reached = all.iter().find(|other| {
            !other.route.requirement.is_open()
                && other.route.paths.iter().any(|inner| may_meet(path, inner))
        });
        if let Some(reached) = reached {
            problems.add(
                Problem::warning(
                    place,
                    format!(
                        "`{}` reaches into route `{}` and opens whatever ends like this there",
                        path.as_str(),
                        reached.route.name
                    ),
                )
                .hint("name the folder that the files are in, such as `/assets/**`"),
            );
        }
    }
}

/// Methods that fall through to a route that asks less.
fn other_methods(route: &WrittenRoute, policy: &Policy, problems: &Problems) {
    if route.route.methods.is_empty() || route.route.requirement.is_open() {
        return;
    }
    for path in &route.route.paths {
        let Some(example) = example(path) else {
            continue;
        };
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            let taken = route.route.methods.contains(&method);
            let host = route.route.hosts.first().map_or("localhost", host_example);
            let found = policy.find(&method, host, &example);
            let other = policy.route(found.route);
            if !taken && other.requirement.is_open() {
                problems.add(
                    Problem::warning(
                        &route.methods,
                        format!(
                            "`{method} {}` is not for route `{}` and falls through to `{}`, which is public",
                            path.as_str(),
                            route.route.name,
                            other.name
                        ),
                    )
                    .hint(format!(
                        "add a route for the other methods of `{}` below this one",
                        path.as_str()
                    )),
                );
                return;
            }
        }
    }
}

/// A host that the pattern matches, or is about.
pub(super) fn host_example(host: &HostPattern) -> &str {
    match host {
        HostPattern::Exact(name) | HostPattern::Below(name) => name,
    }
}

/// A path that the pattern matches.
pub(super) fn example(pattern: &PathPattern) -> Option<CanonicalPath> {
    let text = pattern.canonical().replace("/**", "/x").replace('*', "x");
    if text.contains(['{', '}']) {
        return None;
    }
    CanonicalPath::parse(&text).ok()
}

/// The gate answers below its prefix itself.
fn under_pages(route: &WrittenRoute, prefix: &str, problems: &Problems) {
    for (path, place) in route.route.paths.iter().zip(&route.paths) {
        if path.literal_prefix().starts_with(prefix) {
            problems.add(
                Problem::warning(
                    place,
                    format!(
                        "`{}` never reaches the application: the gate answers below `{prefix}`",
                        path.as_str()
                    ),
                )
                .hint("`[pages] prefix` moves the gate's own pages"),
            );
        }
    }
}
