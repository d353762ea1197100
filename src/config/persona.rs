//! Who somebody is meant to be: in an assertion, and behind `explain --as`.

use serde_json::Map;

use super::report::{Problem, Problems};
use super::section::{Section, listed, wrong_kind};
use super::shape::Shape;
use super::tree::{Node, Value};
use crate::core::machine::{Machine, TokenType, TokenTypes};
use crate::core::persona::{self, Persona, Sender};

/// What `as` looks like.
pub(super) fn shape() -> Shape {
    Shape::Text.or(Shape::table("as"))
}

/// Reads `as`: `"nobody"`, `"signed-in"`, or a table. `None` has been reported.
pub(super) fn read(node: Node, problems: &Problems) -> Option<Sender> {
    match node.value {
        Value::Text(words) => match parse_persona(&words) {
            Ok(persona) => Some(persona),
            Err(why) => {
                problems.add(Problem::error(
                    &node.place,
                    format!("`as` cannot be used: {why}"),
                ));
                None
            }
        },
        Value::Table(table) => {
            let section = Section::new(table, "as", node.place, problems);
            if section.has("token") {
                return machine_from_table(section)
                    .map(|machine| Sender::Machine(Box::new(machine)));
            }
            Some(Sender::Somebody(Box::new(from_table(section))))
        }
        _ => {
            wrong_kind("as", &node, "a text or a table", problems);
            None
        }
    }
}

fn from_table(mut section: Section<'_>) -> Persona {
    let mut persona = Persona::default();
    if let Some(user) = section.text("user") {
        persona.user = user.value;
    }
    if let Some(organization) = section.text("organization") {
        persona.organization = Some(organization.value);
    }
    if let Some(role) = section.text("role") {
        persona.set_role(&role.value);
    }
    for (key, add) in [
        (
            "permission",
            Persona::add_permission as fn(&mut Persona, &str),
        ),
        ("feature", Persona::add_feature),
        ("plan", Persona::add_plan),
    ] {
        for value in section.texts(key).unwrap_or_default() {
            add(&mut persona, &value.value);
        }
    }
    let span = std::time::Duration::ZERO..=std::time::Duration::from_hours(24 * 3650);
    if let Some(age) = section.duration("verified", span.clone()) {
        persona.factor_ages.0 = minutes(age);
    }
    if let Some(age) = section.duration("second-factor", span.clone()) {
        persona.factor_ages.1 = minutes(age);
    }
    if let Some(age) = section.duration("token-age", span) {
        persona.token_age = age.as_secs();
    }
    persona.impersonated = section.flag("impersonated").is_some_and(|flag| flag.value);
    persona.pending = section.flag("pending").is_some_and(|flag| flag.value);
    if section.has("claims") {
        for entry in section.section("claims").into_entries(Shape::Anything) {
            if let Some(value) = entry.node.into_json() {
                persona.claims.insert(entry.key, value);
            }
        }
    } else {
        section.knows("claims");
    }
    section.finish();
    persona
}

/// A machine: its kind of token, whom it stands for, what it may do.
fn machine_from_table(mut section: Section<'_>) -> Option<Machine> {
    let kind = section.shaped(
        "token",
        Shape::words(TokenTypes::MACHINES.iter()),
        machine_type,
    );
    let subject = section.text("subject");
    let scopes = section.texts("scope").unwrap_or_default();
    let mut claims = Map::new();
    if section.has("claims") {
        for entry in section.section("claims").into_entries(Shape::Anything) {
            if let Some(value) = entry.node.into_json() {
                claims.insert(entry.key, value);
            }
        }
    } else {
        section.knows("claims");
    }
    section.finish();
    let mut machine = persona::machine(kind?.value);
    if let Some(subject) = subject {
        machine.subject = subject.value;
    }
    machine.scopes = scopes.into_iter().map(|scope| scope.value).collect();
    machine.claims = claims;
    Some(machine)
}

fn machine_type(word: &str) -> Result<TokenType, String> {
    let machines = TokenTypes::MACHINES;
    machines
        .iter()
        .find(|kind| kind.as_str() == word)
        .ok_or_else(|| {
            let known: Vec<String> = machines.iter().map(|kind| format!("`{kind}`")).collect();
            format!("it is {}", listed(&known, "or"))
        })
}

fn minutes(age: std::time::Duration) -> i64 {
    i64::try_from(age.as_secs() / 60).unwrap_or(i64::MAX)
}

