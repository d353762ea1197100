//! `[http2]`: which clients may speak HTTP/2.

use super::model::Http2Config;
use super::report::Problem;
use super::section::Section;

/// Reads the table.
pub(super) fn read(mut section: Section<'_>) -> Http2Config {
    let (problems, place) = (section.problems(), section.place().clone());
    let enabled = section.flag("enabled").is_none_or(|flag| flag.value);
    let cleartext = section.flag("cleartext").is_some_and(|flag| flag.value);
    let streams = section.integer("max-streams", 1..=10_000);
    section.finish();
    if cleartext && !enabled {
        problems.add(
            Problem::error(&place, "`[http2] cleartext` does nothing without `enabled`")
                .hint("take `enabled = false` away, or `cleartext`"),
        );
    }
    Http2Config {
        enabled,
        cleartext,
        max_streams: streams
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(Http2Config::default().max_streams),
    }
}
