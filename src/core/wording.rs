//! Requirements in words, for route tables and explanations.

use std::fmt;

use super::authorization::{Asked, Level};
use super::machine::{TokenType, TokenTypes};
use super::requirement::{ClaimRule, ClaimTest, Requirement};

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words(self))
    }
}

fn words(requirement: &Requirement) -> String {
    let several = |parts: &[Requirement], word: &str| {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| match part {
                Requirement::Any(_) | Requirement::All(_) => {
                    format!("({})", words(part))
                }
                _ => words(part),
            })
            .collect();
        parts.join(word)
    };
    match requirement {
        Requirement::Public => "public".to_owned(),
        Requirement::SignedIn => "signed-in".to_owned(),
        Requirement::Has(asked) => has(asked),
        Requirement::MaxAge(age) => format!("verified within {}", humantime::format_duration(*age)),
        Requirement::MaxTokenAge(age) => {
            format!("token of the last {}", humantime::format_duration(*age))
        }
        Requirement::Claim(rule) => claim(rule),
        Requirement::NotImpersonated => "not impersonated".to_owned(),
        Requirement::Token(types) => token(*types),
        Requirement::Scope(scopes) => format!("scope {}", scopes.join(" and ")),
        Requirement::All(parts) => several(parts, " and "),
        Requirement::Any(parts) => several(parts, " or "),
    }
}

fn token(types: TokenTypes) -> String {
    if types == TokenTypes::ANY {
        return "any token".to_owned();
    }
    let kinds: Vec<&str> = types.iter().map(TokenType::as_str).collect();
    match kinds.as_slice() {
        [only] => (*only).to_owned(),
        several => format!("one of {}", several.join(", ")),
    }
}

fn has(asked: &Asked) -> String {
    let mut parts = Vec::new();
    for (word, value) in [
        ("role", &asked.role),
        ("permission", &asked.permission),
        ("feature", &asked.feature),
        ("plan", &asked.plan),
    ] {
        parts.extend(value.as_ref().map(|value| format!("{word} {value}")));
    }
    if let Some(wanted) = asked.reverification {
        let level = match wanted.level {
            Level::FirstFactor => "first factor",
            Level::SecondFactor => "second factor",
            Level::MultiFactor => "both factors",
        };
        parts.push(format!("{level} within {} min", wanted.after_minutes));
    }
    parts.join(" and ")
}

fn claim(rule: &ClaimRule) -> String {
    let path = rule.path.join(".");
    match &rule.test {
        ClaimTest::Equals(value) => format!("claim {path} = {value}"),
        ClaimTest::Contains(value) => format!("claim {path} contains {value}"),
    }
}
