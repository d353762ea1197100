//! The application's end of a connection in HTTP/2, frame by frame.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, OK, PREFACE, frame, reset, settings,
};
use crate::support::wire::{Wire, WireUpstream};

/// An application that is played by hand.
pub struct Server {
    listener: WireUpstream,
    pub address: SocketAddr,
}

/// One connection to it.
pub struct Line(pub Wire);

impl Server {
    pub async fn start() -> Self {
        let listener = WireUpstream::start().await;
        let address = listener.address;
        Self { listener, address }
    }

    /// The next connection that the gate opens, before anything is said on it.
    pub async fn accept_silently(&self) -> Line {
        let mut line = Line(self.listener.accept().await);
        assert_eq!(line.0.exactly(PREFACE.len()).await, PREFACE);
        line
    }

    /// The next connection, with these settings.
    pub async fn accept_with(&self, values: &[(u16, u32)]) -> Line {
        let mut line = self.accept_silently().await;
        line.settings(values).await;
        line
    }

    /// The next connection, with settings as they usually are.
    pub async fn accept(&self) -> Line {
        self.accept_with(&[]).await
    }

    /// Fails if the gate has opened a connection that was not accepted.
    pub async fn assert_nobody_waits(&self) {
        self.listener.assert_nobody_waits().await;
    }
}

impl Line {
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.send(frame(kind, flags, stream, payload)).await;
    }

    pub async fn settings(&mut self, values: &[(u16, u32)]) {
        self.0.send(settings(values)).await;
    }

    /// The next frame.
    pub async fn next(&mut self) -> Frame {
        self.0.frame().await.expect("a frame")
    }

    /// The next frame of this kind.
    pub async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await;
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The stream of the next request.
    pub async fn request(&mut self) -> u32 {
        let head = self.until(HEADERS).await;
        assert_eq!(head.flags & END_HEADERS, END_HEADERS, "{head:?}");
        head.stream
    }

    /// Answers with 200 and these bytes.
    pub async fn answer(&mut self, stream: u32, body: &[u8]) {
        self.send(HEADERS, END_HEADERS, stream, OK).await;
        self.send(DATA, END_STREAM, stream, body).await;
    }

    pub async fn reset(&mut self, stream: u32, code: u32) {
        self.0.send(reset(stream, code)).await;
    }

    /// Says that nothing beyond `last` was looked at, nor will be.
    pub async fn go_away(&mut self, last: u32, code: u32) {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }
}

/// Somebody who says these bytes to whoever comes.
pub async fn saying(bytes: &'static [u8]) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = [0; 1024];
                let _ = stream.read(&mut piece).await;
                let _ = stream.write_all(bytes).await;
                // Until the gate has had enough of it.
                while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}
