//! What a route asks of a person, and whether they have it.

use std::time::Duration;

use serde_json::Value;

use super::authorization::{Asked, FactorAges};
use super::identity::Identity;
use super::jwt::Token;
use super::reason::Reason;

/// What a route asks. Judged by [`Requirement::judge`] for somebody who is signed in.
#[derive(Clone, Debug, PartialEq)]
pub enum Requirement {
    /// Nothing: identity is forwarded when there is one.
    Public,
    /// A session.
    SignedIn,
    /// Clerk's `has()` with one dimension or several.
    Has(Asked),
    /// The first factor was verified at most this long ago.
    MaxAge(Duration),
    /// The token was issued at most this long ago.
    MaxTokenAge(Duration),
    /// A claim equals or contains a value.
    Claim(ClaimRule),
    /// Nobody acts in this person's name.
    NotImpersonated,
    /// Each of these.
    All(Vec<Requirement>),
    /// At least one of these.
    Any(Vec<Requirement>),
}

/// A claim and what it must be.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRule {
    /// The names that lead to the claim, outermost first.
    pub path: Vec<String>,
    /// What must hold.
    pub test: ClaimTest,
}

/// What must hold of a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimTest {
    /// Equal to this value.
    Equals(Value),
    /// A list that contains this value.
    Contains(Value),
}

/// A person who is signed in, as requirements see them.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// Who they are.
    pub identity: &'a Identity,
    /// Their verified token.
    pub token: &'a Token,
    /// Now, in milliseconds since the epoch.
    pub now_ms: u64,
}

impl Requirement {
    /// Whether anybody may pass, signed in or not.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Public => true,
            Self::All(each) => each.iter().all(Self::is_open),
            Self::Any(each) => each.iter().any(Self::is_open),
            Self::SignedIn
            | Self::Has(_)
            | Self::MaxAge(_)
            | Self::MaxTokenAge(_)
            | Self::Claim(_)
            | Self::NotImpersonated => false,
        }
    }

    /// Judges somebody who is signed in. The error says what is missing, the first one where
    /// several are.
    pub fn judge(&self, person: Person<'_>) -> Result<(), Reason> {
        let met = |holds: bool, reason: Reason| if holds { Ok(()) } else { Err(reason) };
        match self {
            Self::Public | Self::SignedIn => Ok(()),
            Self::Has(asked) => met(
                asked.is_granted_to(person.identity),
                missing(asked, person.identity),
            ),
            Self::MaxAge(limit) => {
                let age = FactorAges::read(person.identity.factor_ages.as_ref())
                    .and_then(FactorAges::first_age);
                met(age.is_some_and(|age| age <= *limit), Reason::FactorTooOld)
            }
            Self::MaxTokenAge(limit) => {
                let issued = person.token.number("iat");
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "milliseconds since the epoch fit into 53 bits"
                )]
                let age = issued.map(|issued| person.now_ms as f64 / 1000.0 - issued);
                met(
                    age.is_some_and(|age| age <= limit.as_secs_f64()),
                    Reason::TokenTooOld,
                )
            }
            Self::Claim(rule) => met(rule.holds(person.token), Reason::ClaimMismatch),
            Self::NotImpersonated => met(!person.identity.is_impersonated(), Reason::Impersonated),
            Self::All(each) => each.iter().try_for_each(|one| one.judge(person)),
            Self::Any(each) => {
                let mut first = Err(Reason::RequirementUnmet);
                for one in each {
                    match one.judge(person) {
                        Ok(()) => return Ok(()),
                        Err(reason) if each.len() == 1 => first = Err(reason),
                        Err(_) => {}
                    }
                }
                first
            }
        }
    }
}

/// Which dimension of `asked` is missing: the first, in the order of the table.
fn missing(asked: &Asked, who: &Identity) -> Reason {
    let lacks = |part: Asked| part != Asked::default() && !part.is_granted_to(who);
    let none = Asked::default;
    if lacks(Asked {
        role: asked.role.clone(),
        ..none()
    }) {
        Reason::RoleMissing
    } else if lacks(Asked {
        permission: asked.permission.clone(),
        ..none()
    }) {
        Reason::PermissionMissing
    } else if lacks(Asked {
        feature: asked.feature.clone(),
        ..none()
    }) {
        Reason::FeatureMissing
    } else if lacks(Asked {
        plan: asked.plan.clone(),
        ..none()
    }) {
        Reason::PlanMissing
    } else if asked.reverification.is_some() {
        Reason::ReverificationNeeded
    } else {
        Reason::RequirementUnmet
    }
}

impl ClaimRule {
    fn holds(&self, token: &Token) -> bool {
        let Some((first, rest)) = self.path.split_first() else {
            return false;
        };
        let found = rest
            .iter()
            .try_fold(token.claim(first), |value, name| value.map(|v| v.get(name)))
            .flatten();
        found.is_some_and(|value| match &self.test {
            ClaimTest::Equals(wanted) => equal(value, wanted),
            ClaimTest::Contains(wanted) => value
                .as_array()
                .is_some_and(|list| list.iter().any(|item| equal(item, wanted))),
        })
    }
}

/// Equality of JSON values, where `1` and `1.0` are the same number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}
