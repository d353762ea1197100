//! An application that is spoken to in HTTP/2: what it is told, what comes back, and how it may fail.

mod heads;
mod misbehaving;
mod sharing;

use std::net::SocketAddr;
use std::time::Duration;

use clerk_gate::config::{Config, Protocol};
use clerk_gate::core::origin::Origin;
use tokio::net::TcpListener;

use crate::support::upstream::RecordingUpstream;
use crate::support::{World, usual_routes};

/// A recording upstream that speaks HTTP/2 in plain text.
async fn recording() -> (RecordingUpstream, SocketAddr) {
    let upstream = RecordingUpstream::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = upstream.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serving.clone().serve_http2(stream));
        }
    });
    (upstream, address)
}

/// A gate that speaks HTTP/2 to the application at `address`.
async fn before(address: SocketAddr) -> World {
    changed(address, |_| {}).await
}

/// The same, with something else changed.
async fn changed(address: SocketAddr, change: impl FnOnce(&mut Config) + Send + 'static) -> World {
    World::with(usual_routes())
        .configure(move |config| {
            let upstream = &mut config.upstreams[0];
            upstream.url = Origin::parse(&format!("http://{address}")).unwrap().into();
            upstream.protocol = Protocol::Http2;
            upstream.response_timeout = Duration::from_secs(15);
            change(config);
        })
        .start()
        .await
}
