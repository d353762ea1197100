//! JWT templates of the operator's: tokens that Clerk makes for other services.

use std::sync::Arc;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::requirement::Requirement;

/// One `[[template]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Its name at Clerk.
    pub name: Arc<str>,
    /// What whoever wants a token of it has to bring, besides a session.
    pub requirement: Requirement,
    /// The header in which an upstream gets the token.
    pub header: HeaderName,
}

impl Template {
    /// A template with every setting at its default.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            requirement: Requirement::SignedIn,
            header: AUTHORIZATION,
        }
    }

    /// The text of the header that carries `token`.
    pub(super) fn text(&self, token: &str) -> String {
        if self.header == AUTHORIZATION {
            format!("Bearer {token}")
        } else {
            token.to_owned()
        }
    }
}

/// Whether a text may be the name of a template: it becomes part of a path at Clerk.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
}
