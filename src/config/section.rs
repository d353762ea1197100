//! Reading one table of the configuration, key by key. What is wrong becomes a problem and reads
//! as if it were not there, so that everything else is still looked at.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::environment;
use super::quantities::{SIZE, SPAN, bytes, span_text};
use super::report::{Place, Problem, Problems};
use super::shape::Shape;
use super::tree::{Entry, Node, Table, Value};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> Placed<T> {
    pub(super) fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

/// One table, while it is read.
pub(super) struct Section<'p> {
    table: Table,
    /// What the table is called, such as `[clerk]`.
    name: String,
    place: Place,
    known: Vec<&'static str>,
    problems: &'p Problems,
}

impl<'p> Section<'p> {
    /// The table called `name`.
    pub(super) fn new(table: Table, name: &str, place: Place, problems: &'p Problems) -> Self {
        Self {
            table,
            name: name.to_owned(),
            place,
            known: Vec::new(),
            problems,
        }
    }

    /// The same table once more, as if nothing had been read of it.
    pub(super) fn copy(&self) -> Self {
        Self::new(
            self.table.clone(),
            &self.name,
            self.place.clone(),
            self.problems,
        )
    }

    /// The table as it is.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// A table of the same name that holds what `own` holds, and of this one what is to be kept.
    pub(super) fn under(&self, own: &Self, keep: impl Fn(&str) -> bool) -> Self {
        if let Some(survey) = self.problems.survey() {
            survey.same(&own.name, &self.name);
        }
        let mut base = self.table.clone();
        base.retain(keep);
        let place = match &own.place {
            Place::Nowhere => &self.place,
            place => place,
        };
        Self::new(
            own.table.clone().over(base),
            &self.name,
            place.clone(),
            self.problems,
        )
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Where problems go.
    pub(super) fn problems(&self) -> &'p Problems {
        self.problems
    }

