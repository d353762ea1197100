//! What is wrong with a configuration: every problem at once, each with its place and a hint.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::source::Source;
use super::survey::{Pretence, Survey, Tables};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Bytes of the file.
    File(Range<usize>),
    /// An environment variable, as its whole value.
    Variable(Arc<str>),
    /// The TOML that an environment variable holds.
    InVariable(Arc<str>),
    /// A flag of the command line.
    Flag(Arc<str>),
    /// Not written at all.
    Nowhere,
}

impl Place {
    /// The variable that it is in, if it is in one.
    pub(super) fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable(name) | Self::InVariable(name) => Some(name),
            Self::File(_) | Self::Flag(_) | Self::Nowhere => None,
        }
    }

    /// Where in the file it is, for sorting; what is not in the file comes first.
    fn start(&self) -> usize {
        match self {
            Self::File(span) => span.start + 1,
            Self::Variable(_) | Self::InVariable(_) | Self::Flag(_) | Self::Nowhere => 0,
        }
    }
}

/// Whether a problem keeps the gate from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    severity: Severity,
    title: String,
    place: Place,
    label: Option<String>,
    hints: Vec<String>,
}

impl Problem {
    /// Something that keeps the gate from starting.
    pub(super) fn error(place: &Place, title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            title: title.into(),
            place: place.clone(),
            label: None,
            hints: Vec::new(),
        }
    }

    /// Something that ought to be looked at.
    pub(super) fn warning(place: &Place, title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(place, title)
        }
    }

    /// What stands beside the carets.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What the reader can do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Problems as they are found, and the keys that were asked for.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Problem>>,
    keys: RefCell<BTreeSet<String>>,
    others: RefCell<Vec<Report>>,
    survey: Option<Survey>,
}

impl Problems {
    /// None yet, of a file that is not there: see [`Survey`].
    pub(super) fn surveying(pretence: Pretence, tables: Tables) -> Self {
        Self {
            survey: Some(Survey::new(pretence, tables)),
            ..Self::default()
        }
    }

    /// What notes which values are asked for, while nothing is read.
    pub(super) fn survey(&self) -> Option<&Survey> {
        self.survey.as_ref()
    }

    /// What has been asked for.
    pub(super) fn into_tables(self) -> Tables {
        self.survey.map(Survey::into_tables).unwrap_or_default()
    }

    /// Notes a problem.
    pub(super) fn add(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    /// Notes what was found in another file that belongs to this one.
    pub(super) fn beside(&self, other: Report) {
        self.others.borrow_mut().push(other);
    }

    /// Whether nothing keeps the gate from starting.
    pub(super) fn no_errors(&self) -> bool {
        let mild = |problem: &Problem| problem.severity == Severity::Warning;
        let others = self.others.borrow();
        self.found.borrow().iter().all(mild)
            && others.iter().all(|other| other.count(Severity::Error) == 0)
    }

    /// Notes that a key of a table was asked for.
    pub(super) fn ask(&self, table: &str, key: &str) {
        self.keys.borrow_mut().insert(format!("{table} {key}"));
    }

    /// How many there are so far.
    pub(super) fn count(&self) -> usize {
        self.found.borrow().len()
    }

    /// The report about `source`, in the order of the file.
    pub(super) fn into_report(self, source: &Source) -> Report {
        let mut problems: Vec<Problem> = Vec::new();
        for problem in self.found.into_inner() {
            // What several sites inherit is said once.
            let known = problems.iter().any(|known| {
                (&known.title, &known.place, known.severity)
                    == (&problem.title, &problem.place, problem.severity)
            });
            if !known {
                problems.push(problem);
            }
        }
        problems.sort_by_key(|problem| problem.place.start());
        Report {
            name: source.name().to_owned(),
            text: source.shown(),
            problems,
            keys: self.keys.into_inner(),
            others: self.others.into_inner(),
        }
    }
}

/// Everything that is wrong with a configuration. Shows no secret.
#[derive(Debug)]
pub struct Report {
    name: String,
    text: String,
    problems: Vec<Problem>,
    keys: BTreeSet<String>,
    /// Those of other files that belong to it.
    others: Vec<Report>,
}

/// Whether a report is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    Ansi,
    /// For everything else.
    Plain,
}

impl Report {
    /// How many problems of this severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        let own = (self.problems.iter())
            .filter(|problem| problem.severity == severity)
            .count();
        let others = self.others.iter().map(|other| other.count(severity));
        own + others.sum::<usize>()
    }

    /// The keys that were looked for, as `[table] key`: what the documentation has to name.
    pub fn keys(&self) -> &BTreeSet<String> {
        &self.keys
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty() && self.others.iter().all(Self::is_empty)
    }

    /// The report as text, a paragraph for each problem, without a line break at its end.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Ansi => Renderer::styled(),
            Colour::Plain => Renderer::plain(),
        };
        let paragraphs: Vec<String> = self
            .problems
            .iter()
            .map(|problem| self.paragraph(&renderer, problem))
            .chain(
                (self.others.iter().filter(|other| !other.is_empty()))
                    .map(|other| other.render(colour)),
            )
            .collect();
        paragraphs.join("\n\n")
    }

    fn paragraph(&self, renderer: &Renderer, problem: &Problem) -> String {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(problem.title.as_str());
        let group = match &problem.place {
            Place::File(span) => {
                let end = span.end.min(self.text.len());
                // A value over several lines is pointed at by its first.
                let value = self.text.get(span.start..end).unwrap_or_default();
                let first = value.find('\n').map_or(end, |at| span.start + at);
                let annotation = AnnotationKind::Primary
                    .span(span.start..first)
                    .label(problem.label.as_deref());
                title.element(
                    Snippet::source(self.text.as_str())
                        .path(self.name.as_str())
                        .annotation(annotation),
                )
            }
            Place::Variable(name) | Place::InVariable(name) => {
                title.element(Origin::path(format!("environment variable `{name}`")))
            }
            Place::Flag(name) => title.element(Origin::path(format!("flag `{name}`"))),
            Place::Nowhere => Group::with_title(title),
        };
        let mut text = renderer.render(&[group]);
        for hint in &problem.hints {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colour::Plain))
    }
}

impl std::error::Error for Report {}
