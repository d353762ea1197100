//! Asks the admin listener of a running gate.

use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a gate may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How much of an answer is read.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What a gate answers; the error says why there is no answer.
pub(super) async fn ask(url: &Uri) -> Result<(StatusCode, Bytes), String> {
    let answer = tokio::time::timeout(PATIENCE, exchange(url)).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {}s", PATIENCE.as_secs())))
}

async fn exchange(url: &Uri) -> Result<(StatusCode, Bytes), String> {
    let authority = url
        .authority()
        .filter(|_| url.scheme_str() == Some("http"))
        .ok_or("this is no `http` address")?;
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MOST_BYTES).collect().await;
    let body = body.map_err(|error| format!("the answer breaks off: {error}"))?;
    connection.abort();
    Ok((head.status, body.to_bytes()))
}
