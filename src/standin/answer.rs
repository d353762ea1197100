//! The kinds of answer: JSON, an error in Clerk's shape, a page, a redirect, a plain text.

use askama::Template;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};

/// What every request is answered with.
pub(super) type Answer = Response<Full<Bytes>>;

/// JSON, with the exact content type that Clerk's client insists on.
pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    text(status, "application/json", value.to_string())
}

/// An error in the shape of Clerk's APIs.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    let error = json!({ "message": message, "long_message": message, "code": code });
    json(
        status,
        &json!({ "errors": [error], "clerk_trace_id": "standin" }),
    )
}

/// What is not there.
pub(super) fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "resource_not_found", "not found")
}

/// A page without scripts, whose forms lead only to the given sources.
pub(super) fn page(status: StatusCode, template: &impl Template, form_sources: &str) -> Answer {
    let Ok(body) = template.render() else {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain; charset=utf-8",
            "the page could not be made\n".to_owned(),
        );
    };
    let mut answer = text(status, "text/html; charset=utf-8", body);
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' {form_sources}; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    set(&mut answer, CONTENT_SECURITY_POLICY, policy.trim());
    // `no-referrer` would make browsers send `Origin: null` with our own forms.
    set(&mut answer, REFERRER_POLICY, "same-origin");
    answer
}

/// A redirect, which no cache may keep.
pub(super) fn redirect(status: StatusCode, location: &str) -> Answer {
    let mut answer = text(status, "text/plain; charset=utf-8", String::new());
    set(&mut answer, LOCATION, location);
    answer
}

/// A body as it is.
pub(super) fn text(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    bytes(status, content_type, Bytes::from(body))
}

/// A body that need not be text.
pub(super) fn bytes(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, content_type);
    set(&mut answer, CACHE_CONTROL, "no-store");
    set(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}

/// Sets a header; a value that is no legal header text is left out.
pub(super) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
