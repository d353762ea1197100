//! The names that the head of a request or an answer is cleaned by.

use http::HeaderName;
use http::header::{
    CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

/// Headers that are about one connection, and go on in neither direction.
pub static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Cookies of Clerk's and of ours that never go on. `*` stands for however the name goes on.
pub const SECRET_COOKIES: [&str; 10] = [
    "__client",
    "__client_*",
    "__refresh",
    "__refresh_*",
    "__clerk_handshake*",
    "__clerk_redirect_count",
    "__clerk_redirect_count_*",
    "__clerk_db_jwt",
    "__clerk_db_jwt_*",
    "__Host-clerk-gate*",
];

/// Cookies of Clerk's that go on where [`super::ClerkCookies::Keep`] says so; they count as these even
/// where a name above fits too.
pub const STATE_COOKIES: [&str; 5] = [
    "__session",
    "__session_*",
    "__client_uat",
    "__client_uat_*",
    "clerk_active_context",
];

/// The cookies that Clerk's Frontend API is sent, where the gate is its proxy: those of Clerk's.
/// Of all others, the application's and ours, it learns nothing.
pub const COOKIES_FOR_CLERK: [&str; 8] = [
    "__client",
    "__client_*",
    "__session",
    "__session_*",
    "__refresh",
    "__refresh_*",
    "__clerk_*",
    "clerk_active_context",
];

/// Query parameters that never go on.
pub const CLERK_PARAMETERS: [&str; 7] = [
    "__clerk_handshake",
    "__clerk_handshake_nonce",
    "__clerk_help",
    "__clerk_db_jwt",
    "__dev_session",
    "__clerk_synced",
    "__clerk_gate_state",
];

/// Whether a name is one of these; `*` stands for however it goes on.
pub(super) fn is_one_of(patterns: &[&str], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *pattern,
        })
}
