//! The connections to one upstream over HTTP/1.1: those that rest between two requests, and new ones.
//!
//! A request takes the connection that rested last of those that may serve it, or opens one; it never
//! waits for another request to finish. The connection goes back when the body of the answer has been
//! read.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tracing::debug;

use super::body::ClientBody;
use super::connector::{Connector, Wear};
use super::reuse::{ClientLine, Reuse};
use super::standing::Place;
use super::streams::Share;
use crate::core::reason::Reason;

/// The most that is read ahead on a connection to an upstream, in bytes. A head of an answer that is
/// not whole by then is too large; what came along with it may be as much again.
///
/// A client that reads nothing of a large answer holds a few times as much of this process.
pub(super) const READ_AHEAD: usize = 64 * 1024;

/// The most connections that rest; a further one takes the place of the one that rests longest.
const MAX_RESTING: usize = 256;

/// At least this long between two looks for connections that have rested too long.
pub(super) const SHORTEST_ROUND: Duration = Duration::from_millis(100);

/// The connections to one upstream.
pub(super) struct Pool {
    connector: Connector,
    resting: Arc<Resting>,
    /// Whether somebody closes what rests too long.
    watched: AtomicBool,
}

/// Connections without a request.
struct Resting {
    /// The one that rests longest is the first.
    connections: Mutex<Vec<Rested>>,
    longest: Duration,
    reuse: Reuse,
}

struct Rested {
    line: Line,
    served: ClientLine,
    since: Instant,
}

/// A connection, as whoever asks sees it.
struct Line {
    sender: SendRequest<ClientBody>,
    wear: Wear,
}

/// Why a request brought no answer.
pub(super) enum SendError {
    /// No connection.
    Connect {
        /// Why.
        error: io::Error,
        /// The request, of which nothing was written.
        unsent: Box<Request<ClientBody>>,
    },
    /// The connection failed.
    Exchange {
        /// How.
        error: hyper::Error,
        /// Whether the connection had served before and closed without a byte of an answer: most
        /// likely it was closing already when the request went out. Or the other end has said that it
        /// did not look at the request.
        stale: bool,
    },
    /// Who asked may not go on.
    Ended(Reason),
}

impl Pool {
    /// A pool whose connections rest for at most `longest`.
    pub(super) fn new(connector: Connector, longest: Duration, reuse: Reuse) -> Self {
        Self {
            connector,
            resting: Arc::new(Resting {
                connections: Mutex::default(),
                longest,
                reuse,
            }),
            watched: AtomicBool::new(false),
        }
    }

    /// Sends a request of `client`, in origin form and with its `Host`, and gives the head of the answer.
    ///
    /// A request of which nothing was written, because a connection had closed while it rested, goes
    /// out on another one.
    pub(super) async fn send(
        &self,
        mut request: Request<ClientBody>,
        client: ClientLine,
    ) -> Result<Response<UpstreamBody>, SendError> {
        while let Some(mut line) = self.resting.take(client) {
            let failed = match line.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.lend(response, line, client)),
                Err(failed) => failed,
            };
            request = unsent(failed, &line)?;
        }
        let mut line = match self.open().await {
            Ok(line) => line,
            Err(error) => {
                let unsent = Box::new(request);
                return Err(SendError::Connect { error, unsent });
            }
        };
        match line.sender.try_send_request(request).await {
            Ok(response) => Ok(self.lend(response, line, client)),
            Err(failed) => Err(SendError::Exchange {
                error: failed.into_error(),
                stale: false,
            }),
        }
    }

    async fn open(&self) -> io::Result<Line> {
        let stream = self.connector.connect().await?;
        let wear = stream.wear();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_AHEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(cause = %error, "a connection to the upstream ended early");
            }
        });
        if !self.watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(close_what_rests_too_long(Arc::downgrade(&self.resting)));
        }
        Ok(Line { sender, wear })
    }

    fn lend(
        &self,
        response: Response<Incoming>,
        line: Line,
        client: ClientLine,
    ) -> Response<UpstreamBody> {
        response.map(|inner| UpstreamBody {
            inner,
            lease: Lease::Whole(Loan {
                line: Some(line),
                client,
                resting: Arc::clone(&self.resting),
            }),
            place: None,
        })
    }
}

/// The request, if nothing of it was written.
fn unsent(
    mut failed: TrySendError<Request<ClientBody>>,
    line: &Line,
) -> Result<Request<ClientBody>, SendError> {
    failed.take_message().ok_or_else(|| SendError::Exchange {
        error: failed.into_error(),
        stale: line.wear.is_stale(),
    })
}

impl Resting {
    /// The connection that rested last and can be used for `client`.
    fn take(&self, client: ClientLine) -> Option<Line> {
        let now = Instant::now();
        let mut connections = self.lock();
        // One that is neither ready nor closed has not read the end of its last answer yet.
        let at = connections.iter().rposition(|rested| {
            self.reuse.allows(rested.served, client) && rested.line.sender.is_ready()
        })?;
        let rested = connections.remove(at);
        (now.duration_since(rested.since) < self.longest).then_some(rested.line)
    }

    fn put(&self, line: Line, served: ClientLine) {
        let since = Instant::now();
        let mut connections = self.lock();
        if connections.len() >= MAX_RESTING {
            connections.retain(|rested| !rested.line.sender.is_closed());
        }
        if connections.len() >= MAX_RESTING {
            connections.remove(0);
        }
        connections.push(Rested {
            line,
            served,
            since,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Rested>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what has rested too long, until the pool is gone.
async fn close_what_rests_too_long(resting: Weak<Resting>) {
    loop {
        let Some(round) = resting.upgrade().map(|resting| resting.longest) else {
            return;
        };
        tokio::time::sleep(round.max(SHORTEST_ROUND)).await;
        let Some(resting) = resting.upgrade() else {
            return;
        };
        let now = Instant::now();
        resting.lock().retain(|rested| {
            !rested.line.sender.is_closed() && now.duration_since(rested.since) < resting.longest
        });
    }
}

/// The body of an answer. Its connection goes back when it is dropped.
pub struct UpstreamBody {
    // INVARIANT: dropped before the lease, so that a body that is left unread closes its connection.
    inner: Incoming,
    lease: Lease,
    /// The place of the request at its server.
    pub(super) place: Option<Place>,
}

impl UpstreamBody {
    /// An answer beside others on one connection.
    pub(super) fn sharing(inner: Incoming, share: Share) -> Self {
        Self {
            inner,
            lease: Lease::Shared { _share: share },
            place: None,
        }
    }

    /// Gives the connection up together with the answer: nobody knows where it ends.
    pub(super) fn abandon(mut self) {
        if let Lease::Whole(loan) = &mut self.lease {
            loan.line = None;
        }
    }
}

/// What an answer holds of its connection.
enum Lease {
    /// All of it.
    Whole(Loan),
    /// A place on it.
    Shared { _share: Share },
}

struct Loan {
    line: Option<Line>,
    client: ClientLine,
    resting: Arc<Resting>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            self.resting.put(line, self.client);
        }
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamBody").finish_non_exhaustive()
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
