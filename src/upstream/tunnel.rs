//! A WebSocket, from the client to the application and back, and how it ends that may not go on.
//!
//! Bytes go through as they come. Their frames are followed, not read: should the connection have to
//! end, the client is told so at the end of a frame, and why.

use std::any::Any;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ending;
use super::frames::{self, Frames, Sender};
use super::stall::Stall;
use super::standing::Place;

/// The code that a client is told with which its connection ends: as 401, in the range that
/// RFC 6455 (section 7.4.2) leaves to applications.
pub const UNAUTHORIZED: u16 = 4401;

/// The code for one side that goes, or both because the gate does (section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// How long each step of an end may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much is read at once.
const PIECE: usize = 8 * 1024;

/// Tunnels that are open, and the sign that they have to end.
#[derive(Clone, Debug)]
pub struct Tunnels {
    tracker: TaskTracker,
    end: CancellationToken,
    patience: Duration,
}

/// Tells that a tunnel has come to its end.
#[derive(Clone, Debug)]
pub struct Over(CancellationToken);

impl Over {
    /// Returns once it has.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// Something that somebody waits to be let go of.
pub type Held = Arc<dyn Any + Send + Sync>;

/// The two ends of a tunnel that the upstream has agreed to.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) upstream: OnUpgrade,
    /// The place that it takes at its server.
    pub(super) place: Option<Place>,
}

impl Tunnels {
    /// None yet. One whose client takes nothing for as long as `patience` is cut off.
    pub fn new(patience: Duration) -> Self {
        Self {
            tracker: TaskTracker::default(),
            end: CancellationToken::default(),
            patience,
        }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.tracker.len()
    }

