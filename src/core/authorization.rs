//! Clerk's `has()`: role, permission, feature, plan and reverification (protocol reference,
//! section 5.2). Unexpected values fail closed.

use std::time::Duration;

use serde_json::Value;

use super::identity::Identity;

/// What is asked of a person. Every dimension that is present must hold; asking nothing fails.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// A role of the active organisation, with or without `org:`.
    pub role: Option<String>,
    /// A permission of the active organisation, with or without `org:`.
    pub permission: Option<String>,
    /// A feature, with or without a scope (`org:`, `user:`).
    pub feature: Option<String>,
    /// A plan, with or without a scope.
    pub plan: Option<String>,
    /// How recently the factors were verified.
    pub reverification: Option<Reverification>,
}

/// How recently which factors must have been verified.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reverification {
    /// Which factors.
    pub level: Level,
    /// Minutes; an age of exactly this many is too old.
    pub after_minutes: f64,
}

/// The factors that a reverification asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Any first factor.
    FirstFactor,
    /// The second factor, or the first if there is no second.
    SecondFactor,
    /// Both, or the first if there is no second.
    MultiFactor,
}

/// The presets of Clerk's SDK, the most demanding first.
const PRESETS: [&str; 4] = ["strict_mfa", "strict", "moderate", "lax"];

impl Reverification {
    /// What this is called in Clerk's SDK, if it has a name there.
    pub fn preset_name(self) -> Option<&'static str> {
        let named = |name: &&str| Self::preset(name) == Some(self);
        PRESETS.into_iter().find(named)
    }

    /// The presets of Clerk's SDK.
    pub fn preset(name: &str) -> Option<Self> {
        let (level, after_minutes) = match name {
            "strict_mfa" => (Level::MultiFactor, 10.0),
            "strict" => (Level::SecondFactor, 10.0),
            "moderate" => (Level::SecondFactor, 60.0),
            "lax" => (Level::SecondFactor, 1440.0),
            _ => return None,
        };
        Some(Self {
            level,
            after_minutes,
        })
    }

    /// Whether the ages that a session tells are young enough.
    pub fn is_met_by(self, ages: FactorAges) -> bool {
        let fresh = |age: Option<f64>| age.is_some_and(|age| self.after_minutes > age);
        let FactorAges { first, second } = ages;
        match self.level {
            Level::FirstFactor => fresh(first),
            // Somebody without a second factor is judged by the first.
            Level::SecondFactor | Level::MultiFactor if second.is_none() => fresh(first),
            Level::SecondFactor => fresh(second),
            Level::MultiFactor => fresh(first) && fresh(second),
        }
    }
}

/// Minutes since each factor was verified; `None` for `-1`, never.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FactorAges {
    /// The first factor.
    pub first: Option<f64>,
    /// The second factor.
    pub second: Option<f64>,
}

impl FactorAges {
    /// Reads `fva`. `None` unless it is exactly two numbers, each `-1` or not negative, of
    /// which at least one was ever verified.
    pub fn read(fva: Option<&Value>) -> Option<Self> {
        let [first, second] = fva?.as_array()?.as_slice() else {
            return None;
        };
        let age = |value: &Value| match value.as_f64()? {
            -1.0 => Some(None),
            age if age >= 0.0 && age.is_finite() => Some(Some(age)),
            _ => None,
        };
        let ages = Self {
            first: age(first)?,
            second: age(second)?,
        };
        (ages.first.is_some() || ages.second.is_some()).then_some(ages)
    }

    /// Time since the first factor was verified.
    pub fn first_age(self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.first? * 60.0).ok()
    }
}

impl Asked {
    /// Whether `who` has everything that is asked.
    pub fn is_granted_to(&self, who: &Identity) -> bool {
        if who.user.is_empty() {
            return false;
        }
        let groups = [
            self.organization(who),
            self.billing(who),
            self.reverification.map(|wanted| {
                FactorAges::read(who.factor_ages.as_ref())
                    .is_some_and(|ages| wanted.is_met_by(ages))
            }),
        ];
        let mut asked = groups.into_iter().flatten().peekable();
        asked.peek().is_some() && asked.all(|holds| holds)
    }

    fn organization(&self, who: &Identity) -> Option<bool> {
        if self.role.is_none() && self.permission.is_none() {
            return None;
        }
        let Some(organization) = who.organization.as_ref().filter(|o| o.id.is_some()) else {
            return Some(false);
        };
        let role = self.role.as_deref().is_none_or(|asked| {
            !asked.is_empty()
                && organization
                    .role
                    .as_deref()
                    .is_some_and(|role| bare(role) == bare(asked))
        });
        let permission = self.permission.as_deref().is_none_or(|asked| {
            !asked.is_empty()
                && organization.permissions.iter().any(|held| {
                    // Held permissions are compared as they are; only what is asked is normalised.
                    held.strip_prefix("org:") == Some(bare(asked))
                })
        });
        Some(role && permission)
    }

    fn billing(&self, who: &Identity) -> Option<bool> {
        if self.feature.is_none() && self.plan.is_none() {
            return None;
        }
        let feature = self
            .feature
            .as_deref()
            .is_none_or(|asked| listed(who.features.as_deref(), asked));
        let plan = self
            .plan
            .as_deref()
            .is_none_or(|asked| listed(who.plans.as_deref(), asked));
        Some(feature && plan)
    }
}

/// A role or permission without any leading `org:`.
fn bare(mut text: &str) -> &str {
    while let Some(rest) = text.strip_prefix("org:") {
        text = rest;
    }
    text
}

/// Whether `claim` (comma separated `scope:slug`) lists what is asked.
fn listed(claim: Option<&str>, asked: &str) -> bool {
    let Some(claim) = claim.filter(|claim| !claim.is_empty()) else {
        return false;
    };
    let mut pieces = asked.split(':');
    let first = pieces.next().unwrap_or_default();
    let (scope, id) = match pieces.next() {
        None => (None, first),
        Some("") => (Some(first), first),
        Some(id) => (Some(first), id),
    };
    if id.is_empty() {
        return false;
    }
    let (organization, user) = match scope {
        None => (true, true),
        Some("o" | "org" | "organization") => (true, false),
        Some("u" | "user") => (false, true),
        Some(_) => return false,
    };
    let mut found = false;
    for entry in claim.split(',').map(str::trim) {
        let Some((scope, slug)) = entry.split_once(':') else {
            return false;
        };
        let (of_organization, of_user) = match scope {
            "o" => (true, false),
            "u" => (false, true),
            "ou" | "uo" => (true, true),
            _ => (false, false),
        };
        found |= slug == id && ((organization && of_organization) || (user && of_user));
    }
    found
}
