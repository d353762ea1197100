//! The registry itself: that it forgets, and that it is never late.

use clerk_gate::gate::live::Ticket;

use super::{World, open, revoke, ticket_for, world};

/// A ticket as a request of this session gets one.
async fn ticket(world: &World, session: &super::TestSession) -> Ticket {
    ticket_for(world, "/members", session).await
}

#[tokio::test]
async fn a_place_is_free_again_when_its_holder_is_gone() {
    let (world, _upstream) = world().await;
    let (people, each) = (20, 100);
    let mut leases = Vec::new();
    for _ in 0..people {
        let ada = world.clerk.sign_in("ada", None);
        let ticket = ticket(&world, &ada).await;
        leases.extend((0..each).map(|_| ticket.bind()));
    }
    let live = world.service.gate.live();
    assert_eq!(live.open(), (people * each, people));
    leases.truncate(each);
    assert_eq!(live.open(), (each, 1));
    drop(leases);
    assert_eq!(live.open(), (0, 0));
}

#[tokio::test]
async fn what_is_opened_when_the_session_is_over_already_ends_at_once() {
    let (world, _upstream) = world().await;
    let ada = world.clerk.sign_in("ada", None);
    let ticket = ticket(&world, &ada).await;
    revoke(&world, &ada);
    let lease = ticket.bind();
    assert_eq!(lease.ended().await.code(), "session-revoked");
    drop(lease);
    assert_eq!(open(&world), 0);
}
