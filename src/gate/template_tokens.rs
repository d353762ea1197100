//! Tokens of templates, one call for many askers, and each kept for a short while.

use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::denials::{Denials, Told};
use super::flights::Flights;
use crate::clerk::backend::BackendApi;
use crate::clerk::sessions::SessionError;
use crate::core::decide::Owner;
use crate::core::jwt::Token;
use crate::core::question::TokenStanding;

/// How many tokens are kept.
const CAPACITY: usize = 10_000;

/// How long a token is handed out again at most, in milliseconds: as long as a session token lives.
const KEPT_FOR_MS: u64 = 60_000;

/// How long before its end a token is let go, in milliseconds: an upstream has to have time for it.
const RESERVE_MS: u64 = 10_000;

/// What a token is found by.
// SECURITY: whatever it may differ by is in the key; a token of somebody else, of another
// organisation or of another instance never hits.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    site: usize,
    user: String,
    session: String,
    organization: Option<String>,
    template: Arc<str>,
}

/// A token of a template.
#[derive(Clone)]
pub struct MadeToken {
    /// The token.
    pub jwt: Arc<str>,
    /// Its end, in seconds since the epoch.
    pub expires_s: Option<u64>,
    issued_s: u64,
    until_ms: u64,
}

impl fmt::Debug for MadeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeToken")
            .field("expires_s", &self.expires_s)
            .finish_non_exhaustive()
    }
}

impl MadeToken {
    /// Reads a token that Clerk has just made for `owner`. `None` if it is none of theirs.
    pub(super) fn read(jwt: &str, owner: &Owner, now_ms: u64) -> Option<Self> {
        let token = Token::decode(jwt).ok()?;
        // SECURITY: whatever Clerk has answered, nobody is handed a token of somebody else's.
        if token.text("sub") != Some(owner.user()) {
            return None;
        }
        let expires_s = token.claim("exp").and_then(serde_json::Value::as_u64);
        let end_ms = expires_s.map_or(u64::MAX, |exp| exp.saturating_mul(1000));
        Some(Self {
            jwt: jwt.into(),
            expires_s,
            until_ms: end_ms
                .saturating_sub(RESERVE_MS)
                .min(now_ms.saturating_add(KEPT_FOR_MS)),
            issued_s: token
                .claim("iat")
                .and_then(serde_json::Value::as_u64)
                .unwrap_or_default(),
        })
    }
}

/// The tokens that were fetched.
pub struct TemplateTokens {
    kept: Cache<Key, MadeToken>,
    flights: Flights<Key, Result<MadeToken, SessionError>>,
}

impl TemplateTokens {
    /// None yet.
    pub fn new() -> Self {
        Self {
            kept: Cache::new(CAPACITY),
            flights: Flights::new(),
        }
    }

    /// A token of `template` for the session of `owner`.
    pub async fn get(
        &self,
        backend: &BackendApi,
        site: usize,
        owner: &Owner,
        template: &Arc<str>,
        denials: &Denials,
        now_ms: u64,
    ) -> Result<MadeToken, SessionError> {
        let key = Key {
            site,
            user: owner.user().to_owned(),
            session: owner.session().to_owned(),
            organization: owner.organization().map(str::to_owned),
            template: Arc::clone(template),
        };
        if let Some(kept) = self.kept.get(&key) {
            // What it says of its user may have changed since it was made.
            let told = Told {
                session: Some(owner.session()),
                user: Some(owner.user()),
                organization: owner.organization(),
                issued: kept.issued_s,
            };
            let standing = denials.standing_of(&told, now_ms);
            if standing == TokenStanding::Stands && now_ms < kept.until_ms {
                return Ok(kept);
            }
            self.kept.remove(&key);
        }
        let call = async {
            let jwt = backend.template_token(owner.session(), template).await?;
            MadeToken::read(&jwt, owner, now_ms).ok_or_else(|| {
                tracing::warn!(
                    template = &**template,
                    "clerk made a token that is none of its user's"
                );
                SessionError::Unavailable
            })
        };
        let made = self.flights.join(key.clone(), call).await?;
        if now_ms < made.until_ms && !denials.is_denied(owner.session(), now_ms) {
            self.kept.insert(key, made.clone());
        }
        Ok(made)
    }
}

impl Default for TemplateTokens {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TemplateTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplateTokens")
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}
