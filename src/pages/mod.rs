//! The pages and JSON documents that the gate answers with itself.
//!
//! Pages are small, work without JavaScript and carry a policy under which nothing else can load.

mod decisions;
mod notice;
mod sessions;

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::core::decide::{Me, Page, RefusalKind};
use crate::core::injection;
use crate::core::notice::{Notice, Tab};
use crate::core::protected_resource::ProtectedResource;
use crate::core::reply::{self, Content, Reply};
use crate::upstream::UpstreamError;

/// The style of every page, without a line break at its end.
const STYLE: &str = include_str!("../../templates/page.css");

/// The policy of every page: its own style and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| policy_of(STYLE));

/// The policy of a page that has this style.
fn policy_of(style: &str) -> String {
    let style = style_source(style);
    format!(
        "default-src 'none'; style-src {style}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// How a policy names a style.
fn style_source(style: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(digest.as_ref()))
}
pub use decisions::{DecisionsView, decisions, list, moment, plain};
pub use sessions::{
    SessionsView, Unconfirmed, Word, revoked, sessions, signed_out, switched, token, unconfirmed,
};

/// An answer of ours, ready for a wire.
#[derive(Clone)]
pub struct Document {
    /// The status.
    pub status: StatusCode,
    /// Every header but the length.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Document {
    /// Addresses to sign in carry tokens in development, so only names and sizes are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Writes a refusal as a document.
pub fn refusal(reply: Reply) -> Document {
    let mut document = match reply.content {
        Content::Json(value) => json_document(reply.status, &value),
        Content::Notice(said) => notice::document(reply.status, &said),
        Content::Call => Document {
            status: reply.status,
            headers: common("application/grpc"),
            body: Bytes::new(),
        },
    };
    for (name, value) in reply.headers {
        document.headers.append(name, value);
    }
    document
}

/// Writes one of our own pages.
pub fn page(page: &Page, request_id: &str) -> Document {
    match page {
        Page::Unauthorized => notice::document(
            StatusCode::FORBIDDEN,
            &Notice {
                title: "You may not open this page",
                message: "your account does not allow this; ask whoever runs this site, or sign in as somebody else",
                code: "unauthorized",
                unsent: None,
                sign_in_url: None,
                sign_in_tab: Tab::Same,
                again: None,
                request_id: request_id.to_owned(),
            },
        ),
        Page::Me(me) => json_document(StatusCode::OK, &self::me(me)),
        Page::SignOut(form) => notice::sign_out(form),
        Page::SignedOut(sign_in_url) => notice::signed_out(sign_in_url, request_id),
        Page::ProtectedResource(resource) => protected_resource(resource),
        Page::AssertionKeys(keys) => for_anybody(keys, "public, max-age=300"),
        Page::StartScript { current } => start_script(*current),
    }
}

/// The script that starts clerk-js. Its address has its version, and what is asked for by the version
/// never changes.
fn start_script(current: bool) -> Document {
    let mut headers = common("text/javascript; charset=utf-8");
    let keep = if current {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    Document {
        status: StatusCode::OK,
        headers,
        body: Bytes::from_static(injection::START_SCRIPT.as_bytes()),
    }
}

/// The description of a resource, which any page may read (RFC 9728, section 3.2).
fn protected_resource(resource: &ProtectedResource) -> Document {
    let description = json!({
        "resource": resource.resource,
        "authorization_servers": [resource.authorization_server],
        "bearer_methods_supported": ["header"],
        "scopes_supported": resource.scopes,
    });
    for_anybody(&description, "private, max-age=300")
}

/// What scripts of any origin may read.
fn for_anybody(value: &Value, caching: &'static str) -> Document {
    let mut document = json_document(StatusCode::OK, value);
    for (name, value) in [
        (CACHE_CONTROL, caching),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "*"),
    ] {
        document
            .headers
            .insert(name, HeaderValue::from_static(value));
    }
    document
}

/// Says that Clerk's Frontend API gave no answer, in the shape of Clerk's own errors: its script in
/// the browser reads them.
pub fn relay_failure(error: UpstreamError) -> Document {
    let message = match error {
        UpstreamError::Unreachable => "clerk's frontend api cannot be reached",
        UpstreamError::Timeout => "clerk's frontend api did not answer in time",
        UpstreamError::Protocol | UpstreamError::Malformed => {
            "the answer of clerk's frontend api cannot be understood"
        }
        UpstreamError::Full | UpstreamError::Unhealthy => {
            "clerk's frontend api takes no more requests at the moment"
        }
        UpstreamError::Client(reason) | UpstreamError::Ended(reason) => reason.message(),
    };
    json_document(
        reply::status(RefusalKind::Request, error.reason()),
        &json!({ "errors": [{ "code": "proxy_request_failed", "message": message }] }),
    )
}

/// Who somebody is, without any token.
fn me(me: &Me) -> Value {
    let identity = &me.identity;
    let organization = identity.organization.as_ref().filter(|o| o.id.is_some());
    // Minutes; -1 says that the factor was never verified.
    let age = |which: usize| {
        let minutes = identity.factor_ages.as_ref()?.get(which)?.as_i64()?;
        (minutes >= 0).then_some(minutes)
    };
    let claims: serde_json::Map<String, Value> = me.claims.iter().cloned().collect();
    json!({
        "user_id": identity.user,
        "session_id": identity.session,
        "organization": organization.map(|organization| json!({
            "id": organization.id,
            "slug": organization.slug,
            "role": organization.role,
            "permissions": organization.permissions,
        })),
        "issued_at": me.issued_s,
        "expires_at": me.expires_s,
        "factor_ages": {
            "first_factor_minutes": age(0),
            "second_factor_minutes": age(1),
        },
        "impersonated": identity.is_impersonated(),
        "actor": identity.actor.as_ref().map(|actor| actor.get("sub")),
        "claims": claims,
    })
}

/// A page with its policy; its forms may lead to `form_targets` besides the gate itself.
fn page_document(status: StatusCode, body: String, form_targets: &[String]) -> Document {
    let mut headers = common("text/html; charset=utf-8");
    // Origins are always legal header text; were one not, the page would do nothing at all.
    let policy = HeaderValue::from_str(&policy(form_targets))
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    Document {
        status,
        headers,
        body: body.into(),
    }
}

/// The policy of a page. Browsers stop a form whose answer leads where the page may not send forms.
fn policy(form_targets: &[String]) -> Cow<'static, str> {
    if form_targets.is_empty() {
        return Cow::Borrowed(&POLICY);
    }
    let targets = format!("form-action 'self' {}", form_targets.join(" "));
    Cow::Owned(POLICY.replace("form-action 'self'", &targets))
}

fn json_document(status: StatusCode, value: &Value) -> Document {
    Document {
        status,
        headers: common("application/json"),
        body: value.to_string().into(),
    }
}

/// The headers of every answer of ours.
fn common(content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers
}

/// The same document without line breaks, for who can pass on one line only. No text of ours depends
/// on them but the style, which the policy of a page names by its digest.
pub fn in_one_line(document: Document) -> Document {
    let Document {
        status,
        mut headers,
        body,
    } = document;
    let flat: Bytes = body
        .iter()
        .map(|byte| if *byte == b'\n' { b' ' } else { *byte })
        .collect();
    let policy = headers
        .get(CONTENT_SECURITY_POLICY)
        .and_then(|policy| policy.to_str().ok())
        .map(|policy| {
            policy.replace(
                &style_source(STYLE),
                &style_source(&STYLE.replace('\n', " ")),
            )
        });
    if let Some(Ok(policy)) = policy.map(HeaderValue::try_from) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    Document {
        status,
        headers,
        body: flat,
    }
}

/// The answer that something is done, and that there is nothing to say about it.
pub fn nothing() -> Document {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Document {
        status: StatusCode::NO_CONTENT,
        headers,
        body: Bytes::new(),
    }
}

/// A redirect: 307, never stored.
pub fn redirect(location: &str) -> Document {
    leads_to(StatusCode::TEMPORARY_REDIRECT, location)
}

/// The way to the same over TLS: 308, so that it is asked for in the same way there.
// SECURITY: never stored, or what stands in the query would lie in a cache for good, and an address that
// has been changed since would go on leading to the old one.
pub fn https_redirect(location: &str) -> Document {
    leads_to(StatusCode::PERMANENT_REDIRECT, location)
}

/// The way on after a form: 303, so that it is a page that is loaded there.
pub fn see_other(location: &str) -> Document {
    leads_to(StatusCode::SEE_OTHER, location)
}

fn leads_to(status: StatusCode, location: &str) -> Document {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match HeaderValue::from_str(location) {
        Ok(value) => {
            headers.insert(http::header::LOCATION, value);
            Document {
                status,
                headers,
                body: Bytes::new(),
            }
        }
        // A URL is always legal header text; were it not, nobody is sent anywhere.
        Err(_) => Document {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            headers,
            body: Bytes::new(),
        },
    }
}
