//! Orders: pages of the gate's own that do something.
//!
//! What may be done, and in whose name, stands in the order; here it is done and answered.

mod own_sessions;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tracing::info;

use crate::clerk::webhooks::{EventError, MAX_EVENT_BYTES};
use crate::core::decide::{Order, RefusalKind, Task};
use crate::core::facts::{BodyLength, RequestFacts};
use crate::core::reason::Reason;
use crate::gate::{Gate, Snapshot};
use crate::pages::{self, Document};
use own_sessions::Counter;

/// What came of an order.
pub(super) struct Served {
    /// The answer.
    pub(super) document: Document,
    /// What did not work out, for the log.
    pub(super) failure: Option<Reason>,
}

/// Why there is nothing to answer with but a refusal.
pub(super) struct Failure {
    pub(super) kind: RefusalKind,
    pub(super) reason: Reason,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self {
            kind: RefusalKind::Request,
            reason,
        }
    }
}

impl From<Document> for Served {
    fn from(document: Document) -> Self {
        Self {
            document,
            failure: None,
        }
    }
}

impl Served {
    fn setting(self, cookies: &[String]) -> Self {
        Self {
            document: self.document.setting(cookies),
            ..self
        }
    }
}

/// Carries out an order. An error is what the sender is refused with.
pub(super) async fn carry_out(
    order: &Order,
    gate: &Gate,
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    inbound: Request<Incoming>,
    request_id: &str,
) -> Result<Served, Failure> {
    // INVARIANT: nothing is ordered for a site that is not there, nor about sessions of nobody.
    let site = snapshot.site(facts.site).ok_or(Reason::HostNotServed)?;
    let owner = || order.owner().ok_or(Reason::CookieSessionNeeded);
    let counter = Counter {
        gate,
        snapshot,
        site,
        facts,
        request_id,
    };
    match order.task() {
        Task::Webhook => Ok(webhook(gate, snapshot, facts, inbound).await?.into()),
        Task::Sessions(surroundings) => counter.sessions(owner()?, surroundings).await,
        Task::SignOut(wanted) => Ok(counter.sign_out(order.owner(), wanted).await),
        Task::Revoke(id) => counter.revoke(owner()?, id).await,
        Task::RevokeOthers => counter.revoke_others(owner()?).await,
        Task::Switch { session, browser } => counter.switch(owner()?, browser, session).await,
        Task::Token(Some(present)) => {
            Ok(pages::token(&present.jwt, Some(present.expires_s)).into())
        }
        Task::Token(None) => counter.token(owner()?).await,
        Task::Template(template) => counter.template(owner()?, template).await,
    }
}

/// Takes in an event of Clerk's.
async fn webhook(
    gate: &Gate,
    snapshot: &Snapshot,
    facts: &RequestFacts<'_>,
    inbound: Request<Incoming>,
) -> Result<Document, Reason> {
    // INVARIANT: there is an order only where there are secrets.
    let secrets = snapshot.webhooks.as_ref().ok_or(Reason::PageUnknown)?;
    // SECURITY: nothing is read for whoever could not possibly be Clerk.
    let claim = gate.claim(facts.headers).map_err(turned_away)?;
    let body = read(facts, snapshot, inbound, MAX_EVENT_BYTES).await?;
    gate.take(secrets, &claim, &body).map_err(turned_away)?;
    Ok(pages::nothing())
}

/// The reason to refuse an event with; which of several it is stands in the log alone.
fn turned_away(error: EventError) -> Reason {
    info!(cause = %error, "an event was turned away");
    error.reason()
}

/// Reads a body of at most `limit` bytes, which has to arrive as a whole within `body-timeout`.
async fn read(
    facts: &RequestFacts<'_>,
    snapshot: &Snapshot,
    inbound: Request<Incoming>,
    limit: usize,
) -> Result<Bytes, Reason> {
    if let BodyLength::Exactly(length) = facts.body
        && usize::try_from(length).is_ok_and(|length| length > limit)
    {
        return Err(Reason::BodyTooLarge);
    }
    let body = Limited::new(inbound.into_body(), limit).collect();
    match tokio::time::timeout(snapshot.body_timeout, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Reason::BodyTooLarge),
        Ok(Err(_)) => Err(Reason::FramingAmbiguous),
        Err(_) => Err(Reason::BodyTimeout),
    }
}
