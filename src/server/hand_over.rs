//! Handing the listening sockets to the process that comes next, and taking them from the one before.
//!
//! The two speak over a socket in the file system. The old process sends the names of its listeners, and
//! the sockets beside them; the new one says which it has taken once it is ready, and the old one lets go.
//! Until that word everything stays as it was, whatever becomes of the new process: both have the very same
//! sockets, so no connection that waits in one of them is lost.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tracing::{info, warn};

use super::inherited::Inherited;
use super::listen::Listener;
use super::stream::Stream;

/// What the old process begins with, so that no other version mistakes what follows.
const GREETING: &str = "clerk-gate hand-over 1";

/// What the new one says before the names of what it has taken.
const READY: &str = "ready";

/// What the old one says when it is about to let go, and when it does not.
const YOURS: &str = "yours";
const KEPT: &str = "kept";

/// What the new one says to that. Were it gone by then, nobody would serve.
const MINE: &str = "mine";

/// Sockets that are handed over at most; the system takes 253 in one message.
const MOST: usize = 128;

/// The program starts no others, where the system cannot say at once that they get no socket.
#[cfg(target_os = "linux")]
const KEPT_FROM_CHILDREN: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const KEPT_FROM_CHILDREN: RecvFlags = RecvFlags::empty();

/// All that either says, in bytes: so many names of the longest kind.
const LONGEST: usize = 64 * 1024;

/// How long the new process may take until it is ready.
const READINESS: Duration = Duration::from_mins(1);

/// How long either may take for a word.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why sockets were not handed over.
#[derive(Debug, Error)]
pub enum HandOverError {
    /// The other end is of another user.
    #[error("the process at the other end is of another user")]
    Stranger,
    /// The other end said nothing.
    #[error("the process at the other end says nothing")]
    Silent,
    /// The other end said something else.
    #[error("the process at the other end speaks in another way")]
    Strange,
    /// The other end has gone.
    #[error("the process at the other end has gone")]
    Gone,
    /// The other end keeps what it has.
    #[error("the process at the other end has not let go, and serves on")]
    Kept,
    /// They are too many for one message.
    #[error("more than {MOST} sockets cannot be handed over")]
    Many,
    /// The socket broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// The sockets of a process that runs, for whoever comes next.
#[derive(Debug)]
pub(super) struct Offer {
    at: Listener,
    listeners: Vec<Listener>,
}

impl Offer {
    /// Offers `listeners`, and `at` itself, to whoever asks at `at`.
    pub(super) fn new(at: Listener, mut listeners: Vec<Listener>) -> Result<Self, HandOverError> {
        listeners.push(at.clone());
        if listeners.len() > MOST {
            return Err(HandOverError::Many);
        }
        Ok(Self { at, listeners })
    }

