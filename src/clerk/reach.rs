//! Whether Clerk can be reached: what was seen last, and for how long that counts.
//!
//! Time is handed in. What is seen comes of one call alone, which asks how a session stands that Clerk
//! itself has signed: nothing that a stranger sends is in it.

use super::backend::{BackendApi, Lookup, SessionWord, word_on_session};
use super::budget::Purpose;
use super::client::CallError;

/// For how long an answer of Clerk's says that it is there, in milliseconds.
const FRESH_MS: u64 = 2_000;

/// For how long a failure says that it is not, in milliseconds: longer than a call may take, so that one
/// which is under way takes its place, and not much longer, for whoever rides meanwhile may have lost the
/// session.
const OUT_MS: u64 = 8_000;

/// How long lies between two calls while it is not, in milliseconds.
const PAUSE_MS: u64 = 1_000;

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Clerk has answered, and this is what it says of the session.
    Answered(Lookup<SessionWord>),
    /// No connection, no answer in time, or a status that says that Clerk has failed.
    Failed,
    /// Nothing was learned: nobody was asked, or more came than is read.
    Nothing,
}

/// How Clerk was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It has answered just now.
    There,
    /// It has failed, and nothing was heard of it since.
    Out,
    /// Too long ago to say.
    Unknown,
}

/// What is remembered of Clerk's being there.
#[derive(Debug, Default)]
pub struct Reachability {
    /// When it last answered, in milliseconds since the epoch, as below.
    answered: Option<u64>,
    /// When it last failed.
    failed: Option<u64>,
    /// When it was last asked again after that.
    asked: Option<u64>,
}

impl Reachability {
    /// How Clerk was last seen.
    pub fn seen(&self, now_ms: u64) -> Seen {
        let within = |at: Option<u64>, most| at.is_some_and(|at| now_ms.abs_diff(at) < most);
        if within(self.failed, OUT_MS) {
            Seen::Out
        } else if within(self.answered, FRESH_MS) {
            Seen::There
        } else {
            Seen::Unknown
        }
    }

    /// Notes what came of asking, which began at `began_ms`.
    pub fn note(&mut self, sighting: &Sighting, began_ms: u64, now_ms: u64) {
        match sighting {
            Sighting::Answered(_) => (self.answered, self.failed) = (Some(now_ms), None),
            // Another call, which began later, may have been answered before.
            Sighting::Failed if self.answered.is_none_or(|at| at < began_ms) => {
                (self.answered, self.failed) = (None, Some(now_ms));
            }
            Sighting::Failed | Sighting::Nothing => {}
        }
    }

    /// Whether it is time to ask again while Clerk is out; if so, it is being asked.
    pub fn asks_again(&mut self, now_ms: u64) -> bool {
        let due = self.seen(now_ms) == Seen::Out
            && (self.asked).is_none_or(|at| now_ms.abs_diff(at) >= PAUSE_MS);
        if due {
            self.asked = Some(now_ms);
        }
        due
    }
}

impl BackendApi {
    /// Asks how a session stands, to see whether Clerk is there.
    pub async fn sight(&self, session: &str) -> Sighting {
        match self.ask_about(Purpose::Renew, session).await {
            Some(Err(CallError::Unreachable | CallError::Timeout)) => Sighting::Failed,
            None | Some(Err(CallError::BudgetSpent | CallError::TooLarge | CallError::Client)) => {
                Sighting::Nothing
            }
            Some(Ok(answer)) if answer.status >= 500 => Sighting::Failed,
            // 429 says that Clerk is there, whatever it says of the session.
            Some(Ok(answer)) => Sighting::Answered(word_on_session(&answer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000_000;

    #[test]
    fn a_failure_counts_for_seconds_and_an_answer_ends_it_at_once() {
        let mut known = Reachability::default();
        assert_eq!(known.seen(NOW), Seen::Unknown);
        known.note(&Sighting::Failed, NOW, NOW);
        assert_eq!(known.seen(NOW), Seen::Out);
        assert_eq!(known.seen(NOW + OUT_MS - 1), Seen::Out);
        assert_eq!(known.seen(NOW + OUT_MS), Seen::Unknown);
        known.note(&Sighting::Failed, NOW, NOW);
        known.note(&Sighting::Answered(Lookup::Unavailable), NOW + 1, NOW + 1);
        assert_eq!(known.seen(NOW + 1), Seen::There);
        assert_eq!(known.seen(NOW + 1 + FRESH_MS), Seen::Unknown);
    }

    #[test]
    fn a_call_that_failed_says_nothing_of_what_was_answered_since() {
        let mut known = Reachability::default();
        known.note(
            &Sighting::Answered(Lookup::Unavailable),
            NOW + 1_000,
            NOW + 1_500,
        );
        known.note(&Sighting::Failed, NOW, NOW + 5_000);
        assert_ne!(known.seen(NOW + 5_000), Seen::Out);
        known.note(&Sighting::Failed, NOW + 6_000, NOW + 7_000);
        assert_eq!(known.seen(NOW + 7_000), Seen::Out);
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        let mut known = Reachability::default();
        known.note(&Sighting::Nothing, NOW, NOW);
        assert_eq!(known.seen(NOW), Seen::Unknown);
        known.note(&Sighting::Failed, NOW, NOW);
        known.note(&Sighting::Nothing, NOW + 1, NOW + 1);
        assert_eq!(known.seen(NOW + 1), Seen::Out);
    }

    #[test]
    fn clerk_is_asked_again_once_a_second_and_only_while_it_is_out() {
        let mut known = Reachability::default();
        assert!(!known.asks_again(NOW));
        known.note(&Sighting::Failed, NOW, NOW);
        assert!(known.asks_again(NOW) && !known.asks_again(NOW + PAUSE_MS - 1));
        assert!(known.asks_again(NOW + PAUSE_MS));
        known.note(
            &Sighting::Answered(Lookup::Unavailable),
            NOW + PAUSE_MS,
            NOW + PAUSE_MS,
        );
        assert!(!known.asks_again(NOW + 2 * PAUSE_MS));
    }
}
