//! The application's end of a connection in HTTP/2, frame by frame (RFC 9113, section 4.1).

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::support::wire::{Wire, WireUpstream};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const INTERNAL_ERROR: u32 = 2;
pub const REFUSED_STREAM: u32 = 7;
pub const HTTP_1_1_REQUIRED: u32 = 13;

/// `:status: 200`, compressed (RFC 7541, appendix A).
pub const OK: &[u8] = &[0x88];

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that has arrived.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

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
    pub async fn accept_with(&self, settings: &[(u16, u32)]) -> Line {
        let mut line = self.accept_silently().await;
        line.settings(settings).await;
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

/// A frame as it goes out.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

impl Line {
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.send(frame(kind, flags, stream, payload)).await;
    }

    pub async fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.send(SETTINGS, 0, 0, &payload).await;
    }

    /// The next frame.
    pub async fn next(&mut self) -> Frame {
        let head = self.0.exactly(9).await;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
            payload: self.0.exactly(usize::try_from(length).unwrap()).await,
        }
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
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
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
