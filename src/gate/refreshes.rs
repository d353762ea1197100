//! Renewing sessions by the browser's refresh token. Whoever asks for the same at the same time shares
//! the answer, and for a while after; a session whose renewals fail is left alone for a while.

use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::flights::Flights;
use super::renewal::good_until;
use crate::clerk::backend::{BackendApi, RefreshCall};
use crate::core::jwt::Token;
use crate::core::question::session_directive;
use crate::core::reason::RefreshFailure;

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

/// Renewals of late.
pub(super) struct Refreshes {
    flights: Flights<Key, Result<Vec<String>, RefreshFailure>>,
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
    pub(super) fn new() -> Self {
        Self {
            flights: Flights::new(),
            kept: Cache::new(CAPACITY),
            failed: Cache::new(CAPACITY),
        }
    }

    /// The Set-Cookie strings that renew a session.
    pub(super) async fn refresh(
        &self,
        backend: &BackendApi,
        site: usize,
        call: &RefreshCall,
        now_ms: u64,
    ) -> Result<Vec<String>, RefreshFailure> {
        // Cookies are asked for one origin.
        let key = (
            site,
            call.origin.clone(),
            call.session_id.clone(),
            call.refresh_token.clone(),
        );
        if let Some((cookies, until_ms)) = self.kept.get(&key)
            && now_ms < until_ms
        {
            return Ok(cookies.to_vec());
        }
        let session = (site, call.session_id.clone());
        let refreshed = async {
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
            let answer = backend.refresh(call).await;
            match &answer {
                Ok(cookies) => {
                    // Behind the end of its token it would be in the way of the next refresh.
                    let good_until = session_directive(cookies).map_or(u64::MAX, |jwt| {
                        Token::decode(jwt).map_or(0, |token| good_until(&token))
                    });
                    let until_ms = good_until.min(now_ms.saturating_add(KEPT_MS));
                    let kept = (Arc::new(cookies.clone()), until_ms);
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
            answer
        };
        self.flights.join(key.clone(), Box::pin(refreshed)).await
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

impl fmt::Debug for Refreshes {
    /// Shows how much there is: questions and answers hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshes")
            .field("flights", &self.flights)
            .field("kept", &self.kept.len())
            .field("failed", &self.failed.len())
            .finish()
    }
}
