//! Pages of our own that do something: what is to be done, and in whose name.

use std::fmt;
use std::sync::Arc;

use crate::core::continuity::is_session_id;
use crate::core::jwt::Token;
use crate::core::masked::Address;
use crate::core::template::Template;

/// Leave to have something done or asked at Clerk, or taken in, and to answer with what came of it.
/// Only [`decide`](super::decide) makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub(super) task: Task,
    pub(super) owner: Option<Owner>,
}

/// Whose sessions an order is about: always the caller's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub(super) user: String,
    pub(super) session: String,
    pub(super) organization: Option<String>,
    pub(super) impersonated: bool,
}

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// `/_gate/webhooks/clerk`: an event of Clerk's is checked and taken to heart.
    Webhook,
    /// `/_gate/sessions`: the owner's sessions are listed.
    Sessions(Surroundings),
    /// `/_gate/sign-out`: the owner's session ends, or all of them. Without an owner nobody is signed
    /// in, and only what is left in the browser goes.
    SignOut(SignOut),
    /// `/_gate/sessions/{id}/revoke`: another session of the owner's ends.
    Revoke(String),
    /// `/_gate/sessions/revoke-others`: all sessions of the owner's end but the one that asks.
    RevokeOthers,
    /// `/_gate/sessions/{id}/switch`: another session of this browser becomes the active one.
    Switch {
        /// Its id.
        session: String,
        /// By what Clerk knows the browser.
        browser: Browser,
    },
    /// `/_gate/token`: a session token for a page; the one that came, where it lasts a while.
    Token(Option<PresentToken>),
    /// `/_gate/token/{template}`: a token of a template for a page.
    Template(Arc<Template>),
}

/// What the page of the sessions has beside them.
#[derive(Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// By what Clerk knows the browser, where that can be told here.
    pub browser: Option<Browser>,
    /// Clerk's own page to choose between the sessions of a browser.
    pub chooser: Option<String>,
    /// Other origins that a form of the page may lead to.
    pub form_targets: Vec<String>,
    /// What the address says has just been done.
    pub done: Option<String>,
}

/// How somebody signs out.
#[derive(Clone, PartialEq, Eq)]
pub struct SignOut {
    /// Which sessions end.
    pub extent: Extent,
    /// Where a person goes afterwards.
    pub after: String,
}

/// Which sessions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The one of this browser.
    This,
    /// Each that its owner has.
    Everywhere,
}

/// By what Clerk's Frontend API knows a browser.
#[derive(Clone, PartialEq, Eq)]
pub enum Browser {
    /// `__client`, as the cookie stands.
    Client(String),
    /// The dev browser token of a development instance.
    DevBrowser(String),
}

/// A session token that came with a request, verified.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentToken {
    /// The token.
    pub jwt: String,
    /// Its end, in seconds since the epoch.
    pub expires_s: u64,
}

/// Whether events of Clerk's are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhooks {
    /// A secret to check them with is configured.
    Taken,
    /// There is none, and so no page for them.
    NotTaken,
}

impl Webhooks {
    /// Taken, if there are secrets.
    pub fn of<T>(secrets: Option<&T>) -> Self {
        match secrets {
            Some(_) => Self::Taken,
            None => Self::NotTaken,
        }
    }
}

impl Order {
    /// What is done.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Whose sessions it is about; `None` where it is about nobody in particular.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
}

impl Owner {
    /// Whose session a token is of. `None` of one that names no session.
    pub fn of(token: &Token) -> Option<Self> {
        let identity = token.identity()?;
        Some(Self {
            user: identity.user.clone(),
            session: identity.session.clone().filter(|id| is_session_id(id))?,
            organization: identity.organization_id().map(str::to_owned),
            impersonated: identity.is_impersonated(),
        })
    }

    /// The user's id.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The id of the session that the order came with: letters, digits and `_`.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The id of the organisation that is active in it.
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// Whether somebody else acts in the user's name.
    pub fn is_impersonated(&self) -> bool {
        self.impersonated
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("browser", &self.browser)
            .field("chooser", &self.chooser.as_deref().map(Address))
            .field("form_targets", &self.form_targets)
            .field("done", &self.done)
            .finish()
    }
}

impl fmt::Debug for SignOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignOut")
            .field("extent", &self.extent)
            .field("after", &Address(&self.after))
            .finish()
    }
}

impl fmt::Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client(…)",
            Self::DevBrowser(_) => "DevBrowser(…)",
        })
    }
}

impl fmt::Debug for PresentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentToken")
            .field("expires_s", &self.expires_s)
            .finish_non_exhaustive()
    }
}
