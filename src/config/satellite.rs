//! What makes an application a satellite of another: three keys of `[clerk]`.

use url::Url;

use super::report::Problem;
use super::section::{Placed, Section};
use crate::core::instance::Satellite;
use crate::core::origin::{Host, Origin};

/// A satellite's settings and its domain, checked as the SDK checks them (section 3.2).
pub(super) fn read(
    section: &mut Section<'_>,
    sign_in_url: Option<&Placed<String>>,
    has_proxy: bool,
    public_url: Option<&Origin>,
) -> Option<(Satellite, Option<String>)> {
    let problems = section.problems();
    let is_satellite = section.flag("is-satellite");
    let domain = section.parsed("domain", |text| {
        Host::parse(text)
            .map(|host| host.to_string())
            .ok_or_else(|| "it is a domain such as `satellite.example`".to_owned())
    });
    let auto_sync = section.flag("satellite-auto-sync");
    let Some(is_satellite) = is_satellite.filter(|flag| flag.value) else {
        for place in [domain.map(|d| d.place), auto_sync.map(|a| a.place)]
            .into_iter()
            .flatten()
        {
            problems.add(Problem::error(
                &place,
                "this key is for satellites only, and `is-satellite` is not `true`",
            ));
        }
        return None;
    };
    if domain.is_none() && !has_proxy {
        problems.add(
            Problem::error(
                &is_satellite.place,
                "a satellite needs `domain` or `proxy-url`",
            )
            .hint("`domain` is this application's own domain, such as `satellite.example`"),
        );
    }
    match sign_in_url {
        None => problems.add(
            Problem::error(&is_satellite.place, "a satellite needs `sign-in-url`")
                .hint("it is the sign-in page of the primary application"),
        ),
        Some(page) => {
            let elsewhere = Url::parse(&page.value).ok().is_some_and(|url| {
                let origin = url.origin().ascii_serialization();
                public_url.is_none_or(|own| own.to_string() != origin)
            });
            if !elsewhere {
                problems.add(
                    Problem::error(
                        &page.place,
                        "the sign-in page of a satellite is on another origin",
                    )
                    .hint("write the absolute address of the primary application's sign-in page"),
                );
            }
        }
    }
    let satellite = Satellite {
        auto_sync: auto_sync.is_some_and(|flag| flag.value),
    };
    Some((satellite, domain.map(|domain| domain.value)))
}
