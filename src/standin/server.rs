//! A small HTTP/1.1 server on a loopback address, whose tasks end when it is told to stop.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::faults::{BreakOff, Closed};

/// How long to wait after a failed accept, so that a lack of descriptors is no busy loop.
const PAUSE: Duration = Duration::from_millis(20);

/// The address that a request came from, as an extension of it.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// A listener that serves until it is dropped.
pub(super) struct Server {
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Takes an address on this machine; any other is an error.
    // SECURITY: everybody who reaches the stand-in can be anyone, and the sample application shows
    // whatever it receives, so neither may be reached from another machine.
    pub(super) async fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
        if !listen.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{listen}` is no loopback address: only this machine may reach it"),
            ));
        }
        TcpListener::bind(listen).await
    }

    /// Serves each request of each connection with `handle`.
    pub(super) fn start<H, F>(listener: TcpListener, handle: H) -> io::Result<Self>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Answer, Closed>> + Send + 'static,
    {
        let server = Self {
            addr: listener.local_addr()?,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (stop, tasks) = (server.stop.clone(), server.tasks.clone());
        server.tasks.spawn(async move {
            while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
                let Ok((stream, peer)) = accepted else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let (stop, handle) = (stop.clone(), handle.clone());
                let send = move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(Peer(peer.ip()));
                    let answer = handle(request);
                    async move { Ok::<_, Closed>(Sent::of(answer.await?)) }
                };
                tasks.spawn(async move {
                    let connection = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(send));
                    if let Some(Err(error)) = stop.run_until_cancelled(connection).await {
                        tracing::debug!(%error, "a connection to the stand-in failed");
                    }
                });
            }
        });
        Ok(server)
    }

    /// The address in use.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops, and waits until all tasks have ended.
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The body of an answer on its way.
struct Sent {
    body: Full<Bytes>,
    end: End,
}

/// How a body ends.
enum End {
    /// When all of it is sent.
    Whole,
    /// After its first half.
    HalfWay,
    /// The half is to be on the wire before the connection is closed.
    AfterFlush,
    /// With an error.
    BrokenOff,
}

impl Sent {
    fn of(answer: Answer) -> Response<Self> {
        let end = match answer.extensions().get::<BreakOff>() {
            Some(BreakOff) => End::HalfWay,
            None => End::Whole,
        };
        answer.map(|body| Self { body, end })
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let this = self.get_mut();
        match this.end {
            End::Whole => Pin::new(&mut this.body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            End::HalfWay => {
                this.end = End::AfterFlush;
                let frame = Pin::new(&mut this.body).poll_frame(cx);
                frame
                    .map_err(|never| match never {})
                    .map_ok(|frame| frame.map_data(|whole| whole.slice(..whole.len() / 2)))
            }
            End::AfterFlush => {
                this.end = End::BrokenOff;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            End::BrokenOff => Poll::Ready(Some(Err(Closed))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
