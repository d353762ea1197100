//! A small HTTP/1.1 server on a loopback address, whose tasks end when it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::faults::Closed;

/// How long to wait after a failed accept, so that a lack of descriptors is no busy loop.
const PAUSE: Duration = Duration::from_millis(20);

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
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let (stop, handle) = (stop.clone(), handle.clone());
                tasks.spawn(async move {
                    let connection = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(handle));
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

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
