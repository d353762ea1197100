//! Several gates of one instance with one Redis: what one of them learns the others know, and what one
//! of them asks Clerk the others do not ask.

mod keys;
mod renewals;
mod riding;
mod sign_outs;

use std::time::Duration;

use clerk_gate::config::RedisConfig;
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use clerk_gate::standin::TestSession;
use clerk_gate::store::redis::{Addresses, OnError};
use http::Method;

use crate::support::{
    Answer, Call, World, WorldBuilder, clerk_config, cookies, seal, usual_routes,
};

/// What browsers call every gate.
const PUBLIC: &str = "http://localhost:3000";

/// A gate that shares what it knows at this address. Without a `first` it is the first one, whose
/// stand-in is everybody's Clerk.
pub fn replica(at: Addresses, timeout: Duration, first: Option<&World>) -> WorldBuilder {
    let clerk = first.map(|first| clerk_config(&first.clerk));
    World::with(usual_routes()).configure(move |config| {
        if let Some(clerk) = clerk {
            config.clerk = clerk;
        }
        config.edge.public = PublicAddress::Fixed(Origin::parse(PUBLIC).unwrap());
        config.store = Some(RedisConfig {
            addresses: at,
            timeout,
            on_error: OnError::Local,
        });
    })
}

/// Three of them.
pub async fn three(at: &Addresses, timeout: Duration) -> Vec<World> {
    let mut worlds: Vec<World> = Vec::new();
    for _ in 0..3 {
        let world = replica(at.clone(), timeout, worlds.first());
        worlds.push(world.start().await);
    }
    worlds
}

pub fn advance(worlds: &[World], ms: u64) {
    for world in worlds {
        world.clock.advance_ms(ms);
    }
}

/// Someone with these cookies asks a gate for a page that needs a session.
pub async fn asks(gate: &World, session: &TestSession) -> Answer {
    gate.get("/members").cookie(&cookies(session)).send().await
}

/// Whether the gate lets somebody in, or says that their session is over.
pub async fn lets_in(gate: &World, session: &TestSession) -> bool {
    let answer = asks(gate, session).await;
    if !answer.status.is_success() {
        assert_eq!(answer.code(), "session-revoked", "{answer:?}");
    }
    answer.status.is_success()
}

/// The cookies of somebody, with a seal.
pub fn sealed(clerk: &World, session: &TestSession, now_ms: u64) -> String {
    let seal = seal(clerk.clerk.publishable_key(), PUBLIC, session, now_ms);
    format!("{}; {seal}", cookies(session))
}

/// Somebody has all their sessions ended, at this gate.
pub async fn signs_out_everywhere(gate: &World, cookies: &str) {
    let call: Call = gate
        .request(Method::POST, "/_gate/sign-out/all")
        .cookie(cookies)
        .header("origin", PUBLIC)
        .header("sec-fetch-site", "same-origin");
    let answer = call.send().await;
    assert!(answer.status.is_success(), "{answer:?}");
}
