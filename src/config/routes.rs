//! `[[route]]`: the policy.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::address;
use super::inject;
use super::limit::{self, WrittenLimit};
use super::prefix::{self, WrittenPrefixes};
use super::report::{Place, Problem, Problems};
use super::requirement;
use super::ride_through;
use super::section::{Placed, Section};
use super::signed_assertion;
use super::templates::WrittenTemplate;
use super::upstream::Upstreams;
use crate::core::machine::TokenType;
use crate::core::pattern::{PathPattern, PatternError};
use crate::core::policy::{
    CredentialUse, Disclosure, EncodedSlash, HostPattern, OnSignedOut, PathReading, Policy,
    Preflight, Route,
};
use crate::core::requirement::Requirement;
use crate::core::template::Template;

/// A route, and where its parts were written.
pub(super) struct WrittenRoute {
    pub(super) route: Route,
    pub(super) name: Place,
    pub(super) paths: Vec<Place>,
    pub(super) hosts: Vec<Place>,
    pub(super) methods: Place,
    pub(super) requirement: Place,
    pub(super) on_signed_out: Option<Placed<String>>,
    pub(super) on_forbidden: Option<Placed<String>>,
    /// Where it says what becomes of the beginning of its paths.
    pub(super) prefix: Option<Place>,
    pub(super) assertion_audience: Option<Place>,
    /// Where it says that clerk-js is put into its pages.
    pub(super) inject: Option<Place>,
    /// Where it says that sessions ride through on it.
    pub(super) ride_through: Option<Place>,
    pub(super) limits: Vec<WrittenLimit>,
}

/// Reads every route. What cannot be read has been reported and is left out.
pub(super) fn read(
    sections: Vec<Section<'_>>,
    upstreams: &mut Upstreams,
    templates: &[WrittenTemplate],
) -> Vec<WrittenRoute> {
    let mut routes: Vec<WrittenRoute> = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        let problems = section.problems();
        let Some(written) = route(section, index, upstreams, templates) else {
            continue;
        };
        if routes
            .iter()
            .any(|other| other.route.name == written.route.name)
        {
            problems.add(
                Problem::error(
                    &written.name,
                    format!("there are two routes called `{}`", written.route.name),
                )
                .hint("names stand in logs and messages: give each route its own"),
            );
        }
        routes.push(written);
    }
    routes
}

/// The policy that the routes are, without limits.
pub(super) fn compiled(
    written: &[WrittenRoute],
    reading: PathReading,
    problems: &Problems,
) -> Option<Policy> {
    let routes = written.iter().map(|written| written.route.clone());
    match Policy::compile(routes.collect(), reading) {
        Ok(policy) => Some(policy),
        Err(error) => {
            let why = format!("the routes cannot be compiled: {error}");
            problems.add(Problem::error(&Place::Nowhere, why));
            None
        }
    }
}

