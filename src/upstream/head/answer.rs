//! The head of an answer of the upstream's.

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{X_REQUEST_ID, is_hop_by_hop, nominated};
use crate::core::reserved::{CLERKS_OWN, with_letters};

/// Whether everybody agrees on where the body of an answer ends, and on what it is.
///
/// A coding besides `chunked` would go on as the body itself, since none is asked for, and `chunked`
/// with a length beside it ends in two places (RFC 9112, section 6.3).
pub fn is_framed_in_one_way(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => {
            coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && !headers.contains_key(CONTENT_LENGTH)
        }
        (Some(_), Some(_)) => false,
    }
}

/// Takes hop-by-hop headers from an answer. `upgraded` keeps what a WebSocket handshake needs.
pub fn end_to_end(headers: &mut HeaderMap, upgraded: bool) {
    let nominated = nominated(headers);
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_hop_by_hop(name) || nominated.contains(name))
        .filter(|name| !(upgraded && (*name == CONNECTION || *name == UPGRADE)))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// Adds Clerk's cookies to an answer, and says who may store it: nobody if it has cookies of ours, and
/// what was made for somebody who is signed in is private unless the upstream says otherwise.
///
/// What the upstream says of storing and changing an answer is overwritten by this: whoever goes by
/// that looks at it before.
pub fn set_cookies(headers: &mut HeaderMap, cookies: &[String], privacy: Privacy) {
    for cookie in cookies {
        if let Ok(value) = HeaderValue::from_str(cookie) {
            headers.append(SET_COOKIE, value);
        }
    }
    if !cookies.is_empty() {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    } else if privacy == Privacy::Personal && !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// The trailers of an answer that go on.
///
/// SECURITY: readers may put them where headers of that name are, and what the gate has said in the
/// head must not be contradicted behind the body.
pub fn answer_trailers(trailers: HeaderMap) -> HeaderMap {
    let mut trailers = trailers;
    let names: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            is_hop_by_hop(name)
                || **name == X_REQUEST_ID
                || with_letters(name.as_str(), |letters| letters.starts_with(CLERKS_OWN))
        })
        .cloned()
        .collect();
    for name in names {
        trailers.remove(name);
    }
    trailers
}

/// Whether an answer is for one person alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// It was made for somebody who is signed in.
    Personal,
    /// It was made for anybody.
    Anybody,
}
