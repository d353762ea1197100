//! Misbehaviour on request, and counters of what was asked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::json;

use super::answer::{self, Answer};
use super::machines::MachineKind;

/// What can be counted and made to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The key set, of both APIs.
    Jwks,
    /// The Frontend API's handshake.
    Handshake,
    /// The Backend API's handshake payload.
    HandshakePayload,
    /// The Backend API's refresh of a session.
    Refresh,
    /// Session tokens and template tokens, of both APIs.
    Tokens,
    /// Those of the Backend API alone.
    MintedTokens,
    /// The Backend API's sessions: list, read, revoke.
    Sessions,
    /// The list of them alone.
    SessionList,
    /// The reading of one alone.
    Session,
    /// The revocation of one alone.
    Revoke,
    /// The ban of a person, and its end.
    Ban,
    /// The Backend API's verification of machine tokens, of each kind.
    MachineTokens,
    /// Whatever is asked, listed here or not.
    All,
}

/// A way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closes the connection without an answer.
    Close,
    /// Answers only after this time.
    Hang(Duration),
    /// Answers with this status and an error in Clerk's shape.
    Status(u16),
    /// The same, with `Retry-After` in seconds.
    StatusWithRetryAfter(u16, u64),
    /// Answers 200 and says JSON, but it isn't.
    Garbage,
    /// Answers 200 with a key set that has no keys.
    Empty,
    /// Answers 200 with JSON of about this many bytes.
    Huge(usize),
    /// Answers 200 with a page, as something between here and Clerk may.
    Page,
    /// Tells the truth, but calls it plain text.
    PlainText,
    /// Begins to tell the truth, and closes the connection half way through.
    HalfWay,
}

impl Endpoint {
    /// The endpoint of a request, if it is one that is listed.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method.as_str(), segments.as_slice()) {
            (_, ["v1", "jwks"] | [".well-known", "jwks.json"]) => Some(Self::Jwks),
            (_, ["v1", "client", "handshake"]) => Some(Self::Handshake),
            (_, ["v1", "clients", "handshake_payload"]) => Some(Self::HandshakePayload),
            (_, ["v1", "sessions", _, "refresh"]) => Some(Self::Refresh),
            (_, ["v1", "sessions", _, "tokens", ..]) => Some(Self::MintedTokens),
            (_, ["v1", "client", "sessions", _, "tokens", ..]) => Some(Self::Tokens),
            (_, ["v1", "sessions"]) => Some(Self::SessionList),
            (_, ["v1", "sessions", _]) => Some(Self::Session),
            (_, ["v1", "sessions", _, "revoke"]) => Some(Self::Revoke),
            (_, ["v1", "sessions", ..]) => Some(Self::Sessions),
            (_, ["v1", "users", _, "ban" | "unban"]) => Some(Self::Ban),
            (_, ["v1", rest @ ..] | rest) if MachineKind::verified_at(rest).is_some() => {
                Some(Self::MachineTokens)
            }
            _ => None,
        }
    }

    /// What it is counted among as well.
    fn group(self) -> Self {
        match self {
            Self::SessionList | Self::Session | Self::Revoke => Self::Sessions,
            Self::MintedTokens => Self::Tokens,
            Self::Jwks
            | Self::Handshake
            | Self::HandshakePayload
            | Self::Refresh
            | Self::Tokens
            | Self::Sessions
            | Self::Ban
            | Self::MachineTokens
            | Self::All => Self::All,
        }
    }
}

/// The faults in force and the counters.
#[derive(Default)]
pub(super) struct Faults(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    faults: HashMap<Endpoint, Fault>,
    calls: HashMap<Endpoint, usize>,
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(super) struct Closed;

/// The connection is to be closed half way through the answer that this is an extension of.
#[derive(Clone, Copy)]
pub(super) struct BreakOff;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on request")
    }
}

impl std::error::Error for Closed {}

impl Faults {
    pub(super) fn set(&self, endpoint: Endpoint, fault: Fault) {
        self.inner().faults.insert(endpoint, fault);
    }

    pub(super) fn clear(&self) {
        self.inner().faults.clear();
    }

    pub(super) fn calls(&self, endpoint: Endpoint) -> usize {
        let inner = self.inner();
        inner.calls.get(&endpoint).copied().unwrap_or_default()
    }

    /// Counts a request and names the fault it meets; the narrowest goes before that of all.
    pub(super) fn meet(&self, endpoint: Option<Endpoint>) -> Option<Fault> {
        let mut inner = self.inner();
        let mut met = None;
        let mut next = Some(endpoint.unwrap_or(Endpoint::All));
        while let Some(counted) = next {
            *inner.calls.entry(counted).or_default() += 1;
            met = met.or_else(|| inner.faults.get(&counted).copied());
            next = (counted != Endpoint::All).then(|| counted.group());
        }
        met
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// What the fault answers in the place of the truth; nothing if the truth shall follow.
    pub(super) async fn answer(self) -> Result<Option<Answer>, Closed> {
        let lie = match self {
            Self::Close => return Err(Closed),
            Self::PlainText | Self::HalfWay => return Ok(None),
            Self::Hang(time) => {
                tokio::time::sleep(time).await;
                return Ok(None);
            }
            Self::Status(status) => status_answer(status),
            Self::StatusWithRetryAfter(status, seconds) => {
                let mut answer = status_answer(status);
                answer::set(&mut answer, header::RETRY_AFTER, &seconds.to_string());
                answer
            }
            Self::Garbage => answer::text(
                StatusCode::OK,
                "application/json",
                "<!doctype html><p>this is not JSON".to_owned(),
            ),
            Self::Empty => answer::json(StatusCode::OK, &json!({ "keys": [] })),
            Self::Huge(bytes) => {
                let padding = "a".repeat(bytes);
                answer::json(StatusCode::OK, &json!({ "keys": [], "padding": padding }))
            }
            Self::Page => answer::text(
                StatusCode::OK,
                "text/html; charset=utf-8",
                "<!doctype html><p>please sign in to the network".to_owned(),
            ),
        };
        Ok(Some(lie))
    }

    /// What becomes of the truth, where the fault is in how it is told.
    pub(super) fn tell(self, truth: Answer) -> Answer {
        let mut told = truth;
        match self {
            Self::PlainText => answer::set(&mut told, header::CONTENT_TYPE, "text/plain"),
            Self::HalfWay => {
                told.extensions_mut().insert(BreakOff);
            }
            _ => {}
        }
        told
    }
}

fn status_answer(status: u16) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer::error(status, "standin_fault", "the stand-in was told to fail")
}
