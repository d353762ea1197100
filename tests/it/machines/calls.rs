//! How often Clerk is asked, and for how long its answers hold.

use std::sync::Arc;

use clerk_gate::clerk::budget::Budget;
use clerk_gate::clerk::client::ClerkClient;
use clerk_gate::clerk::machines::MachineApi;
use clerk_gate::core::machine::TokenType;
use clerk_gate::core::reason::Reason;
use clerk_gate::gate::machines::Machines;
use clerk_gate::standin::Fault;
use clerk_gate::tls;
use tokio::task::JoinSet;

use super::*;
use crate::support::waiting::eventually;
use crate::support::{START_MS, ask};

#[tokio::test]
async fn a_revoked_key_is_taken_for_as_long_as_the_cache_says_and_no_longer() {
    let world = world().await;
    let key = api_key(&world, &[], None);
    let ask = || world.get("/keys/1").bearer(&key.secret).send();
    assert_eq!(ask().await.status, 200);
    world.clerk.revoke_machine_token(&key.id);
    world.clock.advance_ms(29_999);
    assert_eq!(ask().await.status, 200);
    assert_eq!(lookups(&world), 1);
    assert_eq!(world.upstream.take_received().len(), 2);

    world.clock.advance_ms(1);
    assert_refused(&world, &ask().await, 401, "token-revoked");
    assert_eq!(lookups(&world), 2);
}

#[tokio::test]
async fn without_a_cache_a_revoked_key_is_refused_at_once() {
    let world = world_of(ROUTES)
        .configure(|config| config.clerk.machine_token_cache = Duration::ZERO)
        .start()
        .await;
    let key = api_key(&world, &[], None);
    for asked in 1..=3 {
        assert_eq!(
            world.get("/keys/1").bearer(&key.secret).send().await.status,
            200
        );
        assert_eq!(lookups(&world), asked);
    }
    assert_eq!(world.upstream.take_received().len(), 3);
    world.clerk.revoke_machine_token(&key.id);
    let answer = world.get("/keys/1").bearer(&key.secret).send().await;
    assert_refused(&world, &answer, 401, "token-revoked");
}

#[tokio::test]
async fn a_key_ends_with_its_own_time_whatever_the_cache_says() {
    let world = world().await;
    for (kind, target) in [
        (MachineKind::ApiKey, "/keys/1"),
        (MachineKind::M2m, "/machines/1"),
        (MachineKind::OAuth, "/mcp/1"),
    ] {
        let token = world.clerk.machine_token(MachineGrant {
            lifetime: Some(Duration::from_secs(10)),
            ..MachineGrant::new(kind, ADA, &["profile"])
        });
        let before = lookups(&world);
        assert_eq!(
            world.get(target).bearer(&token.secret).send().await.status,
            200,
            "{kind:?}"
        );
        world.clock.advance_ms(9_999);
        assert_eq!(
            world.get(target).bearer(&token.secret).send().await.status,
            200,
            "{kind:?}"
        );
        assert_eq!(world.upstream.take_received().len(), 2);
        world.clock.advance_ms(1);
        let answer = world.get(target).bearer(&token.secret).send().await;
        assert_refused(&world, &answer, 401, "token-expired");
        assert_eq!(lookups(&world) - before, 1, "nobody had to be asked");
        // The next time Clerk is asked it says the same.
        world.clock.advance_ms(30_000);
        let answer = world.get(target).bearer(&token.secret).send().await;
        assert_refused(&world, &answer, 401, "token-expired");
        assert_eq!(lookups(&world) - before, 2);
    }
}

#[tokio::test]
async fn a_machines_jwt_ends_with_its_own_time_and_nobody_is_asked() {
    let world = world().await;
    let jwt = world.clerk.machine_jwt(&MachineGrant {
        lifetime: Some(Duration::from_secs(10)),
        ..MachineGrant::new(MachineKind::M2m, SENDER, &[])
    });
    assert_eq!(
        world.get("/machines/1").bearer(&jwt).send().await.status,
        200
    );
    assert_eq!(world.upstream.take_received().len(), 1);
    // The leeway of five seconds counts for it as for a session.
    world.clock.advance_ms(15_000);
    let answer = world.get("/machines/1").bearer(&jwt).send().await;
    assert_refused(&world, &answer, 401, "token-verification-failed");
    assert_eq!(lookups(&world), 0);
}

#[tokio::test]
async fn a_token_that_nobody_knows_stays_unknown_for_ten_seconds() {
    let world = world().await;
    let ask = || world.get("/keys/1").bearer("ak_made_up").send();
    for _ in 0..5 {
        assert_refused(&world, &ask().await, 401, "token-invalid");
    }
    world.clock.advance_ms(9_999);
    assert_refused(&world, &ask().await, 401, "token-invalid");
    assert_eq!(lookups(&world), 1);
    world.clock.advance_ms(1);
    assert_refused(&world, &ask().await, 401, "token-invalid");
    assert_eq!(lookups(&world), 2);
}

#[tokio::test]
async fn two_hundred_requests_at_once_with_one_key_make_one_call() {
    let world = Arc::new(world().await);
    let key = api_key(&world, &[], None);
    // Long enough that all of them are there before the answer is.
    world.clerk.misbehave(
        Endpoint::MachineTokens,
        Fault::Hang(Duration::from_millis(700)),
    );
    let mut asking = JoinSet::new();
    for _ in 0..200 {
        let request = head(&key.secret);
        let gate = world.gate;
        asking.spawn(async move { ask(gate, &request).await.status });
    }
    let statuses = asking.join_all().await;
    assert_eq!(statuses.len(), 200);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(world.upstream.take_received().len(), 200);
    assert_eq!(lookups(&world), 1);
}

