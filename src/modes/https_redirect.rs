//! The gate where nothing is encrypted and TLS is wanted: it says where to ask again, and nothing else.
//!
//! No cookie is looked at or set, no body is read, and nobody is asked about anything.

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::account::Account;
use super::answer_body::AnswerBody;
use super::proxy::Peer;
use super::{log_line, own_answer, request_id};
use crate::core::https_redirect::HttpsRedirect;
use crate::gate::{Gate, Snapshot};
use crate::pages;
use crate::telemetry::access::{self, AccessLine, Action};
use crate::telemetry::requests::Mode;
use crate::telemetry::traces::Sender;

/// Answers a request. Never fails: what cannot be read is refused with a reason.
pub fn answer(
    gate: &Gate,
    snapshot: &Snapshot,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let began = Instant::now();
    let request_id = request_id::of(request.headers());
    let (parts, _) = request.into_parts();
    let sender = || Sender::of(snapshot.edge.trusts(peer.address));
    let account = Account::open(gate, Mode::HttpsRedirect, began, &parts.headers, sender);
    let mut line = log_line::begun(&request_id, &parts.method, peer.address);
    line.protocol = Some(access::protocol(parts.version));
    let redirect = match HttpsRedirect::of(peer.wire(&parts), &snapshot.edge) {
        Ok(redirect) => redirect,
        Err(reason) => {
            let response = own_answer::unread(reason, parts.version, &parts, &request_id);
            let status = response.status().as_u16();
            account.unread(&line, &parts.method, snapshot, reason, status);
            return response;
        }
    };
    let document = pages::https_redirect(&redirect.location);
    let mut response = own_answer::of(document, &request_id);
    // Whoever has been told goes elsewhere, and a body that came along is nobody's.
    own_answer::close_behind(&mut response);
    let host = redirect.asked.host.to_string();
    let line = AccessLine {
        path: Some(redirect.asked.path.as_str()),
        host: Some(&host),
        client: redirect.client,
        decision: Action::Redirect,
        status: response.status().as_u16(),
        ..line
    };
    account.sent_to_https(&line, &parts.method, snapshot);
    response
}