fn route(
    mut section: Section<'_>,
    index: usize,
    upstreams: &mut Upstreams,
    templates: &[WrittenTemplate],
) -> Option<WrittenRoute> {
    let (problems, place) = (section.problems(), section.place().clone());
    let name = section
        .parsed("name", route_name)
        .unwrap_or_else(|| Placed::new(format!("route-{}", index + 1), place.clone()));
    let called = format!("route `{}`", name.value);

    let has_path = section.has_needed("path");
    let paths = paths(&mut section);
    if !has_path {
        problems.add(
            Problem::error(&place, format!("{called} has no `path`"))
                .hint("write `path = \"/**\"` if it is meant for every path"),
        );
    }
    section.needs("require");
    let required = section.node("require", requirement::shape());
    let requirement_place = required.as_ref().map(|node| node.place.clone());
    let requirement = required.and_then(|node| requirement::read(node, problems));
    if requirement_place.is_none() {
        problems.add(
            Problem::error(&place, format!("{called} does not say what it requires"))
                .hint("write `require = \"signed-in\"`, or `require = \"public\"`"),
        );
    }
    let (hosts, host_places) = hosts(&mut section)
        .into_iter()
        .map(|host| (host.value, host.place))
        .unzip();
    let (methods, methods_place) = methods(&mut section);
    let authenticate = section.flag("authenticate");
    let on_signed_out = section.text("on-signed-out");
    let on_forbidden = section.parsed("on-forbidden", address::page);
    let hide = section.flag("hide");
    let encoded_slash = section.choice(
        "encoded-slash",
        &[
            ("refuse", EncodedSlash::Refuse),
            ("keep", EncodedSlash::Keep),
        ],
    );
    let preflight = section.choice(
        "preflight",
        &[("judge", Preflight::Judge), ("forward", Preflight::Forward)],
    );
    let max_body = section.size("body-size", 0..=u64::MAX / 2);
    let response_timeout = section.duration(
        "response-timeout",
        Duration::from_millis(100)..=Duration::from_hours(24),
    );
    let upstream = upstreams.of_route(&mut section);
    let WrittenPrefixes {
        prefixes,
        place: prefix,
    } = prefix::of_route(&mut section, &called, &paths);
    let audience = section.parsed("assertion-audience", signed_assertion::audience);
    let template = section.text("template");
    let (pages, inject) = inject::of_route(&mut section);
    let ride_through = ride_through::of_route(&mut section);
    let limits = limit::of_route(&mut section, &name.value);
    let cost = section.integer("cost", 1..=limit::MOST);
    section.finish();

    let requirement = requirement?;
    let mut route = Route::new(&name.value, Vec::new(), requirement);
    let (paths, path_places): (Vec<_>, Vec<_>) = paths
        .into_iter()
        .map(|path| (path.value, path.place))
        .unzip();
    route.paths = paths;
    if route.paths.is_empty() {
        return None;
    }
    route.hosts = hosts;
    route.methods = methods;
    if let Some(flag) = authenticate.filter(|flag| !flag.value) {
        if route.requirement == Requirement::Public {
            route.credentials = CredentialUse::Ignore;
        } else {
            problems.add(
                Problem::error(
                    &flag.place,
                    format!("{called} requires something and does not look at credentials"),
                )
                .hint("`authenticate = false` goes with `require = \"public\"` only"),
            );
        }
    }
    let on_signed_out = on_signed_out.and_then(|text| match text.value.as_str() {
        "redirect" => None,
        "401" => {
            route.on_signed_out = OnSignedOut::Unauthorized;
            None
        }
        other => match address::page(other) {
            Ok(page) => {
                route.on_signed_out = OnSignedOut::Address(page.clone());
                Some(Placed::new(page, text.place))
            }
            Err(why) => {
                problems.add(Problem::error(
                    &text.place,
                    format!("`on-signed-out` is `redirect`, `401` or a page: {why}"),
                ));
                None
            }
        },
    });
    route.on_forbidden = on_forbidden.as_ref().map(|page| page.value.clone());
    if let Some(flag) = hide.filter(|flag| flag.value) {
        route.disclosure = Disclosure::Hidden;
        if route.requirement.is_open() {
            problems.add(Problem::warning(
                &flag.place,
                format!("{called} is public: there is nothing to hide"),
            ));
        }
    }
    if let Some(choice) = encoded_slash {
        route.encoded_slash = choice.value;
    }
    if let Some(choice) = preflight {
        route.preflight = choice.value;
    }
    route.template = template.and_then(|text| named(&text, &route, templates, problems));
    route.max_body = max_body;
    route.response_timeout = response_timeout;
    route.upstream = upstream;
    route.prefixes = prefixes;
    let (audience, audience_place) = audience.map(|read| (read.value, read.place)).unzip();
    route.assertion_audience = audience;
    route.pages = pages;
    route.budgets = limits.iter().map(|limit| limit.budget.clone()).collect();
    route.cost = cost.and_then(|cost| u32::try_from(cost).ok()).unwrap_or(1);
    Some(WrittenRoute {
        route,
        name: name.place,
        paths: path_places,
        hosts: host_places,
        methods: methods_place,
        requirement: requirement_place.unwrap_or(place),
        on_signed_out,
        on_forbidden,
        prefix,
        assertion_audience: audience_place,
        inject,
        ride_through,
        limits,
    })
}

