//! What holds of every store: the same bodies for counts in memory and in Redis.

use std::sync::Arc;
use std::time::Duration;

use clerk_gate::core::budget::{BudgetKey, Holder, Rate, Standing};
use clerk_gate::store::redis::{Addresses, OnError, name};
use clerk_gate::store::{Memory, Redis, Store};

use crate::server::Server;
use crate::support::START_MS;
use crate::{TEN, eventually};

const BUCKET: Rate = Rate::TokenBucket {
    refill: 1,
    interval_ms: 3_600_000,
    burst: 5,
};

fn key(kind: &'static str, id: &str) -> BudgetKey {
    BudgetKey {
        budget: "api".into(),
        holder: Holder::Caller {
            kind,
            id: id.into(),
        },
    }
}

async fn spend(store: &Store, key: &BudgetKey, rate: Rate, cost: u32) -> Standing {
    let spent = store.spend(key, rate, cost, START_MS).await;
    spent.unwrap().unwrap()
}

/// A store in memory, and one in this server.
async fn stores(server: &Server) -> [Arc<Store>; 2] {
    let redis = Redis::new(
        &Addresses::one(&server.url()),
        Duration::from_secs(5),
        OnError::Refuse,
    )
    .unwrap();
    redis.connect();
    eventually("redis is up", async || redis.is_up()).await;
    [
        Arc::new(Store::Memory(Memory::new())),
        Arc::new(Store::Redis(Box::new(redis))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_what_there_is_is_spent_by_many_at_once() {
    let server = Server::start();
    for store in stores(&server).await {
        for (rate, most) in [(TEN, 10), (BUCKET, 5)] {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..64 {
                let store = Arc::clone(&store);
                calls.spawn(async move { spend(&store, &key("user", "ada"), rate, 1).await });
            }
            let spent = calls.join_all().await;
            let allowed = spent.iter().filter(|standing| standing.allowed).count();
            assert_eq!(allowed, most, "{store:?} {rate:?}");
        }
    }
}

#[tokio::test]
async fn what_is_left_and_when_there_is_more_is_told_alike() {
    let server = Server::start();
    for store in stores(&server).await {
        for rate in [TEN, BUCKET] {
            let hour = 3_600_000;
            for left in (0..rate.most()).rev() {
                let standing = spend(&store, &key("user", "ada"), rate, 1).await;
                assert_eq!(
                    (standing.allowed, standing.remaining),
                    (true, left),
                    "{store:?}"
                );
                assert!(standing.reset_in_ms <= hour, "{standing:?}");
            }
            let standing = spend(&store, &key("user", "ada"), rate, 1).await;
            assert_eq!(
                (standing.allowed, standing.remaining),
                (false, 0),
                "{store:?}"
            );
            assert!(
                (1..=2 * hour).contains(&standing.reset_in_ms),
                "{standing:?}"
            );
            // A refused request is not counted, whatever it costs.
            let other = key("user", "bob");
            assert!(spend(&store, &other, rate, rate.most() - 1).await.allowed);
            assert!(!spend(&store, &other, rate, 2).await.allowed);
            assert!(
                spend(&store, &other, rate, 1).await.allowed,
                "{store:?} {rate:?}"
            );
        }
    }
}

#[tokio::test]
async fn people_and_kinds_have_counts_of_their_own_and_a_plan_keeps_the_count() {
    let server = Server::start();
    let long = "x".repeat(5000);
    for store in stores(&server).await {
        let keys = [
            key("user", "ada"),
            key("session", "ada"),
            key("user", "a}da"),
            key("user", &long),
            key("claim", "red"),
        ];
        for key in &keys {
            assert!(
                spend(&store, key, TEN, 10).await.allowed,
                "{store:?} {key:?}"
            );
            assert!(
                !spend(&store, key, TEN, 1).await.allowed,
                "{store:?} {key:?}"
            );
        }
        let more = Rate::SlidingWindow {
            requests: 15,
            window_ms: 3_600_000,
        };
        let standing = spend(&store, &keys[0], more, 1).await;
        assert_eq!(
            (standing.allowed, standing.remaining),
            (true, 4),
            "{store:?}"
        );
    }
    let mut names: Vec<String> =
        redis::Commands::keys(&mut server.connection(), "clerk-gate:{api:*").unwrap();
    assert_eq!(names.len(), 5, "{names:?}");
    names.retain(|name| name.len() > 200 || name.contains("red") || name.matches('}').count() != 1);
    assert_eq!(names, [""; 0], "claims and odd ids are hashed");
}

#[tokio::test]
async fn counts_go_away_by_themselves() {
    let server = Server::start();
    let [_, store] = stores(&server).await;
    for (rate, longest) in [(TEN, 7_200_000), (BUCKET, 3_600_001)] {
        spend(&store, &key("user", "ada"), rate, 1).await;
        let name = name(&key("user", "ada"), rate);
        let mut asked = redis::cmd("PTTL");
        let left: i64 = asked.arg(&name).query(&mut server.connection()).unwrap();
        assert!((1..=longest).contains(&left), "{name}: {left}");
    }
}
