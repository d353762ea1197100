//! Answers of the gate's own, and what every answer says of a verdict.

use http::header::{CONNECTION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, Version};
use http_body_util::Full;

use super::answer_body::AnswerBody;
use crate::core::call::Manner;
use crate::core::decide::{Challenge, Decision, READING, Refusal, RefusalKind, Standing, Verdict};
use crate::core::facts::{self, Audience};
use crate::core::reason::{Cause, Reason};
use crate::core::reply;
use crate::core::ride_through::{RIDE_THROUGH_HEADER, RIDES};
use crate::gate::{Ruling, Snapshot};
use crate::pages::{self, Document};
use crate::upstream::head::X_REQUEST_ID;

/// A document on its way out.
pub(super) fn of(document: Document, request_id: &HeaderValue) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Own(Full::new(document.body)));
    *response.status_mut() = document.status;
    *response.headers_mut() = document.headers;
    response
        .headers_mut()
        .insert(X_REQUEST_ID, request_id.clone());
    response
}

/// A refusal that has nothing to do with who asked.
pub(super) fn refusal(reason: Reason, audience: Audience) -> Refusal {
    Refusal {
        kind: RefusalKind::Request,
        cause: Cause::from(reason),
        audience,
        sign_in_url: None,
        challenge: Challenge::default(),
        methods: READING,
    }
}

/// The answer to a request that cannot be read, which came in this version of HTTP.
pub(super) fn unread(
    reason: Reason,
    version: Version,
    parts: &Parts,
    request_id: &HeaderValue,
) -> Response<AnswerBody> {
    let refusal = refusal(reason, facts::audience(&parts.method, &parts.headers));
    let manner = Manner::of(&parts.method, &parts.headers);
    let id = request_id.to_str().unwrap_or_default();
    let document = pages::refusal(reply::in_manner(manner, &refusal, id));
    let mut response = of(document, request_id);
    // SECURITY: where a request cannot be read in one way, neither can what follows it. In HTTP/2 nothing
    // follows: where it ends is no matter of what it says.
    if version != Version::HTTP_2 {
        close_behind(&mut response);
    }
    response
}

/// Ends the connection with this answer.
pub(super) fn close_behind(response: &mut Response<AnswerBody>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

/// Adds the cookies of a verdict, and what a browser on its way to Clerk is told.
pub(super) fn dress(headers: &mut HeaderMap, verdict: &Verdict) {
    for cookie in &verdict.set_cookies {
        if let Ok(value) = HeaderValue::from_str(cookie) {
            headers.append(SET_COOKIE, value);
        }
    }
    if let (Decision::Redirect(_), Standing::Handshake) = (&verdict.decision, verdict.standing) {
        headers.extend(reply::auth_headers(
            verdict.standing,
            verdict.cause.as_ref(),
        ));
    }
}

/// Adds what is told of budgets and of a session that rides through an outage of Clerk's, and Clerk's debug headers if the operator wants them.
pub(super) fn finish(headers: &mut HeaderMap, snapshot: &Snapshot, ruling: &Ruling) {
    for (name, value) in &ruling.fields {
        headers.append(name, value.clone());
    }
    let verdict = &ruling.verdict;
    if matches!(&verdict.decision, Decision::Forward(permit) if permit.rides().is_some()) {
        headers.insert(&RIDE_THROUGH_HEADER, RIDES);
    }
    // SECURITY: a reason would tell that there is something behind what is hidden.
    let hidden = matches!(
        &verdict.decision,
        Decision::Refuse(refusal) if refusal.kind == RefusalKind::Hidden
    );
    if snapshot.debug_headers && !hidden {
        for (name, value) in reply::auth_headers(verdict.standing, verdict.cause.as_ref()) {
            headers.insert(name, value);
        }
    }
}
