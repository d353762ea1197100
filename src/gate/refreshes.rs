//! Renewing sessions by the browser's refresh token. Whoever asks for the same at the same time shares
//! the answer, and for a while after; a session whose renewals fail is left alone for a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use super::flights::Flights;
use super::renewal::{FAILURE_KEPT, Renewer, Shared, good_until};
use crate::clerk::backend::RefreshCall;
use crate::core::jwt::Token;
use crate::core::question::session_directive;
use crate::core::reason::RefreshFailure;
use crate::store::outcomes::Outcomes;

/// How many answers of each kind are kept.
const CAPACITY: usize = 10_000;

/// How long what a renewal brought is given to requests that were sent before it arrived, in
/// milliseconds. A refresh token may be good for one call only.
const KEPT_MS: u64 = 10_000;

/// How many renewals of a session may fail before it is left alone.
const FAILURES: u32 = 3;

/// For how long, and in what time they are counted, in milliseconds.
const PAUSE_MS: u64 = 10_000;

/// What a refresh is found by: the site, whose instance it is for, its origin, and session and token.
type Key = (usize, String, String, String);

/// Set-Cookie strings, or why there are none.
type Refreshed = Result<Vec<String>, RefreshFailure>;

/// Renewals of late.
pub(super) struct Refreshes {
    outcomes: Outcomes,
    flights: Flights<Key, Refreshed>,
    kept: Cache<Key, (Arc<Vec<String>>, u64)>,
    failed: Cache<(usize, String), Failed>,
}

/// How renewals of a session have failed, or have not ended yet.
#[derive(Clone)]
struct Failed {
    times: u32,
    last: RefreshFailure,
    since_ms: u64,
}

impl Refreshes {
    /// None yet.
    pub(super) fn new(outcomes: Outcomes) -> Self {
        Self {
            outcomes,
            flights: Flights::new(),
            kept: Cache::new(CAPACITY),
            failed: Cache::new(CAPACITY),
        }
    }

    /// The Set-Cookie strings that renew a session.
    pub(super) async fn refresh(
        &self,
        renewer: Renewer<'_>,
        call: &RefreshCall,
        now_ms: u64,
    ) -> Refreshed {
        // Cookies are asked for one origin.
        let key = (
            renewer.site,
            call.origin.clone(),
            call.session_id.clone(),
            call.refresh_token.clone(),
        );
        if let Some(cookies) = self.kept(&key, now_ms) {
            return Ok(cookies);
        }
        let session = (renewer.site, call.session_id.clone());
        let refreshed = async {
            // Another one may have landed in between.
            if let Some(cookies) = self.kept(&key, now_ms) {
                return Ok(cookies);
            }
            // SECURITY: whoever holds an expired token can make up a refresh token for each request, and
            // with it a call that others need.
            // An attempt counts from its beginning, so that many at once are many.
            let before = self.failing(&session, now_ms);
            if let Some(failed) = &before
                && failed.times >= FAILURES
            {
                return Err(failed.last.clone());
            }
            self.note(
                &session,
                before.as_ref(),
                RefreshFailure::BudgetSpent,
                now_ms,
            );
            let Shared { at_ms, outcome } = self.ask(renewer, call, now_ms).await;
            match &outcome {
                Ok(cookies) => {
                    let kept = (Arc::new(cookies.clone()), good_for(cookies, at_ms));
                    self.kept.insert(key.clone(), kept);
                    self.failed.remove(&session);
                }
                Err(failure) => {
                    if let Some(mut failed) = self.failed.get(&session) {
                        failed.last = failure.clone();
                        self.failed.insert(session.clone(), failed);
                    }
                }
            }
            outcome
        };
        self.flights.join(key.clone(), Box::pin(refreshed)).await
    }

    /// Asks Clerk, or another gate that does so.
    async fn ask(
        &self,
        renewer: Renewer<'_>,
        call: &RefreshCall,
        now_ms: u64,
    ) -> Shared<Refreshed> {
        let does = |shared: &Shared<Refreshed>| match &shared.outcome {
            Ok(cookies) => {
                shared.is_fresh(KEPT_MS, now_ms) && now_ms < good_for(cookies, shared.at_ms)
            }
            Err(_) => shared.is_fresh(PAUSE_MS, now_ms),
        };
        let kept = |shared: &Shared<Refreshed>| match &shared.outcome {
            Ok(cookies) => {
                let left = good_for(cookies, now_ms).saturating_sub(now_ms);
                Some(Duration::from_millis(left))
            }
            // Another gate may have calls left.
            Err(RefreshFailure::BudgetSpent) => None,
            Err(_) => Some(FAILURE_KEPT),
        };
        let asked = async {
            let outcome = renewer.backend.refresh(call).await;
            Shared {
                at_ms: now_ms,
                outcome,
            }
        };
        let about = [&call.origin, &call.session_id, &call.refresh_token];
        let question = renewer.question("refresh", &about.map(String::as_str));
        self.outcomes.once(question, does, kept, asked).await
    }

    fn kept(&self, key: &Key, now_ms: u64) -> Option<Vec<String>> {
        let (cookies, until_ms) = self.kept.get(key)?;
        (now_ms < until_ms).then(|| cookies.to_vec())
    }

    fn failing(&self, session: &(usize, String), now_ms: u64) -> Option<Failed> {
        let failed = self.failed.get(session)?;
        (now_ms.saturating_sub(failed.since_ms) < PAUSE_MS).then_some(failed)
    }

    fn note(
        &self,
        session: &(usize, String),
        before: Option<&Failed>,
        last: RefreshFailure,
        now_ms: u64,
    ) {
        let times = before.map_or(1, |failed| failed.times + 1);
        let since_ms = match before {
            Some(failed) if times < FAILURES => failed.since_ms,
            // The pause begins with the last one that may fail.
            Some(_) | None => now_ms,
        };
        let failed = Failed {
            times,
            last,
            since_ms,
        };
        self.failed.insert(session.clone(), failed);
    }
}

/// Until when what a renewal brought at `at_ms` is given out again, in milliseconds since the epoch.
fn good_for(cookies: &[String], at_ms: u64) -> u64 {
    // Behind the end of its token it would be in the way of the next refresh.
    let good_until = session_directive(cookies).map_or(u64::MAX, |jwt| {
        Token::decode(jwt).map_or(0, |token| good_until(&token))
    });
    good_until.min(at_ms.saturating_add(KEPT_MS))
}

impl fmt::Debug for Refreshes {
    /// Shows how much there is: questions and answers hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshes")
            .field("flights", &self.flights)
            .field("kept", &self.kept.len())
            .field("failed", &self.failed.len())
            .finish_non_exhaustive()
    }
}
