//! `require`: a word, or a table that says more.

use std::time::Duration;

use serde_json::Value as Json;

use super::report::{Place, Problem, Problems};
use super::section::{Section, listed, wrong_kind};
use super::shape::Shape;
use super::tree::{Node, Value};
use crate::core::authorization::{Asked, Level, Reverification};
use crate::core::machine::{TokenType, TokenTypes};
use crate::core::requirement::{ClaimRule, ClaimTest, Requirement};

/// How deep `any` and `all` may be nested.
const MAX_DEPTH: usize = 8;

/// What the table of a requirement is called.
const TABLE: &str = "require";

/// What the table of a freshness is called.
const REVERIFIED: &str = "reverified";

/// The ways of `reverified` that have a name.
const PRESETS: [&str; 4] = ["strict_mfa", "strict", "moderate", "lax"];

/// What a requirement looks like.
pub(super) fn shape() -> Shape {
    Shape::Like(r"^(public|signed-in|org:[A-Za-z0-9_-]+)$").or(Shape::table(TABLE))
}

/// What names a claim.
pub(super) fn claim_shape() -> Shape {
    Shape::Text.or_several()
}

/// Reads a requirement. What cannot be read has been reported.
pub(super) fn read(node: Node, problems: &Problems) -> Option<Requirement> {
    read_at(node, problems, 0)
}

fn read_at(node: Node, problems: &Problems, depth: usize) -> Option<Requirement> {
    if depth > MAX_DEPTH {
        problems.add(Problem::error(
            &node.place,
            format!("`any` and `all` are nested more than {MAX_DEPTH} deep"),
        ));
        return None;
    }
    match node.value {
        Value::Text(word) => from_word(&word, &node.place, problems),
        Value::Table(table) => {
            let section = Section::new(table, TABLE, node.place, problems);
            from_table(section, depth)
        }
        _ => {
            wrong_kind("require", &node, "a text or a table", problems);
            None
        }
    }
}

fn from_word(word: &str, place: &Place, problems: &Problems) -> Option<Requirement> {
    match word {
        "public" => return Some(Requirement::Public),
        "signed-in" => return Some(Requirement::SignedIn),
        _ => {}
    }
    let problem = match word.strip_prefix("org:") {
        Some(role) if role.contains(':') => Problem::error(
            place,
            format!("`{word}` looks like a permission, and a text names a role"),
        )
        .hint(format!("write `{{ permission = \"{word}\" }}`")),
        Some(role) if name_is_valid(role) => {
            return Some(Requirement::Has(Asked {
                role: Some(word.to_owned()),
                ..Asked::default()
            }));
        }
        Some(_) => Problem::error(place, format!("`{word}` is no role")),
        None => Problem::error(place, format!("`{word}` is no requirement")).hint(
            "write `\"public\"`, `\"signed-in\"`, `\"org:<role>\"` or a table such as `{ permission = \"org:invoices:write\" }`",
        ),
    };
    problems.add(problem);
    None
}

fn name_is_valid(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':'))
}

/// All keys of a table must hold. Those of Clerk's `has()` are asked together.
fn from_table(mut section: Section<'_>, depth: usize) -> Option<Requirement> {
    let (problems, place) = (section.problems(), section.place().clone());
    let before = problems.count();
    let asked = Asked {
        role: name(&mut section, "role"),
        permission: permission(&mut section),
        feature: name(&mut section, "feature"),
        plan: name(&mut section, "plan"),
        reverification: reverification(&mut section),
    };
    let span = Duration::from_secs(1)..=Duration::from_hours(24 * 365);
    let mut parts = Vec::new();
    if asked != Asked::default() {
        parts.push(Requirement::Has(asked));
    }
    if let Some(age) = section.duration("max-age", span.clone()) {
        parts.push(Requirement::MaxAge(age));
    }
    if let Some(age) = section.duration("max-token-age", span) {
        parts.push(Requirement::MaxTokenAge(age));
    }
    if let Some(types) = section
        .node("token", token_shape())
        .and_then(|node| token_types(node, problems))
    {
        parts.push(Requirement::Token(types));
    }
    if let Some(node) = section.node("scope", Shape::Text.or_several()) {
        let place = node.place.clone();
        let scopes = super::section::texts("scope", node, problems);
        if scopes.is_empty() {
            problems.add(Problem::error(&place, "`scope` is empty and asks nothing"));
        }
        parts.push(Requirement::Scope(
            scopes.into_iter().map(|scope| scope.value).collect(),
        ));
    }
    if section.has("claim") {
        parts.extend(claim(section.section("claim")).map(Requirement::Claim));
    } else {
        // Known, so that a misspelling finds it.
        section.knows("claim");
    }
    if let Some(flag) = section.flag("not-impersonated") {
        if flag.value {
            parts.push(Requirement::NotImpersonated);
        } else {
            problems.add(
                Problem::error(&flag.place, "`not-impersonated = false` asks nothing")
                    .hint("leave it out"),
            );
        }
    }
    for (key, make) in [
        (
            "all",
            Requirement::All as fn(Vec<Requirement>) -> Requirement,
        ),
        ("any", Requirement::Any),
    ] {
        if let Some(node) = section.node(key, shape().list()) {
            parts.extend(several(key, node, problems, depth).map(make));
        }
    }
    section.finish();
    if problems.count() > before {
        return None;
    }
    match parts.len() {
        0 => {
            problems.add(
                Problem::error(&place, "this table asks nothing")
                    .hint("write `\"public\"` if nothing is meant"),
            );
            None
        }
        1 => parts.pop(),
        _ => Some(Requirement::All(parts)),
    }
}

