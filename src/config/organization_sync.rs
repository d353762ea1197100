//! `[clerk.organization-sync]`: which addresses make an organisation active.

use super::report::Problem;
use super::section::Section;
use crate::core::organization_sync::{OrganizationSync, SyncPattern};

/// Reads the table.
pub(super) fn read(mut section: Section<'_>) -> OrganizationSync {
    let mut patterns = |key: &'static str| {
        let place = section.place().clone();
        let texts = section.texts(key)?;
        let problems = section.problems();
        if texts.is_empty() {
            problems.add(
                Problem::error(&place, format!("`{key}` is empty"))
                    .hint("to Clerk's SDK an empty list is every address; leave it out"),
            );
        }
        let read = texts
            .into_iter()
            .filter_map(|text| match SyncPattern::parse(&text.value) {
                Ok(pattern) => Some(pattern),
                Err(error) => {
                    problems.add(Problem::error(&text.place, format!("`{key}`: {error}")));
                    None
                }
            });
        Some(read.collect::<Vec<_>>())
    };
    let sync = OrganizationSync {
        organizations: patterns("organization-patterns").unwrap_or_default(),
        personal: patterns("personal-account-patterns"),
    };
    section.finish();
    sync
}
