//! The keys in `[clerk]`: publishable, secret, a machine's, and the one that verifies tokens.

use std::path::Path;

use super::clerk::ReadFile;
use super::report::Problem;
use super::section::{Placed, Section};
use crate::clerk::keys::KeySet;
use crate::core::key::{InstanceKind, PublishableKey};

/// The publishable key, which everything else follows from.
pub(super) fn publishable_key(section: &mut Section<'_>) -> Option<Placed<PublishableKey>> {
    let problems = section.problems();
    let written = section.has("publishable-key");
    let Some(text) = section.text("publishable-key") else {
        if !written {
            problems.add(
                Problem::error(section.place(), "there is no publishable key").hint(
                    "add `publishable-key = \"pk_…\"` to `[clerk]`, or set `CLERK_PUBLISHABLE_KEY`; it stands in Clerk's dashboard under API keys",
                ),
            );
        }
        return None;
    };
    match PublishableKey::parse(&text.value) {
        Ok(key) => Some(Placed::new(key, text.place)),
        Err(error) => {
            let mut problem =
                Problem::error(&text.place, format!("`publishable-key` is none: {error}"));
            if text.value.starts_with("sk_") {
                problem = problem.hint("this looks like the secret key: it belongs into `secret-key-file` or `CLERK_SECRET_KEY`");
            }
            problems.add(problem);
            None
        }
    }
}

/// A value that may stand in a file of its own.
pub(super) fn value_or_file(
    section: &mut Section<'_>,
    key: &'static str,
    file_key: &'static str,
    files: ReadFile<'_>,
) -> Option<Placed<String>> {
    let plain = section.text(key);
    let Some(file) = section.text(file_key) else {
        return plain;
    };
    if plain.is_some() {
        section.problems().add(
            Problem::error(
                &file.place,
                format!("`{key}` and `{file_key}` are both given"),
            )
            .hint("keep one of them"),
        );
        return None;
    }
    file.into_file(section, file_key, files)
}

impl Placed<String> {
    /// The contents of the file that this path names, without white space at its ends.
    pub(super) fn into_file(
        self,
        section: &Section<'_>,
        key: &'static str,
        files: ReadFile<'_>,
    ) -> Option<Self> {
        let why = match files(Path::new(&self.value)).map(String::from_utf8) {
            Ok(Ok(text)) if text.trim().is_empty() => "it is empty".to_owned(),
            Ok(Ok(text)) => return Some(Self::new(text.trim().to_owned(), self.place)),
            Ok(Err(_)) => "it is not text".to_owned(),
            Err(error) => error.to_string().to_lowercase(),
        };
        section.problems().add(Problem::error(
            &self.place,
            format!("`{key}`: cannot read `{}`: {why}", self.value),
        ));
        None
    }
}

/// The secret key, if it fits the publishable key.
pub(super) fn secret_key(
    section: &Section<'_>,
    secret: Placed<String>,
    kind: Option<InstanceKind>,
) -> Option<String> {
    let secret_kind = if secret.value.starts_with("sk_live_") {
        InstanceKind::Production
    } else if secret.value.starts_with("sk_test_") {
        InstanceKind::Development
    } else {
        section.problems().add(
            Problem::error(
                &secret.place,
                "the secret key begins with `sk_test_` or `sk_live_`",
            )
            .hint("copy it again from Clerk's dashboard, under API keys"),
        );
        return None;
    };
    if kind.is_some_and(|kind| kind != secret_kind) {
        let word = |kind| match kind {
            InstanceKind::Production => "a production instance",
            InstanceKind::Development => "a development instance",
        };
        let other = match secret_kind {
            InstanceKind::Production => InstanceKind::Development,
            InstanceKind::Development => InstanceKind::Production,
        };
        section.problems().add(
            Problem::error(
                &secret.place,
                format!(
                    "the keys are of two instances: the secret key is of {}, the publishable key of {}",
                    word(secret_kind),
                    word(other)
                ),
            )
            .hint("take both from the same instance in Clerk's dashboard"),
        );
        return None;
    }
    Some(secret.value)
}

/// The secret key of a machine, which Clerk shows with the machine.
pub(super) fn machine_secret_key(section: &Section<'_>, secret: Placed<String>) -> Option<String> {
    if secret.value.starts_with("ak_") {
        return Some(secret.value);
    }
    section.problems().add(
        Problem::error(&secret.place, "the secret key of a machine begins with `ak_`").hint(
            "copy it from Clerk's dashboard, under machines; the instance's own secret key belongs into `secret-key-file`",
        ),
    );
    None
}

/// The public key that verifies tokens without any network.
pub(super) fn jwt_key(section: &Section<'_>, pem: Placed<String>) -> Option<Placed<String>> {
    match KeySet::from_pem(&pem.value) {
        Ok(_) => Some(pem),
        Err(error) => {
            section.problems().add(Problem::error(
                &pem.place,
                format!("`jwt-key` cannot be used: {error}"),
            ));
            None
        }
    }
}
