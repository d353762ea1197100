//! Accepting connections and serving HTTP/1.1 on them, until told to stop. `http2` and `grpc` serve the others.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::hinted::Hinted;
use super::http2::preface::{self, Version};
use super::listen::Listener;
use super::proxy_protocol::ProxyPeers;
use super::seat::Seated;
use super::tls::{self, Terminator};
use super::visitors::Visitors;
use super::{grpc, http2};
use crate::admin::InForce;
use crate::config::{Config, Http2Config};
use crate::core::origin::Scheme;
use crate::gate::{Gate, Snapshot};
use crate::modes::ext_authz::Door;
use crate::modes::forward_auth::{self, Admission};
use crate::modes::https_redirect;
use crate::modes::proxy::{self, Peer};
use crate::upstream::health::Checks;
use crate::upstream::{EarlyHints, Tunnels};

/// How many header lines hyper takes unless it is told otherwise.
const HEAD_COUNT_OF_HYPER: usize = 100;

/// How long whoever is connected may take to ask something, once the gate drains.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// The size of a request's head, in bytes.
    pub head_bytes: usize,
    /// The number of header lines.
    pub head_count: usize,
    /// How long a head may take to arrive; an idle connection is closed after as long.
    pub head_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// Connections open at once, tunnels among them; further ones wait to be accepted.
    pub connections: usize,
    /// Who may speak HTTP/2, and how much of it.
    pub http2: Http2Config,
}

impl ConnectionLimits {
    /// What a configuration says of it.
    pub(super) fn of(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            head_bytes: usize::try_from(limits.head_bytes).unwrap_or(usize::MAX),
            head_count: limits.head_count,
            head_timeout: limits.head_timeout,
            write_timeout: limits.write_timeout,
            connections: limits.connections,
            http2: config.http2,
        }
    }
}

/// Everything that a connection is served with.
#[derive(Debug)]
pub struct Service {
    /// The gate.
    pub gate: Gate,
    /// What requests are judged by.
    pub snapshot: ArcSwap<Snapshot>,
    /// Tunnels that are open.
    pub tunnels: Tunnels,
    /// Connections that are open.
    pub visitors: Visitors,
    /// What connections of visitors are encrypted with, if they are.
    pub tls: Option<Terminator>,
    /// Who passes connections of visitors on.
    pub proxies: ProxyPeers,
    /// Checks of the health of servers.
    pub checks: Checks,
    /// What a connection may cost.
    pub limits: ConnectionLimits,
}

impl InForce for Service {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}

/// What is behind a listener.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// Something that speaks HTTP/1.1.
    Http(Mode),
    /// Envoy's authorization service, which speaks gRPC.
    Grpc(Arc<Door>),
}

/// What requests over HTTP/1.1 are for.
#[derive(Clone, Debug)]
pub enum Mode {
    /// The application.
    Proxy,
    /// The doors of gateways, for whoever may ask.
    ForwardAuth(Arc<Admission>),
    /// To be made again over TLS.
    HttpsRedirect,
}

