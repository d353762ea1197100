//! `[upstream]`: where requests go, and how long they may take.

use std::path::PathBuf;
use std::time::Duration;

use super::address;
use super::clerk::ReadFile;
use super::model::{HostHeader, UpstreamConfig};
use super::report::{Place, Problem};
use super::section::{Placed, Section};
use super::signed_assertion;
use crate::core::origin::Origin;
use crate::core::policy::PathReading;
use crate::tls::{self, ExtraRoots};
use crate::upstream::Reuse;

/// The upstreams of a configuration; the first is `[upstream]`.
pub(super) struct Upstreams {
    all: Vec<UpstreamConfig>,
}

impl Upstreams {
    /// The index of the upstream at `url`, which shares everything else with `[upstream]`.
    pub(super) fn index_of(&mut self, url: Origin) -> usize {
        if let Some(at) = self.all.iter().position(|known| known.url == url) {
            return at;
        }
        if let Some(first) = self.all.first().cloned() {
            self.all.push(UpstreamConfig {
                url,
                // SECURITY: what is said to one server must be worth nothing at another.
                assertion_audience: None,
                ..first
            });
        }
        self.all.len().saturating_sub(1)
    }

    pub(super) fn into_all(self) -> Vec<UpstreamConfig> {
        self.all
    }
}

/// What `[upstream]` says.
pub(super) struct UpstreamSection {
    pub(super) upstreams: Upstreams,
    pub(super) reading: PathReading,
    /// The address as written.
    pub(super) url: Option<Placed<Origin>>,
    /// Where `assertion-audience` is written.
    pub(super) assertion_audience: Option<Place>,
}

/// Reads `[upstream]`.
pub(super) fn read(mut section: Section<'_>, files: ReadFile<'_>) -> UpstreamSection {
    let problems = section.problems();
    let has_url = section.has("url");
    let url = section.parsed("url", address::origin);
    if !has_url {
        problems.add(
            Problem::error(section.place(), "there is no upstream")
                .hint("add `url = \"http://127.0.0.1:3000\"` to `[upstream]`, or use `--upstream`"),
        );
    }
    let short = Duration::from_millis(10)..=Duration::from_mins(5);
    let long = Duration::from_millis(100)..=Duration::from_hours(24);
    let connect = section.duration("connect-timeout", short.clone());
    let response = section.duration("response-timeout", long);
    let idle = section.duration("idle-timeout", short);
    let reuse = section.choice("reuse", &[("safe", Reuse::Safe), ("always", Reuse::Always)]);
    let host = section.choice(
        "host",
        &[
            ("preserve", HostHeader::Preserve),
            ("upstream", HostHeader::Upstream),
        ],
    );
    let reading = section.choice(
        "reads-paths",
        &[
            ("leniently", PathReading::Leniently),
            ("exactly", PathReading::Exactly),
        ],
    );
    let ca_file = section.text("ca-file").and_then(|path| {
        let why = match files(PathBuf::from(&path.value).as_path()) {
            Ok(pem) => match tls::client_config(&ExtraRoots(pem)) {
                Ok(_) => return Some(PathBuf::from(path.value)),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string().to_lowercase(),
        };
        problems.add(Problem::error(
            &path.place,
            format!("`ca-file`: cannot use `{}`: {why}", path.value),
        ));
        None
    });
    let audience = section.parsed("assertion-audience", signed_assertion::audience);
    section.finish();
    let all = url
        .iter()
        .map(|url| UpstreamConfig {
            url: url.value.clone(),
            connect_timeout: connect.unwrap_or(Duration::from_secs(5)),
            response_timeout: response.unwrap_or(Duration::from_mins(1)),
            idle_timeout: idle.unwrap_or(Duration::from_secs(4)),
            reuse: reuse.as_ref().map_or(Reuse::Safe, |reuse| reuse.value),
            host: host
                .as_ref()
                .map_or(HostHeader::Preserve, |host| host.value),
            ca_file: ca_file.clone(),
            assertion_audience: audience.as_ref().map(|read| read.value.clone()),
        })
        .collect();
    UpstreamSection {
        upstreams: Upstreams { all },
        reading: reading.map_or(PathReading::Leniently, |reading| reading.value),
        url,
        assertion_audience: audience.map(|read| read.place),
    }
}
