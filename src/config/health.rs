//! `[upstream.health]`: how the gate finds out by itself whether a server is well.

use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::group::statuses;
use super::report::{Place, Problem};
use super::section::Section;
use crate::core::origin::Host;
use crate::upstream::health::HealthCheck;

/// Reads the table; nobody is asked without it.
pub(super) fn read(mut section: Section<'_>) -> Option<HealthCheck> {
    let (problems, place) = (section.problems(), section.place().clone());
    let is_there = *section.place() != Place::Nowhere;
    let has_path = section.has_needed("path");
    let path = section.parsed("path", path);
    let host = section.parsed("host", |text| {
        let host = Host::parse(text).and_then(|host| HeaderValue::try_from(host.to_string()).ok());
        host.ok_or_else(|| "it is a host such as `app.internal`".to_owned())
    });
    let interval = section.duration("interval", Duration::from_secs(1)..=Duration::from_hours(1));
    let timeout = section.duration(
        "timeout",
        Duration::from_millis(10)..=Duration::from_mins(5),
    );
    let expect = statuses(&mut section, "expect", 200..=599);
    let count = |section: &mut Section<'_>, key, usual: u32| {
        let count = section.integer(key, 1..=100);
        count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(usual)
    };
    let healthy = count(&mut section, "healthy", 2);
    let unhealthy = count(&mut section, "unhealthy", 3);
    section.finish();
    if is_there && !has_path {
        problems.add(
            Problem::error(&place, "a health check needs `path`")
                .hint("write `path = \"/healthz\"`, or what the application has for it"),
        );
    }
    Some(HealthCheck {
        path: path?.value,
        host: host.map(|host| host.value),
        interval: interval.unwrap_or(Duration::from_secs(10)),
        timeout: timeout.unwrap_or(Duration::from_secs(2)),
        expect: expect.unwrap_or_else(|| vec![200]),
        healthy,
        unhealthy,
    })
}

fn path(text: &str) -> Result<PathAndQuery, String> {
    let plain = text.starts_with('/') && !text.contains('#');
    let path = plain.then(|| PathAndQuery::try_from(text).ok()).flatten();
    path.ok_or_else(|| "it is a path such as `/healthz`, with or without a query".to_owned())
}
