//! The values of a configuration, each with the place it was written at: the file first, then what
//! the environment and the flags put in its stead.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Place, Problem, Problems};

/// A value and where it was written. No `Debug`: it may hold a secret.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value as TOML knows it.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    Datetime,
    List(Vec<Node>),
    Table(Table),
}

/// Keys in the order they were written.
#[derive(Clone, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) node: Node,
}

/// Where the values of a text are.
enum Origin {
    File,
    Variable(Arc<str>),
}

impl Origin {
    fn place(&self, span: Range<usize>) -> Place {
        match self {
            Self::File => Place::File(span),
            Self::Variable(name) => Place::InVariable(Arc::clone(name)),
        }
    }
}

impl Value {
    /// What it is, with its article, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Flag(_) => "`true` or `false`",
            Self::Datetime => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Table {
    /// Reads a file. Every error of its syntax becomes a problem.
    pub(super) fn of_file(text: &str, problems: &Problems) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = error.span().map_or(Place::Nowhere, Place::File);
            problems.add(Problem::error(&place, syntax(error.message())));
        }
        self::table(&Origin::File, table.into_inner(), problems)
    }

    /// Whether there is such a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Takes an entry out.
    pub(super) fn take(&mut self, key: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }

    /// This table, and what `base` has besides. A key that is given in a file or as it is takes the
    /// place of both ways.
    pub(super) fn over(mut self, base: Self) -> Self {
        for entry in base.entries {
            if !self.has(&entry.key) && !self.has(&other_way(&entry.key)) {
                self.entries.push(entry);
            }
        }
        self
    }

    /// Leaves the entries whose key is to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.entries.retain(|entry| keep(&entry.key));
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(&entry.node)
    }

    /// What has not been taken.
    pub(super) fn into_rest(self) -> Vec<Entry> {
        self.entries
    }

    /// Puts a value at a path of keys in the stead of what is there. The other way of giving it (in
    /// a file, or as it is) goes too: one layer decides.
    pub(super) fn put(&mut self, path: &[String], node: Node) {
        let Some((key, rest)) = path.split_first() else {
            return;
        };
        if rest.is_empty() {
            let other = other_way(key);
            self.entries.retain(|entry| entry.key != other);
        }
        let place = node.place.clone();
        if self.entries.iter().all(|entry| entry.key != *key) {
            self.entries.push(Entry {
                key: key.clone(),
                key_place: place.clone(),
                node: Node {
                    place,
                    value: Value::Table(Self::default()),
                },
            });
        }
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == *key) else {
            return;
        };
        if rest.is_empty() {
            entry.key_place = node.place.clone();
            entry.node = node;
        } else {
            if !matches!(entry.node.value, Value::Table(_)) {
                entry.node.value = Value::Table(Self::default());
                entry.node.place = node.place.clone();
            }
            if let Value::Table(table) = &mut entry.node.value {
                table.put(rest, node);
            }
        }
    }
}

/// The key that gives the same in a file, or as it is.
fn other_way(key: &str) -> String {
    match key.strip_suffix("-file") {
        Some(plain) => plain.to_owned(),
        None => format!("{key}-file"),
    }
}

impl Node {
    /// The value of an environment variable: TOML where it begins with a bracket or a brace, else a
    /// text. `None` where that TOML is none, which has been reported.
    pub(super) fn of_variable(name: &str, text: &str, problems: &Problems) -> Option<Self> {
        let origin = Origin::Variable(name.into());
        let place = origin.place(0..0);
        // `[::1]:8080` is an address, and no list.
        let is_address = text.parse::<SocketAddr>().is_ok();
        if is_address || !text.starts_with(['[', '{']) {
            let value = Value::Text(text.to_owned());
            let place = Place::Variable(name.into());
            return Some(Self { place, value });
        }
        match DeValue::parse(text) {
            Ok(value) => Some(node(&origin, value, problems)),
            Err(error) => {
                problems.add(Problem::error(&place, syntax(error.message())));
                None
            }
        }
    }

    /// The value as JSON. `None` where there is a date in it, which JSON has not.
    pub(super) fn into_json(self) -> Option<Json> {
        Some(match self.value {
            Value::Text(text) => Json::String(text),
            Value::Integer(number) => Json::from(number),
            Value::Float(number) => Json::from(number),
            Value::Flag(flag) => Json::Bool(flag),
            Value::Datetime => return None,
            Value::List(items) => items
                .into_iter()
                .map(Self::into_json)
                .collect::<Option<_>>()?,
            Value::Table(table) => Json::Object(
                table
                    .into_rest()
                    .into_iter()
                    .map(|entry| Some((entry.key, entry.node.into_json()?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }

    /// The value of a flag.
    pub(super) fn of_flag(flag: &str, text: &str) -> Self {
        Self {
            place: Place::Flag(flag.into()),
            value: Value::Text(text.to_owned()),
        }
    }
}

/// The parser's message, on one line.
fn syntax(message: &str) -> String {
    format!("this is not TOML: {}", message.replace('\n', " "))
}

fn table(origin: &Origin, table: DeTable<'_>, problems: &Problems) -> Table {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            key_place: origin.place(key.span()),
            key: key.into_inner().into_owned(),
            node: node(origin, value, problems),
        })
        .collect();
    entries.sort_by_key(|entry| match &entry.key_place {
        Place::File(span) => span.start,
        Place::Variable(_) | Place::InVariable(_) | Place::Flag(_) | Place::Nowhere => 0,
    });
    Table { entries }
}

fn node(origin: &Origin, value: Spanned<DeValue<'_>>, problems: &Problems) -> Node {
    let place = origin.place(value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(digits) => {
            if let Ok(number) =
                i64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix())
            {
                Value::Integer(number)
            } else {
                problems.add(Problem::error(&place, "this number is too large"));
                Value::Integer(0)
            }
        }
        DeValue::Float(digits) => {
            Value::Float(digits.as_str().replace('_', "").parse().unwrap_or(f64::NAN))
        }
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(list) => Value::List(
            list.into_iter()
                .map(|item| node(origin, item, problems))
                .collect(),
        ),
        DeValue::Table(inner) => Value::Table(table(origin, inner, problems)),
    };
    Node { place, value }
}
