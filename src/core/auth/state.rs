//! What authentication finds out about the sender of a request.

use std::fmt;
use std::sync::Arc;

use crate::core::continuity::Keepsake;
use crate::core::identity::Identity;
use crate::core::instance::PendingSessions;
use crate::core::jwt::Token;
use crate::core::machine::{Machine, TokenType};
use crate::core::masked::{Address, CookieLines};
use crate::core::question::Slot;
use crate::core::reason::{Cause, Reason};

/// What is known about the sender of a request.
#[derive(Clone)]
pub struct AuthState {
    /// The outcome.
    pub outcome: Outcome,
    /// Set-Cookie strings for the answer, whatever the answer is. Clerk's are untouched.
    pub set_cookies: Vec<String>,
    /// What becomes of the gate's own cookies.
    pub keepsakes: Vec<Keepsake>,
    /// The kind of token that counted, or that was asked for; `None` where several are accepted and
    /// the one that came is none of them.
    pub token_type: Option<TokenType>,
}

/// The outcome of authentication.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A verified session. It may still be pending.
    SignedIn(SignedIn),
    /// A verified machine token.
    Machine(Arc<Machine>),
    /// No session, and why.
    SignedOut(Cause),
    /// The browser is sent on before anything else is decided.
    Redirect(AuthRedirect),
    /// A handshake result that this instance did not make (development only).
    Broken(Reason),
}

/// A verified session.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The verified token.
    pub token: Arc<Token>,
    /// Where it came from.
    pub slot: Slot,
    /// Until when it rides through an outage of Clerk's, its token having ended, in milliseconds since
    /// the epoch; `None` where the token holds.
    pub rides_until_ms: Option<u64>,
}

/// A redirect that authentication itself asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthRedirect {
    /// Where to.
    pub location: String,
    /// Why; `None` where a finished handshake only cleans the address.
    pub cause: Option<Cause>,
}

impl AuthState {
    /// A session, and nothing to be told to the browser.
    pub(in crate::core) fn signed_in(session: SignedIn) -> Self {
        Self {
            outcome: Outcome::SignedIn(session),
            set_cookies: Vec::new(),
            keepsakes: Vec::new(),
            token_type: Some(TokenType::Session),
        }
    }

    pub(in crate::core) fn signed_out(cause: impl Into<Cause>) -> Self {
        Self {
            outcome: Outcome::SignedOut(cause.into()),
            set_cookies: Vec::new(),
            keepsakes: Vec::new(),
            token_type: Some(TokenType::Session),
        }
    }

    /// No token of the kind that is asked for.
    pub(super) fn without(token_type: Option<TokenType>, reason: Reason) -> Self {
        Self {
            token_type,
            ..Self::signed_out(reason)
        }
    }

    /// The session, unless it is pending and pending counts as signed out.
    pub fn session(&self, pending: PendingSessions) -> Option<&SignedIn> {
        match &self.outcome {
            Outcome::SignedIn(session)
                if pending == PendingSessions::SignedIn || !session.is_pending() =>
            {
                Some(session)
            }
            _ => None,
        }
    }
}

impl fmt::Debug for AuthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthState")
            .field("outcome", &self.outcome)
            .field("set_cookies", &CookieLines(&self.set_cookies))
            .field("keepsakes", &self.keepsakes)
            .field("token_type", &self.token_type)
            .finish()
    }
}

impl fmt::Debug for AuthRedirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRedirect")
            .field("location", &Address(&self.location))
            .field("cause", &self.cause)
            .finish()
    }
}

impl SignedIn {
    /// The session of a token that holds.
    pub(in crate::core) fn by(token: Arc<Token>, slot: Slot) -> Self {
        Self {
            token,
            slot,
            rides_until_ms: None,
        }
    }

    /// Whether tasks are left before the session may be used.
    pub fn is_pending(&self) -> bool {
        self.token.identity().is_some_and(Identity::is_pending)
    }
}
