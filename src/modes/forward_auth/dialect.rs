//! What an answer looks like to each gateway.
//!
//! Traefik and Envoy hand on what they are given. nginx passes the statuses 401 and 403 and neither
//! body nor cookies, and Caddy and HAProxy pass no header of a yes on by itself. For these, cookies travel
//! under numbered names, and for nginx everything else that a client has to see as well.

use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::core::door::Dialect;
use crate::modes::answer_body::AnswerBody;
use crate::modes::own_answer;
use crate::pages::{self, Document};

/// How many cookies a gateway can pass on that takes them under numbered names.
const NUMBERED: [HeaderName; 8] = [
    HeaderName::from_static("x-clerk-gate-set-cookie-1"),
    HeaderName::from_static("x-clerk-gate-set-cookie-2"),
    HeaderName::from_static("x-clerk-gate-set-cookie-3"),
    HeaderName::from_static("x-clerk-gate-set-cookie-4"),
    HeaderName::from_static("x-clerk-gate-set-cookie-5"),
    HeaderName::from_static("x-clerk-gate-set-cookie-6"),
    HeaderName::from_static("x-clerk-gate-set-cookie-7"),
    HeaderName::from_static("x-clerk-gate-set-cookie-8"),
];

/// The status that a client has to see.
const STATUS: HeaderName = HeaderName::from_static("x-clerk-gate-status");
/// Where it is sent.
const ADDRESS: HeaderName = HeaderName::from_static("x-clerk-gate-location");
/// What it reads.
const BODY: HeaderName = HeaderName::from_static("x-clerk-gate-body");
/// What kind of text that is.
const KIND: HeaderName = HeaderName::from_static("x-clerk-gate-content-type");
/// How it could come again.
const CHALLENGE: HeaderName = HeaderName::from_static("x-clerk-gate-www-authenticate");

/// What a client is told of limits.
const LIMITS: [HeaderName; 2] = [
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("ratelimit"),
];

/// The longest body that fits into a header, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// A gateway cannot pass on all the cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// Writes the headers of a yes as this gateway reads them.
pub(super) fn yes(dialect: Dialect, headers: &mut HeaderMap) -> Result<(), NoRoom> {
    match dialect {
        Dialect::Nginx | Dialect::Haproxy => number_cookies(headers),
        Dialect::Caddy => {
            number_cookies(headers)?;
            // Caddy passes on its own word for what is not there.
            for name in NUMBERED.into_iter().chain(LIMITS) {
                let empty = || HeaderValue::from_static("");
                headers.entry(name).or_insert_with(empty);
            }
            Ok(())
        }
        Dialect::Traefik | Dialect::Envoy => Ok(()),
    }
}

/// A no, with what the client has to see.
pub(super) fn no(
    dialect: Dialect,
    document: Document,
    request_id: &HeaderValue,
) -> Result<Response<AnswerBody>, NoRoom> {
    let document = match dialect {
        Dialect::Nginx => for_nginx(document)?,
        Dialect::Traefik | Dialect::Caddy | Dialect::Haproxy | Dialect::Envoy => document,
    };
    Ok(own_answer::of(document, request_id))
}

fn number_cookies(headers: &mut HeaderMap) -> Result<(), NoRoom> {
    if let http::header::Entry::Occupied(lines) = headers.entry(SET_COOKIE) {
        let (_, cookies) = lines.remove_entry_mult();
        let cookies: Vec<HeaderValue> = cookies.collect();
        // Part of a session is none: rather nothing than some of it.
        if cookies.len() > NUMBERED.len() {
            return Err(NoRoom);
        }
        headers.extend(NUMBERED.into_iter().zip(cookies));
    }
    Ok(())
}

/// The status that nginx takes for a no, and everything else in headers.
fn for_nginx(document: Document) -> Result<Document, NoRoom> {
    let Document {
        status,
        mut headers,
        body,
    } = pages::in_one_line(document);
    number_cookies(&mut headers)?;
    for (from, to) in [
        (LOCATION, ADDRESS),
        (CONTENT_TYPE, KIND),
        (WWW_AUTHENTICATE, CHALLENGE),
    ] {
        if let Some(value) = headers.remove(from) {
            headers.insert(to, value);
        }
    }
    headers.insert(STATUS, HeaderValue::from(status.as_u16()));
    if body.len() <= MAX_BODY_BYTES
        && let Ok(body) = HeaderValue::from_bytes(&body)
        && !body.is_empty()
    {
        headers.insert(BODY, body);
    }
    let status = match status {
        StatusCode::FORBIDDEN => status,
        _ => StatusCode::UNAUTHORIZED,
    };
    Ok(Document {
        status,
        headers,
        body: bytes::Bytes::new(),
    })
}
