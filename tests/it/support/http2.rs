//! A client that speaks HTTP/2, without TLS unless it is given a stream that has it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Answer;
use super::waiting::in_time;

pub type Body = BoxBody<Bytes, std::io::Error>;

/// A connection in HTTP/2.
pub struct Connection {
    pub sender: SendRequest<Body>,
    authority: String,
    scheme: &'static str,
    /// Ends when the gate ends the connection.
    pub ended: JoinHandle<hyper::Result<()>>,
}

impl Connection {
    /// Connects without TLS, in the knowledge that HTTP/2 is spoken.
    pub async fn open(gate: SocketAddr) -> Self {
        let stream = TcpStream::connect(gate).await.unwrap();
        Self::over(stream, &format!("localhost:{}", gate.port()), "http").await
    }

    /// Speaks HTTP/2 over this stream.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        authority: &str,
        scheme: &'static str,
    ) -> Self {
        let shaking = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // So that a body which nobody reads stands still soon.
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .max_header_list_size(1024 * 1024)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = in_time(shaking).await.unwrap();
        Self {
            sender,
            authority: authority.to_owned(),
            scheme,
            ended: tokio::spawn(connection),
        }
    }

    /// A request to this gate.
    pub fn request(&self, method: Method, target: &str) -> Request<Body> {
        let mut request = Request::new(none());
        *request.method_mut() = method;
        let uri = format!("{}://{}{target}", self.scheme, self.authority);
        *request.uri_mut() = uri.parse().unwrap();
        request
    }

    pub fn get(&self, target: &str) -> Request<Body> {
        self.request(Method::GET, target)
    }

    /// Sends a request and gives the head of the answer.
    pub async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        in_time(self.sender.ready()).await?;
        in_time(self.sender.send_request(request)).await
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&mut self, request: Request<Body>) -> Answer {
        whole(self.send(request).await.unwrap()).await
    }
}

/// Reads an answer to its end.
pub async fn whole(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = in_time(body.collect()).await.unwrap();
    let mut headers = head.headers;
    if let Some(trailers) = body.trailers() {
        headers.extend(trailers.clone());
    }
    Answer {
        status: head.status,
        headers,
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    }
}

/// No body.
pub fn none() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body of one piece.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A body, and what comes behind it.
pub fn with_trailers(bytes: &'static [u8], trailers: HeaderMap) -> Body {
    let frames = [
        Ok(Frame::data(Bytes::from_static(bytes))),
        Ok(Frame::trailers(trailers)),
    ];
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

/// Sends what these bytes are in HTTP/1.1, in HTTP/2, and reads the whole answer. `None` if HTTP/2 has
/// no such request, or this client makes none of it.
pub async fn ask_as(gate: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let request = translated(bytes)?;
    let mut connection = Connection::open(gate).await;
    let answer = connection.ask(request).await;
    connection.ended.abort();
    Some(answer)
}

/// The request that these bytes are in HTTP/1.1.
fn translated(bytes: &[u8]) -> Option<Request<Body>> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?.trim_end();
    let mut words = first.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = HeaderMap::new();
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
        if name != "connection" && name != "content-length" {
            headers.append(name, value);
        }
    }
    let host = headers.remove("host")?;
    let uri = format!("http://{}{target}", host.to_str().ok()?);
    let body = match body {
        [] => none(),
        body => full(body.to_vec()),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method.parse().ok()?;
    *request.uri_mut() = uri.parse().ok()?;
    *request.headers_mut() = headers;
    Some(request)
}