/// What `token` looks like.
fn token_shape() -> Shape {
    let kinds = TokenType::ALL.iter().map(|kind| kind.as_str());
    Shape::words(kinds.clone().chain(["any"])).or(Shape::words(kinds).list())
}

/// `token`: kinds of token, in Clerk's words, or `any`.
fn token_types(node: Node, problems: &Problems) -> Option<TokenTypes> {
    if matches!(&node.value, Value::Text(word) if word == "any") {
        return Some(TokenTypes::ANY);
    }
    let place = node.place.clone();
    let before = problems.count();
    let kinds: Vec<TokenType> = super::section::texts("token", node, problems)
        .into_iter()
        .filter_map(|word| {
            let kind = TokenType::ALL
                .into_iter()
                .find(|kind| kind.as_str() == word.value);
            if kind.is_none() {
                let known = TokenType::ALL.map(|kind| format!("`{kind}`"));
                problems.add(
                    Problem::error(&word.place, format!("`{}` is no kind of token", word.value))
                        .hint(format!(
                            "a kind is {}; `\"any\"` stands for all",
                            listed(&known, "or")
                        )),
                );
            }
            kind
        })
        .collect();
    if problems.count() > before {
        return None;
    }
    if kinds.is_empty() {
        problems.add(Problem::error(
            &place,
            "`token` is empty: nobody could ever pass",
        ));
        return None;
    }
    Some(TokenTypes::of(&kinds))
}

fn several(
    key: &'static str,
    node: Node,
    problems: &Problems,
    depth: usize,
) -> Option<Vec<Requirement>> {
    let Value::List(items) = node.value else {
        wrong_kind(key, &node, "a list of requirements", problems);
        return None;
    };
    if items.is_empty() {
        problems.add(Problem::error(
            &node.place,
            format!("`{key}` is empty and asks nothing"),
        ));
        return None;
    }
    let mut read = Vec::with_capacity(items.len());
    for item in items {
        let place = item.place.clone();
        let requirement = read_at(item, problems, depth + 1);
        if requirement.as_ref().is_some_and(Requirement::is_open) {
            let what = if key == "any" {
                "lets everybody in"
            } else {
                "asks nothing"
            };
            problems.add(Problem::error(
                &place,
                format!("`\"public\"` inside `{key}` {what}"),
            ));
        }
        read.extend(requirement);
    }
    Some(read)
}

fn name(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let read = section.parsed(key, |text| {
        if name_is_valid(text) {
            Ok(text.to_owned())
        } else {
            Err("it is letters, digits, `_`, `-` and `:`".to_owned())
        }
    });
    read.map(|read| read.value)
}

fn permission(section: &mut Section<'_>) -> Option<String> {
    let read = section.parsed("permission", |text| {
        let bare = text.strip_prefix("org:").unwrap_or(text);
        if bare.starts_with("sys_") {
            // System permissions never stand in a session token (protocol reference, section 5.2).
            Err(
                "system permissions are in no session token; ask for a custom one, or for a role"
                    .to_owned(),
            )
        } else if name_is_valid(text) && bare.contains(':') {
            Ok(text.to_owned())
        } else {
            Err("it is a permission such as `org:invoices:write`".to_owned())
        }
    });
    read.map(|read| read.value)
}

