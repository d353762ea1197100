//! The least that a proxy on this stack can do: hyper in, hyper's pooled client out, nothing between.

use std::net::SocketAddr;

use http::uri::{Authority, Scheme, Uri};
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// Serves until the process is ended.
pub fn run(listen: SocketAddr, upstream: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let listener = TcpListener::bind(listen).await.unwrap();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Incoming> = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        let authority: Authority = upstream.to_string().parse().unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (client, authority) = (client.clone(), authority.clone());
            tokio::spawn(async move {
                let service = service_fn(move |mut request: Request<Incoming>| {
                    let mut parts = std::mem::take(request.uri_mut()).into_parts();
                    parts.scheme = Some(Scheme::HTTP);
                    parts.authority = Some(authority.clone());
                    *request.uri_mut() = Uri::from_parts(parts).unwrap();
                    *request.version_mut() = Version::HTTP_11;
                    client.request(request)
                });
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}
