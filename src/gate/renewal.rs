//! Minting tokens for sessions. Whoever asks for the same at the same time shares the answer, and for a
//! while after.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::denials::Denials;
use super::flights::Flights;
use crate::clerk::backend::{BackendApi, Lookup, Minted};
use crate::clerk::budget::Purpose;
use crate::core::jwt::Token;
use crate::core::question::{MintFailure, TokenStanding};
use crate::store::outcomes::{OutcomeKeys, Outcomes, Question};

/// How many tokens are kept.
const CAPACITY: usize = 10_000;

/// How long a token is given to requests that were sent before it arrived, in milliseconds.
const KEPT_MS: u64 = 10_000;

/// How long it is given to whoever asks, whatever has changed in the meantime: nobody has Clerk make more
/// than one in this time, in milliseconds.
const FRESH_MS: u64 = 1_000;

/// How much of its life a token must have left to be given out again, in milliseconds.
const LEFT_MS: u64 = 2_000;

/// How long other gates are told that a call has failed.
pub(super) const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// What was minted of late.
pub(super) struct Renewals {
    outcomes: Outcomes,
    mints: Flights<MintKey, Result<Arc<str>, MintFailure>>,
    minted: Cache<MintKey, Arc<Made>>,
}

/// A token that was minted.
struct Made {
    jwt: Arc<str>,
    token: Token,
    at_ms: u64,
    until_ms: u64,
}

impl Made {
    fn new(jwt: &str, at_ms: u64) -> Option<Self> {
        let token = Token::decode(jwt).ok()?;
        let until_ms = good_until(&token).min(at_ms.saturating_add(KEPT_MS));
        Some(Self {
            jwt: jwt.into(),
            token,
            at_ms,
            until_ms,
        })
    }

    /// Whether it does for a request that came with what `came` says, and whose token did not do.
    fn does(&self, came: impl Fn(&str) -> bool, denials: &Denials, now_ms: u64) -> bool {
        now_ms < self.until_ms
            && (now_ms < self.at_ms.saturating_add(FRESH_MS)
                || !came(&self.jwt)
                    && denials.standing(&self.token, now_ms) == TokenStanding::Stands)
    }
}

/// What a minted token is found by: the number of its site, since sites may be of several instances,
/// and the session.
type MintKey = (usize, String);

/// Whom to ask for a renewal, and what gates of the same instance share what comes of it by.
#[derive(Clone, Copy)]
pub(super) struct Renewer<'r> {
    pub(super) backend: &'r BackendApi,
    pub(super) keys: Option<&'r OutcomeKeys>,
    /// The publishable key of the instance.
    pub(super) instance: &'r str,
    /// The number of the site.
    pub(super) site: usize,
}

impl Renewer<'_> {
    /// What the gates of the instance call a renewal of this kind.
    pub(super) fn question(&self, kind: &str, about: &[&str]) -> Option<Question> {
        let mut whole = vec![self.instance];
        whole.extend(about);
        self.keys?.question(kind, &whole)
    }
}

/// What came of a call that gates share, and when.
#[derive(Serialize, Deserialize)]
pub(super) struct Shared<T> {
    pub(super) at_ms: u64,
    pub(super) outcome: T,
}

impl<T> Shared<T> {
    /// Whether it is no older than this, as far as the clocks of two gates agree.
    // SECURITY: whoever can write where gates share may put there what was there before.
    pub(super) fn is_fresh(&self, most_ms: u64, now_ms: u64) -> bool {
        now_ms.abs_diff(self.at_ms) <= most_ms
    }
}

/// A session, and whose it is said to be.
#[derive(Clone, Copy)]
pub(super) struct Whose<'w> {
    pub(super) session: &'w str,
    pub(super) user: &'w str,
}

impl Renewals {
    pub(super) fn new(outcomes: Outcomes) -> Self {
        Self {
            outcomes,
            mints: Flights::new(),
            minted: Cache::new(CAPACITY),
        }
    }

