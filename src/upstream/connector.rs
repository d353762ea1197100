//! Connections to an upstream: over TCP, with TLS where its address says so, or to a Unix socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::ServerAddress;

/// Opens connections to one upstream.
pub(super) struct Connector {
    to: ServerAddress,
    tls: Option<Tls>,
    timeout: Duration,
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
pub(super) struct Wear(Arc<AtomicU8>);

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
        self.0.load(Acquire) == ASKED_AGAIN
    }

    fn wrote(&self) {
        let _ = self.0.compare_exchange(FRESH, ASKED, AcqRel, Acquire);
        let _ = self
            .0
            .compare_exchange(ANSWERED, ASKED_AGAIN, AcqRel, Acquire);
    }

    fn read(&self) {
        if self.0.load(Acquire) != FRESH {
            self.0.store(ANSWERED, Release);
        }
    }
}

impl Connector {
    /// A connector that gives up after `timeout`, name look-up and TLS handshake included. Without
    /// `tls` it speaks plain text.
    pub(super) fn new(to: ServerAddress, tls: Option<Tls>, timeout: Duration) -> Self {
        Self { to, tls, timeout }
    }

    /// Opens a connection.
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
            .await?;
        Ok(Stream::over(Transport::Tls(Box::new(stream))))
    }
}

impl Stream {
    fn over(transport: Transport) -> Self {
        Self {
            transport,
            wear: Wear(Arc::new(AtomicU8::new(FRESH))),
            at_a_stretch: 0,
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
