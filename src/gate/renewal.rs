//! Renewing sessions at Clerk: by the browser's refresh token, or by minting a token for a session that
//! is sealed. Whoever asks for the same at the same time shares the answer, and for a while after.

use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;
use tracing::warn;

use super::denials::Denials;
use super::flights::Flights;
use crate::clerk::backend::{BackendApi, Lookup, Minted, RefreshCall};
use crate::clerk::budget::Purpose;
use crate::core::continuity::Seal;
use crate::core::jwt::Token;
use crate::core::question::{MintFailure, session_directive};
use crate::core::reason::RefreshFailure;

/// How many answers of each kind are kept.
const CAPACITY: usize = 10_000;

/// How long what a renewal brought is given to requests that were sent before it arrived, in
/// milliseconds. A refresh token may be good for one call only.
const KEPT_MS: u64 = 10_000;

/// How much of its life a token must have left to be given out again, in milliseconds.
const LEFT_MS: u64 = 2_000;

/// What a refresh is found by: origin, session, refresh token.
type RefreshKey = (String, String, String);

/// What is known of renewals of late.
pub(super) struct Renewals {
    refreshes: Flights<RefreshKey, Result<Vec<String>, RefreshFailure>>,
    refreshed: Cache<RefreshKey, (Arc<Vec<String>>, u64)>,
    mints: Flights<MintKey, Result<Arc<str>, MintFailure>>,
    minted: Cache<MintKey, (Arc<str>, u64)>,
}

/// What a minted token is found by: the number of its site, since sites may be of several instances,
/// and the session.
type MintKey = (usize, String);

impl Renewals {
    pub(super) fn new() -> Self {
        Self {
            refreshes: Flights::new(),
            refreshed: Cache::new(CAPACITY),
            mints: Flights::new(),
            minted: Cache::new(CAPACITY),
        }
    }

    /// The Set-Cookie strings that renew a session.
    pub(super) async fn refresh(
        &self,
        backend: &BackendApi,
        call: &RefreshCall,
        now_ms: u64,
    ) -> Result<Vec<String>, RefreshFailure> {
        // Another site has another origin, and perhaps another instance; cookies are asked for one.
        let key = (
            call.origin.clone(),
            call.session_id.clone(),
            call.refresh_token.clone(),
        );
        if let Some((cookies, until_ms)) = self.refreshed.get(&key)
            && now_ms < until_ms
        {
            return Ok(cookies.to_vec());
        }
        let refreshed = async {
            let answer = backend.refresh(call).await;
            if let Ok(cookies) = &answer {
                // Behind the end of its token it would be in the way of the next refresh.
                let good_until = session_directive(cookies).map_or(u64::MAX, good_until);
                let until_ms = good_until.min(now_ms + KEPT_MS);
                self.refreshed
                    .insert(key.clone(), (Arc::new(cookies.clone()), until_ms));
            }
            answer
        };
        self.refreshes.join(key.clone(), refreshed).await
    }

    /// A new token for the session of a seal.
    ///
    /// Neither a session that has ended here nor one that Clerk says is over gets one (design, section
    /// 8, B2).
    pub(super) async fn mint(
        &self,
        backend: &BackendApi,
        denials: &Denials,
        site: usize,
        seal: &Seal,
        now_ms: u64,
    ) -> Result<String, MintFailure> {
        if denials.is_denied(&seal.session, now_ms) {
            return Err(MintFailure::Ended);
        }
        let key = (site, seal.session.clone());
        if let Some((token, until_ms)) = self.minted.get(&key)
            && now_ms < until_ms
        {
            return Ok(token.as_ref().to_owned());
        }
        let minted = async {
            let answer = mint(backend, seal).await;
            match &answer {
                Ok(token) => {
                    let until_ms = good_until(token).min(now_ms + KEPT_MS);
                    self.minted
                        .insert(key.clone(), (Arc::clone(token), until_ms));
                }
                Err(MintFailure::Ended) => denials.deny_session(&seal.session, now_ms),
                Err(MintFailure::Unavailable | MintFailure::Refused) => {}
            }
            answer
        };
        let answer = self.mints.join(key.clone(), minted).await;
        answer.map(|token| token.as_ref().to_owned())
    }
}

/// Asks how the session stands, and then for a token.
async fn mint(backend: &BackendApi, seal: &Seal) -> Result<Arc<str>, MintFailure> {
    let unavailable = |lookup: &'static str| {
        warn!(
            session = seal.session,
            lookup, "clerk could not be asked to renew a session"
        );
        MintFailure::Unavailable
    };
    let session = match backend.session(Purpose::Renew, &seal.session).await {
        Lookup::Found(session) => session,
        Lookup::Unknown => return Err(MintFailure::Ended),
        Lookup::Unavailable => return Err(unavailable("session")),
    };
    if !session.is_live() {
        return Err(MintFailure::Ended);
    }
    if session.user_id != seal.user {
        warn!(
            session = seal.session,
            "clerk says that a session is somebody else's"
        );
        return Err(MintFailure::Refused);
    }
    match backend.mint(&seal.session).await {
        Minted::Token(token) => Ok(token.into()),
        Minted::Refused => Err(MintFailure::Refused),
        Minted::Unavailable => Err(unavailable("token")),
    }
}

/// Until when a token is given out again, in milliseconds since the epoch.
fn good_until(token: &str) -> u64 {
    let token = Token::decode(token).ok();
    let expires = token.and_then(|token| token.number("exp")).unwrap_or(0.0);
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
            .field("refreshes", &self.refreshes)
            .field("refreshed", &self.refreshed.len())
            .field("mints", &self.mints)
            .field("minted", &self.minted.len())
            .finish()
    }
}