    /// Whether a key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        match self.problems.survey() {
            Some(survey) => survey.says_written(),
            None => self.table.has(key),
        }
    }

    /// Whether a key is written that has to be.
    pub(super) fn has_needed(&self, key: &'static str) -> bool {
        self.needs(key);
        self.has(key)
    }

    /// Says that a key has to be written. Whoever reads it reports that it is not.
    pub(super) fn needs(&self, key: &'static str) {
        if let Some(survey) = self.problems.survey() {
            survey.need(&self.name, key);
        }
    }

    fn entry(&mut self, key: &'static str, shape: impl FnOnce() -> Shape) -> Option<Entry> {
        self.knows(key);
        match self.problems.survey() {
            Some(survey) => survey.ask(&self.name, key, shape()),
            None => self.table.take(key),
        }
    }

    /// Has a misspelling find a key that is not looked at.
    pub(super) fn knows(&mut self, key: &'static str) {
        self.known.push(key);
        self.problems.ask(&self.name, key);
    }

    /// A value of any kind, which has this shape if it is right.
    pub(super) fn node(&mut self, key: &'static str, shape: Shape) -> Option<Node> {
        self.entry(key, || shape).map(|entry| entry.node)
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Placed<String>> {
        let node = self.node(key, Shape::Text)?;
        text(key, node, self.problems)
    }

    /// A text that means something.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        self.shaped(key, Shape::Text, parse)
    }

    /// A text of this shape that means something.
    pub(super) fn shaped<T>(
        &mut self,
        key: &'static str,
        shape: Shape,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let node = self.node(key, shape)?;
        let text = text(key, node, self.problems)?;
        match parse(&text.value) {
            Ok(value) => Some(Placed::new(value, text.place)),
            Err(why) => {
                self.problems.add(Problem::error(
                    &text.place,
                    format!("`{key}` cannot be used: {why}"),
                ));
                None
            }
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Option<Placed<T>> {
        let shape = Shape::words(words.iter().map(|(word, _)| word));
        self.shaped(key, shape, |text| {
            words
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| *value)
                .ok_or_else(|| {
                    let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
                    format!("it is {}", listed(&words, "or"))
                })
        })
    }

    /// A text, or several.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Placed<String>>> {
        let node = self.node(key, Shape::Text.or_several())?;
        Some(texts(key, node, self.problems))
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<Placed<bool>> {
        let node = self.node(key, Shape::Flag)?;
        let flag = match (&node.value, &node.place) {
            (Value::Flag(flag), _) => Some(*flag),
            (Value::Text(text), Place::Variable(_) | Place::Flag(_)) => text.parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            wrong_kind(key, &node, "`true` or `false`", self.problems);
        }
        flag.map(|flag| Placed::new(flag, node.place))
    }

    /// A whole number in this range.
    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let number = self.whole_number(key, range.clone())?;
        if !range.contains(&number.value) {
            let (least, most) = (range.start(), range.end());
            self.problems.add(Problem::error(
                &number.place,
                format!("`{key}` is from {least} to {most}"),
            ));
            return None;
        }
        Some(number.value)
    }

    /// A whole number, which is in this range if it is right.
    pub(super) fn whole_number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<Placed<i64>> {
        let node = self.node(key, Shape::Integer(range))?;
        let number = match (&node.value, &node.place) {
            (Value::Integer(number), _) => Some(*number),
            (Value::Text(text), Place::Variable(_) | Place::Flag(_)) => text.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            wrong_kind(key, &node, "a whole number", self.problems);
        }
        number.map(|number| Placed::new(number, node.place))
    }

    /// Whole numbers: one, a list of them, or a comma-separated line of the environment.
    pub(super) fn integers(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<Vec<Placed<i64>>> {
        let problems = self.problems;
        let (least, most) = (*range.start(), *range.end());
        let node = self.node(key, Shape::Integer(range.clone()).or_several())?;
        let items = match (node.value, node.place) {
            (Value::List(items), _) => items,
            (Value::Text(line), place @ (Place::Variable(_) | Place::Flag(_))) => line
                .split(',')
                .map(|item| Node {
                    value: item
                        .trim()
                        .parse()
                        .map_or_else(|_| Value::Text(item.to_owned()), Value::Integer),
                    place: place.clone(),
                })
                .collect(),
            (value, place) => vec![Node { place, value }],
        };
        let numbers = items.into_iter().filter_map(|item| {
            let Value::Integer(number) = item.value else {
                wrong_kind(key, &item, "a list of whole numbers", problems);
                return None;
            };
            if !range.contains(&number) {
                problems.add(Problem::error(
                    &item.place,
                    format!("each of `{key}` is from {least} to {most}"),
                ));
                return None;
            }
            Some(Placed::new(number, item.place))
        });
        Some(numbers.collect())
    }

    /// A span of time, such as `"5s"`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let read = self.shaped(key, Shape::Like(SPAN), |text| {
            let span = humantime::parse_duration(text)
                .map_err(|_| "it is a span of time such as `\"5s\"` or `\"1m 30s\"`".to_owned())?;
            if range.contains(&span) {
                Ok(span)
            } else {
                let (least, most) = (range.start(), range.end());
                Err(format!(
                    "it is from {} to {}",
                    span_text(*least),
                    span_text(*most)
                ))
            }
        });
        read.map(|read| read.value)
    }

    /// A number of bytes, such as `"64KiB"`.
    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let read = self.shaped(key, Shape::Like(SIZE), |text| {
            let bytes = bytes(text)
                .ok_or_else(|| "it is a size such as `\"64KiB\"` or `\"10MiB\"`".to_owned())?;
            if range.contains(&bytes) {
                Ok(bytes)
            } else {
                let (least, most) = (range.start(), range.end());
                Err(format!("it is from {least} to {most} bytes"))
            }
        });
        read.map(|read| read.value)
    }

    /// A table inside this one. An absent one reads as an empty one.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'p> {
        let name = match self.name.trim_matches(['[', ']']) {
            "" => format!("[{key}]"),
            outer => format!("[{outer}.{key}]"),
        };
        let Some(entry) = self.entry(key, || Shape::table(&name)) else {
            return Section::new(Table::default(), &name, Place::Nowhere, self.problems);
        };
        if let Value::Table(table) = entry.node.value {
            Section::new(table, &name, entry.key_place, self.problems)
        } else {
            wrong_kind(key, &entry.node, "a table", self.problems);
            Section::new(Table::default(), &name, entry.key_place, self.problems)
        }
    }

    /// An array of tables.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'p>> {
        let name = format!("[[{key}]]");
        let Some(entry) = self.entry(key, || Shape::table(&name).list()) else {
            return Vec::new();
        };
        let Value::List(items) = entry.node.value else {
            let title = format!("`{key}` is a list of tables");
            let place = &entry.node.place;
            let problem = match place.variable() {
                Some(_) => Problem::error(place, title).hint(format!(
                    "a variable sets the whole list: `{}=[{{ … }}, {{ … }}]`",
                    environment::variable(&[key])
                )),
                None => Problem::error(&entry.key_place, title)
                    .hint(format!("write `[[{key}]]`, with two brackets")),
            };
            self.problems.add(problem);
            return Vec::new();
        };
        items
            .into_iter()
            .filter_map(|item| {
                if let Value::Table(table) = item.value {
                    Some(Section::new(table, &name, item.place, self.problems))
                } else {
                    wrong_kind(key, &item, "a table", self.problems);
                    None
                }
            })
            .collect()
    }

    /// Every entry that is left, for tables whose keys are free. Values have this shape if they are right.
    pub(super) fn into_entries(self, shape: Shape) -> Vec<Entry> {
        match self.problems.survey() {
            Some(survey) => survey.free(&self.name, shape),
            None => self.table.into_rest(),
        }
    }

    /// Reports the keys that nobody has asked for.
    pub(super) fn finish(self) {
        for entry in self.table.into_rest() {
            let whose = match self.name.as_str() {
                "" => "at the top level".to_owned(),
                name => format!("in `{name}`"),
            };
            let title = format!("there is no key `{}` {whose}", entry.key);
            let mut problem = Problem::error(&entry.key_place, title);
            let near = self
                .known
                .iter()
                .map(|known| (strsim::jaro_winkler(known, &entry.key), *known))
                .max_by(|(a, _), (b, _)| a.total_cmp(b))
                .filter(|(nearness, _)| *nearness > 0.8);
            let variable = entry.key_place.variable().and_then(environment::nearest);
            if let Some(variable) = variable {
                problem = problem.hint(format!("did you mean `{variable}`?"));
            } else if let Some((_, known)) = near {
                problem = problem.hint(format!("did you mean `{known}`?"));
            } else if self.known.len() <= 12 {
                let mut known: Vec<_> = self.known.iter().map(|key| format!("`{key}`")).collect();
                known.sort();
                problem = problem.hint(format!("the keys are {}", listed(&known, "and")));
            }
            self.problems.add(problem);
        }
    }
}

