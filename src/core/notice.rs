//! What a page of ours tells people, before it is written as a document.

use std::fmt;

use http::StatusCode;

use super::decide::RefusalKind;
use super::facts::Audience;
use super::masked::Address;
use super::step_up::StepUp;

/// What a page for people says.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// The heading.
    pub title: &'static str,
    /// What happened, and what to do.
    pub message: &'static str,
    /// What became of the form that was sent, and how it can be sent again.
    pub unsent: Option<&'static str>,
    /// The reason code, in small print.
    pub code: &'static str,
    /// Where to sign in, if that helps.
    pub sign_in_url: Option<String>,
    /// Where that opens.
    pub sign_in_tab: Tab,
    /// How to sign in anew, if that helps.
    pub again: Option<Again>,
    /// The id to quote.
    pub request_id: String,
}

/// A form that ends the session and signs in again.
#[derive(Clone, PartialEq, Eq)]
pub struct Again {
    /// Where it goes, on this origin.
    pub action: String,
    /// Other origins that it leads through.
    pub through: Vec<String>,
    /// Where it opens.
    pub tab: Tab,
}

/// Where a link or a form opens what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// In place of this page.
    Same,
    /// Beside it: this page can be loaded again, and what was typed be sent again.
    New,
}

impl Again {
    pub(super) fn of(step_up: &StepUp, audience: Audience) -> Self {
        Self {
            action: step_up.sign_in_again.clone(),
            through: step_up.through.clone(),
            tab: tab(audience),
        }
    }

    /// Heading and message of a page with this form.
    pub(super) fn words(&self) -> (&'static str, &'static str) {
        let message = match self.tab {
            Tab::Same => {
                "you signed in too long ago for this page; sign in again, and you come back here"
            }
            Tab::New => {
                "you signed in too long ago for this, and nothing was sent on; sign in again in the new tab, then come back to this one and reload it to send the form again"
            }
        };
        ("Please verify that it is you again", message)
    }
}

/// Heading and message of a page for somebody whose session has ended here and not at Clerk.
pub(super) const UNENDED: (&str, &str) = (
    "This session has ended",
    "your session was ended here, and Clerk has not confirmed that yet; sign in again, and it is ended there as well",
);

/// What a person is told whose form was not passed on. A browser that loads the answer to a form again
/// sends that form again, with everything that was typed.
pub(super) fn unsent(kind: RefusalKind) -> Option<&'static str> {
    match kind {
        RefusalKind::SignedOut => Some(
            "nothing of what you sent was passed on. Sign in in a new tab, then come back to this one and reload it: your browser sends the form again",
        ),
        RefusalKind::Unavailable => Some(
            "nothing of what you sent was passed on. Reload this page in a moment: your browser sends the form again",
        ),
        RefusalKind::Unauthorized
        | RefusalKind::Forbidden
        | RefusalKind::Hidden
        | RefusalKind::Request => None,
    }
}

/// Where a page for this audience opens what it leads to.
pub(super) fn tab(audience: Audience) -> Tab {
    match audience {
        Audience::Submission => Tab::New,
        Audience::Navigation | Audience::Program => Tab::Same,
    }
}

/// The heading of a page with this status.
pub(super) fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "Please sign in",
        StatusCode::FORBIDDEN => "You may not open this page",
        StatusCode::NOT_FOUND => "Page not found",
        StatusCode::SERVICE_UNAVAILABLE => "Not available at the moment",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests",
        StatusCode::BAD_GATEWAY => "The application cannot be reached",
        StatusCode::GATEWAY_TIMEOUT => "The application did not answer",
        StatusCode::PAYLOAD_TOO_LARGE => "That was too large",
        _ => "This request cannot be answered",
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notice")
            .field("title", &self.title)
            .field("message", &self.message)
            .field("unsent", &self.unsent)
            .field("code", &self.code)
            .field("sign_in_url", &self.sign_in_url.as_deref().map(Address))
            .field("sign_in_tab", &self.sign_in_tab)
            .field("again", &self.again)
            .field("request_id", &self.request_id)
            .finish()
    }
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Again")
            .field("action", &Address(&self.action))
            .field("through", &self.through)
            .field("tab", &self.tab)
            .finish()
    }
}
