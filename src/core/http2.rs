//! The head of a request in HTTP/2, put as HTTP/1.1 would put it.
//!
//! Everything about a request is read of that form, so nothing can be read in one way here and in
//! another way there. What has no such form is refused.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::reason::Reason;

/// What a head in HTTP/2 says otherwise than in its lines.
#[derive(Debug)]
pub struct Beside<'a> {
    /// `:protocol`, of a CONNECT (RFC 8441).
    pub protocol: Option<&'a str>,
    /// Whether there is a body.
    pub body: Body,
    /// The key of a handshake for a WebSocket, which HTTP/1.1 has and HTTP/2 does not.
    pub key: &'a HeaderValue,
}

/// Whether a head is all there is of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It ends with its head.
    None,
    /// Data follows, or may.
    Follows,
}

/// Headers that are about a connection, of which there is no such thing in HTTP/2 (RFC 9113, section
/// 8.2.2).
static OF_CONNECTIONS: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Puts a head as HTTP/1.1 does. A head that is in HTTP/1.1 stays as it is.
pub fn in_http1(parts: &mut Parts, beside: &Beside<'_>) -> Result<(), Reason> {
    if parts.version != Version::HTTP_2 {
        return Ok(());
    }
    let headers = &mut parts.headers;
    // SECURITY: whoever makes HTTP/1.1 of these lets a client say where its request ends.
    if OF_CONNECTIONS.iter().any(|name| headers.contains_key(name)) {
        return Err(Reason::FramingAmbiguous);
    }
    if headers.get_all(TE).iter().any(|te| te != "trailers") {
        return Err(Reason::FramingAmbiguous);
    }
    join_cookies(headers);
    // One beside `:authority` stays: whether the two agree is read like that of an absolute target.
    if !headers.contains_key(HOST)
        && let Some(authority) = parts.uri.authority()
    {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Reason::HostInvalid)?;
        headers.insert(HOST, host);
    }
    match beside.protocol {
        None => {}
        Some("websocket") => {
            parts.method = Method::GET;
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_KEY, beside.key.clone());
        }
        Some(_) => return Err(Reason::UpgradeUnsupported),
    }
    if beside.body == Body::Follows && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    parts.version = Version::HTTP_11;
    Ok(())
}

/// How many lines a head would have in HTTP/1.1: the crumbs of its cookies are one.
pub fn lines(headers: &HeaderMap) -> usize {
    let crumbs = headers.get_all(COOKIE).iter().count();
    headers.len() - crumbs + crumbs.min(1)
}

/// Makes one line of the crumbs that cookies come in (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut line = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        line.extend_from_slice(b"; ");
        line.extend_from_slice(crumb.as_bytes());
    }
    // INVARIANT: of values that were some, with what may stand between them.
    if let Ok(line) = HeaderValue::from_bytes(&line) {
        headers.insert(COOKIE, line);
    }
}
