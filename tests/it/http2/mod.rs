//! HTTP/2 from clients: read as HTTP/1.1 is, bounded as it is, and ended as politely.

mod bounds;
mod frames;
mod heads;
mod websockets;

use crate::support::{World, WorldBuilder, usual_routes};

/// A gate that takes HTTP/2 without TLS.
async fn world() -> World {
    world_with(|world| world).await
}

async fn world_with(change: impl FnOnce(WorldBuilder) -> WorldBuilder) -> World {
    let world = World::with(usual_routes()).configure(|config| config.http2.cleartext = true);
    change(world).start().await
}
