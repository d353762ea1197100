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
use crate::telemetry::meters::Lookups;

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
    /// Reads a session token that Clerk has just made for `owner`. `None` if it is not of their session.
    pub(super) fn of_session(jwt: &str, owner: &Owner, now_ms: u64) -> Option<Self> {
        let token = Token::decode(jwt).ok()?;
        if token.text("sid") != Some(owner.session()) {
            return None;
        }
        Self::read(jwt, owner, now_ms)
    }

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
    lookups: Arc<Lookups>,
}

impl TemplateTokens {
    /// None yet.
    pub fn new() -> Self {
        Self {
            kept: Cache::new(CAPACITY),
            flights: Flights::new(),
            lookups: Arc::default(),
        }
    }

    /// The same, with what it had already counted there.
    #[must_use]
    pub fn counted_in(self, lookups: &Arc<Lookups>) -> Self {
        let lookups = Arc::clone(lookups);
        Self { lookups, ..self }
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
                self.lookups.note(true);
                return Ok(kept);
            }
            self.kept.remove(&key);
        }
        self.lookups.note(false);
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
        if now_ms < made.until_ms
            && may_be_kept(&made.jwt, owner)
            && !denials.is_denied(owner.session(), now_ms)
        {
            self.kept.insert(key, made.clone());
        }
        Ok(made)
    }
}

/// Whether a token of a template says nothing else of the active organisation than what it is found by.
// SECURITY: the session may have changed to another one since the request's own token was made. Who asks
// with an older token again would get what was made for the other one.
fn may_be_kept(jwt: &str, owner: &Owner) -> bool {
    let Ok(token) = Token::decode(jwt) else {
        return false;
    };
    let nested = token.claim("o").and_then(|active| active.get("id"));
    let named = token.text("org_id").or(nested.and_then(|id| id.as_str()));
    named.is_none_or(|named| owner.organization() == Some(named))
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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    fn jwt(claims: &Value) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.AAAA", encode("{}"), encode(&claims.to_string()))
    }

    /// The owner of a session in an organisation.
    fn owner() -> Owner {
        let claims = json!({
            "sub": "user_1", "sid": "sess_1", "iat": 1, "exp": 61,
            "org_id": "org_1", "org_slug": "one", "org_role": "org:admin", "org_permissions": [],
        });
        Owner::of(&Token::decode(&jwt(&claims)).unwrap()).unwrap()
    }

    #[test]
    fn a_session_token_of_another_session_is_none_of_its_owners() {
        let read = |sid: Option<&str>| {
            let claims = json!({ "sub": "user_1", "sid": sid, "exp": 100 });
            MadeToken::of_session(&jwt(&claims), &owner(), 0).is_some()
        };
        assert!(read(Some("sess_1")));
        assert!(!read(Some("sess_2")) && !read(None));
    }

    #[test]
    fn a_token_of_another_organisation_is_not_kept() {
        let kept = |claims: Value| may_be_kept(&jwt(&claims), &owner());
        assert!(kept(json!({ "sub": "user_1" })));
        assert!(kept(json!({ "org_id": "org_1" })));
        assert!(kept(json!({ "o": { "id": "org_1" } })));
        assert!(!kept(json!({ "org_id": "org_2" })));
        assert!(!kept(json!({ "o": { "id": "org_2" } })));
        assert!(!may_be_kept("none", &owner()));
    }
}
