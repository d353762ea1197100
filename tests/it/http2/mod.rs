//! HTTP/2 from clients: read as HTTP/1.1 is, bounded as it is, and ended as politely.

mod bounds;
mod frames;
mod heads;
mod log;
mod websockets;

use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, WorldBuilder, usual_routes};

/// A gate that takes HTTP/2 without TLS.
async fn world() -> World {
    world_with(|world| world).await
}

async fn world_with(change: impl FnOnce(WorldBuilder) -> WorldBuilder) -> World {
    let world = World::with(usual_routes()).configure(|config| config.http2.cleartext = true);
    change(world).start().await
}

/// Such a gate before an upstream that is held by hand.
async fn before(change: impl FnOnce(WorldBuilder) -> WorldBuilder) -> (World, WireUpstream) {
    let upstream = WireUpstream::start().await;
    let world = world_with(|world| change(world.before(upstream.address))).await;
    (world, upstream)
}

/// What most answers of that upstream are.
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Takes the next request at the upstream, and begins to answer it with this.
async fn answering(upstream: &WireUpstream, begin: &str) -> Wire {
    let mut server = upstream.accept().await;
    server.head().await;
    server.send(begin).await;
    server
}
