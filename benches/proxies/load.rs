//! The load: requests that are written beforehand, over plain sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The size of a large body.
pub const MEGABYTE: usize = 1 << 20;

/// How many connections send at once.
#[derive(Clone, Copy)]
pub struct Connections(pub usize);

/// Requests to be sent in turn.
pub struct Load {
    requests: Vec<Vec<u8>>,
    body: Option<Arc<Vec<u8>>>,
    closing: bool,
}

impl Load {
    /// Page loads with these session tokens.
    pub fn get(path: &str, tokens: &[String]) -> Self {
        let requests = tokens.iter().map(|token| {
            head(
                "GET",
                path,
                &format!("cookie: theme=dark; __session={token}; __client_uat=1\r\n"),
            )
        });
        Self::of(requests.collect())
    }

    /// Page loads of somebody who is signed out.
    pub fn navigation(path: &str) -> Self {
        Self::of(vec![head(
            "GET",
            path,
            "sec-fetch-dest: document\r\nsec-fetch-mode: navigate\r\ncookie: __clerk_db_jwt=dvb_bench; __client_uat=0\r\n",
        )])
    }

    /// Requests without any credential.
    pub fn anonymous(path: &str) -> Self {
        Self::of(vec![head("GET", path, "")])
    }

    /// Uploads of a megabyte.
    pub fn upload(path: &str, tokens: &[String]) -> Self {
        let length = format!("content-length: {MEGABYTE}\r\n");
        let requests = tokens.iter().map(|token| {
            head(
                "POST",
                path,
                &format!("{length}cookie: __session={token}; __client_uat=1\r\n"),
            )
        });
        Self {
            body: Some(Arc::new(vec![b'x'; MEGABYTE])),
            ..Self::of(requests.collect())
        }
    }

    fn of(requests: Vec<Vec<u8>>) -> Self {
        Self {
            requests,
            body: None,
            closing: false,
        }
    }

    /// The same, with a connection for each request.
    pub fn closing(mut self) -> Self {
        self.closing = true;
        self
    }

    /// Sends so many requests and gives the time it took.
    pub async fn run(
        &self,
        proxy: SocketAddr,
        count: usize,
        Connections(open): Connections,
    ) -> Duration {
        let next = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(self.requests.clone());
        let began = Instant::now();
        let senders: Vec<_> = (0..open)
            .map(|_| {
                let (next, requests, body) =
                    (Arc::clone(&next), Arc::clone(&requests), self.body.clone());
                let closing = self.closing;
                tokio::spawn(async move {
                    let mut client = Client::connect(proxy).await;
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return;
                        }
                        let request = &requests[n % requests.len()];
                        client
                            .exchange(request, body.as_deref().map(Vec::as_slice))
                            .await;
                        if closing {
                            client = Client::connect(proxy).await;
                        }
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        began.elapsed()
    }
}

fn head(method: &str, path: &str, more: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\naccept: text/html,application/xhtml+xml\r\naccept-encoding: gzip, br\r\naccept-language: en\r\n{more}\r\n"
    )
    .into_bytes()
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(proxy: SocketAddr) -> Self {
        let stream = TcpStream::connect(proxy).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: vec![0; 64 * 1024],
        }
    }

    /// Sends a request and reads its answer to the end.
    async fn exchange(&mut self, request: &[u8], body: Option<&[u8]>) {
        self.stream.write_all(request).await.unwrap();
        if let Some(body) = body {
            self.stream.write_all(body).await.unwrap();
        }
        let mut filled = 0;
        let (end, length) = loop {
            let count = self.stream.read(&mut self.buffer[filled..]).await.unwrap();
            assert!(count > 0, "the proxy closed the connection");
            filled += count;
            if let Some(end) = self.buffer[..filled]
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
            {
                let head = std::str::from_utf8(&self.buffer[..end]).unwrap();
                let ok = head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 307");
                assert!(ok, "{head}");
                break (end + 4, content_length(head));
            }
        };
        let mut missing = (end + length).saturating_sub(filled);
        while missing > 0 {
            let count = self.stream.read(&mut self.buffer).await.unwrap();
            assert!(count > 0, "the proxy closed the connection");
            missing = missing.saturating_sub(count);
        }
    }
}

fn content_length(head: &str) -> usize {
    head.lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        })
        .unwrap_or(0)
}

/// Opens connections that send one request each and are then left alone.
pub async fn hold(proxy: SocketAddr, count: usize) -> Vec<TcpStream> {
    let request = head("GET", "/public/page", "");
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Client::connect(proxy).await;
        client.exchange(&request, None).await;
        held.push(client.stream);
    }
    held
}
