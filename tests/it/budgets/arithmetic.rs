//! The arithmetic beside what `@upstash/ratelimit` answered.

use clerk_gate::core::budget::{Rate, Tally};
use proptest::prelude::*;
use serde_json::Value;

const RECORDED: &str = include_str!("../../cases/recorded/upstash.json");

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("{name}: {of}"))
}

fn rate(case: &Value) -> Rate {
    let figure = |name| u32::try_from(number(case, name)).unwrap();
    let window_ms = number(case, "window");
    match case["algorithm"].as_str().unwrap() {
        "sliding-window" => Rate::SlidingWindow {
            requests: figure("requests"),
            window_ms,
        },
        "token-bucket" => Rate::TokenBucket {
            refill: figure("refill"),
            interval_ms: window_ms,
            burst: figure("burst"),
        },
        other => panic!("{other}"),
    }
}

/// Spends of a tally as a store does.
fn spend(
    rate: Rate,
    seen: &mut Option<Tally>,
    cost: u32,
    now_ms: u64,
) -> clerk_gate::core::budget::Standing {
    let (kept, standing) = rate.spend(*seen, cost, now_ms);
    if let Ok(tally) = kept {
        *seen = Some(tally);
    }
    standing
}

#[test]
fn every_recorded_call_is_answered_as_there() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let (mut calls, mut refused) = (0, 0);
    for case in recorded["cases"].as_array().unwrap() {
        let (rate, mut tally) = (rate(case), None);
        for call in case["calls"].as_array().unwrap() {
            let at = |index: usize| call[index].as_u64().unwrap();
            let cost = u32::try_from(at(1)).unwrap();
            let (now, success, remaining, reset) = (at(0), at(2) == 1, at(3), at(4));
            let standing = spend(rate, &mut tally, cost, now);
            let what = format!("{rate:?}: {call}");
            assert_eq!(standing.allowed, success, "{what}");
            calls += 1;
            if success {
                assert_eq!(u64::from(standing.remaining), remaining, "{what}");
                assert_eq!(now + standing.reset_in_ms, reset, "{what}");
            } else {
                refused += 1;
            }
        }
    }
    assert_eq!(
        (calls, refused),
        (1600, 760),
        "calls, and how many were refused"
    );
}

fn rates() -> impl Strategy<Value = Rate> {
    let sliding = (1..30_u32, 10..5000_u64).prop_map(|(requests, window_ms)| Rate::SlidingWindow {
        requests,
        window_ms,
    });
    let bucket = (1..10_u32, 10..5000_u64, 1..30_u32).prop_map(|(refill, interval_ms, burst)| {
        Rate::TokenBucket {
            refill,
            interval_ms,
            burst,
        }
    });
    prop_oneof![sliding, bucket]
}

proptest! {
    #[test]
    fn whoever_comes_again_when_told_to_is_let_through(
        rate in rates(),
        calls in proptest::collection::vec((0..1500_u64, 1..4_u32), 1..60),
    ) {
        let (mut tally, mut now) = (None, 1_790_000_000_000_u64);
        for (pause, cost) in calls {
            now += pause;
            let cost = cost.min(rate.most());
            let standing = spend(rate, &mut tally, cost, now);
            if !standing.allowed {
                prop_assert!(standing.reset_in_ms > 0);
                let then = rate.spend(tally, cost, now + standing.reset_in_ms).1;
                prop_assert!(then.allowed, "{rate:?} {tally:?} {now}: {standing:?}");
            }
        }
    }

    #[test]
    fn a_window_never_lets_more_through_than_twice_its_figure_and_a_still_one_never_more(
        requests in 1..30_u32,
        window_ms in 10..5000_u64,
        pauses in proptest::collection::vec(0..400_u64, 1..300),
    ) {
        let rate = Rate::SlidingWindow { requests, window_ms };
        let (mut tally, mut now, mut allowed) = (None, 1_790_000_000_000_u64, Vec::new());
        for pause in pauses {
            now += pause;
            if spend(rate, &mut tally, 1, now).allowed {
                allowed.push(now);
            }
        }
        for at in &allowed {
            let sliding = allowed.iter().filter(|t| (*at..at + window_ms).contains(t)).count();
            prop_assert!(sliding <= 2 * requests as usize, "{sliding} of {requests}");
            let still = allowed.iter().filter(|t| *t / window_ms == at / window_ms).count();
            prop_assert!(still <= requests as usize, "{still} of {requests}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nobody_more(rate in rates(), back in 0..5000_u64) {
        let (mut tally, now) = (None, 1_790_000_000_000_u64);
        for _ in 0..rate.most() {
            prop_assert!(spend(rate, &mut tally, 1, now).allowed);
        }
        let window = match rate {
            Rate::SlidingWindow { window_ms, .. } => window_ms,
            Rate::TokenBucket { interval_ms, .. } => interval_ms,
        };
        prop_assert!(!spend(rate, &mut tally, 1, now - back.min(window)).allowed);
    }
}

#[test]
fn a_clock_that_is_set_back_far_keeps_nobody_out_for_as_long() {
    for rate in [
        Rate::SlidingWindow {
            requests: 1,
            window_ms: 1000,
        },
        Rate::TokenBucket {
            refill: 1,
            interval_ms: 1000,
            burst: 1,
        },
    ] {
        let (mut tally, now) = (None, 1_790_000_000_000_u64);
        assert!(spend(rate, &mut tally, 1, now).allowed);
        assert!(
            spend(rate, &mut tally, 1, now - 86_400_000).allowed,
            "{rate:?}"
        );
        assert!(
            !spend(rate, &mut tally, 1, now - 86_400_000).allowed,
            "{rate:?}"
        );
    }
}
