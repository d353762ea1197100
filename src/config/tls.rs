//! `[tls]`: how clients are spoken to over TLS.

use std::path::Path;

use super::clerk::ReadFile;
use super::listen::{self, ListenAddress};
use super::report::{Place, Problem, Problems};
use super::section::{Placed, Section};
use crate::tls::server::{Authorities, Certificate, Clients, Oldest, Terms};

/// What the table says.
#[derive(Default)]
pub(super) struct Tls {
    /// How TLS is spoken; `None` if it is not.
    pub(super) terms: Option<Terms>,
    /// Where requests in plain text are sent to the public address.
    pub(super) redirect_listen: Vec<Placed<ListenAddress>>,
    /// Where the certificates are written.
    places: Vec<Place>,
}

impl Tls {
    /// Warns of certificates that are not valid now, or not for long.
    pub(super) fn in_time(&self, now_ms: u64, problems: &Problems) {
        let shown = self.terms.iter().flat_map(|terms| &terms.certificates);
        for (certificate, place) in shown.zip(&self.places) {
            if let Some(trouble) = certificate.trouble_at(now_ms) {
                let title = format!("the certificate in `cert-file` {}", trouble.said);
                problems.add(Problem::warning(place, title).hint(trouble.hint));
            }
        }
    }
}

/// Reads the table.
pub(super) fn read(root: &mut Section<'_>, files: ReadFile<'_>) -> Tls {
    let written = root.has("tls");
    let mut section = root.section("tls");
    let (problems, place) = (section.problems(), section.place().clone());
    let sections = section.sections("certificate");
    let is_named = !sections.is_empty();
    let read = sections.into_iter();
    let read = read.filter_map(|section| certificate(section, files));
    let (certificates, places) = read.map(|read| (read.value, read.place)).unzip();
    let oldest = section.choice(
        "min-version",
        &[("1.2", Oldest::Tls12), ("1.3", Oldest::Tls13)],
    );
    let clients = clients(&mut section, files);
    let redirect_listen = listen::several(&mut section, "redirect-listen");
    section.finish();
    if !written {
        return Tls::default();
    }
    if !is_named {
        problems.add(
            Problem::error(&place, "`[tls]` has no certificate")
                .hint("add `[[tls.certificate]]` with `cert-file` and `key-file`"),
        );
    }
    let terms = clients.map(|clients| Terms {
        certificates,
        oldest: oldest.map_or(Oldest::Tls12, |read| read.value),
        clients,
    });
    Tls {
        terms,
        redirect_listen,
        places,
    }
}

fn certificate(mut section: Section<'_>, files: ReadFile<'_>) -> Option<Placed<Certificate>> {
    let (problems, place) = (section.problems(), section.place().clone());
    let (chain, key) = (section.text("cert-file"), section.text("key-file"));
    section.finish();
    let (chain, key) = match (chain, key) {
        (Some(chain), Some(key)) => (chain, key),
        (chain, key) => {
            let missing = if chain.is_none() {
                "cert-file"
            } else {
                "key-file"
            };
            let written = chain.or(key).map_or(place, |written| written.place);
            problems.add(Problem::error(
                &written,
                format!("a certificate needs `{missing}`: it counts only with its key"),
            ));
            return None;
        }
    };
    let read = |key, file| contents(key, file, files, problems);
    let (pem, key_pem) = (read("cert-file", &chain), read("key-file", &key));
    match Certificate::of(&pem?, &key_pem?) {
        Ok(certificate) => Some(Placed::new(certificate, chain.place)),
        Err(error) => {
            cannot_use("cert-file", &chain, &error.to_string(), problems);
            None
        }
    }
}

fn clients(section: &mut Section<'_>, files: ReadFile<'_>) -> Option<Clients> {
    let problems = section.problems();
    let file = section.text("client-ca-file");
    let asked = section.choice(
        "client-auth",
        &[
            ("off", None),
            (
                "optional",
                Some(Clients::Optional as fn(Authorities) -> Clients),
            ),
            ("required", Some(Clients::Required)),
        ],
    );
    match (file, asked) {
        (None, None) => Some(Clients::Unasked),
        (None, Some(asked)) if asked.value.is_none() => Some(Clients::Unasked),
        (None, Some(asked)) => {
            alone(
                &asked.place,
                "`client-auth` needs `client-ca-file`: who may vouch for clients",
                problems,
            );
            None
        }
        (Some(file), asked) => {
            let Some(asked) = asked.and_then(|asked| asked.value) else {
                alone(
                    &file.place,
                    "`client-ca-file` does nothing without `client-auth`",
                    problems,
                );
                return None;
            };
            let pem = contents("client-ca-file", &file, files, problems)?;
            match Authorities::of(pem) {
                Ok(authorities) => Some(asked(authorities)),
                Err(error) => {
                    cannot_use("client-ca-file", &file, &error.to_string(), problems);
                    None
                }
            }
        }
    }
}

fn alone(place: &Place, title: &str, problems: &Problems) {
    problems.add(
        Problem::error(place, title)
            .hint("write `client-auth = \"required\"` and `client-ca-file`, or neither"),
    );
}

fn contents(
    key: &str,
    path: &Placed<String>,
    files: ReadFile<'_>,
    problems: &Problems,
) -> Option<Vec<u8>> {
    files(Path::new(&path.value))
        .inspect_err(|error| cannot_use(key, path, &error.to_string().to_lowercase(), problems))
        .ok()
}

fn cannot_use(key: &str, path: &Placed<String>, why: &str, problems: &Problems) {
    problems.add(Problem::error(
        &path.place,
        format!("`{key}`: cannot use `{}`: {why}", path.value),
    ));
}
