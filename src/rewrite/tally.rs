//! What became of pages that something was to be put into, counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::debug;

use crate::core::csp::Blocked;

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has clerk-js now.
    Injected,
    /// It went on as it was.
    Left(Left),
}

/// Why a page went on as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The status comes with no page.
    Status,
    /// It is no `text/html`.
    Type,
    /// It is a part of something.
    Partial,
    /// It is to be saved, not shown.
    Attachment,
    /// It is compressed although that was not asked for.
    Encoding,
    /// Its characters are no superset of ASCII, or nobody knows what they are.
    Charset,
    /// The upstream forbids changes (`Cache-Control: no-transform`).
    NoTransform,
    /// A policy of the page does not let the scripts load.
    CspScript,
    /// A policy does not let them call Clerk.
    CspConnection,
    /// A policy does not let clerk-js have its worker.
    CspWorker,
    /// A policy puts the page into a sandbox.
    CspSandbox,
    /// A policy asks for trusted types.
    CspTrustedTypes,
    /// A policy is no plain text.
    CspUnreadable,
    /// It loads clerk-js itself.
    OwnScript,
    /// It ended before there was a place for a script.
    NoPlace,
    /// Something in its head is too long to be looked at.
    TooLong,
}

impl From<Blocked> for Left {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::Script => Self::CspScript,
            Blocked::Connection => Self::CspConnection,
            Blocked::Worker => Self::CspWorker,
            Blocked::Sandbox => Self::CspSandbox,
            Blocked::TrustedTypes => Self::CspTrustedTypes,
            Blocked::Unreadable => Self::CspUnreadable,
        }
    }
}

impl Outcome {
    /// Every outcome, in the order of the reference.
    pub const ALL: [Self; 17] = [
        Self::Injected,
        Self::Left(Left::Status),
        Self::Left(Left::Type),
        Self::Left(Left::Partial),
        Self::Left(Left::Attachment),
        Self::Left(Left::Encoding),
        Self::Left(Left::Charset),
        Self::Left(Left::NoTransform),
        Self::Left(Left::CspScript),
        Self::Left(Left::CspConnection),
        Self::Left(Left::CspWorker),
        Self::Left(Left::CspSandbox),
        Self::Left(Left::CspTrustedTypes),
        Self::Left(Left::CspUnreadable),
        Self::Left(Left::OwnScript),
        Self::Left(Left::NoPlace),
        Self::Left(Left::TooLong),
    ];

    /// The name in the log and among the counts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Left(left) => match left {
                Left::Status => "left-status",
                Left::Type => "left-type",
                Left::Partial => "left-partial",
                Left::Attachment => "left-attachment",
                Left::Encoding => "left-encoding",
                Left::Charset => "left-charset",
                Left::NoTransform => "left-no-transform",
                Left::CspScript => "left-csp-script",
                Left::CspConnection => "left-csp-connect",
                Left::CspWorker => "left-csp-worker",
                Left::CspSandbox => "left-csp-sandbox",
                Left::CspTrustedTypes => "left-csp-trusted-types",
                Left::CspUnreadable => "left-csp-unreadable",
                Left::OwnScript => "left-own-script",
                Left::NoPlace => "left-no-place",
                Left::TooLong => "left-too-long",
            },
        }
    }
}

/// How often each outcome was met since the start.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; Outcome::ALL.len()]);

impl Tally {
    /// Counts one page, and says so in the log.
    pub fn count(&self, outcome: Outcome) {
        debug!(outcome = outcome.name(), "a page to put clerk-js into");
        if let Some(place) = self.place(outcome) {
            place.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often this was met.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.place(outcome)
            .map_or(0, |place| place.load(Ordering::Relaxed))
    }

    fn place(&self, outcome: Outcome) -> Option<&AtomicU64> {
        let mut places = Outcome::ALL.iter().zip(&self.0);
        places
            .find(|(known, _)| **known == outcome)
            .map(|(_, place)| place)
    }
}

impl fmt::Display for Tally {
    /// One line for each outcome: its name and its count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (outcome, place) in Outcome::ALL.iter().zip(&self.0) {
            writeln!(f, "{} {}", outcome.name(), place.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}
