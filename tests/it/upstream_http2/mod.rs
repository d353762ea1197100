//! An application that is spoken to in HTTP/2: what it is told, what comes back, and how it may fail.

mod heads;
mod misbehaving;
mod sharing;

use std::net::SocketAddr;
use std::time::Duration;

use clerk_gate::config::{Config, Protocol};
use clerk_gate::core::origin::Origin;

use crate::support::{World, usual_routes};

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
