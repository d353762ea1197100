//! `[[template]]`: tokens for other services.

use std::sync::Arc;

use http::HeaderName;

use super::report::{Place, Problem, Problems};
use super::requirement;
use super::section::Section;
use super::settings;
use crate::core::machine::TokenType;
use crate::core::template::{self, Template};

/// A template, and where it was written.
pub(super) struct WrittenTemplate {
    pub(super) template: Arc<Template>,
    pub(super) place: Place,
}

/// Reads every template. What cannot be read has been reported and is left out.
pub(super) fn read(sections: Vec<Section<'_>>, claims: &[HeaderName]) -> Vec<WrittenTemplate> {
    let mut templates: Vec<WrittenTemplate> = Vec::new();
    for section in sections {
        let problems = section.problems();
        let Some(written) = self::template(section) else {
            continue;
        };
        let name = &written.template.name;
        if templates.iter().any(|other| other.template.name == *name) {
            problems.add(Problem::error(
                &written.place,
                format!("there are two templates called `{name}`"),
            ));
        }
        carried_twice(&written, claims, problems);
        templates.push(written);
    }
    templates
}

fn template(mut section: Section<'_>) -> Option<WrittenTemplate> {
    let (problems, place) = (section.problems(), section.place().clone());
    let has_name = section.has_needed("name");
    let name = section.parsed("name", |text| {
        if template::is_name(text) {
            Ok(text.to_owned())
        } else {
            Err("it is up to 64 letters, digits, `-` and `_`, as in Clerk's dashboard".to_owned())
        }
    });
    if !has_name {
        problems.add(
            Problem::error(&place, "a template needs `name`")
                .hint("write its name in Clerk's dashboard, under JWT templates"),
        );
    }
    let required = section.node("require", requirement::shape());
    let requirement_place = required.as_ref().map(|node| node.place.clone());
    let has_requirement = required.is_some();
    let requirement = required.and_then(|node| requirement::read(node, problems));
    let header = section.parsed("header", header_name);
    section.finish();
    let name = name?;
    let mut template = Template::new(&name.value);
    match requirement {
        Some(requirement) => template.requirement = requirement,
        // What is written is no requirement, and has been reported.
        None if has_requirement => return None,
        None => {}
    }
    if !template
        .requirement
        .token_types()
        .iter()
        .any(|kind| kind == TokenType::Session)
    {
        problems.add(
            Problem::error(
                requirement_place.as_ref().unwrap_or(&place),
                format!(
                    "no session can meet what template `{}` requires",
                    name.value
                ),
            )
            .hint("tokens of a template are made of a person's session"),
        );
    }
    if let Some(header) = header {
        template.header = header.value;
    }
    Some(WrittenTemplate {
        template: Arc::new(template),
        place: name.place,
    })
}

/// `authorization`, or a header that a claim could stand in.
fn header_name(text: &str) -> Result<HeaderName, String> {
    if text.eq_ignore_ascii_case("authorization") {
        return Ok(http::header::AUTHORIZATION);
    }
    settings::header_name(text)
}

/// A header that carries a claim cannot carry a token as well.
fn carried_twice(written: &WrittenTemplate, claims: &[HeaderName], problems: &Problems) {
    let header = settings::squashed(written.template.header.as_str());
    let taken = |name: &&HeaderName| settings::squashed(name.as_str()) == header;
    if let Some(claim) = claims.iter().find(taken) {
        problems.add(Problem::error(
            &written.place,
            format!(
                "template `{}` and `[identity.headers]` both set `{claim}`",
                written.template.name
            ),
        ));
    }
}
