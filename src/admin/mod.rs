//! The operator's window: whether the process lives, whether it is ready, what is measured of it, what was
//! decided lately and why, and what became of pages that clerk-js was to be put into.

pub mod decisions;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::core::origin::Host;
use crate::gate::Snapshot;
use crate::pages::Document;
use crate::rewrite::Tally;
use crate::telemetry::decisions::Decisions;
use crate::telemetry::exposition::{Exposition, Notation};

/// Whether requests are served.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether requests are served from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether requests are served.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the window shows.
#[derive(Clone, Debug)]
pub struct Views {
    /// Whether requests are served.
    pub ready: Readiness,
    /// What became of pages that clerk-js was to be put into.
    pub injections: Arc<Tally>,
    /// Everything that is measured.
    pub metrics: Exposition,
    /// The last decisions.
    pub decisions: Arc<Decisions>,
    /// What they would be now.
    pub in_force: Arc<dyn InForce>,
}

/// Knows what requests are judged by.
pub trait InForce: fmt::Debug + Send + Sync {
    /// What they are judged by at the moment.
    fn snapshot(&self) -> Arc<Snapshot>;
}

/// Serves the window on these connections until `done` is called off.
pub async fn serve<C>(
    connections: impl Stream<Item = io::Result<C>>,
    views: Views,
    done: CancellationToken,
) where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connections = std::pin::pin!(connections);
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = done.cancelled() => break,
            accepted = connections.next() => accepted,
        };
        let Some(accepted) = accepted else {
            break;
        };
        let Ok(stream) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (views, done) = (views.clone(), done.clone());
        open.spawn(async move {
            let handler = service_fn(move |request| {
                let answer = answer(&request, &views);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), handler);
            tokio::select! {
                () = done.cancelled() => {}
                _ = connection => {}
            }
        });
    }
    open.close();
    open.wait().await;
}

/// Where the last decisions are: a page of them and a list for programs, and why one was as it was.
const DECISIONS: [&str; 4] = ["/decisions", "/decisions.json", "/explain", "/explain.json"];

/// What there is to see beside decisions.
const PATHS: [&str; 4] = ["/livez", "/readyz", "/metrics", "/injections"];

/// A document of ours on its way out.
fn of(document: Document) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(document.body));
    *response.status_mut() = document.status;
    *response.headers_mut() = document.headers;
    response
}

fn answer(request: &Request<Incoming>, views: &Views) -> Response<Full<Bytes>> {
    // SECURITY: a page in the operator's browser must not reach the window under a name of its own
    // (DNS rebinding). Probes come by address, or by a name of this machine.
    let by_address = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(Host::parse)
        .is_some_and(|host| {
            host.is_loopback()
                || host
                    .name()
                    .trim_matches(['[', ']'])
                    .parse::<std::net::IpAddr>()
                    .is_ok()
        });
    let mut kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let (status, text): (_, Bytes) = match request.uri().path() {
        _ if !by_address => (
            StatusCode::MISDIRECTED_REQUEST,
            "this listener answers to an address or to localhost only\n".into(),
        ),
        path if (PATHS.contains(&path) || DECISIONS.contains(&path))
            && !matches!(*request.method(), Method::GET | Method::HEAD) =>
        {
            (
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed\n".into(),
            )
        }
        path if DECISIONS.contains(&path) => {
            let document = decisions::answer(path, request.uri().query(), views);
            return of(document);
        }
        "/livez" => (StatusCode::OK, "live\n".into()),
        "/readyz" if views.ready.is_ready() => (StatusCode::OK, "ready\n".into()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()),
        "/injections" => (StatusCode::OK, views.injections.to_string().into()),
        "/metrics" => {
            let notation = Notation::asked(request.headers());
            match views.metrics.page(notation) {
                Ok(page) => {
                    kind = notation.content_type();
                    (StatusCode::OK, page.into())
                }
                // INVARIANT: a page is written to memory, and no value of ours refuses to be written.
                Err(fmt::Error) => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics could not be written\n".into(),
                ),
            }
        }
        _ => (
            StatusCode::NOT_FOUND,
            "there are `/livez`, `/readyz`, `/metrics`, `/decisions`, `/explain` and `/injections`\n"
                .into(),
        ),
    };
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