/// Reads `user_1,org:member,permission=org:x:read`: a user's id, a role, and more by name;
/// `token=api_key,user_1,scope=read` for a machine; or `nobody`. The error says what is wrong.
pub fn parse_persona(text: &str) -> Result<Sender, String> {
    if text == "nobody" {
        return Ok(Sender::Nobody);
    }
    if text
        .split(',')
        .any(|word| word.trim().starts_with("token="))
    {
        return parse_machine(text).map(|machine| Sender::Machine(Box::new(machine)));
    }
    let mut persona = Persona::default();
    for word in text.split(',').map(str::trim) {
        match word.split_once('=') {
            None if word == "signed-in" => {}
            None if word == "impersonated" => persona.impersonated = true,
            None if word == "pending" => persona.pending = true,
            None if word.starts_with("user_") => word.clone_into(&mut persona.user),
            None if word.starts_with("org_") => persona.organization = Some(word.to_owned()),
            None if word.starts_with("org:") => persona.set_role(word),
            Some(("user", value)) => value.clone_into(&mut persona.user),
            Some(("organization", value)) => persona.organization = Some(value.to_owned()),
            Some(("role", value)) => persona.set_role(value),
            Some(("permission", value)) => persona.add_permission(value),
            Some(("feature", value)) => persona.add_feature(value),
            Some(("plan", value)) => persona.add_plan(value),
            Some((key @ ("verified" | "second-factor" | "token-age"), value)) => {
                let age = humantime::parse_duration(value)
                    .map_err(|_| format!("`{key}` is a span of time such as `5m`"))?;
                match key {
                    "verified" => persona.factor_ages.0 = minutes(age),
                    "second-factor" => persona.factor_ages.1 = minutes(age),
                    _ => persona.token_age = age.as_secs(),
                }
            }
            None | Some(_) => {
                return Err(format!(
                    "`{word}` is none of `nobody`, `signed-in`, `user_…`, `org_…`, `org:<role>`, `impersonated`, `pending`, `permission=…`, `feature=…`, `plan=…`, `verified=5m`, `second-factor=5m`, `token-age=5s`; or `token=…` and more for a machine"
                ));
            }
        }
    }
    Ok(Sender::Somebody(Box::new(persona)))
}

fn parse_machine(text: &str) -> Result<Machine, String> {
    let words = || text.split(',').map(str::trim);
    let kind = words().find_map(|word| word.strip_prefix("token="));
    let kind = machine_type(kind.unwrap_or_default()).map_err(|why| format!("`token`: {why}"))?;
    let mut machine = persona::machine(kind);
    for word in words() {
        match word.split_once('=') {
            Some(("token", _)) => {}
            Some(("subject", value)) => value.clone_into(&mut machine.subject),
            Some(("scope", value)) => machine.scopes.push(value.to_owned()),
            None if ["user_", "org_", "mch_"]
                .iter()
                .any(|id| word.starts_with(id)) =>
            {
                word.clone_into(&mut machine.subject);
            }
            None | Some(_) => {
                return Err(format!(
                    "`{word}` says nothing of a machine: there are `token=…`, `user_…`, `org_…`, `mch_…` and `scope=…`"
                ));
            }
        }
    }
    Ok(machine)
}

/// A sender in a few words.
pub(super) fn described(sender: &Sender) -> String {
    let persona = match sender {
        Sender::Nobody => return "nobody".to_owned(),
        Sender::Machine(machine) => {
            let scopes = machine
                .scopes
                .iter()
                .map(|scope| format!(", scope `{scope}`"));
            let scopes: String = scopes.collect();
            return format!("`{}` of `{}`{scopes}", machine.kind, machine.subject);
        }
        Sender::Somebody(persona) => persona,
    };
    let mut words = vec![format!("`{}`", persona.user)];
    words.extend(persona.role.iter().map(|role| format!("`{role}`")));
    words.extend(persona.permissions.iter().map(|name| format!("`{name}`")));
    words.extend(persona.plans.iter().map(|name| format!("plan `{name}`")));
    words.extend(
        persona
            .features
            .iter()
            .map(|name| format!("feature `{name}`")),
    );
    if persona.impersonated {
        words.push("impersonated".to_owned());
    }
    if persona.pending {
        words.push("pending".to_owned());
    }
    words.join(", ")
}
