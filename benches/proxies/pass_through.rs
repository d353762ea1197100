//! The least that a proxy on this stack can do: hyper in, hyper's pooled client out, nothing between;
//! or nothing but a check of the session token's signature, with a key that was parsed once.

use std::net::SocketAddr;

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::COOKIE;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// Checks session tokens.
struct Check(ParsedPublicKey);

impl Check {
    fn read(pem: &Path) -> Self {
        let text = std::fs::read_to_string(pem).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).unwrap();
        Self(ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).unwrap())
    }

    fn assert_good(&self, headers: &HeaderMap) {
        // The first request of every proxy is one for the public page.
        let Some(cookies) = headers.get(COOKIE) else {
            return;
        };
        let token = cookies
            .to_str()
            .unwrap()
            .split("; ")
            .find_map(|cookie| cookie.strip_prefix("__session="))
            .unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        self.0.verify_sig(message.as_bytes(), &signature).unwrap();
    }
}

/// Serves until the process is ended; checks tokens where there is a key.
pub fn run(listen: SocketAddr, upstream: SocketAddr, pem: Option<&Path>) {
    let check = pem.map(|pem| Arc::new(Check::read(pem)));
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
            let (client, authority, check) = (client.clone(), authority.clone(), check.clone());
            tokio::spawn(async move {
                let service = service_fn(move |mut request: Request<Incoming>| {
                    if let Some(check) = &check {
                        check.assert_good(request.headers());
                    }
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
