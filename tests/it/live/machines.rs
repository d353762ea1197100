//! What machines have open: nobody is asked about it, and it ends with their token.

use std::time::Duration;

use clerk_gate::core::machine::TokenTypes;
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, MachineGrant, MachineKind};

use super::{WireUpstream, World, events, eventually, open};
use crate::support::route;

const MINUTE_MS: u64 = 60 * 1000;

/// Tokens of every form that are good for so long.
fn tokens(world: &World, lifetime: Option<Duration>) -> Vec<String> {
    let grant = MachineGrant {
        lifetime,
        ..MachineGrant::new(MachineKind::OAuth, "user_2Ada00000000000000000000001", &[])
    };
    let jwt = world.clerk.machine_jwt(&grant);
    vec![jwt, world.clerk.machine_token(grant).secret]
}

/// A gate whose events are for anybody with a token.
async fn world() -> (World, WireUpstream) {
    let upstream = WireUpstream::start().await;
    let anybody = Requirement::Token(TokenTypes::ANY);
    let routes = vec![route("events", &["/events"], anybody)];
    let world = World::with(routes).before(upstream.address);
    (world.start().await, upstream)
}

#[tokio::test]
async fn what_a_machine_has_open_ends_with_its_token() {
    let (world, upstream) = world().await;
    let mut streams = Vec::new();
    for token in tokens(&world, Some(Duration::from_mins(20))) {
        let line = format!("authorization: Bearer {token}\r\n");
        streams.push(events(&world, &upstream, &line).await);
    }
    assert_eq!(streams.len(), 2);
    world.clock.advance_ms(19 * MINUTE_MS);
    for (client, server) in &mut streams {
        server.send("9\r\ndata: 2\n\n\r\n").await;
        client.until("data: 2\n\n\r\n").await;
    }
    world.clock.advance_ms(2 * MINUTE_MS);
    for (client, _) in &mut streams {
        assert_eq!(client.until("\r\n\r\n").await, "0\r\n\r\n");
    }
    eventually("nothing is open", || open(&world) == 0).await;
    assert_eq!(world.clerk.calls(Endpoint::Sessions), 0);
}

#[tokio::test]
async fn what_a_machine_has_open_has_its_time_if_its_token_has_no_end() {
    let (world, upstream) = world().await;
    let token = tokens(&world, None).pop().unwrap();
    let line = format!("authorization: Bearer {token}\r\n");
    let (mut client, mut server) = events(&world, &upstream, &line).await;
    world.clock.advance_ms(59 * MINUTE_MS);
    server.send("9\r\ndata: 2\n\n\r\n").await;
    client.until("data: 2\n\n\r\n").await;
    world.clock.advance_ms(2 * MINUTE_MS);
    assert_eq!(client.until("\r\n\r\n").await, "0\r\n\r\n");
}