/// Accepts connections on `listener` while there are `places`, until `drain` is called off, and tracks
/// them in `open`.
pub(super) async fn accept(
    listener: Listener,
    entrance: Entrance,
    places: Arc<Semaphore>,
    service: Arc<Service>,
    drain: CancellationToken,
    open: TaskTracker,
) {
    let mut troubles = Troubles::default();
    loop {
        let accepted = tokio::select! {
            () = drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Behind the connection and not before it: a listener that nobody comes to holds no place of
                // those that several share. Whoever has been accepted is served, also while draining.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let (service, drain) = (Arc::clone(&service), drain.clone());
                let entrance = entrance.clone();
                let place = (place, service.visitors.enter(&entrance));
                let seated = Seated::new(stream, place, service.limits.write_timeout);
                match entrance {
                    Entrance::Http(mode) => {
                        open.spawn(meet(seated, peer, mode, service, drain));
                    }
                    Entrance::Grpc(door) => {
                        open.spawn(grpc::serve(seated, peer, door, service, drain));
                    }
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: pause rather than spin.
                troubles.tell(&error);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Connections that could not be accepted.
#[derive(Default)]
struct Troubles {
    told: Option<Instant>,
    untold: u64,
}

impl Troubles {
    /// Has a line in the log for one in ten seconds.
    // SECURITY: whoever opens as many connections as there are file descriptors must not be able to fill a disk.
    fn tell(&mut self, error: &io::Error) {
        let told = self.told;
        if told.is_some_and(|told| told.elapsed() < Duration::from_secs(10)) {
            self.untold += 1;
            return;
        }
        warn!(cause = %error, untold = self.untold, "a connection could not be accepted");
        *self = Self {
            told: Some(Instant::now()),
            untold: 0,
        };
    }
}

/// Serves a connection until something has been asked on it, or nothing is for a while. Gives what it ended
/// with, if it has ended.
///
/// hyper closes a connection on which nothing is under way as soon as it is told to end well, also where a
/// request is on its way: whoever was let in a moment before the gate drained, or asks again on a connection
/// that was kept, would go without an answer.
pub(super) async fn until_asked<C: Future>(
    mut connection: Pin<&mut C>,
    was_asked: impl Fn() -> bool,
) -> Option<C::Output> {
    let first = poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if was_asked() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    tokio::time::timeout(FIRST_WORD, first)
        .await
        .unwrap_or(None)
}

/// What somebody says who has just connected; `None` if they say nothing for a while, once the gate drains.
async fn soon<T>(said: impl Future<Output = T>, drain: &CancellationToken) -> Option<T> {
    let mut said = std::pin::pin!(said);
    tokio::select! {
        said = said.as_mut() => Some(said),
        () = drain.cancelled() => tokio::time::timeout(FIRST_WORD, said).await.ok(),
    }
}

/// Finds out who came, and serves the version of HTTP that is spoken.
async fn meet(
    mut stream: Seated,
    address: IpAddr,
    mode: Mode,
    service: Arc<Service>,
    drain: CancellationToken,
) {
    let address = match mode {
        Mode::Proxy | Mode::HttpsRedirect => {
            soon(service.proxies.client(&mut stream, address), &drain).await
        }
        Mode::ForwardAuth(_) => Some(Some(address)),
    };
    let Some(Some(address)) = address else {
        return;
    };
    match mode {
        Mode::Proxy if service.tls.is_some() && !stream.is_local() => {
            Box::pin(serve_encrypted(stream, address, service, drain)).await;
            return;
        }
        _ => {}
    }
    let peer = Peer::new(address, Scheme::Http);
    match mode {
        // On the heap, so that it costs nothing where it is not asked for.
        Mode::Proxy if service.limits.http2.cleartext => {
            Box::pin(serve_either(stream, peer, service, drain)).await;
        }
        mode => {
            if matches!(mode, Mode::Proxy) {
                stream.counts_as(service.visitors.speaks(Version::Http1, peer.scheme));
            }
            serve(stream, peer, mode, service, drain).await;
        }
    }
}

/// Serves the version of HTTP that both ends agree on when they begin to encrypt.
async fn serve_encrypted(
    stream: Seated,
    address: IpAddr,
    service: Arc<Service>,
    drain: CancellationToken,
) {
    let Some(terminator) = &service.tls else {
        return;
    };
    let agreeing = terminator.agree(stream, service.limits.head_timeout);
    let mut stream = match soon(agreeing, &drain).await {
        None => return,
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            debug!(peer = %address, cause = %error, "no encryption was agreed on");
            return;
        }
    };
    let peer = Peer::new(address, Scheme::Https);
    let version = tls::version(&stream);
    let spoken = service.visitors.speaks(version, peer.scheme);
    stream.get_mut().0.counts_as(spoken);
    match version {
        Version::Http1 => serve(stream, peer, Mode::Proxy, service, drain).await,
        Version::Http2 => http2::serve(stream, peer, service, drain).await,
    }
}

/// Serves the version of HTTP that a connection begins with.
async fn serve_either(stream: Seated, peer: Peer, service: Arc<Service>, drain: CancellationToken) {
    let patience = service.limits.head_timeout;
    let telling = tokio::time::timeout(patience, preface::tell(stream));
    let Some(told) = soon(telling, &drain).await else {
        return;
    };
    match told {
        Ok(Ok((version, mut stream))) => {
            let spoken = service.visitors.speaks(version, peer.scheme);
            stream.inner_mut().counts_as(spoken);
            match version {
                Version::Http1 => serve(stream, peer, Mode::Proxy, service, drain).await,
                Version::Http2 => http2::serve(stream, peer, service, drain).await,
            }
        }
        Ok(Err(error)) => {
            debug!(peer = %peer.address, cause = %error, "a connection ended early");
        }
        Err(_) => {
            debug!(peer = %peer.address, "a connection on which nothing was asked is closed");
        }
    }
}

async fn serve<S>(
    stream: S,
    peer: Peer,
    mode: Mode,
    service: Arc<Service>,
    drain: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = service.limits;
    let asked = Arc::new(AtomicBool::new(false));
    let (is_asked, drains) = (Arc::clone(&asked), drain.clone());
    let hints = EarlyHints::default();
    let stream = Hinted::new(stream, hints.clone());
    let handler = service_fn(move |request: Request<Incoming>| {
        is_asked.store(true, Ordering::Relaxed);
        let (service, mode, drains) = (Arc::clone(&service), mode.clone(), drains.clone());
        // Nobody else knows what an interim answer is (RFC 9110, section 15.2).
        let hints = (request.version() == http::Version::HTTP_11).then(|| hints.clone());
        // On the heap while it lasts: hyper keeps the room for it as long as the connection.
        Box::pin(async move {
            let snapshot = service.snapshot.load_full();
            let (gate, tunnels) = (&service.gate, &service.tunnels);
            let mut response = match &mode {
                Mode::Proxy => {
                    let hints = hints.as_ref();
                    proxy::answer(gate, &snapshot, tunnels, peer, hints, request).await
                }
                Mode::ForwardAuth(admission) => {
                    forward_auth::answer(gate, &snapshot, admission, peer, request).await
                }
                Mode::HttpsRedirect => https_redirect::answer(gate, &snapshot, peer, request),
            };
            if drains.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                // Said before it is done, so that nobody asks on a connection that closes.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response)
        })
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes);
    // hyper keeps its own number of lines on the stack, and any other on the heap for each request.
    if limits.head_count != HEAD_COUNT_OF_HYPER {
        builder.max_headers(limits.head_count);
    }
    let connection = builder
        .serve_connection(TokioIo::new(stream), handler)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            // Whoever asks from now on is told that the connection closes.
            asked.store(false, Ordering::Relaxed);
            let was_asked = || asked.load(Ordering::Relaxed);
            if let Some(ended) = until_asked(connection.as_mut(), was_asked).await {
                ended
            } else {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        debug!(peer = %peer.address, cause = %error, "a connection ended early");
    }
}
