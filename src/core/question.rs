//! What `decide` may ask: the loop between the pure core and the gate.
//!
//! `decide` never waits. It answers, or it asks; the gate finds out and calls again with the
//! answer noted in [`Progress`]. A failure to find out is an answer too, and nothing is asked twice.

mod keeping;
mod progress;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::jwt::{Malformed, Token};
use super::machine::TokenType;
use super::verify::Signature;
pub use keeping::COVERED;
pub use progress::{Progress, session_directive};

/// Something the core wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Pure: what is in this token? Answered by decoding, or from the verified-token cache.
    Token(Slot),
    /// Pure: is its signature good? Answered by keys at hand; fetching keys is the gate's affair.
    Signature(Slot),
    /// Effect: the directives behind the handshake nonce.
    HandshakePayload,
    /// Pure: what do the gate's own cookies hold?
    OwnCookies,
    /// Pure: what is the journey called that begins now? Nobody can guess it.
    Journey,
    /// Effect: a new session token for the session of the seal.
    Mint,
    /// Effect: a new session token for the refresh cookie.
    Refresh(Slot),
    /// Pure: what does this process know of this token, whose end has passed?
    Recollection(Slot),
    /// Effect: whether Clerk can be reached, by asking about the session of this token.
    Reach(Slot),
    /// Effect: a token of the route's template for the session of this token.
    Template(Slot),
    /// Effect: whom the opaque machine token of the `Authorization` header stands for.
    Machine(TokenType),
    /// Effect: the charges of this stage: see [`Progress::charges`].
    Budget(Stage),
}

/// When budgets are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As soon as the route is known: those that count addresses.
    Arrival,
    /// When a request may go on: those that count whoever sends it.
    Admission,
}

/// Which token of a request is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Of the `Authorization` header.
    Bearer,
    /// `__session`.
    Session,
    /// `__session_<suffix>`.
    SuffixedSession,
    /// The handshake result.
    Handshake,
    /// The session token that a handshake brought.
    FromHandshake,
    /// The session token that a refresh brought.
    FromRefresh,
    /// The session token that was minted.
    FromMint,
}

impl Slot {
    /// Every slot, in the order of their numbers.
    const ALL: [Self; 7] = [
        Self::Bearer,
        Self::Session,
        Self::SuffixedSession,
        Self::Handshake,
        Self::FromHandshake,
        Self::FromRefresh,
        Self::FromMint,
    ];
}

/// What is known of a token.
#[derive(Clone, Debug)]
pub struct TokenAnswer {
    /// The token, or why it is none.
    pub decoded: Result<Arc<Token>, Malformed>,
    /// Whether its signature is known already.
    pub signature: Option<Signature>,
    /// Whether it still counts, its signature and its times apart.
    pub standing: TokenStanding,
}

/// What is known of a token besides what it says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenStanding {
    /// Nothing.
    #[default]
    Stands,
    /// Its session is over.
    Revoked,
    /// What it says has changed since: it has to be renewed.
    Outdated,
}

/// Why no token was minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MintFailure {
    /// The session is over.
    Ended,
    /// Clerk could not be asked.
    Unavailable,
    /// Clerk would not.
    Refused,
}

/// Set-Cookie strings from Clerk, or why there are none.
pub type Directives<E> = Result<Vec<String>, E>;
