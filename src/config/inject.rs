//! `[inject]`: clerk-js in pages of routes that say so.

use url::Url;

use super::address;
use super::model::ClerkConfig;
use super::report::{Place, Problem, Problems};
use super::routes::WrittenRoute;
use super::section::{Placed, Section};
use crate::core::injection::{ClerkJsVersion, Injection};
use crate::core::instance::Continuity;
use crate::core::key::InstanceKind;
use crate::core::origin::Host;
use crate::core::policy::Pages;

/// The table as written.
pub(super) struct Inject {
    place: Place,
    /// `None` if what is written cannot be used, and has been reported.
    injection: Option<Injection>,
    src: Option<Placed<Url>>,
}

/// Reads the table. `None` if there is none.
pub(super) fn read(mut section: Section<'_>) -> Option<Inject> {
    let (problems, place) = (section.problems(), section.place().clone());
    let written = section.has("clerk-js");
    let version = section.text("clerk-js").and_then(|text| {
        let version = ClerkJsVersion::parse(&text.value);
        if version.is_none() {
            problems.add(
                Problem::error(
                    &text.place,
                    format!("`clerk-js` is an exact version, and `{}` is none", text.value),
                )
                .hint("write all three numbers, such as `\"6.29.3\"`: what runs in every page changes only when you say so"),
            );
        }
        version
    });
    let has_src = section.has("src");
    let src = section.parsed("src", address::absolute);
    let is_there = written || has_src || !matches!(place, Place::Nowhere);
    section.finish();
    if !is_there {
        return None;
    }
    if !written {
        problems.add(
            Problem::error(&place, "`[inject]` does not say which clerk-js")
                .hint("add its exact version, such as `clerk-js = \"6.29.3\"`"),
        );
    }
    let injection = version
        .filter(|_| src.is_some() == has_src)
        .map(|version| Injection {
            version,
            src: src.as_ref().map(|src| src.value.clone()),
        });
    Some(Inject {
        place,
        injection,
        src,
    })
}

/// Tells every instance which clerk-js its pages load, and reports what does not fit together.
pub(super) fn introduce<'c>(
    inject: Option<Inject>,
    instances: impl Iterator<Item = &'c mut ClerkConfig>,
    routes: &[WrittenRoute],
    problems: &Problems,
) {
    let asking = || routes.iter().filter_map(|route| route.inject.as_ref());
    let Some(inject) = inject else {
        for place in asking() {
            problems.add(Problem::error(place, "`inject` needs `[inject]`").hint(
                "add the table, with an exact version: `[inject]` and `clerk-js = \"6.29.3\"`",
            ));
        }
        return;
    };
    if asking().next().is_none() {
        problems.add(
            Problem::warning(
                &inject.place,
                "`[inject]` does nothing: no route says `inject = true`",
            )
            .hint("add `inject = true` to the routes whose pages are to have clerk-js"),
        );
    }
    let mut told = false;
    for clerk in instances {
        let instance = &mut clerk.instance;
        if instance.continuity == Continuity::Faithful && !told {
            told = true;
            problems.add(
                Problem::error(
                    &inject.place,
                    "`[inject]` goes beyond Clerk's SDK, and `continuity` is `faithful`",
                )
                .hint("take one of them out: nothing is put into pages of a faithful gate"),
            );
        }
        if instance.satellite.is_some() {
            problems.add(Problem::warning(
                &inject.place,
                "nothing is put into pages of a satellite: clerk-js has to be told of the primary there",
            ));
        }
        if let Some(src) = &inject.src
            && instance.key.kind() == InstanceKind::Production
            && !is_safe(&src.value)
        {
            problems.add(
                Problem::error(
                    &src.place,
                    format!("`src` is not safe for a live key: `{}`", src.value),
                )
                .hint("whoever sends this script has every session: use an `https` address of another machine"),
            );
        }
        instance.injection.clone_from(&inject.injection);
    }
}

fn is_safe(src: &Url) -> bool {
    let host = src.host_str().and_then(Host::parse);
    src.scheme() == "https" && !host.is_some_and(|host| host.is_loopback())
}

/// What `inject` of a route says, and where it says that something is to be put into its pages.
pub(super) fn of_route(section: &mut Section<'_>) -> (Pages, Option<Place>) {
    match section.flag("inject") {
        Some(flag) if flag.value => (Pages::WithClerkJs, Some(flag.place)),
        Some(_) | None => (Pages::AsTheyAre, None),
    }
}
