//! Whatever a file can say, the environment can say.

use std::fs;
use std::path::Path;

use clerk_gate::config::{self, Environment, Source, Surroundings};
use toml::{Table, Value};

use super::{FOLDER, files};
use crate::support::NOW_MS;

/// A table as variables: one for each value, lists of plain texts with commas, other lists as in TOML.
fn variables(table: &Table, prefix: &str, found: &mut Environment) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.to_ascii_uppercase().replace('-', "_"));
        match value {
            Value::Table(inner) => variables(inner, &format!("{name}__"), found),
            Value::String(text) => found.push((name, text.clone())),
            Value::Array(items) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                let plain = |text: &&str| !text.contains(',');
                match texts {
                    // A claim whose name holds a dot is a list of one, which is more than its text.
                    Some(texts) if texts.len() > 1 && texts.iter().all(plain) => {
                        found.push((name, texts.join(", ")));
                    }
                    _ => found.push((name, value.to_string())),
                }
            }
            other => found.push((name, other.to_string())),
        }
    }
}

#[test]
fn every_key_can_come_from_the_environment() {
    let mut count = 0;
    for case in ["every-key", "limits", "sites", "requirements", "tests-hold"] {
        let text = fs::read_to_string(Path::new(FOLDER).join(format!("{case}.toml"))).unwrap();
        let mut environment = Environment::new();
        variables(&text.parse().unwrap(), "CLERK_GATE_", &mut environment);
        count += environment.len();
        let load = |text: &str, environment: &Environment| {
            let surroundings = Surroundings {
                environment,
                flags: &[],
                files: &files,
                now_ms: NOW_MS,
            };
            let loaded = config::load(&Source::new("x", text), &surroundings);
            loaded.unwrap_or_else(|report| panic!("{case}: {report}"))
        };
        let of_file = load(&text, &Environment::new()).config;
        let of_environment = load("", &environment).config;
        assert_eq!(
            format!("{of_environment:#?}"),
            format!("{of_file:#?}"),
            "{case}"
        );
    }
    assert!(count >= 100, "{count} variables");
}
