//! Calls of gRPC: what their callers are told, what passes, and how they end.

mod calls;
mod refusals;

use std::net::SocketAddr;

use bytes::Bytes;
use clerk_gate::config::{Config, Protocol};
use clerk_gate::core::origin::Origin;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::support::http2::{Body, Connection, full};

/// Has the gate take HTTP/2 without TLS, and speak it to the application at this address.
fn speaks(config: &mut Config, application: SocketAddr) {
    config.http2.cleartext = true;
    let upstream = &mut config.upstreams[0];
    upstream.protocol = Protocol::Http2;
    upstream.url = Origin::parse(&format!("http://{application}"))
        .unwrap()
        .into();
}

/// A call of this method, with a message.
fn call(caller: &Connection, method: &str, bearer: Option<&str>) -> Request<Body> {
    let mut request = caller.request(Method::POST, method);
    *request.body_mut() = full(&b"\0\0\0\0\x05hello"[..]);
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(token) = bearer {
        let value = format!("Bearer {token}").parse().unwrap();
        headers.insert("authorization", value);
    }
    request
}

/// What came of a call.
#[derive(Debug)]
struct Outcome {
    head: HeaderMap,
    /// Whether the head was all.
    head_only: bool,
    body: Bytes,
    trailers: HeaderMap,
}

impl Outcome {
    async fn of(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        assert_eq!(parts.status, StatusCode::OK);
        let head_only = body.is_end_stream();
        let whole = body.collect().await.unwrap();
        Self {
            head: parts.headers,
            head_only,
            trailers: whole.trailers().cloned().unwrap_or_default(),
            body: whole.to_bytes(),
        }
    }

    /// The number of the status, and the reason, wherever they stand.
    fn said(&self) -> (&str, &str) {
        let place = if self.head_only {
            &self.head
        } else {
            &self.trailers
        };
        let text = |name| place.get(name).map_or("", |value| value.to_str().unwrap());
        (text("grpc-status"), text("x-clerk-auth-reason"))
    }
}