fn reverification(section: &mut Section<'_>) -> Option<Reverification> {
    let node = section.node(
        REVERIFIED,
        Shape::words(PRESETS).or(Shape::table(REVERIFIED)),
    )?;
    let problems = section.problems();
    match node.value {
        Value::Text(preset) => {
            let found = Reverification::preset(&preset);
            if found.is_none() {
                let presets = PRESETS.map(|p| format!("`{p}`"));
                problems.add(Problem::error(
                    &node.place,
                    format!("`reverified` is {}", listed(&presets, "or")),
                ));
            }
            found
        }
        Value::Table(table) => {
            let mut inner = Section::new(table, REVERIFIED, node.place, problems);
            inner.needs("level");
            inner.needs("after");
            let place = inner.place().clone();
            let level = inner.choice(
                "level",
                &[
                    ("first_factor", Level::FirstFactor),
                    ("second_factor", Level::SecondFactor),
                    ("multi_factor", Level::MultiFactor),
                ],
            );
            let after = inner.duration(
                "after",
                Duration::from_mins(1)..=Duration::from_hours(24 * 365),
            );
            let whole = inner.has("level") || level.is_some();
            inner.finish();
            if let (Some(level), Some(after)) = (level, after) {
                Some(Reverification {
                    level: level.value,
                    after_minutes: after.as_secs_f64() / 60.0,
                })
            } else {
                if whole {
                    problems.add(Problem::error(&place, "`reverified` needs `after` as well"));
                } else {
                    problems.add(Problem::error(
                        &place,
                        "`reverified` needs `level` and `after`",
                    ));
                }
                None
            }
        }
        _ => {
            wrong_kind("reverified", &node, "a text or a table", problems);
            None
        }
    }
}

fn claim(mut section: Section<'_>) -> Option<ClaimRule> {
    let (problems, place) = (section.problems(), section.place().clone());
    section.needs("path");
    let path = section
        .node("path", claim_shape())
        .map(|node| claim_path(node, problems));
    let equals = section.node("equals", Shape::Plain);
    let contains = section.node("contains", Shape::Plain);
    section.finish();
    let Some(path) = path else {
        problems.add(Problem::error(&place, "`claim` needs `path`"));
        return None;
    };
    let test = match (equals, contains) {
        (Some(value), None) => ClaimTest::Equals(json(value, problems)?),
        (None, Some(value)) => ClaimTest::Contains(json(value, problems)?),
        _ => {
            problems.add(Problem::error(
                &place,
                "`claim` needs either `equals` or `contains`",
            ));
            return None;
        }
    };
    Some(ClaimRule { path: path?, test })
}

/// The names that lead to a claim: a dotted text, or a list where a name holds a dot itself.
pub(super) fn claim_path(node: Node, problems: &Problems) -> Option<Vec<String>> {
    let place = node.place.clone();
    let names: Vec<String> = match node.value {
        Value::Text(dotted) => dotted.split('.').map(str::to_owned).collect(),
        Value::List(_) => super::section::texts("path", node, problems)
            .into_iter()
            .map(|name| name.value)
            .collect(),
        _ => {
            wrong_kind("path", &node, "a text such as `metadata.tier`", problems);
            return None;
        }
    };
    if names.is_empty() || names.iter().any(String::is_empty) {
        problems.add(
            Problem::error(&place, "a claim is named by a text such as `metadata.tier`").hint(
                "where a name holds a dot itself, write a list: `[\"https://example.com/tier\"]`",
            ),
        );
        return None;
    }
    Some(names)
}

/// A plain value, as it would stand in a token.
fn json(node: Node, problems: &Problems) -> Option<Json> {
    match node.value {
        Value::Text(text) => Some(Json::String(text)),
        Value::Integer(number) => Some(Json::from(number)),
        Value::Float(number) => Some(Json::from(number)),
        Value::Flag(flag) => Some(Json::Bool(flag)),
        Value::Datetime | Value::List(_) | Value::Table(_) => {
            problems.add(Problem::error(
                &node.place,
                "a claim is compared with a text, a number, `true` or `false`",
            ));
            None
        }
    }
}
