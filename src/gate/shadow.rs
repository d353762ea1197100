//! The shadow policy of a snapshot: what can be found out for it without an effect, and how often the log
//! tells of it.

use std::sync::{Mutex, PoisonError};

use super::{Gate, Site, Snapshot};
use crate::core::decide::{Inputs, Verdict};
use crate::core::policy::Policy;
use crate::core::question::{Progress, Question};
use crate::core::shadow::{self, Comparison};

/// How many differences the log tells of in a second. All of them are counted.
const MOST_LINES: u32 = 10;

/// A policy that is judged beside the one in force.
#[derive(Debug)]
pub struct Shadow {
    policy: Policy,
    pace: Mutex<Pace>,
}

/// How many lines there were in this second.
#[derive(Debug, Default)]
struct Pace {
    second: u64,
    lines: u32,
    left_out: u64,
}

impl Shadow {
    /// This policy.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            pace: Mutex::default(),
        }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether a difference has its line in the log; if so, how many had none since the last one.
    // SECURITY: whoever finds a request about which the two differ must not be able to fill a disk.
    fn has_line(&self, now_ms: u64) -> Option<u64> {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now_ms / 1000;
        if pace.second != second {
            (pace.second, pace.lines) = (second, 0);
        }
        if pace.lines < MOST_LINES {
            pace.lines += 1;
            Some(std::mem::take(&mut pace.left_out))
        } else {
            pace.left_out = pace.left_out.saturating_add(1);
            None
        }
    }
}

/// What a shadow policy makes of a request.
#[derive(Debug)]
pub struct Compared {
    /// The two, side by side.
    pub comparison: Comparison,
    /// How many differences had no line in the log since the last one, where this one has one.
    pub left_out: Option<u64>,
}

impl Gate {
    /// What the shadow policy makes of a request that was judged; `None` if there is none, or nothing to
    /// compare.
    pub(super) fn compared<'r>(
        &self,
        site: &Site,
        snapshot: &Snapshot,
        inputs: Inputs<'_, 'r>,
        progress: &Progress<'r>,
        verdict: &Verdict,
    ) -> Option<Compared> {
        let shadow = snapshot.shadow.as_ref()?;
        let find_out = |question, progress: &mut Progress<'r>| {
            self.found_out_alone(site, inputs, question, progress)
        };
        let comparison = shadow::compare(inputs, progress, verdict, &shadow.policy, find_out)?;
        self.meters.shadow.note(&comparison);
        let differs = comparison.difference().is_some();
        Some(Compared {
            left_out: differs.then(|| shadow.has_line(inputs.now_ms)).flatten(),
            comparison,
        })
    }

    /// Answers a question that needs nobody else, and says whether it is one.
    fn found_out_alone(
        &self,
        site: &Site,
        inputs: Inputs<'_, '_>,
        question: Question,
        progress: &mut Progress<'_>,
    ) -> bool {
        match question {
            Question::Token(slot) => {
                let raw = progress.raw(slot).unwrap_or_default();
                progress.answer_token(slot, self.token(site, inputs.now_ms, raw));
                true
            }
            Question::Signature(slot) => {
                let signature = match (progress.raw(slot), progress.decoded(slot)) {
                    (Some(raw), Some(token)) => site.keys.check_at_hand(raw, token),
                    _ => None,
                };
                if let Some(signature) = signature {
                    progress.answer_signature(slot, signature);
                }
                signature.is_some()
            }
            Question::OwnCookies => {
                progress.answer_own_cookies(Self::own_cookies(site, inputs, progress));
                true
            }
            Question::Recollection(slot) => {
                let recollection = self.recollect(site, slot, progress);
                progress.answer_recollection(recollection);
                true
            }
            Question::HandshakePayload
            | Question::Journey
            | Question::Mint
            | Question::Refresh(_)
            | Question::Template(_)
            | Question::Machine(_)
            | Question::Reach(_)
            | Question::Budget(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::policy::PathReading;

    #[test]
    fn so_many_differences_have_a_line_in_a_second_and_the_next_one_tells_of_the_others() {
        let policy = Policy::compile(Vec::new(), PathReading::Leniently).unwrap();
        let shadow = Shadow::new(policy);
        let now_ms = 1_790_000_000_000;
        let told = (0..1_000).filter_map(|_| shadow.has_line(now_ms)).count();
        assert_eq!(told, MOST_LINES as usize);
        let left_out = 1_000 - u64::from(MOST_LINES);
        assert_eq!(shadow.has_line(now_ms + 1_000), Some(left_out));
        assert_eq!(shadow.has_line(now_ms + 1_000), Some(0));
    }
}
