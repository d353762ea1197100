//! The connections to one upstream over HTTP/2, each of which carries several requests at once.
//!
//! A request takes a place on a connection that has one, or opens another one; it never waits for a
//! request before it to finish. One connection is opened at a time, and nothing goes out on it before
//! the other end has said how much it takes.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;
use tracing::debug;

use super::BRIEF;
use super::body::ClientBody;
use super::connector::{Connector, Stream, Wear};
use super::pool::{READ_AHEAD, SHORTEST_ROUND, SendError, UpstreamBody};

/// The most requests that are under way on one connection, however many the other end would take.
const MOST_STREAMS: usize = 100;

/// How much is read ahead on one stream, in bytes, and the most that a head may have.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for a whole connection: clients that read nothing of their answers keep nothing from the
/// others on it.
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;

/// How long the other end may be silent while requests are under way before it is asked whether it is
/// still there. Servers of gRPC close a connection that asks more often than every five minutes.
const SILENCE: Duration = Duration::from_secs(310);

/// How long it may take to say that it is.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// The connections to one upstream.
pub(super) struct Streams {
    connector: Connector,
    scheme: Scheme,
    lines: Arc<Lines>,
    opening: tokio::sync::Mutex<Option<io::ErrorKind>>,
    /// How often a connection was opened or could not be.
    attempts: AtomicU64,
    /// Whether somebody closes what rests too long.
    watched: AtomicBool,
}

/// Those that take requests.
struct Lines {
    open: Mutex<Vec<Arc<Line>>>,
    longest: Duration,
}

/// The state of a connection, until it has ended.
type Driven = Arc<Mutex<Option<Connection<TokioIo<Stream>, ClientBody, TokioExecutor>>>>;

/// A connection, as whoever asks sees it.
struct Line {
    sender: SendRequest<ClientBody>,
    driven: Driven,
    wear: Wear,
    taken: AtomicUsize,
    /// Whether a request on it has been answered.
    served: AtomicBool,
    /// Whether it takes no further requests.
    retired: AtomicBool,
    rests_since: Mutex<Instant>,
}

/// A place on a connection, from before a request goes out until its answer has ended.
pub(super) struct Share {
    line: Arc<Line>,
    began: Instant,
    /// What had been read on the connection when the request went out.
    read_before: u64,
    answered: bool,
}

/// The failure for which there is no connection, with the request that could not go out for it.
fn unconnected(why: io::ErrorKind, unsent: Box<Request<ClientBody>>) -> SendError {
    SendError::Connect {
        error: why.into(),
        unsent,
    }
}

impl Streams {
    /// Connections that rest for at most `longest` without a request.
    pub(super) fn new(connector: Connector, longest: Duration) -> Self {
        Self {
            scheme: if connector.is_secure() {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            },
            connector,
            lines: Arc::new(Lines {
                open: Mutex::default(),
                longest,
            }),
            opening: tokio::sync::Mutex::default(),
            attempts: AtomicU64::new(0),
            watched: AtomicBool::new(false),
        }
    }

    /// Sends a request, in origin form and with its `Host`, and gives the head of the answer.
    ///
    /// A request of which nothing was written, because its connection takes no more, goes out on another
    /// one.
    pub(super) async fn send(
        &self,
        request: Request<ClientBody>,
    ) -> Result<Response<UpstreamBody>, SendError> {
        let mut request = absolute(request, &self.scheme)
            .map_err(|unsent| unconnected(io::ErrorKind::InvalidInput, unsent))?;
        loop {
            let (mut place, fresh) = match self.place().await {
                Ok(place) => place,
                Err(why) => return Err(unconnected(why, Box::new(request))),
            };
            let mut sender = place.line.sender.clone();
            let mut failed = match sender.try_send_request(request).await {
                Ok(response) => {
                    place.answered = true;
                    place.line.served.store(true, Ordering::Relaxed);
                    return Ok(response.map(|inner| UpstreamBody::sharing(inner, place)));
                }
                Err(failed) => failed,
            };
            match failed.take_message() {
                Some(unsent) if !fresh => {
                    place.line.retire();
                    request = unsent;
                }
                Some(unsent) => {
                    let why = io::ErrorKind::ConnectionReset;
                    return Err(unconnected(why, Box::new(unsent)));
                }
                None => {
                    let error = failed.into_error();
                    return Err(SendError::Exchange {
                        stale: place.line.is_repeatable_after(&error, &place),
                        error,
                    });
                }
            }
        }
    }

    /// A place on a connection, and whether that was opened for it.
    async fn place(&self) -> Result<(Share, bool), io::ErrorKind> {
        if let Some(place) = self.lines.place() {
            return Ok((place, false));
        }
        let before = self.attempts.load(Ordering::Acquire);
        let mut last = self.opening.lock().await;
        if let Some(place) = self.lines.place() {
            return Ok((place, false));
        }
        // What has just failed for somebody else is not tried again for each who waited.
        if self.attempts.load(Ordering::Acquire) != before
            && let Some(failure) = *last
        {
            return Err(failure);
        }
        let opened = self.open().await;
        *last = opened.as_ref().err().copied();
        self.attempts.fetch_add(1, Ordering::AcqRel);
        let line = opened?;
        let place = Share::on(&line);
        self.lines.lock().push(line);
        Ok((place, true))
    }