    /// Ends all of them and waits until they have.
    pub async fn close(&self) {
        self.end.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Opens a tunnel, until either side ends it or `ending` has come, if it may; `hold` is kept until
    /// then.
    pub fn run(&self, tunnel: Tunnel, ending: Option<Ending>, hold: Option<Held>) -> Over {
        let (end, patience) = (self.end.clone(), self.patience);
        let over = CancellationToken::new();
        let told = over.clone().drop_guard();
        self.tracker.spawn(async move {
            let (_told, _hold) = (told, hold);
            tunnel.carry(ending, &end, patience).await;
        });
        Over(over)
    }
}

impl Tunnel {
    /// Carries what is said until both sides have ended, `ending` comes or `all_end` is called off.
    async fn carry(self, ending: Option<Ending>, all_end: &CancellationToken, patience: Duration) {
        let _place = self.place;
        let opened = tokio::select! {
            opened = async { tokio::try_join!(self.client, self.upstream) } => opened,
            () = all_end.cancelled() => return,
        };
        let Ok((client, upstream)) = opened else {
            return;
        };
        let mut way = Way {
            client: TokioIo::new(client),
            upstream: TokioIo::new(upstream),
            down: Flow::watched(patience),
            up: Flow::default(),
        };
        let ending = async {
            match ending {
                Some(ending) => ending.await,
                None => std::future::pending().await,
            }
        };
        let farewell = tokio::select! {
            reason = ending => Farewell { code: UNAUTHORIZED, text: reason.code() },
            () = all_end.cancelled() => Farewell { code: GOING_AWAY, text: "" },
            _ = way.copy() => return,
        };
        way.end(farewell).await;
    }
}

/// What a client is told whose connection ends.
#[derive(Clone, Copy)]
struct Farewell {
    code: u16,
    text: &'static str,
}

type Side = TokioIo<Upgraded>;

struct Way {
    client: Side,
    upstream: Side,
    /// From the upstream to the client.
    down: Flow,
    /// From the client to the upstream.
    up: Flow,
}

impl Way {
    /// Carries both ways until both sides have ended.
    async fn copy(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            let down = self.down.poll(cx, &mut self.upstream, &mut self.client)?;
            let up = self.up.poll(cx, &mut self.client, &mut self.upstream)?;
            match (down, up) {
                (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Ends a connection that may not go on, and tells both sides.
    ///
    /// The client gets the rest of the frame that it has begun to get, for it could not read anything
    /// behind half a frame. The upstream gets nothing more of the client's.
    async fn end(mut self, farewell: Farewell) {
        let told = tokio::time::timeout(PATIENCE, self.tell_client(farewell));
        let told = matches!(told.await, Ok(Ok(())));
        let Self {
            mut client,
            mut upstream,
            up,
            ..
        } = self;
        let leave = async {
            if up.frames.at_boundary() && !up.frames.has_closed() {
                let frame = frames::close(Sender::Client(key()), GOING_AWAY, farewell.text);
                upstream.write_all(&frame).await?;
            }
            upstream.shutdown().await
        };
        let take_leave = async {
            if told {
                // SECURITY: heard, and given to nobody.
                let mut heard = Flow {
                    frames: up.frames.clone(),
                    ..Flow::default()
                };
                let read = up.piece.get(up.written..up.read).unwrap_or_default();
                heard.frames.pass(read);
                heard.rest(&mut client).await?;
            }
            client.shutdown().await
        };
        let _ = tokio::join!(
            tokio::time::timeout(PATIENCE, leave),
            tokio::time::timeout(PATIENCE, take_leave)
        );
    }

    async fn tell_client(&mut self, farewell: Farewell) -> io::Result<()> {
        let Self {
            client,
            upstream,
            down,
            ..
        } = self;
        while !down.frames.at_boundary() {
            std::future::poll_fn(|cx| down.poll_frame(cx, upstream, client)).await?;
        }
        if !down.frames.has_closed() {
            let frame = frames::close(Sender::Server, farewell.code, farewell.text);
            client.write_all(&frame).await?;
        }
        client.flush().await
    }
}

/// A key to mask a frame with.
fn key() -> [u8; 4] {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    [a, b, c, d]
}

/// One direction: what has been read and not yet written, and where its frames end.
#[derive(Default)]
struct Flow {
    /// Empty until something is read.
    piece: Box<[u8]>,
    written: usize,
    read: usize,
    frames: Frames,
    stage: Stage,
    stall: Stall,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// The reader has ended; the writer has not been told yet.
    Ending,
    Done,
}

impl Flow {
    /// A direction in which the writer may take nothing for as long as `patience`.
    // SECURITY: a client in HTTP/2 can read from its socket and let this one stream stand still.
    fn watched(patience: Duration) -> Self {
        Self {
            stall: Stall::new(patience),
            ..Self::default()
        }
    }

    /// Carries on until the reader has ended and the writer knows.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        to: &mut Side,
    ) -> Poll<io::Result<()>> {
        while self.stage == Stage::Open {
            while self.written < self.read {
                ready!(self.poll_write(cx, to, usize::MAX))?;
            }
            match self.poll_read(cx, from)? {
                Poll::Ready(()) => {}
                Poll::Pending => {
                    // What waits in a buffer on the way would wait for the next piece.
                    let flushed = Pin::new(to).poll_flush(cx);
                    ready!(self.stall.unless_stalled(cx, flushed))?;
                    return Poll::Pending;
                }
            }
        }
        if self.stage == Stage::Ending {
            ready!(Pin::new(to).poll_shutdown(cx))?;
            self.stage = Stage::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// Carries on until some of the frame under way has gone, and nothing of what is behind it.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        to: &mut Side,
    ) -> Poll<io::Result<()>> {
        if self.written == self.read {
            ready!(self.poll_read(cx, from))?;
            if self.stage != Stage::Open {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let mut ahead = self.frames.clone();
        let rest = self.piece.get(self.written..self.read).unwrap_or_default();
        let most = ahead.pass_one(rest);
        self.poll_write(cx, to, most)
    }

    /// Reads and forgets, until the other side has closed.
    async fn rest(&mut self, from: &mut Side) -> io::Result<()> {
        let mut piece = [0; 1024];
        while !self.frames.has_closed() {
            let count = from.read(&mut piece).await?;
            if count == 0 {
                return Ok(());
            }
            self.frames.pass(piece.get(..count).unwrap_or_default());
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, from: &mut Side) -> Poll<io::Result<()>> {
        if self.piece.is_empty() {
            self.piece = vec![0; PIECE].into_boxed_slice();
        }
        let mut room = ReadBuf::new(&mut self.piece);
        ready!(Pin::new(from).poll_read(cx, &mut room))?;
        (self.written, self.read) = (0, room.filled().len());
        if self.read == 0 {
            self.stage = Stage::Ending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Side,
        most: usize,
    ) -> Poll<io::Result<()>> {
        let rest = self.piece.get(self.written..self.read).unwrap_or_default();
        let rest = rest.get(..most).unwrap_or(rest);
        let written = Pin::new(to).poll_write(cx, rest);
        let count = ready!(self.stall.unless_stalled(cx, written))?;
        if count == 0 && !rest.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.frames.pass(rest.get(..count).unwrap_or_default());
        self.written += count;
        Poll::Ready(Ok(()))
    }
}
