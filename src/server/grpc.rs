//! Serving HTTP/2 to those who ask over gRPC.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::accept::{Service, until_asked};
use super::seat::Seated;
use crate::modes::ext_authz::{self, Door};

/// Calls open at once on one connection. Envoy opens further connections where it has more.
const STREAMS: u32 = 256;

/// The headers of a call, in bytes: names of methods and a secret.
const CALL_HEAD_BYTES: u32 = 16 * 1024;

/// How much of one message is taken before anybody has read it, and of all on a connection.
const WINDOW: u32 = 256 * 1024;

/// What may wait to be written on one stream, in bytes.
const SEND_BYTES: usize = 256 * 1024;

/// How long the other end may be silent before it is asked whether it is still there, and then.
const SILENCE: Duration = Duration::from_secs(30);

/// Serves a connection until the other end or `drain` ends it.
pub(super) async fn serve(
    stream: Seated,
    address: IpAddr,
    door: Arc<Door>,
    service: Arc<Service>,
    drain: CancellationToken,
) {
    let patience = service.limits.head_timeout;
    let known = CancellationToken::new();
    let (admitted, asked) = (known.clone(), known.clone());
    let handler = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (service, door, admitted) = (Arc::clone(&service), Arc::clone(&door), admitted.clone());
        Box::pin(async move {
            // SECURITY: a stranger learns nothing, not even which methods there are.
            if !door.admits(address, request.headers()) {
                return Ok(ext_authz::stranger());
            }
            admitted.cancel();
            let snapshot = service.snapshot.load_full();
            let gate = &service.gate;
            let response = ext_authz::answer(gate, &snapshot, &door, address, request).await;
            Ok::<_, Infallible>(response)
        })
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(CALL_HEAD_BYTES)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_send_buf_size(SEND_BYTES)
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
    // SECURITY: whoever may not ask keeps no place among the connections of those who may.
    let stranger = async {
        tokio::select! {
            () = known.cancelled() => std::future::pending().await,
            () = tokio::time::sleep(patience) => {}
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stranger => {
            debug!(peer = %address, "a connection on which nobody was admitted is closed");
            return;
        }
        () = drain.cancelled() => {
            let was_asked = || asked.is_cancelled();
            if let Some(ended) = until_asked(connection.as_mut(), was_asked).await {
                ended
            } else {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        debug!(peer = %address, cause = %error, "a connection ended early");
    }
}
