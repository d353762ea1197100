//! What somebody can do whose only lack is that they verified too long ago that it is them: do it
//! again. In Clerk's words, a reverification (protocol reference, section 5.2).

use std::fmt;

use serde_json::{Value, json};

use super::authorization::{FactorAges, Level, Reverification};
use super::identity::Identity;
use super::masked::Address;
use super::requirement::{Caller, Person, Requirement};

/// What has to be verified again, and where a browser can do it.
#[derive(Clone, PartialEq)]
pub struct StepUp {
    /// Which factors, and how recently.
    pub wanted: Reverification,
    /// Where on this origin a form goes that ends the session and signs in again.
    pub sign_in_again: String,
    /// Origins that such a form leads through.
    pub through: Vec<String>,
}

impl fmt::Debug for StepUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepUp")
            .field("wanted", &self.wanted)
            .field("sign_in_again", &Address(&self.sign_in_again))
            .field("through", &self.through)
            .finish()
    }
}

/// What a person has to verify again for all of these to be met; the most demanding of several.
/// `None` if that would not be enough.
pub fn wanted(requirements: &[&Requirement], person: Person<'_>) -> Option<Reverification> {
    let mut identity = person.identity.clone();
    identity.factor_ages = Some(renewed(person.identity));
    let fresh = Person {
        identity: &identity,
        ..person
    };
    let judged = |requirement: &&&Requirement| requirement.judge(Caller::Person(fresh)).is_ok();
    if requirements.iter().filter(judged).count() < requirements.len() {
        return None;
    }
    let mut stale = Vec::new();
    for requirement in requirements {
        find_stale(requirement, person, fresh, &mut stale);
    }
    stale.into_iter().reduce(|one, other| {
        let demands = |wanted: Reverification| (rank(wanted.level), -wanted.after_minutes);
        if demands(other) > demands(one) {
            other
        } else {
            one
        }
    })
}

/// The ages right after a reverification. Who has no second factor gets none by it.
fn renewed(identity: &Identity) -> Value {
    let ages = FactorAges::read(identity.factor_ages.as_ref());
    match ages {
        Some(FactorAges { second: None, .. }) => json!([0, -1]),
        _ => json!([0, 0]),
    }
}

fn rank(level: Level) -> u8 {
    match level {
        Level::FirstFactor => 0,
        Level::SecondFactor => 1,
        Level::MultiFactor => 2,
    }
}

/// The parts that are met when everything is verified again, and are not yet. Of alternatives the
/// first counts that could be met.
fn find_stale(
    requirement: &Requirement,
    person: Person<'_>,
    fresh: Person<'_>,
    stale: &mut Vec<Reverification>,
) {
    let judge = |requirement: &Requirement, person| requirement.judge(Caller::Person(person));
    match requirement {
        Requirement::All(parts) => {
            for part in parts {
                find_stale(part, person, fresh, stale);
            }
        }
        Requirement::Any(parts) => {
            let met = parts.iter().any(|part| judge(part, person).is_ok());
            let could = parts.iter().find(|part| judge(part, fresh).is_ok());
            if let Some(part) = could.filter(|_| !met) {
                find_stale(part, person, fresh, stale);
            }
        }
        Requirement::Has(asked) if judge(requirement, person).is_err() => {
            stale.extend(asked.reverification);
        }
        Requirement::MaxAge(limit) if judge(requirement, person).is_err() => {
            stale.push(Reverification {
                level: Level::FirstFactor,
                after_minutes: limit.as_secs_f64() / 60.0,
            });
        }
        Requirement::Has(_)
        | Requirement::MaxAge(_)
        | Requirement::Public
        | Requirement::SignedIn
        | Requirement::MaxTokenAge(_)
        | Requirement::Claim(_)
        | Requirement::NotImpersonated
        | Requirement::Token(_)
        | Requirement::Scope(_) => {}
    }
}

/// What Clerk's hook for reverification understands: it opens the dialog and asks once more.
pub(super) fn clerk_error(wanted: Reverification) -> Value {
    let config = match wanted.preset_name() {
        Some(preset) => json!(preset),
        None => json!({
            "level": level_name(wanted.level),
            "afterMinutes": number(wanted.after_minutes),
        }),
    };
    json!({
        "type": "forbidden",
        "reason": "reverification-error",
        "metadata": { "reverification": config },
    })
}

/// The seconds of a `max_age` (RFC 9470, section 3).
pub(super) fn seconds(wanted: Reverification) -> u64 {
    whole(wanted.after_minutes * 60.0)
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::FirstFactor => "first_factor",
        Level::SecondFactor => "second_factor",
        Level::MultiFactor => "multi_factor",
    }
}

/// `60`, not `60.0`.
fn number(minutes: f64) -> Value {
    if minutes.fract() == 0.0 {
        json!(whole(minutes))
    } else {
        json!(minutes)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of a configuration: not negative, and a year at most"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
