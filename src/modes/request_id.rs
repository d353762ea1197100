//! The id of a request, for logs, answers and the upstream.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};

use crate::upstream::head::X_REQUEST_ID;

/// The longest request id of a client that is kept.
const MAX_LENGTH: usize = 128;

/// The client's own, if it is plain text, else a new one.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    let plain = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= MAX_LENGTH
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let mut given = headers.get_all(X_REQUEST_ID).iter();
    match (given.next().filter(plain), given.next()) {
        (Some(value), None) => value.clone(),
        _ => new(),
    }
}

/// A new id: a number of this process that nobody can guess the beginning of, and a count.
fn new() -> HeaderValue {
    static START: LazyLock<u128> = LazyLock::new(|| {
        // From the system, as maps are seeded. The generator of aws-lc measures the jitter of the
        // clock before its first number, which takes longer than all the rest of a start.
        let half = || RandomState::new().build_hasher().finish();
        u128::from(half()) << 64 | u128::from(half())
    });
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut id = START.wrapping_add(u128::from(count));
    let mut text = [0_u8; 32];
    for place in text.iter_mut().rev() {
        // The last four bits, in hexadecimal.
        let digit = u8::try_from(id & 0xf).unwrap_or_default();
        *place = if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        };
        id >>= 4;
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
