//! The gate as the conscience of another gateway: it is asked about a request that it never forwards.
//!
//! What the gateway says becomes facts like those of any request, and the verdict on them is written
//! as that gateway's answer: yes with the identity, or no with what the client has to see.

mod admission;
mod dialect;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, COOKIE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::account::Account;
use super::answer_body::AnswerBody;
use super::asked::{self, Asked};
use super::log_line::{self, Outcome};
use super::proxy::Peer;
use super::{own_answer, request_id};
use crate::core::decide::Permit;
use crate::core::door::{Dialect, Original};
use crate::core::facts;
use crate::core::reason::Reason;
use crate::core::signed_assertion::ASSERTION_HEADER;
use crate::gate::{Gate, Snapshot};
use crate::pages::Document;
use crate::telemetry::traces::Sender;
use crate::upstream::head::X_REQUEST_ID;
pub use admission::Admission;

/// Answers a gateway. Never fails: every failure is an answer with a reason.
pub async fn answer(
    gate: &Gate,
    snapshot: &Arc<Snapshot>,
    admission: &Admission,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    // SECURITY: a stranger learns nothing, not even which dialects there are.
    if !admission.admits(peer.address, request.headers()) {
        return bare(StatusCode::FORBIDDEN);
    }
    let Some(dialect) = Dialect::of(request.uri().path()) else {
        return bare(StatusCode::NOT_FOUND);
    };
    let began = Instant::now();
    let request_id = request_id::of(request.headers());
    let (parts, _) = request.into_parts();
    let sender = || Sender::of(snapshot.edge.trusts(peer.address));
    let account = Account::open(gate, dialect.into(), began, &parts.headers, sender);
    let mut line = log_line::begun(&request_id, &parts.method, peer.address);
    let original = Original::read(dialect, peer.wire(&parts), &snapshot.reserved);
    let read = original
        .as_ref()
        .map_err(|reason| *reason)
        .and_then(|original| original.facts(&snapshot.edge));
    let facts = match read {
        Ok(facts) => facts,
        Err(reason) => {
            let method = original.as_ref().map(|original| original.wire().method);
            let audience = facts::audience(method.unwrap_or(&parts.method), &parts.headers);
            let no = asked::refusal(reason, audience, line.request_id);
            let asked = method.unwrap_or(&parts.method);
            account.unread(&line, asked, snapshot, reason, no.status.as_u16());
            let mut response = self::no(dialect, no, &request_id);
            if reason == Reason::FramingAmbiguous {
                // SECURITY: nobody can tell where the next question begins.
                own_answer::close_behind(&mut response);
            }
            return response;
        }
    };
    let ruling = gate.decide(snapshot, &facts).await;
    line.verdict = began.elapsed();
    let asked = Asked {
        snapshot,
        facts: &facts,
        ruling: &ruling,
        request_id: &request_id,
    };
    let (response, outcome) = Desk { dialect, asked }.carry_out();
    account.judged(&line, snapshot, &facts, &ruling, &outcome);
    // What the ruling holds ends here: nobody says when the request itself does.
    response
}

/// A verdict on its way to a gateway.
struct Desk<'a, 'r> {
    dialect: Dialect,
    asked: Asked<'a, 'r>,
}

impl Desk<'_, '_> {
    fn carry_out(&self) -> (Response<AnswerBody>, Outcome) {
        let no = match self.asked.leave() {
            Ok(permit) => match self.yes(permit) {
                Ok(response) => return (response, asked::goes_on()),
                Err(reason) => return self.failed(reason),
            },
            Err(no) => *no,
        };
        match dialect::no(self.dialect, no.document, self.asked.request_id) {
            Ok(response) => (response, no.outcome),
            Err(dialect::NoRoom) => self.failed(Reason::CookiesTooMany),
        }
    }

    fn failed(&self, reason: Reason) -> (Response<AnswerBody>, Outcome) {
        let no = self.asked.failed(reason);
        let response = self::no(self.dialect, no.document, self.asked.request_id);
        (response, no.outcome)
    }

    /// The leave to forward the request, with everything that the application is to be told.
    fn yes(&self, permit: &Permit) -> Result<Response<AnswerBody>, Reason> {
        let Asked {
            snapshot,
            facts,
            ruling,
            request_id,
        } = self.asked;
        let verdict = &ruling.verdict;
        let upstream = snapshot.upstreams.get(permit.upstream());
        let told = upstream.and_then(|upstream| upstream.tell(permit, facts));
        let told = told.ok_or(Reason::UpstreamMalformed)?;
        let mut response = bare(StatusCode::OK);
        let headers = response.headers_mut();
        let empty = || HeaderValue::from_static("");
        // SECURITY: all of them, or a client's own copy of one that is unknown would go on.
        for name in snapshot.headers.names() {
            headers.insert(name.clone(), empty());
        }
        for (name, value) in permit.identity() {
            headers.insert(name.clone(), value.clone());
        }
        for name in template_headers(snapshot) {
            if !headers.contains_key(name) {
                headers.insert(name.clone(), self.left_of(name, permit));
            }
        }
        if let Some(assertion) = told.assertion {
            headers.insert(&ASSERTION_HEADER, assertion);
        }
        headers.insert(COOKIE, told.cookies.unwrap_or_else(empty));
        headers.insert(X_REQUEST_ID, request_id.clone());
        if !verdict.set_cookies.is_empty() {
            let private = HeaderValue::from_static("private, no-store");
            headers.insert(CACHE_CONTROL, private);
        }
        own_answer::dress(headers, verdict);
        own_answer::finish(headers, snapshot, ruling);
        match dialect::yes(self.dialect, headers) {
            Ok(()) => Ok(response),
            Err(dialect::NoRoom) => Err(Reason::CookiesTooMany),
        }
    }

    /// What the application gets of a client's header that the gate sets on other routes.
    fn left_of(&self, name: &HeaderName, permit: &Permit) -> HeaderValue {
        let mut lines = self.asked.facts.headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) if permit.withheld() != Some(name) => line.clone(),
            _ => HeaderValue::from_static(""),
        }
    }
}

/// The headers in which applications get tokens of templates: of the gate on some routes, and of the
/// client on all others.
fn template_headers(snapshot: &Snapshot) -> impl Iterator<Item = &HeaderName> {
    let routes = snapshot.policy.routes().iter();
    routes.filter_map(|route| Some(&route.template.as_ref()?.header))
}

/// A no without cookies, for which there always is room.
fn no(dialect: Dialect, document: Document, request_id: &HeaderValue) -> Response<AnswerBody> {
    dialect::no(dialect, document, request_id)
        .unwrap_or_else(|dialect::NoRoom| bare(StatusCode::FORBIDDEN))
}

/// An answer that says nothing but its status.
fn bare(status: StatusCode) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Own(Full::new(Bytes::new())));
    *response.status_mut() = status;
    response
}
