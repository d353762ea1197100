//! What a verdict waited for, and how long.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::question::Question;

/// Something that was found out for a verdict, by asking somebody or by reckoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What was asked.
    pub question: Question,
    /// When.
    pub began: Instant,
    /// How long the answer took.
    pub took: Duration,
}

/// Whether an answer may take a while. The others are there in no time, and nobody needs to be told of them.
pub(super) fn takes_time(question: Question) -> bool {
    match question {
        Question::Signature(_)
        | Question::HandshakePayload
        | Question::Mint
        | Question::Refresh(_)
        | Question::Reach(_)
        | Question::Template(_)
        | Question::Machine(_)
        | Question::Budget(_) => true,
        Question::Token(_)
        | Question::Recollection(_)
        | Question::OwnCookies
        | Question::Journey => false,
    }
}
