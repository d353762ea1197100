//! What a verdict waited for, and how long.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::question::Question;
use crate::telemetry::traces::Kind;

/// Something that was found out for a verdict, by asking somebody or by reckoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What it is called.
    pub name: &'static str,
    /// Whether somebody else was asked.
    pub kind: Kind,
    /// When.
    pub began: Instant,
    /// How long the answer took.
    pub took: Duration,
}

/// What finding out is called, where an answer may take a while. The others are there in no time, and nobody
/// needs to be told of them.
pub(super) fn named(question: Question) -> Option<(&'static str, Kind)> {
    Some(match question {
        Question::Signature(_) => ("signature", Kind::Internal),
        Question::Budget(_) => ("limits", Kind::Internal),
        Question::HandshakePayload => ("clerk handshake", Kind::Client),
        Question::Mint => ("clerk mint", Kind::Client),
        Question::Refresh(_) => ("clerk refresh", Kind::Client),
        Question::Template(_) => ("clerk template", Kind::Client),
        Question::Reach(_) => ("clerk reach", Kind::Client),
        Question::Machine(_) => ("clerk machine", Kind::Client),
        Question::Token(_)
        | Question::Recollection(_)
        | Question::OwnCookies
        | Question::Journey => return None,
    })
}
