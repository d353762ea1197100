//! What is behind the gate: several servers, which of them is asked, and whom a connection serves.

mod groups;
mod health;
mod places;
mod reuse;
mod troubles;

use std::net::SocketAddr;
use std::time::Duration;

use clerk_gate::config::Config;
use clerk_gate::upstream::Reuse;
use clerk_gate::upstream::address::ServerAddress;
use http::StatusCode;

use crate::metrics::Page;
use crate::support::upstream::RecordingUpstream;
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{Answer, World, usual_routes};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A request for this path, on a connection that is kept.
fn get(world: &World, path: &str) -> String {
    let port = world.gate.port();
    format!("GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n")
}

fn origin(address: SocketAddr) -> ServerAddress {
    ServerAddress::parse(&format!("http://{address}")).unwrap()
}

/// Puts the gate before these servers.
fn before(config: &mut Config, servers: &[SocketAddr]) {
    let (first, further) = servers.split_first().unwrap();
    config.upstreams[0].url = origin(*first);
    config.upstreams[0].further = further.iter().copied().map(origin).collect();
}

/// A gate before these servers, with what else is changed.
async fn world_before(
    servers: &[SocketAddr],
    change: impl FnOnce(&mut Config) + Send + 'static,
) -> World {
    let servers = servers.to_vec();
    World::with(usual_routes())
        .configure(move |config| {
            before(config, &servers);
            change(config);
        })
        .start()
        .await
}

async fn recording<const N: usize>() -> [RecordingUpstream; N] {
    let mut started = Vec::new();
    for _ in 0..N {
        started.push(RecordingUpstream::start().await);
    }
    started.try_into().ok().unwrap()
}

/// How many requests each of these has had since they were last asked.
fn shares<const N: usize>(servers: &[RecordingUpstream; N]) -> [usize; N] {
    servers
        .each_ref()
        .map(|server| server.take_received().len())
}

/// The status and the reason of an answer.
fn outcome(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.code())
}

/// Lets time go by.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// The value of a series on the page of metrics; 0 for one that is not there.
async fn metric(world: &World, series: &str) -> f64 {
    Page::of(world).await.value(series)
}

/// A series of a server.
fn of_server(metric: &str, server: SocketAddr) -> String {
    format!("{metric}{{upstream=\"upstream\",server=\"http://{server}\"}}")
}

/// Whether the page of metrics says that a server is given requests.
async fn is_open(world: &World, server: SocketAddr) -> bool {
    metric(world, &of_server("clerk_gate_upstream_open", server)).await > 0.0
}
