//! An upstream that writes down what reaches it.

use std::convert::Infallible;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::frames::PREFACE;

/// A request as it reached the upstream.
#[derive(Clone, Debug)]
pub struct Received {
    pub version: Version,
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Received {
    /// The values of a header, joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect();
        (!values.is_empty()).then(|| values.join(" | "))
    }

    /// What is the same in either version, as HTTP/1.1 has it. Where the host stands differs, and what
    /// says where a body ends.
    pub fn in_either_version(mut self) -> Self {
        if self.version == Version::HTTP_2 {
            let (scheme, rest) = self.target.split_once("://").unwrap();
            assert!(["http", "https"].contains(&scheme), "{scheme}");
            assert!(!self.headers.contains_key("host"), "{:?}", self.headers);
            let (authority, path) = rest.split_at(rest.find('/').unwrap());
            self.headers.insert("host", authority.parse().unwrap());
            self.target = path.to_owned();
        }
        if self.headers.remove("transfer-encoding").is_some() {
            assert!(!self.headers.contains_key("content-length"));
        }
        // In HTTP/2 it is said of a body that is none, too.
        let length = self.headers.get("content-length");
        if self.body.is_empty() && length.is_some_and(|length| length == "0") {
            self.headers.remove("content-length");
        }
        self
    }
}

/// What the upstream answers, from what it received.
pub type Answer = Arc<dyn Fn(&Received) -> Response<Bytes> + Send + Sync>;

#[derive(Clone)]
pub struct RecordingUpstream {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Mutex<Answer>>,
}

impl RecordingUpstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            answer: Arc::new(Mutex::new(Arc::new(|_: &Received| {
                Response::new(Bytes::from_static(b"upstream"))
            }))),
        };
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        upstream
    }

    /// One that takes HTTP/2 in plain text too, from whoever begins with it.
    pub async fn start_in_either_version() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            ..Self::start().await
        };
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve_either(stream));
            }
        });
        upstream
    }

    /// Serves HTTP/1.1 on a connection that came in elsewhere.
    pub async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(move |request| {
            let upstream = self.clone();
            async move { Ok::<_, Infallible>(upstream.take(request).await) }
        });
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    /// The same in HTTP/2.
    pub async fn serve_http2(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(move |request| {
            let upstream = self.clone();
            async move { Ok::<_, Infallible>(upstream.take(request).await) }
        });
        let _ = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn serve_either(self, stream: TcpStream) {
        let (mut read, write) = stream.into_split();
        let mut first = [0; 3];
        if read.read_exact(&mut first).await.is_ok() {
            let stream = tokio::io::join(Cursor::new(first).chain(read), write);
            // There is no method PRI.
            if PREFACE.starts_with(&first) {
                self.serve_http2(stream).await;
            } else {
                self.serve(stream).await;
            }
        }
    }

    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        // A body that breaks off must not be taken for a whole one.
        let (body, trailers) = match body.collect().await {
            Ok(whole) => {
                let trailers = whole.trailers().cloned().unwrap_or_default();
                (whole.to_bytes(), trailers)
            }
            Err(_) => (Bytes::from_static(b"(broken off)"), HeaderMap::new()),
        };
        let received = Received {
            version: parts.version,
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: parts.headers,
            body,
            trailers,
        };
        self.received.lock().unwrap().push(received.clone());
        let answer = Arc::clone(&*self.answer.lock().unwrap());
        answer(&received).map(Full::new)
    }

    /// Sets what is answered from now on.
    pub fn answers(&self, answer: impl Fn(&Received) -> Response<Bytes> + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Everything that has arrived.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Everything that has arrived since this was last asked.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }

    /// The one request that has arrived.
    #[track_caller]
    pub fn only(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received[0].clone()
    }

    /// Fails unless nothing has arrived.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let received = self.received();
        assert!(received.is_empty(), "the upstream received {received:?}");
    }
}
