//! What gates share in Redis: with real servers of these tests' own, on ports of their own, that are
//! stopped, paused, filled and started again. `make test-redis` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test that cannot go on says so by a panic, and nothing outside uses this crate"
)]

mod bodies;
#[path = "../it/readers/mod.rs"]
mod readers;
mod replicas;
mod server;
mod servers;
#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the other test crate uses the rest"
)]
mod support;
mod troubles;

use std::time::Duration;

use clerk_gate::config::RedisConfig;
use clerk_gate::core::budget::{Budget, By, Enforcement, Figures, Rate, Told};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::store::redis::{Addresses, OnError};

use support::{World, route};

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(20);

/// Ten in an hour, which no test lasts.
const TEN: Rate = Rate::SlidingWindow {
    requests: 10,
    window_ms: 3_600_000,
};

/// A gate that counts at this address: ten requests by each address, of all routes.
async fn gate(url: &str, timeout: Duration, on_error: OnError) -> World {
    gate_at(Addresses::one(url), timeout, on_error).await
}

/// So much for each address.
fn each_address(name: &str, rate: Rate) -> Budget {
    Budget {
        name: name.into(),
        by: By::Address,
        figures: Figures {
            rate: Some(rate),
            in_flight: None,
        },
        tiers: Vec::new(),
        ipv6_prefix: 64,
        enforcement: Enforcement::Refuse,
        disclosure: Told::InHeaders,
    }
}

/// The same, wherever the servers are.
async fn gate_at(addresses: Addresses, timeout: Duration, on_error: OnError) -> World {
    let budget = each_address("door", TEN);
    let store = RedisConfig {
        addresses,
        timeout,
        on_error,
    };
    let world = World::with(vec![route("all", &["/**"], Requirement::Public)]);
    let world = world.configure(move |config| {
        config.policy = config.policy.clone().limited_by(&[budget.into()]);
        config.edge.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.store = Some(store);
    });
    world.start().await
}

/// Waits until something holds, and fails if it never does.
async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "never: {what}");
}
