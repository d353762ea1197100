//! Connections to an upstream: TCP, with TLS where its address says so.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Arc<ClientConfig>,
    timeout: Duration,
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
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a connection has been used for, as far as that can be told from outside.
#[derive(Clone, Debug)]
struct Wear(Arc<AtomicU8>);

/// Nothing was asked yet.
const FRESH: u8 = 0;
/// The first request went out, and nothing came back.
const ASKED: u8 = 1;
/// Something came back for the last request.
const ANSWERED: u8 = 2;
/// A further request went out, and nothing came back for it.
const ASKED_AGAIN: u8 = 3;

impl Wear {
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

/// Whether a request failed because a connection that had served before closed without a byte of
/// an answer: most likely it was closing already when the request went out.
pub(super) fn was_stale(error: &legacy::Error) -> bool {
    let mut extras = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extras);
    }
    extras
        .get::<Wear>()
        .is_some_and(|wear| wear.0.load(Acquire) == ASKED_AGAIN)
}

impl Connector {
    /// A connector that gives up after `timeout`, name look-up and TLS handshake included.
    pub(super) fn new(tls: Arc<ClientConfig>, timeout: Duration) -> Self {
        Self { tls, timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { tls, timeout } = self.clone();
        Box::pin(async move {
            tokio::time::timeout(timeout, connect(uri, tls))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }
}

async fn connect(uri: Uri, tls: Arc<ClientConfig>) -> io::Result<TokioIo<Stream>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let host = uri.host().ok_or_else(invalid)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tcp = TcpStream::connect((bare, port)).await?;
    tcp.set_nodelay(true)?;
    if !secure {
        return Ok(Stream::over(Transport::Plain(tcp)));
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| invalid())?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await?;
    Ok(Stream::over(Transport::Tls(Box::new(stream))))
}

impl Stream {
    fn over(transport: Transport) -> TokioIo<Self> {
        TokioIo::new(Self {
            transport,
            wear: Wear(Arc::new(AtomicU8::new(FRESH))),
            at_a_stretch: 0,
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.wear.clone())
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
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
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
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}
