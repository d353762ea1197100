//! `[assertion]`: what upstreams are told under a signature.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::zeroize::Zeroizing;

use super::clerk::ReadFile;
use super::model::AssertionConfig;
use super::report::{Place, Problem, Problems};
use super::section::{Placed, Section};
use crate::upstream::signer::{KeyFileError, Signer};

/// The longest that an assertion may hold: it is for one request.
const LIFETIME: Duration = Duration::from_mins(5);

/// How a key is made.
const MAKE_A_KEY: &str =
    "make one: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out assertion.pem`";

/// Reads `[assertion]`. `None` if it is not written, or cannot be used. `audiences` is where
/// audiences of assertions are written.
pub(super) fn read<'p>(
    root: &mut Section<'_>,
    audiences: impl Iterator<Item = &'p Place>,
    files: ReadFile<'_>,
) -> Option<AssertionConfig> {
    let written = root.has("assertion");
    let mut section = root.section("assertion");
    let (problems, place) = (section.problems(), section.place().clone());
    let has_file = section.has("key-file");
    let file = section.text("key-file");
    let issuer = section.parsed("issuer", issuer);
    let lifetime = section.duration("lifetime", Duration::from_secs(1)..=LIFETIME);
    section.finish();
    if !written {
        have_no_meaning(audiences, problems);
        return None;
    }
    if !has_file {
        problems.add(
            Problem::error(
                &place,
                "`[assertion]` has no `key-file`: there is nothing to sign with",
            )
            .hint(MAKE_A_KEY),
        );
    }
    Some(AssertionConfig {
        signer: Arc::new(signer(&file?, files, problems)?),
        issuer: issuer.map(|read| read.value),
        lifetime: lifetime.unwrap_or(LIFETIME),
    })
}

fn signer(file: &Placed<String>, files: ReadFile<'_>, problems: &Problems) -> Option<Signer> {
    let complain = |why: &str| {
        Problem::error(
            &file.place,
            format!("`key-file`: cannot use `{}`: {why}", file.value),
        )
    };
    let pem = match files(Path::new(&file.value)) {
        Ok(pem) => Zeroizing::new(pem),
        Err(error) => {
            problems.add(complain(&error.to_string().to_lowercase()).hint(MAKE_A_KEY));
            return None;
        }
    };
    let error = match Signer::from_pem(&pem) {
        Ok(signer) => return Some(signer),
        Err(error) => error,
    };
    let hint = match error {
        KeyFileError::Encrypted => "decrypt it: `openssl pkcs8 -in … -out assertion.pem`",
        KeyFileError::NotPkcs8 => {
            "convert it: `openssl pkcs8 -topk8 -nocrypt -in … -out assertion.pem`"
        }
        KeyFileError::Twice | KeyFileError::TooMany => {
            "the first key signs; keep the old ones behind it until their assertions are over"
        }
        KeyFileError::None
        | KeyFileError::Pem
        | KeyFileError::Rsa
        | KeyFileError::Curve
        | KeyFileError::Unknown => MAKE_A_KEY,
    };
    problems.add(complain(&error.to_string()).hint(hint));
    None
}

/// Whatever an upstream compares with: most write an address.
pub(super) fn audience(text: &str) -> Result<String, String> {
    name(text).ok_or_else(|| "it is an address or a name such as `invoices`".to_owned())
}

fn issuer(text: &str) -> Result<String, String> {
    name(text).ok_or_else(|| "it is an address such as `https://app.example.com`".to_owned())
}

/// A short text of visible ASCII.
fn name(text: &str) -> Option<String> {
    let plain = !text.is_empty() && text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic());
    plain.then(|| text.to_owned())
}

/// Reports audiences of assertions that nobody makes.
fn have_no_meaning<'p>(places: impl Iterator<Item = &'p Place>, problems: &Problems) {
    for place in places {
        problems.add(
            Problem::error(
                place,
                "`assertion-audience` has no meaning without `[assertion]`",
            )
            .hint("add `[assertion]` with a `key-file`, or leave it out"),
        );
    }
}
