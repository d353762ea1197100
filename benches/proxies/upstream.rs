//! The upstream of every proxy: small pages, a large one, and a place for uploads.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Starts it on a port of its own.
pub async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let big = Bytes::from(vec![b'x'; super::load::MEGABYTE]);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let big = big.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, big.clone()));
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

async fn answer(
    request: Request<Incoming>,
    big: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/big" => big,
        "/upload" => {
            let mut body = request.into_body();
            while body.frame().await.is_some() {}
            Bytes::from_static(b"thanks")
        }
        _ => Bytes::from_static(
            b"<!doctype html><title>page</title><p>a small page of the upstream</p>",
        ),
    };
    Ok(Response::new(Full::new(body)))
}