/// The template that a route names.
fn named(
    name: &Placed<String>,
    route: &Route,
    templates: &[WrittenTemplate],
    problems: &Problems,
) -> Option<Arc<Template>> {
    let mut known = templates.iter();
    let found = known.find(|written| *written.template.name == *name.value);
    if found.is_none() {
        problems.add(
            Problem::error(
                &name.place,
                format!("there is no template `{}`", name.value),
            )
            .hint(format!(
                "add a `[[template]]` with `name = \"{}\"`",
                name.value
            )),
        );
    }
    let types = route.requirement.token_types();
    let never = route.credentials == CredentialUse::Ignore
        || !types.iter().any(|kind| kind == TokenType::Session);
    if never {
        problems.add(
            Problem::error(
                &name.place,
                format!(
                    "route `{}` never has a session to make a token of",
                    route.name
                ),
            )
            .hint("leave `template` out, or let sessions in"),
        );
    }
    found.map(|written| Arc::clone(&written.template))
}

pub(super) fn route_name(text: &str) -> Result<String, String> {
    let plain = !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if plain {
        Ok(text.to_owned())
    } else {
        Err("it is up to 64 letters, digits, `-`, `_` and `.`".to_owned())
    }
}

fn paths(section: &mut Section<'_>) -> Vec<Placed<PathPattern>> {
    let problems = section.problems();
    let texts = section.texts("path").unwrap_or_default();
    texts
        .into_iter()
        .filter_map(|text| match PathPattern::parse(&text.value) {
            Ok(pattern) => Some(Placed::new(pattern, text.place)),
            Err(error) => {
                let hint = match &error {
                    PatternError::Clerk(written) => Some(format!(
                        "write `\"{}\"`",
                        PathPattern::suggestion_for(written)
                    )),
                    PatternError::NotAbsolute => Some(format!("write `\"/{}\"`", text.value)),
                    PatternError::DoubleStar => Some(
                        "`*` stands for characters within a segment, `/**` for everything below"
                            .to_owned(),
                    ),
                    PatternError::Special(_)
                    | PatternError::Query
                    | PatternError::NeverCanonical
                    | PatternError::Brace
                    | PatternError::Glob(_) => None,
                };
                let mut problem = Problem::error(&text.place, format!("`path`: {error}"));
                if let Some(hint) = hint {
                    problem = problem.hint(hint);
                }
                problems.add(problem);
                None
            }
        })
        .collect()
}

/// Reads `host`: one, or several.
pub(super) fn hosts(section: &mut Section<'_>) -> Vec<Placed<HostPattern>> {
    let problems = section.problems();
    let texts = section.texts("host").unwrap_or_default();
    texts
        .into_iter()
        .filter_map(|text| match host(&text.value) {
            Ok(host) => Some(Placed::new(host, text.place)),
            Err(why) => {
                problems.add(Problem::error(
                    &text.place,
                    format!("`host` cannot be used: {why}"),
                ));
                None
            }
        })
        .collect()
}

fn host(text: &str) -> Result<HostPattern, String> {
    let (name, below) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    match crate::core::origin::Host::parse(name) {
        Some(host) if host.port().is_none() => Ok(if below {
            HostPattern::Below(host.name().to_owned())
        } else {
            HostPattern::Exact(host.name().to_owned())
        }),
        _ => Err(
            "it is a host name without a port, such as `app.example.com` or `*.example.com`"
                .to_owned(),
        ),
    }
}

fn methods(section: &mut Section<'_>) -> (Vec<Method>, Place) {
    let problems = section.problems();
    let texts = section.texts("methods").unwrap_or_default();
    let place = texts
        .first()
        .map_or(Place::Nowhere, |text| text.place.clone());
    let methods = texts
        .into_iter()
        .filter_map(|text| {
            let upper = text.value.to_ascii_uppercase();
            let known = Method::from_bytes(text.value.as_bytes()).ok();
            if known.is_none() || upper != text.value {
                problems.add(
                    Problem::error(&text.place, format!("`{}` is no method", text.value))
                        .hint("methods are in capitals, such as `GET`"),
                );
                return None;
            }
            known
        })
        .collect();
    (methods, place)
}
