//! `[upstream]`: where requests go, whom the gate takes for it, and how long it may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::address;
use super::clerk::ReadFile;
use super::model::{ClientCertificate, HostHeader, UpstreamConfig};
use super::report::{Place, Problem, Problems};
use super::section::{Placed, Section};
use super::signed_assertion;
use crate::core::policy::PathReading;
use crate::tls::{self, ClientIdentity, ExtraRoots};
use crate::upstream::Reuse;
use crate::upstream::address::ServerAddress;

/// The upstreams of a configuration; the first is `[upstream]`.
pub(super) struct Upstreams {
    all: Vec<UpstreamConfig>,
    /// Keys that say something of TLS, and where they stand.
    tls_keys: Vec<(&'static str, Place)>,
}

impl Upstreams {
    /// The index of the upstream at `url`, which shares everything else with `[upstream]`.
    pub(super) fn index_of(&mut self, url: ServerAddress) -> usize {
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

    /// All of them; what is written and can have no effect is reported.
    pub(super) fn into_all(self, problems: &Problems) -> Vec<UpstreamConfig> {
        if !self.all.iter().any(|upstream| upstream.url.is_secure()) {
            for (key, place) in self.tls_keys {
                let title = format!("`{key}` does nothing: no upstream is at an `https` address");
                problems.add(Problem::warning(&place, title));
            }
        }
        self.all
    }
}

/// What `[upstream]` says.
pub(super) struct UpstreamSection {
    pub(super) upstreams: Upstreams,
    pub(super) reading: PathReading,
    /// The address as written.
    pub(super) url: Option<Placed<ServerAddress>>,
    /// Where `assertion-audience` is written.
    pub(super) assertion_audience: Option<Place>,
}

/// Reads `[upstream]`.
pub(super) fn read(mut section: Section<'_>, files: ReadFile<'_>) -> UpstreamSection {
    let problems = section.problems();
    let has_url = section.has("url");
    let url = section.parsed("url", address::server);
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
    let (trust, tls_keys) = Trust::read(&mut section, files);
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
            ca_file: trust.ca_file.clone(),
            server_name: trust.server_name.clone(),
            client_certificate: trust.client_certificate.clone(),
            assertion_audience: audience.as_ref().map(|read| read.value.clone()),
        })
        .collect();
    UpstreamSection {
        upstreams: Upstreams { all, tls_keys },
        reading: reading.map_or(PathReading::Leniently, |reading| reading.value),
        url,
        assertion_audience: audience.map(|read| read.place),
    }
}

/// Whom the gate takes for the upstream, and who it is to it.
struct Trust {
    ca_file: Option<PathBuf>,
    server_name: Option<ServerName<'static>>,
    client_certificate: Option<ClientCertificate>,
}

impl Trust {
    /// Reads the keys; those that are written come with their places.
    fn read(section: &mut Section<'_>, files: ReadFile<'_>) -> (Self, Vec<(&'static str, Place)>) {
        let mut written = Vec::new();
        let ca_file = section.text("ca-file");
        let server_name = section.parsed("server-name", |name| {
            ServerName::try_from(name.to_owned())
                .map_err(|_| "it is a host name or an address, without a port".to_owned())
        });
        let cert_file = section.text("client-cert-file");
        let key_file = section.text("client-key-file");
        let places = [
            ("ca-file", ca_file.as_ref().map(|file| &file.place)),
            ("server-name", server_name.as_ref().map(|name| &name.place)),
            (
                "client-cert-file",
                cert_file.as_ref().map(|file| &file.place),
            ),
            ("client-key-file", key_file.as_ref().map(|file| &file.place)),
        ];
        for (key, place) in places {
            written.extend(place.map(|place| (key, place.clone())));
        }
        let trust = Self {
            ca_file: ca_file.and_then(|file| authorities(section, file, files)),
            server_name: server_name.map(|name| name.value),
            client_certificate: client_certificate(section, cert_file, key_file, files),
        };
        (trust, written)
    }
}

/// The path of a file with certificates.
fn authorities(
    section: &Section<'_>,
    path: Placed<String>,
    files: ReadFile<'_>,
) -> Option<PathBuf> {
    let pem = contents(section, "ca-file", &path, files)?;
    match tls::client_config(&ExtraRoots(pem)) {
        Ok(_) => Some(PathBuf::from(path.value)),
        Err(error) => {
            cannot_use(section, "ca-file", &path, &error.to_string());
            None
        }
    }
}

/// The paths of a certificate and the key that belongs to it.
fn client_certificate(
    section: &Section<'_>,
    cert_file: Option<Placed<String>>,
    key_file: Option<Placed<String>>,
    files: ReadFile<'_>,
) -> Option<ClientCertificate> {
    let (cert_file, key_file) = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => (cert_file, key_file),
        (None, None) => return None,
        (Some(one), None) => {
            alone(section, &one, "client-cert-file", "client-key-file");
            return None;
        }
        (None, Some(one)) => {
            alone(section, &one, "client-key-file", "client-cert-file");
            return None;
        }
    };
    let chain = contents(section, "client-cert-file", &cert_file, files);
    let key = contents(section, "client-key-file", &key_file, files);
    let identity = ClientIdentity {
        chain: chain?,
        key: key?,
    };
    if let Err(error) = tls::client_config_as(&identity, &ExtraRoots::default()) {
        cannot_use(section, "client-cert-file", &cert_file, &error.to_string());
        return None;
    }
    Some(ClientCertificate {
        cert_file: PathBuf::from(cert_file.value),
        key_file: PathBuf::from(key_file.value),
    })
}

fn alone(section: &Section<'_>, written: &Placed<String>, key: &str, missing: &str) {
    let title = format!("`{key}` needs `{missing}`: a certificate counts only with its key");
    section
        .problems()
        .add(Problem::error(&written.place, title));
}

fn contents(
    section: &Section<'_>,
    key: &str,
    path: &Placed<String>,
    files: ReadFile<'_>,
) -> Option<Vec<u8>> {
    files(Path::new(&path.value))
        .inspect_err(|error| cannot_use(section, key, path, &error.to_string().to_lowercase()))
        .ok()
}

fn cannot_use(section: &Section<'_>, key: &str, path: &Placed<String>, why: &str) {
    section.problems().add(Problem::error(
        &path.place,
        format!("`{key}`: cannot use `{}`: {why}", path.value),
    ));
}
