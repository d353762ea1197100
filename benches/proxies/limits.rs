//! What it takes to charge a request to a limit, beside as many counts as there is room for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use clerk_gate::core::budget::{BudgetKey, Holder, Rate};
use clerk_gate::store::Memory;

use super::verdict::processor_time;

/// How many counts there are.
const COUNTS: u32 = 1_000_000;

/// How many charges one figure is the mean of.
const CHARGES: u32 = 1_000_000;

/// A moment.
const NOW_MS: u64 = 1_790_000_000_000;

/// Prints what one charge takes, each to another count.
pub fn measure() {
    let memory = Memory::new();
    let name: Arc<str> = Arc::from("api");
    let address = |number: u32| BudgetKey {
        budget: Arc::clone(&name),
        holder: Holder::Address(IpAddr::V4(Ipv4Addr::from(number))),
    };
    let user = |number: u32| BudgetKey {
        budget: Arc::clone(&name),
        holder: Holder::Caller {
            kind: "user",
            id: format!("clerk.example.com/user_{number:027}").into(),
        },
    };
    println!("\n| one charge beside {COUNTS} counts | nanoseconds |\n|---|---|");
    for (algorithm, rate) in [
        (
            "sliding window",
            Rate::SlidingWindow {
                requests: 1000,
                window_ms: 60_000,
            },
        ),
        (
            "token bucket",
            Rate::TokenBucket {
                refill: 10,
                interval_ms: 1000,
                burst: 1000,
            },
        ),
    ] {
        for (whose, key) in [
            ("addresses", &address as &dyn Fn(u32) -> BudgetKey),
            ("people", &user),
        ] {
            for number in 0..COUNTS {
                memory.spend(&key(number), rate, 1, NOW_MS);
            }
            let charge = |key: &BudgetKey| {
                std::hint::black_box(memory.spend(key, rate, 1, NOW_MS));
            };
            let made = |key: &BudgetKey| {
                std::hint::black_box(key);
            };
            // A request has its key at hand: what it takes to make one here is taken off.
            let best = best_of_five(key, charge) - best_of_five(key, made);
            println!("| {algorithm}, {whose} | {best:.0} |");
        }
    }
}

/// The shortest mean of five rounds, in nanoseconds, of doing this with each key.
fn best_of_five(key: &dyn Fn(u32) -> BudgetKey, each: impl Fn(&BudgetKey)) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let began = processor_time();
        for number in 0..CHARGES {
            // Far from one another, as requests are.
            each(&key(number.wrapping_mul(2_654_435_761) % COUNTS));
        }
        let took = processor_time().saturating_sub(began);
        best = best.min(took.as_secs_f64() * 1e9 / f64::from(CHARGES));
    }
    best
}
