//! The people one can be, and the organisations they belong to.
//!
//! Their ids are the same in every run, so that a policy or a test can name them. Sessions, keys and
//! dev browsers are made anew each time.

use std::fmt;

/// Somebody who can sign in to the stand-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The short name by which tests and the sign-in form pick this person, such as `ada`.
    pub key: String,
    /// Clerk's id, `user_…`.
    pub user_id: String,
    /// The given name.
    pub first_name: String,
    /// The family name.
    pub last_name: String,
    /// The primary e-mail address.
    pub email: String,
    /// The organisations; a new session starts in the first one.
    pub memberships: Vec<Membership>,
    /// What a new session is: complete, or waiting for the choice of an organisation.
    pub start: SessionStart,
}

/// What a new session of a person is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStart {
    /// Complete: `sts` is `active`.
    Active,
    /// Waiting for the task `choose-organization`: `sts` is `pending`.
    Pending,
}

/// A person's place in an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Clerk's id, `orgmem_…`.
    pub id: String,
    /// The organisation.
    pub organization: Organization,
    /// The role with its prefix, such as `org:admin`.
    pub role: String,
    /// The custom permissions that come with the role.
    pub permissions: Vec<Permission>,
}

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Clerk's id, `org_…`.
    pub id: String,
    /// The slug, such as `acme`.
    pub slug: String,
    /// The name for people.
    pub name: String,
}

/// A custom permission, `org:<feature>:<action>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The feature's slug.
    pub feature: String,
    /// What may be done with it.
    pub action: String,
}

impl Permission {
    /// The permission `org:<feature>:<action>`.
    pub fn new(feature: &str, action: &str) -> Self {
        Self {
            feature: feature.to_owned(),
            action: action.to_owned(),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "org:{}:{}", self.feature, self.action)
    }
}

impl Person {
    /// Given and family name.
    pub fn name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }

    /// The membership in an organisation, which may be named by id or by slug.
    pub fn membership(&self, organization: &str) -> Option<&Membership> {
        self.memberships.iter().find(|membership| {
            membership.organization.id == organization
                || membership.organization.slug == organization
        })
    }
}

/// The people of a stand-in that was not told otherwise: `ada`, `mel`, `sol` and `pia`.
pub fn seed_people() -> Vec<Person> {
    let organization = |name: &str| Organization {
        id: format!("org_2{name:0<25}1"),
        slug: name.to_lowercase(),
        name: name.to_owned(),
    };
    let member = |of: &str, id: &str, role: &str, actions: &[&str]| Membership {
        id: format!("orgmem_2{id:0<25}1"),
        organization: organization(of),
        role: role.to_owned(),
        permissions: actions
            .iter()
            .map(|action| Permission::new("invoices", action))
            .collect(),
    };
    let person = |first: &str, last: &str, memberships, start| Person {
        key: first.to_lowercase(),
        user_id: format!("user_2{first}00000000000000000000001"),
        first_name: first.to_owned(),
        last_name: last.to_owned(),
        email: format!("{}@example.com", first.to_lowercase()),
        memberships,
        start,
    };
    vec![
        person(
            "Ada",
            "Admin",
            vec![
                member("Acme", "Ada", "org:admin", &["read", "write"]),
                member("Globex", "AdaGlobex", "org:member", &["read"]),
            ],
            SessionStart::Active,
        ),
        person(
            "Mel",
            "Member",
            vec![member("Acme", "Mel", "org:member", &["read"])],
            SessionStart::Active,
        ),
        person("Sol", "Solo", Vec::new(), SessionStart::Active),
        person(
            "Pia",
            "Pending",
            vec![member("Acme", "Pia", "org:member", &["read"])],
            SessionStart::Pending,
        ),
    ]
}
