//! A second policy, judged beside the one in force and never enforced.
//!
//! It is the same function that decides, with another policy. Nothing is asked of anybody for its sake:
//! what an effect would bring is taken from what the request in force has got, and where that has not
//! asked, nothing can be told. No limit is charged.

use std::sync::Arc;

use super::continuity::Journey;
use super::decide::{self, Inputs, Step, Verdict};
use super::explain::Outcome;
use super::policy::Policy;
use super::question::{Progress, Question};
use super::reason::Reason;

/// What a policy makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// What becomes of it, in a word.
    pub outcome: Outcome,
    /// The route that decides.
    pub route: Arc<str>,
    /// Why it is not simply allowed, or why nobody is signed in.
    pub reason: Option<String>,
}

/// What two policies make of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The policy in force.
    pub enforced: Side,
    /// The other one; `None` where it cannot be told without asking somebody.
    pub shadow: Option<Side>,
}

impl Comparison {
    /// What the other policy makes of it, if that is something else.
    pub fn difference(&self) -> Option<&Side> {
        let shadow = self.shadow.as_ref()?;
        (shadow.outcome != self.enforced.outcome).then_some(shadow)
    }
}

/// Judges a request by `shadow` that `inputs` and `progress` have led to `verdict`, and compares the two.
/// `find_out` answers what can be answered without an effect, and says whether it did.
///
/// `None` where there is nothing to compare: no route was looked for, or a limit has refused the request,
/// and the shadow charges none.
pub fn compare<'r>(
    inputs: Inputs<'_, 'r>,
    progress: &Progress<'r>,
    verdict: &Verdict,
    shadow: &Policy,
    find_out: impl FnMut(Question, &mut Progress<'r>) -> bool,
) -> Option<Comparison> {
    let enforced = side(inputs.policy, verdict)?;
    let by_a_limit = verdict.cause.as_ref().is_some_and(|cause| {
        matches!(
            cause.reason,
            Reason::RateLimited | Reason::TooManyInFlight | Reason::LimitsUnavailable
        )
    });
    if by_a_limit {
        return None;
    }
    let inputs = Inputs {
        policy: shadow,
        ..inputs
    };
    let judged = judge(inputs, progress, find_out);
    Some(Comparison {
        enforced,
        shadow: judged.and_then(|verdict| side(shadow, &verdict)),
    })
}

/// Total, as `decide` is: it never asks twice.
fn judge<'r>(
    inputs: Inputs<'_, 'r>,
    known: &Progress<'r>,
    mut find_out: impl FnMut(Question, &mut Progress<'r>) -> bool,
) -> Option<Box<Verdict>> {
    let mut progress = Progress::default();
    loop {
        let question = match decide::decide(inputs, &mut progress) {
            Step::Done(verdict) => return Some(verdict),
            Step::Ask(question) => question,
        };
        let answered = match question {
            Question::Budget(stage) => {
                progress.answer_budget(stage, Vec::new());
                true
            }
            // It is nowhere gone on, and has to have some name.
            Question::Journey => match Journey::named(NO_JOURNEY) {
                Some(journey) => {
                    progress.answer_journey(journey);
                    true
                }
                None => false,
            },
            question if progress.take_over(question, known) => true,
            // What there would be is known without it.
            Question::Template(_) => {
                progress.answer_template(Ok("".into()));
                true
            }
            question => find_out(question, &mut progress),
        };
        if !answered {
            return None;
        }
    }
}

/// What journeys are called that nobody goes on.
const NO_JOURNEY: &str = "0000000000000000";

/// `None` where no route was looked for.
fn side(policy: &Policy, verdict: &Verdict) -> Option<Side> {
    let found = verdict.route.as_ref()?;
    Some(Side {
        outcome: Outcome::of(verdict),
        route: Arc::clone(&policy.route(found.route).name),
        reason: verdict.cause.as_ref().map(ToString::to_string),
    })
}
