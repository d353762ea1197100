//! Whose part of a budget a request is charged to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use serde_json::Value;

use crate::core::jwt::Token;
use crate::core::machine::{Machine, TokenType};
use crate::core::requirement::{Caller, Person};

/// Whom a budget counts. What is not there falls back: to the person, and where nobody is signed in to
/// the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A person, or whom a machine's token stands for.
    User,
    /// The active organisation, or the one whose API key it is.
    Organization,
    /// A session.
    Session,
    /// An API key, a machine, or a client of OAuth in somebody's name.
    Machine,
    /// The client's address.
    Address,
    /// What a claim says; the names that lead to it, outermost first.
    Claim(Vec<String>),
}

/// One part of a budget: what counts are kept under.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BudgetKey {
    /// The budget.
    pub budget: Arc<str>,
    /// Whose part it is.
    pub holder: Holder,
}

/// Whose part of a budget it is. No secret is ever in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// An address, cut to the part that one client has.
    Address(IpAddr),
    /// Somebody whose token was verified.
    Caller {
        /// What the id is of.
        kind: &'static str,
        /// The id, behind the host of the instance that vouches for it.
        id: Box<str>,
    },
}

/// Who sends a request, as far as it is known.
#[derive(Debug)]
pub struct Spender<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The host of the instance that vouches for the sender.
    pub instance: &'a str,
    /// The sender.
    pub sender: Sender,
    /// Now, in milliseconds since the epoch.
    pub now_ms: u64,
}

/// Whose token was verified.
#[derive(Clone, Debug)]
pub enum Sender {
    /// Nobody's.
    Nobody,
    /// A session's.
    Person(Arc<Token>),
    /// A machine's.
    Machine(Arc<Machine>),
}

impl Spender<'_> {
    /// The sender as requirements judge one.
    pub(super) fn caller(&self) -> Option<Caller<'_>> {
        match &self.sender {
            Sender::Nobody => None,
            Sender::Person(token) => Some(Caller::Person(Person {
                identity: token.identity()?,
                token,
                now_ms: self.now_ms,
            })),
            Sender::Machine(machine) => Some(Caller::Machine(machine)),
        }
    }

    /// Whose part of a budget is charged that counts by this.
    pub fn holder(&self, by: &By, ipv6_prefix: u8) -> Holder {
        let found = match by {
            By::User => None,
            By::Organization => self.organization(),
            By::Session => self.session(),
            By::Machine => self.machine(),
            By::Claim(path) => self.claim(path),
            By::Address => return Holder::Address(cut(self.address, ipv6_prefix)),
        };
        found
            .or_else(|| self.user())
            .unwrap_or(Holder::Address(cut(self.address, ipv6_prefix)))
    }

    fn of(&self, kind: &'static str, id: &str) -> Option<Holder> {
        (!id.is_empty()).then(|| Holder::Caller {
            kind,
            // SECURITY: what one instance says of its people is not charged to another one's.
            id: [self.instance, "/", id].concat().into(),
        })
    }

    fn user(&self) -> Option<Holder> {
        match &self.sender {
            Sender::Nobody => None,
            Sender::Person(token) => self.of("user", &token.identity()?.user),
            // SECURITY: a machine is no person, whatever its subject looks like.
            Sender::Machine(machine) => match machine.user() {
                Some(user) => self.of("user", user),
                None => self.of("subject", &machine.subject),
            },
        }
    }

    fn organization(&self) -> Option<Holder> {
        let id = match &self.sender {
            Sender::Nobody => None,
            Sender::Person(token) => token.identity()?.organization_id(),
            Sender::Machine(machine) => machine.organization(),
        };
        self.of("organization", id?)
    }

    fn session(&self) -> Option<Holder> {
        match &self.sender {
            Sender::Nobody => None,
            Sender::Person(token) => self.of("session", token.identity()?.session.as_deref()?),
            Sender::Machine(_) => self.machine(),
        }
    }

    /// SECURITY: never the id of a token that can be made anew at will, or each would bring a whole
    /// budget.
    fn machine(&self) -> Option<Holder> {
        let Sender::Machine(machine) = &self.sender else {
            return None;
        };
        match (machine.kind, &machine.client) {
            (TokenType::ApiKey, _) => self.of("api-key", &machine.id),
            (TokenType::OAuth, Some(client)) => {
                self.of("client", &[client, "/", &machine.subject].concat())
            }
            (TokenType::OAuth | TokenType::M2m | TokenType::Session, _) => {
                self.of("subject", &machine.subject)
            }
        }
    }

    fn claim(&self, path: &[String]) -> Option<Holder> {
        let (first, rest) = path.split_first()?;
        let follow = |value: &Value| -> Option<Holder> {
            let found = rest.iter().try_fold(value, |value, name| value.get(name))?;
            match found {
                Value::String(text) => self.of("claim", text),
                Value::Number(_) | Value::Bool(_) => self.of("claim", &found.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            }
        };
        match &self.sender {
            Sender::Nobody => None,
            Sender::Person(token) => follow(token.claim(first)?),
            Sender::Machine(machine) => follow(machine.claim(&machine.sub(), first)?),
        }
    }
}

/// The part of an address that one client has: of IPv6 the network, because whoever has one address has
/// all of them.
fn cut(address: IpAddr, ipv6_prefix: u8) -> IpAddr {
    // SECURITY: all IPv4 clients of a listener for both are in one network of IPv6.
    match address.to_canonical() {
        IpAddr::V4(whole) => IpAddr::V4(whole),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            let mask = match ipv6_prefix {
                0 => 0,
                prefix => u128::MAX << (128 - u32::from(prefix.min(128))),
            };
            IpAddr::V6(Ipv6Addr::from(bits & mask))
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("user"),
            Self::Organization => f.write_str("organization"),
            Self::Session => f.write_str("session"),
            Self::Machine => f.write_str("machine"),
            Self::Address => f.write_str("address"),
            Self::Claim(path) => write!(f, "claim {}", path.join(".")),
        }
    }
}

impl fmt::Debug for BudgetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetKey")
            .field("budget", &self.budget)
            .field("holder", &self.holder)
            .finish()
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => f.debug_tuple("Address").field(address).finish(),
            // A claim may say anything about a person.
            Self::Caller { kind, .. } => f.debug_tuple("Caller").field(kind).finish(),
        }
    }
}
