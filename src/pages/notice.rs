//! Pages that say one thing, and what can be done about it.

use askama::Template;
use http::StatusCode;

use super::{Document, STYLE, page_document};
use crate::core::decide::SignOutForm;
use crate::core::notice::{Notice, Tab};

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
    /// Where to try again.
    retry: Option<&'a str>,
    /// Whether the start page is a way on: for whoever is here and may not go further.
    start: bool,
    style: &'static str,
}

#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOutPage<'a> {
    this: &'a str,
    everywhere: Option<&'a str>,
    style: &'static str,
}

/// A page with a notice.
pub(super) fn document(status: StatusCode, notice: &Notice) -> Document {
    said(status, notice, None)
}

/// The same, with a way to try again.
pub(super) fn said(status: StatusCode, notice: &Notice, retry: Option<&str>) -> Document {
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
        retry,
        start: matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
            && notice.again.is_none(),
        style: STYLE,
    };
    // Rendering fails only if writing into a string does.
    let body = page.render().unwrap_or_else(|_| notice.title.to_owned());
    let through = notice.again.as_ref().map(|again| &*again.through);
    page_document(status, body, through.unwrap_or_default())
}

/// The question whether somebody wants to sign out.
pub(super) fn sign_out(form: &SignOutForm) -> Document {
    let page = SignOutPage {
        this: &form.this,
        everywhere: form.everywhere.as_deref(),
        style: STYLE,
    };
    let body = page.render().unwrap_or_else(|_| "Sign out".to_owned());
    page_document(StatusCode::OK, body, &form.form_targets)
}

/// Says that nobody is signed in.
pub(super) fn signed_out(sign_in_url: &str, request_id: &str) -> Document {
    let notice = Notice {
        title: "You are signed out",
        message: "nobody is signed in on this browser any more",
        code: "signed-out",
        sign_in_url: Some(sign_in_url.to_owned()),
        unsent: None,
        sign_in_tab: Tab::Same,
        again: None,
        request_id: request_id.to_owned(),
    };
    document(StatusCode::OK, &notice)
}
