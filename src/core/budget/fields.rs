//! What answers tell of budgets: `RateLimit-Policy` and `RateLimit` as
//! `draft-ietf-httpapi-ratelimit-headers-10` has them, and `Retry-After`.

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};

use super::{Charge, Rate, Spending, Told};

use crate::core::reason::Reason;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// When to come again where nobody knows when a request ends.
const WAIT_FOR_ANOTHER: u64 = 1;

/// The fields for what was charged, in the order it was. Names need no quoting: the configuration sees
/// to it.
pub fn fields<'c>(
    charged: impl Iterator<Item = (&'c Charge, &'c Spending)>,
) -> Vec<(HeaderName, HeaderValue)> {
    let (mut policies, mut limits) = (Vec::new(), Vec::new());
    let mut retry_after = None;
    for (charge, spending) in charged {
        let name = &charge.budget.name;
        if matches!(
            charge.refusal(spending),
            Some(Reason::RateLimited | Reason::TooManyInFlight)
        ) {
            let rate = spending.rate.filter(|standing| !standing.allowed);
            retry_after = Some(rate.map_or(WAIT_FOR_ANOTHER, |s| seconds(s.reset_in_ms).max(1)));
        }
        // Nobody has to wait for a budget that refuses nothing.
        let dry = charge.budget.enforcement == super::Enforcement::DryRun;
        if charge.budget.disclosure == Told::Never || dry {
            continue;
        }
        if let (Some(rate), Some(standing)) = (charge.figures.rate, spending.rate) {
            policies.push(format!("\"{name}\";q={}{}", rate.most(), window(rate)));
            let (r, t) = (standing.remaining, seconds(standing.reset_in_ms));
            limits.push(format!("\"{name}\";r={r};t={t}"));
        }
        if let (Some(most), Some(standing)) = (charge.figures.in_flight, spending.in_flight) {
            let concurrent = "qu=\"concurrent-requests\"";
            policies.push(format!("\"{name}-in-flight\";q={most};{concurrent}"));
            let left = standing.unwrap_or(0);
            limits.push(format!("\"{name}-in-flight\";r={left}"));
        }
    }
    let mut fields = Vec::with_capacity(3);
    let mut say = |name: HeaderName, text: String| {
        // Digits, and names of a small alphabet: this never fails.
        fields.extend(HeaderValue::try_from(text).map(|value| (name, value)));
    };
    if !policies.is_empty() {
        say(POLICY, policies.join(", "));
        say(LIMIT, limits.join(", "));
    }
    if let Some(retry_after) = retry_after {
        say(RETRY_AFTER, retry_after.to_string());
    }
    fields
}

/// `w` is in whole seconds, and left out where it is none.
fn window(rate: Rate) -> String {
    let span = rate.span_ms();
    if span > 0 && span.is_multiple_of(1000) {
        format!(";w={}", span / 1000)
    } else {
        String::new()
    }
}

fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1000)
}
