//! Which version of HTTP is spoken on a connection without TLS: told by how it begins.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What HTTP/2 begins with where nobody has agreed on it (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Version {
    /// HTTP/1.1, or whatever else is no HTTP/2.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection whose beginning has been read, as if it had not.
pub(in crate::server) struct Reread<S> {
    stream: S,
    beginning: [u8; PREFACE.len()],
    /// What of the beginning is still to be read.
    from: usize,
    to: usize,
}

impl<S> Reread<S> {
    /// The connection itself.
    pub(in crate::server) fn inner_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

/// Reads as much of a connection as tells the version. One that ends before anything was said has none.
pub(in crate::server) async fn tell<S: AsyncRead + Unpin>(
    mut stream: S,
) -> io::Result<(Version, Reread<S>)> {
    let mut beginning = [0; PREFACE.len()];
    let mut to = 0;
    let version = loop {
        let read = beginning.get(..to).unwrap_or_default();
        if !PREFACE.starts_with(read) {
            break Version::Http1;
        }
        if to == PREFACE.len() {
            break Version::Http2;
        }
        let room = beginning.get_mut(to..).unwrap_or_default();
        match stream.read(room).await? {
            // Nobody speaks anything: whoever only looks whether the port is open.
            0 if to == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            // HTTP/1.1 knows what becomes of a connection that ends early.
            0 => break Version::Http1,
            count => to += count,
        }
    };
    let reread = Reread {
        stream,
        beginning,
        from: 0,
        to,
    };
    Ok((version, reread))
}

impl<S: AsyncRead + Unpin> AsyncRead for Reread<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.beginning.get(this.from..this.to).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let count = left.len().min(buf.remaining());
        buf.put_slice(left.get(..count).unwrap_or_default());
        this.from += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Reread<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
