//! Serving HTTP/2 to visitors.
//!
//! The rest of what a stranger may do to a connection is bounded by the `h2` crate: how often a stream
//! may be reset before it is looked at (20) or after an error (1,024), how large a head may be with all
//! its CONTINUATION frames, how many small DATA frames may come, and that a PING or SETTINGS is answered
//! before the next frame is read.

pub(super) mod preface;
mod sent;
mod streams;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::accept::{Service, until_asked};
use crate::core::http2::lines;
use crate::modes::answer_body::AnswerBody;
use crate::modes::proxy::{self, Peer};
use streams::Streams;

/// How much of one body is taken before the application has read it, and of all on a connection.
const WINDOW: u32 = 256 * 1024;

/// What may wait to be written on one stream, in bytes.
const SEND_BYTES: usize = 64 * 1024;

/// How long the other end may be silent before it is asked whether it is still there, and then.
const SILENCE: Duration = Duration::from_secs(30);

/// Serves a connection until the other end or `drain` ends it.
pub(super) async fn serve<S>(stream: S, peer: Peer, service: Arc<Service>, drain: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = service.limits;
    let streams = Streams::new(limits.write_timeout);
    let counted = streams.clone();
    let handler = service_fn(move |request: Request<Incoming>| {
        let (service, streams) = (Arc::clone(&service), counted.clone());
        Box::pin(async move {
            let asked = streams.begin();
            let response = answer(&service, peer, request).await;
            Ok::<_, Infallible>(asked.answered(response))
        })
    });
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2.max_streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_send_buf_size(SEND_BYTES)
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE)
        .enable_connect_protocol();
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(stream), handler));
    let address = peer.address;
    let told = move |ended: hyper::Result<()>| {
        if let Err(error) = ended {
            debug!(peer = %address, cause = %error, "a connection ended early");
        }
    };
    tokio::select! {
        ended = connection.as_mut() => return told(ended),
        () = streams.abused() => {
            debug!(peer = %address, "a connection that gives up what it asks for is closed");
            return;
        }
        // As long as a head may take to arrive; the first one, and the preface, among them.
        () = streams.idle(limits.head_timeout) => {}
        () = drain.cancelled() => {
            // hyper closes one that has not begun at once.
            if let Some(ended) = until_asked(connection.as_mut(), || streams.were_any()).await {
                return told(ended);
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection.as_mut() => return told(ended),
        () = streams.abused() => return,
        () = streams.idle(limits.write_timeout) => return,
        () = async {
            drain.cancelled().await;
            streams.only_tunnels().await;
        } => {}
    }
    // Nobody waits for tunnels: they are ended once everything else has come to an end.
    let rest = async move {
        tokio::select! {
            ended = connection.as_mut() => told(ended),
            () = streams.idle(limits.write_timeout) => {}
        }
    };
    tokio::spawn(rest);
}

async fn answer(service: &Service, peer: Peer, request: Request<Incoming>) -> Response<AnswerBody> {
    if lines(request.headers()) > service.limits.head_count {
        // As it is answered in HTTP/1.1 before anybody has seen it.
        let mut response = Response::new(AnswerBody::Own(Full::default()));
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return response;
    }
    let snapshot = service.snapshot.load_full();
    let (gate, tunnels) = (&service.gate, &service.tunnels);
    let head_alone = request.method() == Method::HEAD;
    let response = proxy::answer(gate, &snapshot, tunnels, peer, None, request).await;
    if head_alone {
        without_body(response)
    } else {
        response
    }
}

/// An answer without its body, which hyper leaves out for HTTP/1.1 alone.
fn without_body(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    if let Some(length) = response.body().size_hint().exact()
        && length > 0
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        let length = HeaderValue::from(length);
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response.map(|_| AnswerBody::Own(Full::default()))
}
