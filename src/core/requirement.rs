//! What a route asks of whoever calls, and whether they have it.

use std::time::Duration;

use serde_json::Value;

use super::authorization::{Asked, FactorAges};
use super::identity::Identity;
use super::jwt::Token;
use super::machine::{Machine, TokenType, TokenTypes};
use super::reason::Reason;

/// What a route asks. Judged by [`Requirement::judge`] for somebody who is signed in, and for a
/// verified machine.
///
/// A part that says nothing about kinds of token is for sessions alone, unless a [`Self::Token`]
/// stands beside it in the same [`Self::All`], or in one around it.
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
    /// One of these kinds of token.
    Token(TokenTypes),
    /// A machine token with each of these scopes.
    Scope(Vec<String>),
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

/// Whoever calls, as requirements see them.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// A person with a session.
    Person(Person<'a>),
    /// A machine with a token of its own.
    Machine(&'a Machine),
}

impl Caller<'_> {
    /// The kind of token that speaks for them.
    pub fn token_type(&self) -> TokenType {
        match self {
            Self::Person(_) => TokenType::Session,
            Self::Machine(machine) => machine.kind,
        }
    }
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
            | Self::NotImpersonated
            | Self::Token(_)
            | Self::Scope(_) => false,
        }
    }

    /// The kinds of token with which it can be met.
    pub fn token_types(&self) -> TokenTypes {
        self.token_types_within(TokenTypes::SESSION)
    }

    fn token_types_within(&self, usual: TokenTypes) -> TokenTypes {
        match self {
            Self::Public
            | Self::SignedIn
            | Self::Has(_)
            | Self::MaxAge(_)
            | Self::MaxTokenAge(_)
            | Self::Claim(_)
            | Self::NotImpersonated => usual,
            Self::Token(types) => *types,
            Self::Scope(_) => usual.and(TokenTypes::MACHINES),
            Self::All(each) => {
                let usual = named_types(each).unwrap_or(usual);
                each.iter().fold(TokenTypes::ANY, |types, part| {
                    types.and(part.token_types_within(usual))
                })
            }
            Self::Any(each) => each.iter().fold(TokenTypes::NONE, |types, part| {
                types.or(part.token_types_within(usual))
            }),
        }
    }

    /// Whether it asks somewhere in it how young something is: a token, or the proof of who somebody is.
    pub fn asks_for_freshness(&self) -> bool {
        match self {
            Self::MaxAge(_) | Self::MaxTokenAge(_) => true,
            Self::Has(asked) => asked.reverification.is_some(),
            Self::All(each) | Self::Any(each) => each.iter().any(Self::asks_for_freshness),
            Self::Public
            | Self::SignedIn
            | Self::Claim(_)
            | Self::NotImpersonated
            | Self::Token(_)
            | Self::Scope(_) => false,
        }
    }

    /// Each scope that is asked for somewhere in it.
    pub fn scopes(&self) -> Vec<&str> {
        match self {
            Self::Scope(scopes) => scopes.iter().map(String::as_str).collect(),
            Self::All(each) | Self::Any(each) => each.iter().flat_map(Self::scopes).collect(),
            Self::Public
            | Self::SignedIn
            | Self::Has(_)
            | Self::MaxAge(_)
            | Self::MaxTokenAge(_)
            | Self::Claim(_)
            | Self::NotImpersonated
            | Self::Token(_) => Vec::new(),
        }
    }

    /// Judges whoever calls. The error says what is missing, the first one where several are.
    pub fn judge(&self, caller: Caller<'_>) -> Result<(), Reason> {
        self.judge_within(TokenTypes::SESSION, caller)
    }

    /// Judges each part of it by itself.
    pub fn judge_parts(&self, caller: Caller<'_>) -> Vec<(&Self, Result<(), Reason>)> {
        let usual = named_types(self.parts()).unwrap_or(TokenTypes::SESSION);
        let judged = |part: &Self| part.judge_within(usual, caller);
        let parts = self.parts().iter();
        parts.map(|part| (part, judged(part))).collect()
    }

    /// The same for nobody, who meets only what is open.
    pub fn judge_nobody(&self) -> Vec<(&Self, Result<(), Reason>)> {
        let judged = |part: &Self| {
            if part.is_open() {
                Ok(())
            } else {
                Err(Reason::SessionTokenAndUatMissing)
            }
        };
        let parts = self.parts().iter();
        parts.map(|part| (part, judged(part))).collect()
    }

    /// The parts of an [`Self::All`], or the whole.
    fn parts(&self) -> &[Self] {
        match self {
            Self::All(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }

    fn judge_within(&self, usual: TokenTypes, caller: Caller<'_>) -> Result<(), Reason> {
        match self {
            Self::Public => return Ok(()),
            Self::Token(types) if types.contains(caller.token_type()) => return Ok(()),
            Self::Token(_) => return Err(Reason::TokenTypeMismatch),
            Self::All(each) => {
                let usual = named_types(each).unwrap_or(usual);
                return each
                    .iter()
                    .try_for_each(|one| one.judge_within(usual, caller));
            }
            Self::Any(each) => {
                let mut first = Err(Reason::RequirementUnmet);
                for one in each {
                    match one.judge_within(usual, caller) {
                        Ok(()) => return Ok(()),
                        Err(reason) if each.len() == 1 => first = Err(reason),
                        Err(_) => {}
                    }
                }
                return first;
            }
            Self::SignedIn
            | Self::Has(_)
            | Self::MaxAge(_)
            | Self::MaxTokenAge(_)
            | Self::Claim(_)
            | Self::NotImpersonated
            | Self::Scope(_) => {}
        }
        // SECURITY: what is asked of people is not met by a machine that nobody thought of.
        if !usual.contains(caller.token_type()) {
            return Err(Reason::TokenTypeMismatch);
        }
        match caller {
            Caller::Person(person) => self.judge_person(person),
            Caller::Machine(machine) => self.judge_machine(machine),
        }
    }

    /// A machine has no role, no factor and no age; Clerk's `has()` is false for it.
    fn judge_machine(&self, machine: &Machine) -> Result<(), Reason> {
        let met = |holds: bool, reason: Reason| if holds { Ok(()) } else { Err(reason) };
        match self {
            Self::SignedIn => Ok(()),
            Self::Scope(wanted) => met(
                wanted.iter().all(|scope| machine.scopes.contains(scope)),
                Reason::ScopeMissing,
            ),
            Self::Claim(rule) => {
                let sub = machine.sub();
                let holds = rule.holds(|name| machine.claim(&sub, name));
                met(holds, Reason::ClaimMismatch)
            }
            Self::NotImpersonated => met(machine.actor.is_none(), Reason::Impersonated),
            Self::Has(asked) => Err(first_asked(asked)),
            // There is none of either that a machine could get anew.
            Self::MaxAge(_) | Self::MaxTokenAge(_) => Err(Reason::TokenTypeMismatch),
            // Judged before.
            Self::Public | Self::Token(_) | Self::All(_) | Self::Any(_) => {
                Err(Reason::RequirementUnmet)
            }
        }
    }

    fn judge_person(&self, person: Person<'_>) -> Result<(), Reason> {
        let met = |holds: bool, reason: Reason| if holds { Ok(()) } else { Err(reason) };
        match self {
            Self::SignedIn => Ok(()),
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
            Self::Claim(rule) => met(
                rule.holds(|name| person.token.claim(name)),
                Reason::ClaimMismatch,
            ),
            Self::NotImpersonated => met(!person.identity.is_impersonated(), Reason::Impersonated),
            Self::Scope(_) => Err(Reason::ScopeMissing),
            // Judged before.
            Self::Public | Self::Token(_) | Self::All(_) | Self::Any(_) => {
                Err(Reason::RequirementUnmet)
            }
        }
    }
}

/// The kinds of token that stand beside the parts of an [`Requirement::All`].
fn named_types(parts: &[Requirement]) -> Option<TokenTypes> {
    let named = parts.iter().filter_map(|part| match part {
        Requirement::Token(types) => Some(*types),
        _ => None,
    });
    named.reduce(TokenTypes::and)
}

/// The first dimension that is asked, in the order of the table.
fn first_asked(asked: &Asked) -> Reason {
    if asked.role.is_some() {
        Reason::RoleMissing
    } else if asked.permission.is_some() {
        Reason::PermissionMissing
    } else if asked.feature.is_some() {
        Reason::FeatureMissing
    } else if asked.plan.is_some() {
        Reason::PlanMissing
    } else {
        Reason::ReverificationNeeded
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
    fn holds<'c>(&self, claim: impl Fn(&str) -> Option<&'c Value>) -> bool {
        let Some((first, rest)) = self.path.split_first() else {
            return false;
        };
        let found = rest
            .iter()
            .try_fold(claim(first), |value, name| value.map(|v| v.get(name)))
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
