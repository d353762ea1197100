//! `clerk-gate health`: for probes where there is no other client, as in an empty image.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::HOST;
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Ending, complain};

/// How long a gate may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(super) struct Health {
    /// The address to ask
    #[arg(default_value = "http://127.0.0.1:9901/readyz")]
    url: Uri,
}

/// Ends well if the answer is a success.
pub(super) async fn health(health: &Health) -> Ending {
    let url = &health.url;
    let why = match tokio::time::timeout(PATIENCE, ask(url)).await {
        Ok(Ok(status)) if status.is_success() => return Ending::Well,
        Ok(Ok(status)) => format!("it answered {status}"),
        Ok(Err(why)) => why,
        Err(_) => format!("no answer within {}s", PATIENCE.as_secs()),
    };
    complain(&format!("`{url}` is not well: {why}"), None);
    Ending::Failed
}

async fn ask(url: &Uri) -> Result<StatusCode, String> {
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
    connection.abort();
    Ok(answer.status())
}
