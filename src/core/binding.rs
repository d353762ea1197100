//! In whose name a request goes on: what an answer or a tunnel that stays open is bound to.
//!
//! A request is judged once, and what it opened may last for hours. The decision says here who that
//! is for; whoever keeps it open hands this on to the registry of live connections, and never looks
//! inside.

use std::sync::Arc;

use super::auth::SignedIn;
use super::jwt::Token;
use super::machine::Machine;

/// In whose name a request goes on.
#[derive(Clone, Debug)]
pub enum Binding {
    /// Nobody's: no identity went along, so that there is nothing to take back.
    Nobody,
    /// A person's.
    Session(SessionBinding),
    /// A machine's.
    Machine(MachineBinding),
}

/// A person's session, as the token of a request told it.
#[derive(Clone, Debug)]
pub struct SessionBinding {
    /// The site whose Clerk instance knows the session.
    pub site: usize,
    /// The token that opened what is bound.
    pub token: Arc<Token>,
    /// When it ends whatever is said of the session, in milliseconds since the epoch: where that has
    /// ridden through an outage of Clerk's.
    pub until_ms: Option<u64>,
}

/// A machine, and until when its token holds.
#[derive(Clone, Debug)]
pub struct MachineBinding {
    /// The site that it called.
    pub site: usize,
    /// Its subject.
    pub subject: String,
    /// When its token ends, in milliseconds since the epoch; `None` if that is not known.
    pub ends_ms: Option<u64>,
}

impl Binding {
    /// Binds to a verified session.
    pub(super) fn of_session(site: usize, session: &SignedIn) -> Self {
        Self::Session(SessionBinding {
            site,
            token: Arc::clone(&session.token),
            until_ms: session.rides_until_ms,
        })
    }

    /// Binds to a verified machine; `token` is its own, if it is a JWT.
    pub(super) fn of_machine(site: usize, machine: &Machine, token: Option<&Token>) -> Self {
        Self::Machine(MachineBinding {
            site,
            subject: machine.subject.clone(),
            ends_ms: machine.expires_ms.or_else(|| token.and_then(ends_ms)),
        })
    }

    /// Whether there is nobody whom anything could be bound to.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }
}

impl SessionBinding {
    /// The session; `None` if the token names none.
    pub fn session(&self) -> Option<&str> {
        self.token.text("sid").filter(|sid| !sid.is_empty())
    }

    /// The person.
    pub fn user(&self) -> Option<&str> {
        self.token.text("sub")
    }

    /// The active organisation.
    pub fn organization(&self) -> Option<&str> {
        let identity = self.token.identity();
        identity.and_then(|identity| identity.organization_id())
    }

    /// When the token ends, in milliseconds since the epoch. One that does not say has ended.
    pub fn ends_ms(&self) -> u64 {
        ends_ms(&self.token).unwrap_or_default()
    }
}

/// When a token ends, in milliseconds since the epoch.
fn ends_ms(token: &Token) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time before the epoch, and one beyond all calendars, is at the end of its range"
    )]
    token.number("exp").map(|exp| (exp * 1000.0) as u64)
}