    /// A new token for a session of this person, and no old one that the request `came` with.
    ///
    /// Neither a session that has ended here nor one that Clerk says is over gets one (design, section
    /// 8, B2).
    pub(super) async fn mint(
        &self,
        renewer: Renewer<'_>,
        denials: &Denials,
        whose: Whose<'_>,
        came: impl Fn(&str) -> bool,
        now_ms: u64,
    ) -> Result<String, MintFailure> {
        if denials.is_denied(whose.session, now_ms) {
            return Err(MintFailure::Ended);
        }
        let key = (renewer.site, whose.session.to_owned());
        if let Some(made) = self.minted.get(&key)
            && made.does(&came, denials, now_ms)
        {
            return Ok(made.jwt.as_ref().to_owned());
        }
        let minted = async {
            // Another one may have landed in between.
            if let Some(made) = self.minted.get(&key)
                && made.does(&came, denials, now_ms)
            {
                return Ok(Arc::clone(&made.jwt));
            }
            // One that another gate has had made does as one that was made here.
            let does = |shared: &Shared<Result<String, MintFailure>>| match &shared.outcome {
                Ok(jwt) => {
                    shared.is_fresh(KEPT_MS, now_ms)
                        && Made::new(jwt, shared.at_ms)
                            .is_some_and(|made| made.does(&came, denials, now_ms))
                }
                Err(_) => shared.is_fresh(FRESH_MS, now_ms),
            };
            let kept = |shared: &Shared<Result<String, MintFailure>>| match &shared.outcome {
                Ok(jwt) => Made::new(jwt, now_ms)
                    .map(|made| Duration::from_millis(made.until_ms.saturating_sub(now_ms))),
                Err(_) => Some(FAILURE_KEPT),
            };
            let call = async {
                let outcome = mint(renewer.backend, whose).await;
                Shared {
                    at_ms: now_ms,
                    outcome,
                }
            };
            let question = renewer.question("mint", &[whose.session, whose.user]);
            let Shared { at_ms, outcome } = self.outcomes.once(question, does, kept, call).await;
            match &outcome {
                Ok(jwt) => {
                    if let Some(made) = Made::new(jwt, at_ms) {
                        self.minted.insert(key.clone(), Arc::new(made));
                    }
                }
                Err(MintFailure::Ended) => denials.deny_session(whose.session, now_ms),
                Err(MintFailure::Unavailable | MintFailure::Refused) => {}
            }
            outcome.map(Arc::from)
        };
        let answer = self.mints.join(key.clone(), Box::pin(minted)).await;
        answer.map(|token| token.as_ref().to_owned())
    }
}

/// Asks how the session stands, and then for a token.
async fn mint(backend: &BackendApi, whose: Whose<'_>) -> Result<String, MintFailure> {
    let unavailable = |lookup: &'static str| {
        warn!(
            session = whose.session,
            lookup, "clerk could not be asked to renew a session"
        );
        MintFailure::Unavailable
    };
    let session = match backend.session(Purpose::Renew, whose.session).await {
        Lookup::Found(session) => session,
        Lookup::Unknown => return Err(MintFailure::Ended),
        Lookup::Unavailable | Lookup::Unasked => return Err(unavailable("session")),
    };
    if !session.is_live() {
        return Err(MintFailure::Ended);
    }
    if session.user_id != whose.user {
        warn!(
            session = whose.session,
            "clerk says that a session is somebody else's"
        );
        return Err(MintFailure::Refused);
    }
    match backend.mint(whose.session).await {
        // SECURITY: who has tasks left must not be taken for somebody who has none.
        Minted::Token(token) if session.is_pending() && !tells_pending(&token) => {
            Err(MintFailure::Refused)
        }
        Minted::Token(token) => Ok(token),
        Minted::Refused => Err(MintFailure::Refused),
        Minted::Unavailable => Err(unavailable("token")),
    }
}

fn tells_pending(token: &str) -> bool {
    Token::decode(token).is_ok_and(|token| token.text("sts") == Some("pending"))
}

/// Until when a token is given out again, in milliseconds since the epoch.
pub(super) fn good_until(token: &Token) -> u64 {
    let expires = token.number("exp").unwrap_or(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time before the epoch, and one beyond all calendars, is at the end of its range"
    )]
    let expires = expires as u64;
    expires.saturating_mul(1000).saturating_sub(LEFT_MS)
}

impl fmt::Debug for Renewals {
    /// Shows how much there is: questions and answers hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewals")
            .field("mints", &self.mints)
            .field("minted", &self.minted.len())
            .finish_non_exhaustive()
    }
}
