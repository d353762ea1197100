//! The JSON Schema of the configuration, for editors: which keys there are, what their values look
//! like and what they are for.
//!
//! The keys and shapes are those that the loader asks for (`survey`), the words those of the reference
//! (`reference`). What a schema cannot say is left to `check`: a schema that takes a file does not
//! mean that the gate does.

use serde_json::{Map, Value as Json, json};

use super::load;
use super::reference::{Reference, without_links};
use super::shape::Shape;
use super::survey::AskedTable;

/// The schema, by JSON Schema's draft 2020-12.
pub fn schema() -> Json {
    let tables = load::survey();
    let reference = Reference::read();
    let writer = Writer {
        reference: &reference,
    };
    let mut schema = Map::new();
    let mut definitions = Map::new();
    for (name, asked) in &tables {
        let table = writer.table(name, asked);
        if name.is_empty() {
            schema = table;
        } else {
            definitions.insert(definition(name).to_owned(), Json::Object(table));
        }
    }
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!("The configuration of clerk-gate"));
    schema.insert("$defs".to_owned(), Json::Object(definitions));
    Json::Object(schema)
}

/// What a table is called in the schema.
fn definition(table: &str) -> &str {
    table.trim_matches(['[', ']'])
}

struct Writer<'a> {
    reference: &'a Reference,
}

impl Writer<'_> {
    fn table(&self, name: &str, asked: &AskedTable) -> Map<String, Json> {
        let mut table = Map::new();
        if let Some(other) = &asked.same_as {
            table.insert("$ref".to_owned(), reference_to(other));
            return table;
        }
        table.insert("type".to_owned(), json!("object"));
        if let Some(text) = self.reference.of_table(name) {
            table.insert("description".to_owned(), json!(without_links(text)));
        }
        let properties: Map<String, Json> = asked
            .keys
            .iter()
            .map(|(key, shapes)| ((*key).to_owned(), self.property(name, key, shapes)))
            .collect();
        table.insert("properties".to_owned(), Json::Object(properties));
        if !asked.needed.is_empty() {
            table.insert("required".to_owned(), json!(asked.needed));
        }
        let rest = asked.free.as_ref().map_or(json!(false), value);
        table.insert("additionalProperties".to_owned(), rest);
        table
    }

    fn property(&self, table: &str, key: &'static str, shapes: &[Shape]) -> Json {
        let shape = match shapes {
            [shape] => value(shape),
            several => json!({ "anyOf": several.iter().map(value).collect::<Vec<_>>() }),
        };
        let (Json::Object(mut property), Some(said)) =
            (shape.clone(), self.reference.of(table, key))
        else {
            return shape;
        };
        let meaning = match (said.meaning, said.value) {
            ("", value) => value.to_owned(),
            (meaning, "") => meaning.to_owned(),
            (meaning, value) if tells(shapes) => format!("{meaning} ({value})"),
            (meaning, _) => meaning.to_owned(),
        };
        property.insert("description".to_owned(), json!(without_links(&meaning)));
        if let Some(default) = default(said.default) {
            property.insert("default".to_owned(), default);
        }
        Json::Object(property)
    }
}

/// Whether the reference says more of a value than its shape does.
fn tells(shapes: &[Shape]) -> bool {
    !shapes
        .iter()
        .all(|shape| matches!(shape, Shape::Word(_) | Shape::Flag | Shape::Table(_)))
}

/// A value that stands in the reference as it would in a file.
fn default(cell: &str) -> Option<Json> {
    let written = cell.strip_prefix('`')?.strip_suffix('`')?;
    let line: toml::Table = format!("value = {written}").parse().ok()?;
    serde_json::to_value(line.get("value")?).ok()
}

fn reference_to(table: &str) -> Json {
    json!(format!("#/$defs/{}", definition(table)))
}

/// What may stand where this shape is wanted.
fn value(shape: &Shape) -> Json {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Like(pattern) => json!({ "type": "string", "pattern": pattern }),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Integer(range) => {
            json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
        }
        Shape::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Shape::Plain => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Anything => json!({}),
        Shape::Table(name) => json!({ "$ref": reference_to(name) }),
        Shape::List(item) => json!({ "type": "array", "items": value(item) }),
        Shape::Either(shapes) => {
            json!({ "anyOf": shapes.iter().map(value).collect::<Vec<_>>() })
        }
    }
}
