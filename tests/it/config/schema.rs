//! The schema has what the loader looks for, and says what the reference says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clerk_gate::config;
use serde_json::Value;

use super::{FOLDER, load};

/// The schema that comes with the program.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/clerk-gate.schema.json");

/// The tables of the schema by the names that they have in it; the first one is the file.
fn tables(schema: &Value) -> Vec<(&str, &Value)> {
    let definitions = schema["$defs"].as_object().unwrap();
    let named = definitions
        .iter()
        .map(|(name, table)| (name.as_str(), table));
    std::iter::once(("", schema)).chain(named).collect()
}

/// Every key of the schema, as `table key`.
fn keys(schema: &Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (name, table) in tables(schema) {
        let properties = table["properties"].as_object();
        for key in properties.into_iter().flat_map(|keys| keys.keys()) {
            keys.insert(format!("{name} {key}"));
        }
    }
    keys
}

#[test]
fn the_schema_that_comes_with_the_program_is_the_one_that_it_prints() {
    let printed = format!("{:#}\n", config::schema());
    if option_env!("UPDATE").is_some() {
        fs::write(SHIPPED, &printed).unwrap();
    }
    assert!(
        fs::read_to_string(SHIPPED).unwrap_or_default() == printed,
        "config/clerk-gate.schema.json is that of another program: `UPDATE=1 cargo test --test it config::schema` writes it anew"
    );
}

#[test]
fn every_key_that_any_configuration_is_asked_for_is_in_the_schema() {
    let schema = config::schema();
    let known = keys(&schema);
    let mut count = 0;
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let asked = match load("x", &fs::read_to_string(&path).unwrap()) {
            Ok(loaded) => loaded.warnings.keys().clone(),
            Err(report) => report.keys().clone(),
        };
        for key in asked {
            let (table, key) = key.rsplit_once(' ').unwrap();
            let key = format!("{} {key}", table.trim_matches(['[', ']']));
            assert!(known.contains(&key), "{}: `{key}`", path.display());
            count += 1;
        }
    }
    assert!(count >= 10_000, "{count} keys");
    assert!(known.len() >= 170, "{} keys", known.len());
}

#[test]
fn every_key_with_a_row_in_the_reference_is_described_in_the_schema() {
    // What these hold stands in running text.
    let in_words = ["as", "limit.by", "require.claim", "reverified", "store"];
    let schema = config::schema();
    let mut count = 0;
    for (name, table) in tables(&schema) {
        let Some(properties) = table["properties"].as_object() else {
            continue;
        };
        for (key, property) in properties {
            let is_table = property["$ref"].is_string() || property["items"]["$ref"].is_string();
            if in_words.contains(&name) || name.is_empty() && is_table {
                continue;
            }
            let description = property["description"].as_str().unwrap_or_default();
            assert!(description.len() > 3, "[{name}] {key}: {description:?}");
            assert!(!description.contains("]("), "[{name}] {key}: {description}");
            count += 1;
        }
    }
    assert!(count >= 130, "{count} keys");
    let listen = &schema["properties"]["listen"];
    assert_eq!(
        listen["description"],
        "where requests are accepted: see below (address or several)"
    );
    assert_eq!(listen["default"], "127.0.0.1:8080");
    let first = schema["$defs"]["route"]["description"].as_str().unwrap();
    assert!(first.starts_with("First match wins"), "{first}");
}

#[test]
fn no_key_of_the_schema_takes_anything() {
    let schema = config::schema();
    for (name, table) in tables(&schema) {
        let properties = table["properties"].as_object();
        for (key, property) in properties.into_iter().flatten() {
            let says = ["$ref", "type", "enum", "anyOf"]
                .iter()
                .any(|word| property.get(word).is_some());
            assert!(says, "[{name}] {key}");
        }
        let free = &table["additionalProperties"];
        let closed = free == &Value::Bool(false) || table["$ref"].is_string();
        assert!(
            closed || free["$ref"].is_string() || free["anyOf"].is_array() || name == "as.claims",
            "[{name}] {free}"
        );
    }
}

#[test]
fn every_table_that_the_schema_points_at_is_in_it() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    found.insert(to.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let schema = config::schema();
    let mut found = BTreeSet::new();
    references(&schema, &mut found);
    let defined: BTreeSet<String> = tables(&schema)
        .into_iter()
        .skip(1)
        .map(|(name, _)| format!("#/$defs/{name}"))
        .collect();
    assert!(defined.len() >= 30, "{defined:?}");
    assert_eq!(found, defined);
}

#[test]
fn the_configuration_that_shows_every_setting_names_the_schema() {
    let folder = Path::new(SHIPPED).parent().unwrap();
    let text = fs::read_to_string(folder.join("clerk-gate.toml")).unwrap();
    let first = text.lines().next().unwrap();
    let named = first.strip_prefix("#:schema ").unwrap();
    assert!(folder.join(named).exists(), "{named}");
}
