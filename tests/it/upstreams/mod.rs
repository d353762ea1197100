//! What is behind the gate: whom a connection serves.

mod reuse;

use clerk_gate::upstream::Reuse;

use crate::support::wire::{Wire, WireUpstream};
use crate::support::{World, usual_routes};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A request for this path, on a connection that is kept.
fn get(world: &World, path: &str) -> String {
    let port = world.gate.port();
    format!("GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n")
}
