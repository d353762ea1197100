//! Counts in memory: exact, and of a size that nobody can change.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use clerk_gate::core::budget::{BudgetKey, Holder, Rate};
use clerk_gate::store::Memory;

use crate::support::START_MS;

/// Each of the parts of a table may begin a line of the processor's cache later.
const SHARDS: usize = 64;
const LINE_BYTES: usize = 64;

const TEN: Rate = Rate::SlidingWindow {
    requests: 10,
    window_ms: 10_000,
};

fn key(holder: Holder) -> BudgetKey {
    BudgetKey {
        budget: Arc::from("api"),
        holder,
    }
}

fn address(number: u128) -> BudgetKey {
    key(Holder::Address(IpAddr::V6(Ipv6Addr::from(number << 64))))
}

fn user(id: &str) -> BudgetKey {
    key(Holder::Caller {
        kind: "user",
        id: id.into(),
    })
}

#[test]
fn a_million_addresses_take_no_more_memory_than_one_and_push_out_nobody_who_is_known() {
    let memory = Memory::new();
    for _ in 0..10 {
        assert!(memory.spend(&user("ada"), TEN, 1, START_MS).allowed);
        assert!(memory.spend(&address(1 << 40), TEN, 1, START_MS).allowed);
    }
    let most = 2 * (1024 * 1024 * 32 + SHARDS * LINE_BYTES);
    for number in 0..1_200_000 {
        memory.spend(&address(number), TEN, 1, START_MS);
        if number % 100_000 == 0 {
            assert!(memory.bytes() <= most, "{} bytes", memory.bytes());
        }
    }
    assert!(memory.bytes() <= most, "{} bytes", memory.bytes());
    assert!(!memory.spend(&user("ada"), TEN, 1, START_MS).allowed);
    assert!(
        !memory.spend(&address(1 << 40), TEN, 1, START_MS).allowed,
        "whoever has asked most is kept in mind"
    );
}

#[test]
fn a_full_table_lets_through_and_never_refuses_whoever_is_new() {
    let memory = Memory::with_places(512);
    for number in 0..20_000 {
        for _ in 0..2 {
            assert!(memory.spend(&address(number), TEN, 1, START_MS).allowed);
        }
    }
    assert_eq!(
        memory.bytes(),
        512 * 32 + SHARDS * LINE_BYTES,
        "one of the two tables is in use"
    );
}

#[test]
fn counts_of_a_time_that_is_over_give_way_first() {
    let memory = Memory::with_places(512);
    for number in 0..10_000 {
        memory.spend(&address(number), TEN, 10, START_MS);
    }
    let later = START_MS + 30_000;
    let (mut kept, all) = (0, 200);
    for number in 20_000..20_000 + all {
        memory.spend(&address(number), TEN, 10, later);
    }
    for number in 20_000..20_000 + all {
        kept += usize::from(!memory.spend(&address(number), TEN, 1, later).allowed);
    }
    assert!(kept > 150, "{kept} of {all}");
}

#[test]
fn many_threads_spend_exactly_what_there_is() {
    let memory = Memory::new();
    let allowed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let spend = || memory.spend(&user("ada"), TEN, 1, START_MS).allowed;
                    (0..1000).filter(|_| spend()).count()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(allowed, 10);
}

#[test]
fn budgets_kinds_and_people_have_counts_of_their_own() {
    let memory = Memory::new();
    let other = BudgetKey {
        budget: Arc::from("other"),
        ..user("ada")
    };
    let kind = key(Holder::Caller {
        kind: "session",
        id: "ada".into(),
    });
    let keys = [
        user("ada"),
        user("bob"),
        other,
        kind,
        address(7),
        address(8),
    ];
    for key in &keys {
        assert_eq!(memory.spend(key, TEN, 10, START_MS).remaining, 0, "{key:?}");
    }
    for key in &keys {
        assert!(!memory.spend(key, TEN, 1, START_MS).allowed, "{key:?}");
    }
}

#[test]
fn whose_plan_changes_keeps_the_count() {
    let memory = Memory::new();
    let more = Rate::SlidingWindow {
        requests: 15,
        window_ms: 10_000,
    };
    assert!(memory.spend(&user("ada"), TEN, 10, START_MS).allowed);
    let standing = memory.spend(&user("ada"), more, 1, START_MS);
    assert!(standing.allowed);
    assert_eq!(standing.remaining, 4);
}
