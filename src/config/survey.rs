//! What the loader asks for. It is shown files that hold nothing, and what it looks for in them is
//! noted: so there is no list of keys beside the code that reads them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::report::Place;
use super::shape::Shape;
use super::tree::{Entry, Node, Table, Value};

/// What is asked for, by the names that tables have in messages.
pub(super) type Tables = BTreeMap<String, AskedTable>;

/// What is asked of a table.
#[derive(Debug, Default)]
pub(super) struct AskedTable {
    /// Its keys, and what the value of each may look like.
    pub(super) keys: BTreeMap<&'static str, Vec<Shape>>,
    /// Those of its keys that have to be there.
    pub(super) needed: BTreeSet<&'static str>,
    /// What the values of a table look like whose keys are free.
    pub(super) free: Option<Shape>,
    /// The table whose keys this one has.
    pub(super) same_as: Option<String>,
}

/// What a reader is told that asks whether a key is written. Some look further only where it is, and
/// some only where it is not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pretence {
    /// That nothing is.
    Nothing,
    /// That everything is.
    Everything,
}

/// Notes what is asked for.
#[derive(Debug)]
pub(super) struct Survey {
    pretence: Pretence,
    tables: RefCell<Tables>,
}

impl Survey {
    /// A survey that goes on from what is known already.
    pub(super) fn new(pretence: Pretence, tables: Tables) -> Self {
        Self {
            pretence,
            tables: RefCell::new(tables),
        }
    }

    /// What has been asked for.
    pub(super) fn into_tables(self) -> Tables {
        self.tables.into_inner()
    }

    /// Whether a key is said to be written.
    pub(super) fn says_written(&self) -> bool {
        matches!(self.pretence, Pretence::Everything)
    }

    /// Notes that a key was asked for. What can be a table is an empty one, so that its keys are asked
    /// for as well; everything else is not there.
    pub(super) fn ask(&self, table: &str, key: &'static str, shape: Shape) -> Option<Entry> {
        let value = empty(&shape);
        self.noted(table, |asked| {
            let shapes = asked.keys.entry(key).or_default();
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        });
        Some(entry(key, value?))
    }

    /// Notes that a key has to be there.
    pub(super) fn need(&self, table: &str, key: &'static str) {
        self.noted(table, |asked| {
            asked.needed.insert(key);
        });
    }

    /// Notes that the keys of a table are free. One of them is there if its value can be a table.
    pub(super) fn free(&self, table: &str, shape: Shape) -> Vec<Entry> {
        let value = empty(&shape);
        self.noted(table, |asked| asked.free = Some(shape));
        value
            .into_iter()
            .map(|value| entry("name", value))
            .collect()
    }

    /// Notes that a table has the keys of another one.
    pub(super) fn same(&self, table: &str, other: &str) {
        self.noted(table, |asked| asked.same_as = Some(other.to_owned()));
    }

    fn noted(&self, table: &str, note: impl FnOnce(&mut AskedTable)) {
        note(
            self.tables
                .borrow_mut()
                .entry(table.to_owned())
                .or_default(),
        );
    }
}

/// An empty table, or a list that holds one, where the shape has such.
fn empty(shape: &Shape) -> Option<Value> {
    match shape {
        Shape::Table(_) => Some(Value::Table(Table::default())),
        Shape::List(item) if matches!(**item, Shape::Table(_)) => {
            let value = empty(item)?;
            let place = Place::Nowhere;
            Some(Value::List(vec![Node { place, value }]))
        }
        Shape::Either(shapes) => shapes
            .iter()
            .any(|shape| matches!(shape, Shape::Table(_)))
            .then(|| Value::Table(Table::default())),
        Shape::List(_)
        | Shape::Text
        | Shape::Like(_)
        | Shape::Word(_)
        | Shape::Flag
        | Shape::Integer(_)
        | Shape::Share
        | Shape::Plain
        | Shape::Anything => None,
    }
}

fn entry(key: &str, value: Value) -> Entry {
    let place = Place::Nowhere;
    Entry {
        key: key.to_owned(),
        key_place: place.clone(),
        node: Node { place, value },
    }
}
