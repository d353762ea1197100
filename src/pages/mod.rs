//! The pages and JSON documents that the gate answers with itself.
//!
//! Pages are small, work without JavaScript and carry a policy under which nothing else can load.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use askama::Template;
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

use crate::core::decide::{Page, RefusalKind};
use crate::core::identity::Identity;
use crate::core::notice::{Again, Notice, Tab};
use crate::core::protected_resource::ProtectedResource;
use crate::core::reply::{self, Content, Reply};
use crate::upstream::UpstreamError;

/// The style of every page, without a line break at its end.
const STYLE: &str = include_str!("../../templates/page.css");

/// The policy of every page: its own style and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    let digest = STANDARD.encode(digest.as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
});

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

#[derive(Template)]
#[template(path = "notice.html")]
struct NoticePage<'a> {
    title: &'a str,
    message: &'a str,
    code: &'a str,
    request_id: &'a str,
    /// What became of a form that was sent.
    unsent: Option<&'a str>,
    sign_in_url: Option<&'a str>,
    /// Whether signing in opens a tab of its own.
    sign_in_apart: bool,
    /// Where a form goes that signs in anew.
    again: Option<&'a str>,
    /// Whether it opens a tab of its own.
    new_tab: bool,
    /// Whether the start page is a way on: for whoever is here and may not go further.
    start: bool,
    style: &'static str,
}

/// Writes a refusal as a document.
pub fn refusal(reply: Reply) -> Document {
    let mut document = match reply.content {
        Content::Json(value) => json_document(reply.status, &value),
        Content::Notice(notice) => notice_document(reply.status, &notice),
    };
    for (name, value) in reply.headers {
        document.headers.append(name, value);
    }
    document
}

/// Writes one of our own pages.
pub fn page(page: &Page, request_id: &str) -> Document {
    match page {
        Page::Unauthorized => notice_document(
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
        Page::Me(identity) => json_document(StatusCode::OK, &me(identity)),
        Page::ProtectedResource(resource) => protected_resource(resource),
        Page::AssertionKeys(keys) => for_anybody(keys, "public, max-age=300"),
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
        UpstreamError::Malformed => "the answer of clerk's frontend api cannot be understood",
        UpstreamError::Client(reason) | UpstreamError::Ended(reason) => reason.message(),
    };
    json_document(
        reply::status(RefusalKind::Request, error.reason()),
        &json!({ "errors": [{ "code": "proxy_request_failed", "message": message }] }),
    )
}

/// Who somebody is, without any token.
fn me(identity: &Identity) -> Value {
    let organization = identity.organization.as_ref().filter(|o| o.id.is_some());
    json!({
        "user_id": identity.user,
        "session_id": identity.session,
        "organization": organization.map(|organization| json!({
            "id": organization.id,
            "slug": organization.slug,
            "role": organization.role,
            "permissions": organization.permissions,
        })),
        "impersonated": identity.is_impersonated(),
    })
}

fn notice_document(status: StatusCode, notice: &Notice) -> Document {
    let page = NoticePage {
        title: notice.title,
        message: notice.message,
        code: notice.code,
        request_id: &notice.request_id,
        unsent: notice.unsent,
        sign_in_url: notice.sign_in_url.as_deref(),
        sign_in_apart: notice.sign_in_tab == Tab::New,
        again: notice.again.as_ref().map(|again| again.action.as_str()),
        new_tab: notice.again.as_ref().is_some_and(|a| a.tab == Tab::New),
        start: matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
            && notice.again.is_none(),
        style: STYLE,
    };
    // Rendering fails only if writing into a string does.
    let body = page.render().unwrap_or_else(|_| notice.title.to_owned());
    let mut headers = common("text/html; charset=utf-8");
    if let Ok(policy) = HeaderValue::from_str(&policy(notice.again.as_ref())) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    Document {
        status,
        headers,
        body: body.into(),
    }
}

/// The policy of a page. Browsers stop a form whose answer leads where the page may not send forms.
fn policy(again: Option<&Again>) -> Cow<'static, str> {
    match again {
        Some(again) if !again.through.is_empty() => {
            let targets = format!("form-action 'self' {}", again.through.join(" "));
            Cow::Owned(POLICY.replace("form-action 'self'", &targets))
        }
        _ => Cow::Borrowed(&POLICY),
    }
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
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match HeaderValue::from_str(location) {
        Ok(value) => {
            headers.insert(http::header::LOCATION, value);
            Document {
                status: StatusCode::TEMPORARY_REDIRECT,
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
