//! Which certificates count between the gate and an upstream.

use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;

use super::clerk::ReadFile;
use super::model::ClientCertificate;
use super::report::{Place, Problem};
use super::section::{Placed, Section};
use crate::tls::{self, ClientIdentity, ExtraRoots};

/// Whom the gate takes for the upstream, and who it is to it.
pub(super) struct Trust {
    pub(super) ca_file: Option<PathBuf>,
    pub(super) server_name: Option<ServerName<'static>>,
    pub(super) client_certificate: Option<ClientCertificate>,
}

impl Trust {
    /// Reads the keys; those that are written come with their places.
    pub(super) fn read(
        section: &mut Section<'_>,
        files: ReadFile<'_>,
    ) -> (Self, Vec<(&'static str, Place)>) {
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
