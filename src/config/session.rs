//! `[session]`: how people are kept signed in.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use secrecy::SecretString;

use super::address;
use super::clerk::ReadFile;
use super::keys::value_or_file;
use super::live;
use super::report::Problem;
use super::section::{Placed, Section};
use crate::core::instance::{Continuity, Way, Ways};
use crate::core::origin::{Host, Origin};
use crate::gate::live::LiveRules;

/// How long a seal counts where nothing is said: as long as a session of Clerk's lives by default.
const SEAL_MAX_AGE: Duration = Duration::from_hours(24 * 7);

/// As many keys as a rotation can need.
const MOST_KEYS: usize = 8;

/// What stands in `[session]`.
pub(super) struct Session {
    pub(super) continuity: Continuity,
    pub(super) ways: Ways,
    /// Base64 of 32 bytes each, the one that seals first.
    pub(super) seal_keys: Vec<SecretString>,
    pub(super) seal_max_age: Duration,
    pub(super) cookie_domain: Option<String>,
    /// Origins whose pages may open a WebSocket, besides the site's own.
    pub(super) websocket_origins: Vec<Origin>,
    pub(super) live: LiveRules,
}

/// Reads the table. `can_ask` is whether there is a secret key.
pub(super) fn read(mut section: Section<'_>, can_ask: bool, files: ReadFile<'_>) -> Session {
    let continuity = section.choice(
        "continuity",
        &[
            ("full", Continuity::Full),
            ("faithful", Continuity::Faithful),
        ],
    );
    let faithful = continuity
        .as_ref()
        .is_some_and(|read| read.value == Continuity::Faithful);
    let mut way = |key: &'static str| match section.flag(key) {
        Some(flag) if faithful => {
            section.problems().add(
                Problem::error(
                    &flag.place,
                    format!("`{key}` says nothing beside `continuity = \"faithful\"`"),
                )
                .hint("then everything is as Clerk's SDK has it; take one of the two away"),
            );
            Way::Open
        }
        Some(Placed { value: false, .. }) => Way::Closed,
        Some(Placed { value: true, .. }) | None => Way::Open,
    };
    let ways = Ways {
        refresh: way("refresh"),
        handshake: way("handshake"),
        mint: way("mint"),
    };
    let seal_keys = seal_keys(&mut section, files);
    let day = Duration::from_hours(24);
    let seal_max_age = section.duration("seal-max-age", Duration::from_mins(1)..=day * 30);
    let cookie_domain = section.parsed("cookie-domain", |text| {
        Host::parse(text.trim_start_matches('.'))
            .filter(|host| host.to_string() == host.name() && host.name().contains('.'))
            .map(|host| host.name().to_owned())
            .ok_or_else(|| "it is a domain such as `example.com`".to_owned())
    });
    let continuity = continuity.map_or(Continuity::Full, |read| read.value);
    let live = live::read(&mut section, continuity, can_ask);
    let websocket_origins = websocket_origins(&mut section);
    section.finish();
    Session {
        continuity,
        live,
        websocket_origins,
        ways,
        seal_keys,
        seal_max_age: seal_max_age.unwrap_or(SEAL_MAX_AGE),
        cookie_domain: cookie_domain.map(|read| read.value),
    }
}

fn websocket_origins(section: &mut Section<'_>) -> Vec<Origin> {
    let problems = section.problems();
    let mut origins = Vec::new();
    for text in section.texts("websocket-origins").unwrap_or_default() {
        match address::origin(&text.value) {
            Ok(origin) => origins.push(origin),
            Err(why) => problems.add(
                Problem::error(
                    &text.place,
                    format!("`websocket-origins` cannot hold `{}`: {why}", text.value),
                )
                .hint("write an origin as a browser does: `https://docs.example.com`"),
            ),
        }
    }
    origins
}

fn seal_keys(section: &mut Section<'_>, files: ReadFile<'_>) -> Vec<SecretString> {
    let Some(written) = value_or_file(section, "seal-key", "seal-key-file", files) else {
        return Vec::new();
    };
    let problems = section.problems();
    let lines: Vec<&str> = written
        .value
        .split(['\n', ','])
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let hint = "make one with `openssl rand -base64 32`; put a new key on the first line and keep the old ones below it for as long as `seal-max-age`";
    if lines.len() > MOST_KEYS {
        problems.add(
            Problem::error(
                &written.place,
                format!(
                    "there are {} seal keys, and at most {MOST_KEYS} are taken",
                    lines.len()
                ),
            )
            .hint(hint),
        );
        return Vec::new();
    }
    let mut keys = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if is_key(line) {
            keys.push(SecretString::from(*line));
        } else {
            // SECURITY: what is nearly a key is not shown.
            problems.add(
                Problem::error(
                    &written.place,
                    format!("seal key {} is not 32 bytes in base64", at + 1),
                )
                .hint(hint),
            );
        }
    }
    keys
}

fn is_key(text: &str) -> bool {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    engine.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}
