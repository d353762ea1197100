//! `[shadow]`: a second policy in a file of its own, judged beside the one in force.
//!
//! What is in that file is checked as the policy in force is, against everything else of this
//! configuration; its problems are told in its own name.

use std::path::Path;

use super::assertions::{self, Assertion, World};
use super::clerk::ReadFile;
use super::limit;
use super::lints;
use super::model::{DoorConfig, ShadowConfig};
use super::report::{Place, Problem, Problems};
use super::ride_through::RideThrough;
use super::routes::{self, WrittenRoute};
use super::section::{Placed, Section};
use super::sites;
use super::source::Source;
use super::templates::WrittenTemplate;
use super::tree::Table;
use super::upstream::Upstreams;
use super::views::{self, SiteView};
use crate::core::policy::{PathReading, Policy};

/// Everything that a shadow policy is read with and does not say itself.
pub(super) struct Beside<'b> {
    pub(super) files: ReadFile<'b>,
    pub(super) reading: PathReading,
    pub(super) templates: &'b [WrittenTemplate],
    pub(super) upstreams: &'b Upstreams,
    pub(super) ride_through: &'b RideThrough,
    pub(super) asked: Option<&'b Placed<DoorConfig>>,
    pub(super) views: &'b [SiteView<'b>],
    pub(super) pages_prefix: &'b str,
}

/// A policy that was read, and what is wrong with it so far.
pub(super) struct WrittenShadow {
    source: Source,
    problems: Problems,
    /// `None` if the file is not one.
    policy: Option<(Policy, Vec<WrittenRoute>, Vec<Assertion>)>,
}

/// Reads the table: where the policy is, if there is one.
pub(super) fn read(mut section: Section<'_>) -> Option<Placed<String>> {
    let file = section.text("policy-file");
    section.finish();
    file
}

/// Reads the policy.
pub(super) fn load(
    file: &Placed<String>,
    beside: &Beside<'_>,
    problems: &Problems,
) -> Option<WrittenShadow> {
    let path = Path::new(&file.value);
    let read = (beside.files)(path).and_then(|bytes| Source::of_bytes(path, bytes));
    let source = match read {
        Ok(source) => source,
        Err(error) => {
            let why = format!("the shadow policy `{}` cannot be read: {error}", file.value);
            problems.add(Problem::error(&file.place, why));
            return None;
        }
    };
    let own = Problems::default();
    let table = Table::of_file(source.text(), &own);
    // What the parser made of a broken file is not worth a complaint.
    let policy = if own.no_errors() {
        policy(table, beside, &own)
    } else {
        None
    };
    Some(WrittenShadow {
        source,
        problems: own,
        policy,
    })
}

fn policy(
    table: Table,
    beside: &Beside<'_>,
    problems: &Problems,
) -> Option<(Policy, Vec<WrittenRoute>, Vec<Assertion>)> {
    let mut root = Section::new(table, "", Place::Nowhere, problems);
    let mut upstreams = beside.upstreams.clone();
    let mut written = routes::read(root.sections("route"), &mut upstreams, beside.templates);
    beside.ride_through.apply(&mut written, problems);
    let budgets = limit::of_all(root.sections("limit"), &written, beside.asked, problems);
    let assertions = assertions::read(root.sections("test"));
    for entry in root.table().clone().into_rest() {
        let title = format!("`{}` has no place in a shadow policy", entry.key);
        problems.add(Problem::error(&entry.key_place, title).hint(
            "it holds `[[route]]`, `[[limit]]` and `[[test]]`; everything else is as the configuration has it",
        ));
    }
    let policy = routes::compiled(&written, beside.reading, problems)?.limited_by(&budgets);
    let prefix = beside.pages_prefix;
    lints::routes(&written, &policy, prefix, problems);
    let (views, templates) = (beside.views, beside.templates);
    views::lints(views, &written, templates, &policy, prefix, problems);
    Some((policy, written, assertions))
}

impl WrittenShadow {
    /// The policy, where it holds in this world: that of the policy in force. Everything that is wrong
    /// with it is reported.
    pub(super) fn checked(self, world: &World<'_>, problems: &Problems) -> Option<ShadowConfig> {
        let own = self.problems;
        let policy = self.policy.map(|(policy, written, assertions)| {
            sites::routes(&written, world.edge, &own);
            let world = World {
                policy: &policy,
                instances: world.instances.clone(),
                ..*world
            };
            assertions::run(&assertions, &world, &own);
            policy
        });
        let holds = own.no_errors();
        let name = self.source.name().to_owned();
        problems.beside(own.into_report(&self.source));
        policy
            .filter(|_| holds)
            .map(|policy| ShadowConfig { name, policy })
    }
}