    /// Returns once somebody has taken them over. What goes wrong before that is said in the log.
    pub(super) async fn taken(self) {
        loop {
            let stream = match self.at.accept().await {
                Ok((Stream::Unix(stream), _)) => stream,
                Ok((Stream::Tcp(_), _)) => continue,
                Err(error) => {
                    warn!(cause = %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            match self.hand_over(stream).await {
                Ok(()) => return,
                Err(error) => {
                    self.keep_files();
                    warn!(cause = %error, "nobody has taken over: this process serves on");
                }
            }
        }
    }

    async fn hand_over(&self, mut stream: UnixStream) -> Result<(), HandOverError> {
        same_user(&stream)?;
        info!("another process asks for the sockets");
        in_time(PATIENCE, self.send(&mut stream)).await?;
        // Were this process told to stop now, the next one would serve, and at these files.
        for listener in &self.listeners {
            listener.leave_file();
        }
        let taken = match in_time(READINESS, words(&mut stream)).await {
            Ok(taken) => taken,
            Err(error) => {
                // Or it would take this for the end of a process.
                let _ = in_time(PATIENCE, say(&mut stream, [KEPT])).await;
                return Err(error);
            }
        };
        let mut taken = taken.iter().map(String::as_str);
        if taken.next() != Some(READY) {
            return Err(HandOverError::Strange);
        }
        let taken: Vec<&str> = taken.collect();
        in_time(PATIENCE, say(&mut stream, [YOURS])).await?;
        if in_time(PATIENCE, words(&mut stream)).await? != [MINE] {
            return Err(HandOverError::Strange);
        }
        // Whoever has taken a socket looks after its file.
        for listener in &self.listeners {
            if !taken.contains(&listener.name()) {
                listener.keep_file();
            }
        }
        Ok(())
    }

    /// The names of all of them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().map(Listener::name)
    }

    /// Looks after the files of all of them from now on.
    pub(super) fn keep_files(&self) {
        for listener in &self.listeners {
            listener.keep_file();
        }
    }

    async fn send(&self, stream: &mut UnixStream) -> Result<(), HandOverError> {
        let names = self.listeners.iter().map(Listener::name);
        let text = written(std::iter::once(GREETING).chain(names));
        let sockets: Vec<BorrowedFd<'_>> = self
            .listeners
            .iter()
            .map(|listener| listener.as_fd())
            .collect();
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
                let mut beside = SendAncillaryBuffer::new(&mut space);
                if !beside.push(SendAncillaryMessage::ScmRights(&sockets)) {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let text = [IoSlice::new(text.as_bytes())];
                let sent = rustix::net::sendmsg(&*stream, &text, &mut beside, SendFlags::empty())?;
                Ok(sent)
            })
            .await?;
        let rest = text.as_bytes().get(sent..).unwrap_or_default();
        stream.write_all(rest).await?;
        Ok(())
    }
}

/// The process before this one, which serves until it is told.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

/// Asks at `path` for sockets. `None` if nobody is there.
pub async fn ask(path: &Path) -> Result<Option<(Predecessor, Inherited)>, HandOverError> {
    let connected = tokio::time::timeout(PATIENCE, UnixStream::connect(path)).await;
    let mut stream = match connected.map_err(|_| HandOverError::Silent)? {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    // SECURITY: sockets of somebody else's could be listened to by somebody else as well.
    same_user(&stream)?;
    let (names, sockets) = in_time(PATIENCE, receive(&mut stream)).await?;
    let mut names = names.into_iter();
    if names.next().as_deref() != Some(GREETING) || names.len() != sockets.len() {
        return Err(HandOverError::Strange);
    }
    let inherited = Inherited::of_predecessor(names.zip(sockets));
    Ok(Some((Predecessor(stream), inherited)))
}

impl Predecessor {
    /// Tells it that these sockets are served from now on, and waits until it lets go of them.
    pub(super) async fn release<'n>(
        self,
        taken: impl Iterator<Item = &'n str>,
    ) -> Result<(), HandOverError> {
        let mut stream = self.0;
        // What it has said meanwhile counts, whether or not it still listens.
        let _ = in_time(
            PATIENCE,
            say(&mut stream, std::iter::once(READY).chain(taken)),
        )
        .await;
        match in_time(PATIENCE, words(&mut stream)).await {
            Ok(word) if word == [YOURS] => {
                let _ = in_time(PATIENCE, say(&mut stream, [MINE])).await;
                Ok(())
            }
            Ok(_) => Err(HandOverError::Kept),
            // Then nobody else serves.
            Err(HandOverError::Gone | HandOverError::Broken(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

// SECURITY: whoever has the sockets reads every password that comes through them.
fn same_user(stream: &UnixStream) -> Result<(), HandOverError> {
    if stream.peer_cred()?.uid() == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(HandOverError::Stranger)
    }
}

async fn in_time<T>(
    time: Duration,
    what: impl Future<Output = Result<T, HandOverError>>,
) -> Result<T, HandOverError> {
    let done = tokio::time::timeout(time, what).await;
    done.unwrap_or(Err(HandOverError::Silent))
}

/// Words as they are said: one a line, and an empty line behind the last.
fn written<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut text = String::new();
    for word in words {
        text.push_str(word);
        text.push('\n');
    }
    text.push('\n');
    text
}

/// The words in a text that is whole; `None` while it is not.
fn read(text: &[u8]) -> Option<Result<Vec<String>, HandOverError>> {
    let whole = text.strip_suffix(b"\n\n")?;
    let words = std::str::from_utf8(whole).map_err(|_| HandOverError::Strange);
    Some(words.map(|words| words.split('\n').map(str::to_owned).collect()))
}

async fn say<'w>(
    stream: &mut UnixStream,
    words: impl IntoIterator<Item = &'w str>,
) -> Result<(), HandOverError> {
    stream.write_all(written(words).as_bytes()).await?;
    Ok(())
}

/// Hears words.
async fn words(stream: &mut UnixStream) -> Result<Vec<String>, HandOverError> {
    let mut text = Vec::new();
    loop {
        if let Some(words) = read(&text) {
            return words;
        }
        if text.len() >= LONGEST {
            return Err(HandOverError::Strange);
        }
        if stream.read_buf(&mut text).await? == 0 {
            return Err(HandOverError::Gone);
        }
    }
}

/// Hears words, and takes the sockets that come beside them.
async fn receive(stream: &mut UnixStream) -> Result<(Vec<String>, Vec<OwnedFd>), HandOverError> {
    let (mut text, mut sockets) = (Vec::new(), Vec::new());
    let mut piece = [0; 4096];
    loop {
        if let Some(words) = read(&text) {
            return Ok((words?, sockets));
        }
        if text.len() >= LONGEST {
            return Err(HandOverError::Strange);
        }
        let (count, found) = stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
                let mut beside = RecvAncillaryBuffer::new(&mut space);
                let mut into = [IoSliceMut::new(&mut piece)];
                let flags = KEPT_FROM_CHILDREN;
                let received = rustix::net::recvmsg(&*stream, &mut into, &mut beside, flags)?;
                let mut found = Vec::new();
                for message in beside.drain() {
                    if let RecvAncillaryMessage::ScmRights(sockets) = message {
                        found.extend(sockets);
                    }
                }
                Ok((received.bytes, found))
            })
            .await?;
        if count == 0 {
            return Err(HandOverError::Gone);
        }
        text.extend_from_slice(piece.get(..count).unwrap_or_default());
        sockets.extend(found);
        if sockets.len() > MOST {
            return Err(HandOverError::Strange);
        }
    }
}
