//! `[webhooks]`: what Clerk's events are signed with.

use super::clerk::ReadFile;
use super::report::Problem;
use super::section::{Placed, Section};
use crate::clerk::webhooks::WebhookSecrets;

/// Reads the table. `None` if no events are taken.
pub(super) fn read(mut section: Section<'_>, files: ReadFile<'_>) -> Option<WebhookSecrets> {
    let problems = section.problems();
    let place = section.place().clone();
    let plain = section.texts("secret");
    let file = section.text("secret-file");
    let texts = match (plain, file) {
        (None, None) => None,
        (Some(texts), None) => {
            if texts.is_empty() {
                problems.add(
                    Problem::error(&place, "`secret` is empty").hint("leave it out, or name one"),
                );
            }
            Some(texts)
        }
        (None, Some(file)) => file
            .into_file(&section, "secret-file", files)
            .map(|text| lines(&text)),
        (Some(_), Some(file)) => {
            problems.add(
                Problem::error(&file.place, "`secret` and `secret-file` are both given")
                    .hint("keep one of them"),
            );
            None
        }
    };
    section.finish();
    let texts = texts?;
    for (number, text) in texts.iter().enumerate() {
        if let Err(error) = WebhookSecrets::parse([&*text.value]) {
            problems.add(
                Problem::error(
                    &text.place,
                    format!("webhook secret {} is none: {error}", number + 1),
                )
                .hint("copy the signing secret of the endpoint from Clerk's dashboard, under webhooks"),
            );
        }
    }
    WebhookSecrets::parse(texts.iter().map(|text| &*text.value)).ok()
}

/// The lines of a file that say something; each stands where the file is named.
fn lines(text: &Placed<String>) -> Vec<Placed<String>> {
    text.value
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| Placed::new(line.to_owned(), text.place.clone()))
        .collect()
}