/// A text out of a value.
pub(super) fn text(key: &str, node: Node, problems: &Problems) -> Option<Placed<String>> {
    if let Value::Text(text) = node.value {
        Some(Placed::new(text, node.place))
    } else {
        wrong_kind(key, &node, "a text", problems);
        None
    }
}

/// Texts out of a value: one, a list of them, or a comma-separated line of the environment.
pub(super) fn texts(key: &str, node: Node, problems: &Problems) -> Vec<Placed<String>> {
    match (node.value, node.place) {
        (Value::List(items), _) => items
            .into_iter()
            .filter_map(|item| text(key, item, problems))
            .collect(),
        (Value::Text(line), place @ (Place::Variable(_) | Place::Flag(_))) => line
            .split(',')
            .map(|item| Placed::new(item.trim().to_owned(), place.clone()))
            .collect(),
        (value, place) => text(key, Node { place, value }, problems)
            .into_iter()
            .collect(),
    }
}

/// Reports a value of the wrong kind.
pub(super) fn wrong_kind(key: &str, node: &Node, wanted: &str, problems: &Problems) {
    problems.add(
        Problem::error(&node.place, format!("`{key}` is {wanted}"))
            .label(format!("this is {}", node.value.kind())),
    );
}

/// `a`, `b` or `c`.
pub(super) fn listed(items: &[String], conjunction: &str) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}
