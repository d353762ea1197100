//! Tokens whose signature was found good, kept so that it is not checked again.
//!
//! The cache holds no verdict: times, issuer, parties and policy are judged on every request.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use crate::core::jwt::Token;

/// How many tokens are kept.
const CAPACITY: usize = 20_000;

/// Verified tokens, found by their whole text.
// SECURITY: the key is the token itself, so no other token can ever hit; only tokens with a good
// signature get in, so a stranger cannot fill it.
pub struct TokenCache {
    tokens: Cache<Kept, Entry>,
}

/// The whole text of a token.
#[derive(Clone, PartialEq, Eq)]
struct Kept(Box<str>);

/// The same, while it is only looked for.
struct Sought<'t>(&'t str);

/// A signature ends in as good as random bytes: they tell tokens apart as well as all of the text,
/// which is compared anyway.
const HASHED_BYTES: usize = 32;

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes = self.0.as_bytes();
        let end = bytes.len().saturating_sub(HASHED_BYTES);
        state.write(bytes.get(end..).unwrap_or_default());
    }
}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Sought(&self.0).hash(state);
    }
}

impl Equivalent<Kept> for Sought<'_> {
    fn equivalent(&self, kept: &Kept) -> bool {
        *self.0 == *kept.0
    }
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCache")
            .field("tokens", &self.tokens.len())
            .finish()
    }
}

#[derive(Clone, Debug)]
struct Entry {
    token: Arc<Token>,
    generation: u64,
    expires_ms: u64,
}

impl TokenCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self {
            tokens: Cache::new(CAPACITY),
        }
    }

    /// The token that `raw` decodes to, if it was verified with keys of this generation and its
    /// `exp`, with any leeway, has not passed.
    pub fn verified(&self, raw: &str, generation: u64, now_ms: u64) -> Option<Arc<Token>> {
        let entry = self.tokens.get(&Sought(raw))?;
        (entry.generation == generation && now_ms < entry.expires_ms).then_some(entry.token)
    }

    /// Keeps a token whose signature is good. One without an end is not kept.
    pub fn keep(&self, raw: &str, token: &Arc<Token>, generation: u64, leeway_ms: u64) {
        let Some(expires) = token
            .number("exp")
            .filter(|exp| *exp > 0.0 && *exp < 8.64e12)
        else {
            return;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and below the last date of any calendar"
        )]
        let expires_ms = (expires as u64)
            .saturating_mul(1000)
            .saturating_add(leeway_ms);
        let entry = Entry {
            token: Arc::clone(token),
            generation,
            expires_ms,
        };
        self.tokens.insert(Kept(raw.into()), entry);
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        Self::new()
    }
}