    async fn open(&self) -> Result<Arc<Line>, io::ErrorKind> {
        let line = tokio::time::timeout(self.connector.timeout(), self.connect());
        let line = line.await.unwrap_or(Err(io::ErrorKind::TimedOut))?;
        if !self.watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(close_what_rests_too_long(Arc::downgrade(&self.lines)));
        }
        Ok(line)
    }

    /// [`io::ErrorKind::Unsupported`] is that the other end speaks something else.
    async fn connect(&self) -> Result<Arc<Line>, io::ErrorKind> {
        let stream = self.connector.connect().await.map_err(|error| {
            debug!(cause = %error, "no connection to the upstream");
            error.kind()
        })?;
        let wear = stream.wear();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // Nothing goes out before the other end has said how much it takes.
            .initial_max_send_streams(0)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(STREAM_WINDOW)
            .max_send_buf_size(READ_AHEAD)
            .keep_alive_interval(SILENCE)
            .keep_alive_timeout(SIGN_OF_LIFE)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| io::ErrorKind::ConnectionReset)?;
        let driven = Arc::new(Mutex::new(Some(connection)));
        tokio::spawn(drive(Arc::clone(&driven), wear.clone()));
        while most_streams(&driven) == 0 {
            if has_ended(&driven) {
                return Err(if wear.is_silent() {
                    io::ErrorKind::ConnectionReset
                } else {
                    io::ErrorKind::Unsupported
                });
            }
            wear.told().await;
        }
        Ok(Arc::new(Line {
            sender,
            driven,
            wear,
            taken: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            rests_since: Mutex::new(Instant::now()),
        }))
    }
}

impl Lines {
    /// A place on the oldest connection that has one, so that those beyond what is needed can rest.
    fn place(&self) -> Option<Share> {
        let mut open = self.lock();
        open.retain(|line| !line.is_over());
        open.iter().find(|line| line.has_room()).map(Share::on)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        lock(&self.open)
    }
}

impl Line {
    fn has_room(&self) -> bool {
        self.taken.load(Ordering::Acquire) < most_streams(&self.driven)
    }

    fn is_over(&self) -> bool {
        self.retired.load(Ordering::Acquire) || has_ended(&self.driven)
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    fn rests_since(&self) -> Option<Instant> {
        let rests = self.taken.load(Ordering::Acquire) == 0;
        rests.then(|| *lock(&self.rests_since))
    }

    /// Whether a request that may be sent twice may be so after this: the other end has not looked at
    /// it, or the connection had served before and closed with nothing to be heard since the request.
    fn is_repeatable_after(&self, error: &hyper::Error, place: &Share) -> bool {
        let Some(error) = error
            .source()
            .and_then(|cause| cause.downcast_ref::<h2::Error>())
        else {
            return false;
        };
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        // One that says to what it has got answers the requests up to there, and fails the others.
        let unseen = error.is_remote() && (error.is_go_away() || refused);
        let closed = error.is_io()
            && self.served.load(Ordering::Relaxed)
            && self.wear.reads() == place.read_before;
        unseen || closed
    }
}

impl Share {
    /// A place on this connection, which has room. INVARIANT: whoever asks holds the list of
    /// connections, or the connection is not in it yet.
    fn on(line: &Arc<Line>) -> Self {
        line.taken.fetch_add(1, Ordering::AcqRel);
        Self {
            line: Arc::clone(line),
            began: Instant::now(),
            read_before: line.wear.reads(),
            answered: false,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let line = &self.line;
        // A connection that has gone dead is silent, and would take every further request with it.
        if !self.answered && self.began.elapsed() >= BRIEF && line.wear.reads() == self.read_before
        {
            line.retire();
        }
        *lock(&line.rests_since) = Instant::now();
        line.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Carries a connection on until it has ended.
async fn drive(driven: Driven, wear: Wear) {
    let end = poll_fn(|cx| {
        let mut slot = lock(&driven);
        let Some(connection) = slot.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        let end = Pin::new(connection).poll(cx);
        if end.is_ready() {
            // Whoever has sent something that did not go out any more gets it back by this.
            *slot = None;
        }
        end
    });
    if let Err(error) = end.await {
        debug!(cause = %error, "a connection to the upstream ended early");
    }
    wear.tell();
}

/// How many requests may be under way on a connection; 0 before the other end has said so.
fn most_streams(driven: &Driven) -> usize {
    let slot = lock(driven);
    let most = slot.as_ref().map(Connection::current_max_send_streams);
    most.unwrap_or(0).min(MOST_STREAMS)
}

fn has_ended(driven: &Driven) -> bool {
    lock(driven).is_none()
}

/// Closes what has rested too long, until nobody sends any more.
async fn close_what_rests_too_long(lines: Weak<Lines>) {
    loop {
        let Some(round) = lines.upgrade().map(|lines| lines.longest) else {
            return;
        };
        tokio::time::sleep(round.max(SHORTEST_ROUND)).await;
        let Some(lines) = lines.upgrade() else {
            return;
        };
        let now = Instant::now();
        lines.lock().retain(|line| {
            let rests = line.rests_since();
            !line.is_over() && rests.is_none_or(|since| now.duration_since(since) < lines.longest)
        });
    }
}

/// The request as it stands in HTTP/2: with scheme and authority, and without what says where its body
/// ends (RFC 9113, sections 8.2.2 and 8.3.1).
fn absolute(
    mut request: Request<ClientBody>,
    scheme: &Scheme,
) -> Result<Request<ClientBody>, Box<Request<ClientBody>>> {
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let authority = host.and_then(|host| Authority::try_from(host).ok());
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(scheme.clone());
    parts.authority = authority;
    let Ok(uri) = Uri::from_parts(parts) else {
        return Err(Box::new(request));
    };
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.remove(HOST);
    headers.remove(TRANSFER_ENCODING);
    Ok(request)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
