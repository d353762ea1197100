//! What the value of a key may look like, as far as that can be said before it is read.

use std::ops::RangeInclusive;

/// What a value may look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A text.
    Text,
    /// A text that this pattern takes, from its beginning to its end.
    Like(&'static str),
    /// One of these words.
    Word(Vec<String>),
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Integer(RangeInclusive<i64>),
    /// A number from 0 to 1.
    Share,
    /// A text, a number, `true` or `false`.
    Plain,
    /// Whatever TOML has.
    Anything,
    /// A table, by the name that it has in messages.
    Table(String),
    /// A list, each of these.
    List(Box<Self>),
    /// One of several.
    Either(Vec<Self>),
}

impl Shape {
    /// One of these words.
    pub(super) fn words<W: ToString>(words: impl IntoIterator<Item = W>) -> Self {
        Self::Word(words.into_iter().map(|word| word.to_string()).collect())
    }

    /// The table that is called `name` in messages.
    pub(super) fn table(name: &str) -> Self {
        Self::Table(name.to_owned())
    }

    /// A list of such values.
    pub(super) fn list(self) -> Self {
        Self::List(Box::new(self))
    }

    /// One such value, or a list of them.
    pub(super) fn or_several(self) -> Self {
        self.clone().or(self.list())
    }

    /// This, or something else.
    pub(super) fn or(self, other: Self) -> Self {
        Self::Either(vec![self, other])
    }
}
