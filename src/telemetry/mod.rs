//! Logs: their format, and the one line that each request gets. Metrics: what is counted, and how that
//! is written down. Traces: what is sent away of a share of requests. Decisions: what is kept of
//! the last ones.
//!
//! A line holds ids and codes. It never holds a token, a cookie or a query: nothing here takes one. What
//! is counted is told apart by names of the configuration and codes of the source alone.

pub mod access;
pub mod decisions;
pub mod exposition;
pub mod json;
pub mod meters;
pub mod requests;
pub mod traces;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use json::JsonLines;

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Text.
    Human,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// For a terminal.
    Colour,
    /// For everything else.
    Black,
}

/// Starts logging to standard error. `filter` as in `tracing`'s `EnvFilter`.
///
/// Does nothing if logging was started before.
pub fn start(format: Format, ink: Ink, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Json => registry
            .with(
                fmt::layer()
                    .event_format(JsonLines)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        Format::Human => registry
            .with(
                fmt::layer()
                    .compact()
                    .with_ansi(ink == Ink::Colour)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    drop(started);
}
