//! A connection held by hand, on either side of the gate: what is sent when is up to the test.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::frames::Frame;
use super::waiting::DEADLINE;

/// One end of a connection, and what it has received but not yet handed out.
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An upstream whose connections are held by hand.
pub struct WireUpstream {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl WireUpstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// The next connection that the gate opens.
    pub async fn accept(&self) -> Wire {
        let (stream, _) = in_time("a connection", self.listener.accept())
            .await
            .unwrap();
        Wire::over(stream)
    }

    /// The same, however long it takes.
    pub async fn next(&self) -> Wire {
        let (stream, _) = self.listener.accept().await.unwrap();
        Wire::over(stream)
    }

    /// Fails if the gate has opened a connection that was not accepted.
    pub async fn assert_nobody_waits(&self) {
        let waiting = tokio::time::timeout(Duration::from_millis(1), self.listener.accept());
        assert!(waiting.await.is_err(), "the gate opened a connection");
    }
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = in_time("connecting", TcpStream::connect(address))
            .await
            .unwrap();
        Self::over(stream)
    }

    pub fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        in_time("sending", self.stream.write_all(bytes.as_ref()))
            .await
            .unwrap();
    }

    /// Sends what may not be taken: the other end may have closed.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = in_time("sending", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Everything up to and with the first `end`.
    pub async fn until(&mut self, end: &str) -> String {
        let end = end.as_bytes();
        loop {
            if let Some(at) = self.received.windows(end.len()).position(|w| w == end) {
                let taken: Vec<u8> = self.received.drain(..at + end.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            let so_far = String::from_utf8_lossy(&self.received).into_owned();
            assert!(self.read().await > 0, "closed after {so_far:?}");
        }
    }

    /// A head, with its empty line.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// So many bytes.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(
                self.read().await > 0,
                "closed after {}",
                self.received.len()
            );
        }
        self.received.drain(..count).collect()
    }

    /// The next frame of HTTP/2, or nothing if the other end closes before its end.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::take(&mut self.received) {
                return Some(frame);
            }
            if self.read().await == 0 {
                return None;
            }
        }
    }

    /// A head, or nothing if the other end closes before its end, however late.
    pub async fn next_head(&mut self) -> Option<String> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if self.received.windows(4).any(|w| w == b"\r\n\r\n") {
                return Some(self.head().await);
            }
            let count = self.stream.read(&mut chunk).await.unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    /// Whether the other end takes these bytes, as far as can be told.
    pub async fn sends(&mut self, bytes: &[u8]) -> bool {
        let sent = in_time("sending", self.stream.write_all(bytes)).await;
        sent.is_ok()
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Everything until the other end closes, and whether it has closed: it may also say nothing
    /// for as long as `patience`.
    pub async fn heard(&mut self, patience: Duration) -> (Vec<u8>, bool) {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let reading = self.stream.read(&mut chunk);
            let closed = match tokio::time::timeout(patience, reading).await {
                Err(_) => false,
                Ok(Ok(0) | Err(_)) => true,
                Ok(Ok(count)) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    continue;
                }
            };
            return (std::mem::take(&mut self.received), closed);
        }
    }

    /// Everything until the other end closes.
    pub async fn rest(&mut self) -> String {
        while self.read().await > 0 {}
        String::from_utf8_lossy(&std::mem::take(&mut self.received)).into_owned()
    }

    /// Sends without end until nobody takes any more; how many bytes were taken, `most` at most.
    pub async fn fill(&mut self, most: usize) -> usize {
        self.fill_with(&vec![b'x'; 64 * 1024], most).await
    }

    /// The same, with these bytes over and over.
    pub async fn fill_with(&mut self, piece: &[u8], most: usize) -> usize {
        let mut taken = 0;
        while taken < most {
            let sending = self.stream.write(piece);
            match tokio::time::timeout(Duration::from_secs(1), sending).await {
                Ok(Ok(count)) => taken += count,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        taken
    }

    /// Whether the other end closes in so much time; what it says meanwhile is kept.
    pub async fn closes_within(&mut self, time: Duration) -> bool {
        let closed = async { while self.read().await > 0 {} };
        tokio::time::timeout(time, closed).await.is_ok()
    }

    /// Whether nothing at all is heard for so long.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.read()).await.is_err()
    }

    async fn read(&mut self) -> usize {
        let mut chunk = vec![0; 64 * 1024];
        let read = in_time("something to read", self.stream.read(&mut chunk)).await;
        // A reset says that the other end is gone as well.
        let count = read.unwrap_or(0);
        self.received.extend_from_slice(&chunk[..count]);
        count
    }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("no {what} in time"))
}
