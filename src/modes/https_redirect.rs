//! The gate where nothing is encrypted and TLS is wanted: it says where to ask again, and nothing else.
//!
//! No cookie is looked at or set, no body is read, and nobody is asked about anything.

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;

use super::answer_body::AnswerBody;
use super::proxy::Peer;
use super::{log_line, own_answer, request_id};
use crate::core::call::Manner;
use crate::core::facts;
use crate::core::https_redirect::HttpsRedirect;
use crate::core::reply;
use crate::gate::{Gate, Snapshot};
use crate::pages;
use crate::telemetry::access::{self, AccessLine, Action};
use crate::telemetry::requests::Mode;

/// Answers a request. Never fails: what cannot be read is refused with a reason.
pub fn answer(
    gate: &Gate,
    snapshot: &Snapshot,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let request_id = request_id::of(request.headers());
    let (parts, _) = request.into_parts();
    let mut line = log_line::begun(&request_id, &parts.method, peer.address);
    line.protocol = Some(access::protocol(parts.version));
    let requests = &gate.meters.requests;
    let mut response = match HttpsRedirect::of(peer.wire(&parts), &snapshot.edge) {
        Ok(redirect) => {
            let document = pages::https_redirect(&redirect.location);
            let status = document.status.as_u16();
            requests.no_route.note(Action::Redirect, None);
            let host = redirect.asked.host.to_string();
            let line = AccessLine {
                path: Some(redirect.asked.path.as_str()),
                host: Some(&host),
                client: redirect.client,
                decision: Action::Redirect,
                status,
                ..line
            };
            line.write();
            own_answer::of(document, &request_id)
        }
        Err(reason) => {
            let audience = facts::audience(&parts.method, &parts.headers);
            let refusal = own_answer::refusal(reason, audience);
            let manner = Manner::of(&parts.method, &parts.headers);
            let document = pages::refusal(reply::in_manner(manner, &refusal, line.request_id));
            requests.unread.note(Action::Refuse, Some(reason));
            log_line::unread(&line, reason, document.status.as_u16());
            own_answer::of(document, &request_id)
        }
    };
    requests.note(Mode::HttpsRedirect, response.status().as_u16());
    // Whoever has been told goes elsewhere, and a body that came along is nobody's.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
