//! Connections to an upstream: over TCP, with TLS where its address says so, or to a Unix socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::ServerAddress;
use crate::core::origin::Host;

/// Opens connections to one upstream.
#[derive(Clone)]
pub(super) struct Connector {
    to: ServerAddress,
    tls: Option<Tls>,
    /// The protocol that the other end has to choose, where there is TLS.
    protocol: Option<&'static [u8]>,
    timeout: Duration,
}

/// What a server is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: over TLS it has to choose that, in plain text it is known to. WebSockets go to it in
    /// HTTP/1.1.
    Http2,
}

/// How a server is spoken to over TLS.
#[derive(Clone)]
pub struct Tls {
    /// Whom it is trusted to be by, and who the gate is.
    pub config: Arc<ClientConfig>,
    /// The name that its certificate has to have; `None` for that of its address.
    pub name: Option<ServerName<'static>>,
}

/// A connection to an upstream.
pub(super) struct Stream {
    transport: Transport,
    wear: Wear,
    /// Bytes read since others had their turn.
    at_a_stretch: usize,
    /// Whether something was read of which nobody knows yet whether it was understood.
    unread: bool,
}

/// How many bytes are read before others have their turn.
const STRETCH: usize = 256 * 1024;

enum Transport {
    /// In plain text.
    Plain(TcpStream),
    /// In plain text, on this machine.
    Unix(UnixStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a connection has been used for, as far as that can be told from outside.
#[derive(Clone, Debug)]
pub(super) struct Wear(Arc<Worn>);

#[derive(Debug)]
struct Worn {
    stage: AtomicU8,
    /// How often something was read, and more was then asked for.
    reads: AtomicU64,
    told: Notify,
}

/// Nothing was asked yet.
const FRESH: u8 = 0;
/// The first request went out, and nothing came back.
const ASKED: u8 = 1;
/// Something came back for the last request.
const ANSWERED: u8 = 2;
/// A further request went out, and nothing came back for it.
const ASKED_AGAIN: u8 = 3;

impl Wear {
    /// Whether the connection had served before, and nothing came back for the request that went
    /// out last: if it failed, it was most likely closing already then.
    pub(super) fn is_stale(&self) -> bool {
        self.0.stage.load(Acquire) == ASKED_AGAIN
    }

    /// Whether nothing has ever come back.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.0.stage.load(Acquire), FRESH | ASKED)
    }

    /// How often something was read, and more was then asked for.
    pub(super) fn reads(&self) -> u64 {
        self.0.reads.load(Acquire)
    }

    /// Waits until something was read and what to make of it is settled; for one who waits.
    pub(super) async fn told(&self) {
        self.0.told.notified().await;
    }

    /// Wakes who waits.
    pub(super) fn tell(&self) {
        self.0.told.notify_one();
    }

    fn understood(&self) {
        self.0.reads.fetch_add(1, AcqRel);
        self.tell();
    }

    fn wrote(&self) {
        let stage = &self.0.stage;
        let _ = stage.compare_exchange(FRESH, ASKED, AcqRel, Acquire);
        let _ = stage.compare_exchange(ANSWERED, ASKED_AGAIN, AcqRel, Acquire);
    }

    fn read(&self) {
        if self.0.stage.load(Acquire) != FRESH {
            self.0.stage.store(ANSWERED, Release);
        }
    }
}

impl Connector {
    /// A connector that gives up after `timeout`, name look-up and TLS handshake included. Without
    /// `tls` it speaks plain text.
    pub(super) fn new(to: ServerAddress, tls: Option<Tls>, timeout: Duration) -> Self {
        Self {
            to,
            tls,
            protocol: None,
            timeout,
        }
    }

    /// The same, where the other end has to choose this protocol if there is TLS (RFC 7301).
    pub(super) fn choosing(self, protocol: &'static [u8]) -> Self {
        let tls = self.tls.map(|tls| {
            let mut config = ClientConfig::clone(&tls.config);
            config.alpn_protocols = vec![protocol.to_vec()];
            Tls {
                config: Arc::new(config),
                ..tls
            }
        });
        Self {
            tls,
            protocol: Some(protocol),
            ..self
        }
    }

    /// The host that it goes by, if that can be.
    pub(super) fn host(&self) -> Option<Host> {
        self.to.host()
    }

    /// How long a connection may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether there is TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a connection. [`io::ErrorKind::Unsupported`] is that the other end speaks something else.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        tokio::time::timeout(self.timeout, self.open())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn open(&self) -> io::Result<Stream> {
        let origin = match &self.to {
            ServerAddress::Tcp(origin) => origin,
            ServerAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                return Ok(Stream::over(Transport::Unix(stream)));
            }
        };
        let host = origin.host();
        let bare = host.name().trim_start_matches('[').trim_end_matches(']');
        let port = host.port().unwrap_or(origin.scheme().default_port());
        let tcp = TcpStream::connect((bare, port)).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Stream::over(Transport::Plain(tcp)));
        };
        let name = match &tls.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(bare.to_owned())
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        };
        let stream = TlsConnector::from(Arc::clone(&tls.config))
            .connect(name, tcp)
            .await
            .map_err(refused)?;
        let chosen = stream.get_ref().1.alpn_protocol();
        if self.protocol.is_some_and(|wanted| chosen != Some(wanted)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Stream::over(Transport::Tls(Box::new(stream))))
    }
}

/// A handshake that failed, told apart where the other end knows none of the protocols.
fn refused(error: io::Error) -> io::Error {
    let why = error.get_ref().and_then(|why| why.downcast_ref());
    match why {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            io::ErrorKind::Unsupported.into()
        }
        _ => error,
    }
}

impl Stream {
    fn over(transport: Transport) -> Self {
        Self {
            transport,
            wear: Wear(Arc::new(Worn {
                stage: AtomicU8::new(FRESH),
                reads: AtomicU64::new(0),
                told: Notify::new(),
            })),
            at_a_stretch: 0,
            unread: false,
        }
    }

    /// What it is used for from now on.
    pub(super) fn wear(&self) -> Wear {
        self.wear.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.unread) {
            this.wear.understood();
        }
        // SECURITY: interim answers without end are read and passed over in one go for as long as
        // there is something to read, while nobody else is served by this thread.
        if this.at_a_stretch >= STRETCH {
            this.at_a_stretch = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let outcome = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let count = buf.filled().len() - before;
        if count > 0 {
            this.wear.read();
            this.unread = true;
        }
        this.at_a_stretch = match outcome {
            Poll::Pending => 0,
            Poll::Ready(_) => this.at_a_stretch + count,
        };
        outcome
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.wear.wrote();
        match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Unix(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.wear.wrote();
        match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}
