//! Requests in HTTP/2: read as those in HTTP/1.1 are, and WebSockets that ask and are answered in
//! other words (RFC 8441).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::ext::Protocol;

use super::answer_body::AnswerBody;
use crate::core::http2::{self, Beside, Body};
use crate::core::reason::Reason;

/// What is put behind a key before it is hashed (RFC 6455, section 1.3).
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How a request came, as far as its answer has to know.
#[derive(Debug)]
pub(super) enum Arrival {
    /// In HTTP/1.1.
    Http1,
    /// In HTTP/2.
    Http2,
    /// In HTTP/2, for a WebSocket; the application is asked for one with this key.
    WebSocket(HeaderValue),
}

/// Puts the head of a request as HTTP/1.1 does, whatever it came in.
pub(super) fn arrive(parts: &mut Parts, body: &Incoming) -> Result<Arrival, Reason> {
    if parts.version != Version::HTTP_2 {
        return Ok(Arrival::Http1);
    }
    let protocol = parts.extensions.remove::<Protocol>();
    let key = match &protocol {
        Some(_) => key(),
        None => HeaderValue::from_static(""),
    };
    let beside = Beside {
        protocol: protocol.as_ref().map(Protocol::as_str),
        body: if body.is_end_stream() {
            Body::None
        } else {
            Body::Follows
        },
        key: &key,
    };
    http2::in_http1(parts, &beside)?;
    Ok(match protocol {
        None => Arrival::Http2,
        Some(_) => Arrival::WebSocket(key),
    })
}

impl Arrival {
    /// The answer in the words of what its request came in. An error is what the client is refused
    /// with in its place.
    pub(super) fn settle(
        &self,
        mut response: Response<AnswerBody>,
    ) -> Result<Response<AnswerBody>, Reason> {
        let Self::WebSocket(key) = self else {
            return Ok(response);
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let headers = response.headers_mut();
            headers.remove(CONNECTION);
            headers.remove(UPGRADE);
            // Whoever asks in HTTP/1.1 looks at it; here nobody else could.
            let accepted = headers.remove(SEC_WEBSOCKET_ACCEPT);
            if accepted.is_none_or(|accepted| accepted.as_bytes() != accept(key).as_bytes()) {
                return Err(Reason::UpstreamMalformed);
            }
            *response.status_mut() = StatusCode::OK;
        } else if response.status().is_success() {
            // SECURITY: to whoever asked, any success says that there is a WebSocket.
            return Err(Reason::UpgradeUnsupported);
        }
        Ok(response)
    }
}

/// What an application says that takes this key.
fn accept(key: &HeaderValue) -> String {
    let text = [key.as_bytes(), SUFFIX].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// A key of 16 bytes. It is no secret: it shows that the application read this very request.
fn key() -> HeaderValue {
    let half = || RandomState::new().build_hasher().finish().to_ne_bytes();
    let text = STANDARD.encode([half(), half()].concat());
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_accepts_a_key_as_the_specification_has_it() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
