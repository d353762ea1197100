//! Tokens that this process has verified before their end, remembered beyond it: by a hash and nothing
//! else, so many and no more, and for as long as the process lives.
//!
//! It says that a token was good once. What it says, whether its session still stands and how long that
//! counts is judged each time.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::sync::Cache;

use crate::core::jwt::Token;
use crate::core::ride_through::ends_ms;

/// How many are remembered. Whoever is forgotten has to sign in once Clerk is back.
const CAPACITY: usize = 20_000;

/// What was verified.
pub(super) struct Vouched(Cache<[u8; 32], u64>);

impl Vouched {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Remembers a token that an instance's keys have verified, and that has not ended.
    pub(super) fn keep(&self, instance: &str, raw: &str, token: &Token) {
        let key = hash(instance, raw);
        if self.0.get(&key).is_none()
            && let Some(ends_ms) = ends_ms(token)
        {
            self.0.insert(key, ends_ms);
        }
    }

    /// Whether a token was verified before its end.
    pub(super) fn knows(&self, instance: &str, raw: &str) -> bool {
        self.0.get(&hash(instance, raw)).is_some()
    }
}

/// What a token is known by.
fn hash(instance: &str, raw: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(instance.as_bytes());
    // Neither has a line break in it.
    context.update(b"\n");
    context.update(raw.as_bytes());
    let mut key = [0; 32];
    for (place, byte) in key.iter_mut().zip(context.finish().as_ref()) {
        *place = *byte;
    }
    key
}

impl fmt::Debug for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vouched").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn raw(number: usize) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = format!("{{\"exp\":1790000060,\"n\":{number}}}");
        format!("{}.{}.AAAA", encode("{}"), encode(&claims))
    }

    #[test]
    fn a_token_is_known_by_its_whole_text_and_its_instance() {
        let vouched = Vouched::new();
        let token = Token::decode(&raw(1)).unwrap();
        vouched.keep("pk_test_a", &raw(1), &token);
        assert!(vouched.knows("pk_test_a", &raw(1)));
        assert!(!vouched.knows("pk_test_b", &raw(1)));
        assert!(!vouched.knows("pk_test_a", &raw(2)));
        assert!(!vouched.knows("pk_test_a", ""));
    }

    #[test]
    fn a_token_without_an_end_is_not_remembered() {
        let vouched = Vouched::new();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let endless = format!("{}.{}.AAAA", encode("{}"), encode("{}"));
        vouched.keep("pk_test_a", &endless, &Token::decode(&endless).unwrap());
        assert!(!vouched.knows("pk_test_a", &endless));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for_and_no_token_is_shown() {
        let vouched = Vouched::new();
        let token = Token::decode(&raw(0)).unwrap();
        for number in 0..CAPACITY + 1_000 {
            vouched.keep("pk_test_a", &number.to_string(), &token);
        }
        let kept = vouched.0.len();
        assert!(kept <= CAPACITY, "{kept}");
        assert_eq!(format!("{vouched:?}"), format!("Vouched({kept})"));
    }
}