#[tokio::test]
async fn sixty_four_calls_are_under_way_at_once_and_the_next_waits_for_nothing() {
    let world = world().await;
    let known = api_key(&world, &[], None);
    let new = api_key(&world, &[], None);
    assert_eq!(
        world
            .get("/keys/1")
            .bearer(&known.secret)
            .send()
            .await
            .status,
        200
    );
    let jwt = Tokens::of(&world).m2m_jwt;
    world.upstream.take_received();

    world
        .clerk
        .misbehave(Endpoint::MachineTokens, Fault::Hang(Duration::from_mins(1)));
    let mut asking = JoinSet::new();
    for n in 0..64 {
        let request = head(&format!("ak_made_up_{n}"));
        let gate = world.gate;
        asking.spawn(async move { told(&ask(gate, &request).await) });
    }
    eventually("65 calls", || lookups(&world) == 65).await;
    for token in [&*new.secret, "ak_one_more"] {
        let answer = world.get("/keys/1").bearer(token).send().await;
        assert_refused(&world, &answer, 503, "token-verification-unavailable");
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    assert_eq!(lookups(&world), 65, "no call beyond these was made");
    // Whoever is known goes on, and so does what nobody has to be asked about.
    assert_eq!(
        outcome(&world, world.get("/keys/1").bearer(&known.secret)).await,
        (200, true)
    );
    assert_eq!(
        outcome(&world, world.get("/machines/1").bearer(&jwt)).await,
        (200, true)
    );

    // What Clerk once vouched for is asked about again, whoever keeps the other calls busy.
    world.clock.advance_ms(31_000);
    let request = head(&known.secret);
    let gate = world.gate;
    asking.spawn(async move { told(&ask(gate, &request).await) });
    eventually("66 calls", || lookups(&world) == 66).await;

    // The calls end for lack of an answer, and then there is room again.
    let unanswered = (503, Some("token-verification-unavailable".to_owned()));
    let answers = asking.join_all().await;
    assert!(
        answers.iter().all(|answer| *answer == unanswered),
        "{answers:?}"
    );
    world.clerk.behave();
    assert_eq!(
        outcome(&world, world.get("/keys/1").bearer(&new.secret)).await,
        (200, true)
    );
}

/// What is known about tokens, without a gate around it.
fn machines(world: &World) -> Machines {
    let tls = tls::client_config_without_roots().unwrap();
    let url = world.clerk.url().parse().unwrap();
    let secret = world.clerk.secret_key().to_owned();
    let api = MachineApi {
        instance: Some(
            ClerkClient::new(
                url,
                Some(secret.into()),
                Arc::new(Budget::new(1_000_000)),
                &tls,
            )
            .unwrap(),
        ),
        machine: None,
    };
    Machines::new(api, Duration::from_secs(30))
}

#[tokio::test]
async fn a_flood_of_made_up_tokens_pushes_no_good_one_out() {
    let world = world().await;
    let key = api_key(&world, &[], None);
    let machines = Arc::new(machines(&world));
    let kind = TokenType::ApiKey;
    assert!(machines.verify(kind, &key.secret, START_MS).await.is_ok());
    let mut asked = 1;
    for _ in 0..200 {
        let mut asking = JoinSet::new();
        for _ in 0..60 {
            asked += 1;
            let (machines, token) = (Arc::clone(&machines), format!("ak_made_up_{asked}"));
            asking.spawn(async move { machines.verify(kind, &token, START_MS).await });
        }
        for answer in asking.join_all().await {
            assert_eq!(answer.unwrap_err(), Reason::TokenInvalid);
        }
    }
    assert_eq!((asked, lookups(&world)), (12_001, 12_001));
    assert!(machines.verify(kind, &key.secret, START_MS).await.is_ok());
    assert_eq!(lookups(&world), 12_001, "the good one is still known");
    let shown = format!("{machines:?}");
    let refused = shown.split("refused: ").nth(1).unwrap();
    let refused: usize = refused.split(',').next().unwrap().parse().unwrap();
    assert!((9_000..=10_000).contains(&refused), "{shown}");
}

#[tokio::test]
async fn what_can_be_no_token_is_never_looked_up() {
    let world = world().await;
    let long = format!("ak_{}", "a".repeat(1022));
    for token in ["ak_", "ak_a%20b", "ak_ä", "ak_a/../b", "ak_a?b", &long] {
        let answer = world.get("/keys/1").bearer(token).send().await;
        assert_eq!(
            told(&answer),
            (401, Some("token-invalid".to_owned())),
            "{token}: {answer:?}"
        );
        assert_eq!(lookups(&world), 0, "{token}");
        world.upstream.assert_untouched();
    }
    assert_eq!(lookups(&world), 0);
}

#[tokio::test]
async fn public_routes_leave_machine_tokens_alone() {
    let world = world().await;
    for (_, token) in Tokens::of(&world).all().iter().take(5) {
        assert_eq!(outcome(&world, world.get("/public/x")).await, (200, true));
        let answer = world.get("/public/x").bearer(token).send().await;
        assert_eq!(answer.status, 200);
        let received = world.upstream.take_received();
        assert_eq!(identity(&received[0]), BTreeMap::new());
    }
    assert_eq!(lookups(&world), 0);
}

/// A request for the route of API keys, for an answer that may take its time.
fn head(token: &str) -> Vec<u8> {
    format!("GET /keys/1 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
        .into_bytes()
}
