//! The gate's own pages, below its own prefix.

use std::sync::Arc;

use http::Method;
use serde_json::Value;
use url::Url;

use super::answers::{is_our_trouble, who};
use super::own_sessions::seconds;
use super::{
    Decision, Inputs, Judge, Me, Order, Page, Redirect, RefusalKind, SESSION, Standing, Task,
    Terms, Verdict, Webhooks,
};
use crate::core::auth::{self, AuthState, Outcome};
use crate::core::handshake;
use crate::core::injection::{self, START_SCRIPT_PAGE};
use crate::core::jwt::Token;
use crate::core::question::{Progress, Question};
use crate::core::reason::Reason;
use crate::core::redirect::{self, Destination};

/// Where the keys of signed assertions are.
const ASSERTION_KEYS: &str = "assertion/jwks.json";
/// A page of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// Its path below the prefix; a piece in braces stands for any name.
    pub path: &'static str,
    /// The methods it takes.
    pub methods: &'static str,
}

/// Every page of ours, in the order of the documentation.
pub const PAGES: [PageEntry; 15] = [
    page("sign-in", "GET, HEAD"),
    page("sign-up", "GET, HEAD"),
    page("sign-out", "GET, HEAD, POST"),
    page("sign-out/all", "POST"),
    page("sessions", "GET, HEAD"),
    page("sessions/{id}/revoke", "POST"),
    page("sessions/revoke-others", "POST"),
    page("sessions/{id}/switch", "POST"),
    page("me", "GET, HEAD"),
    page("token", "POST"),
    page("token/{template}", "POST"),
    page("unauthorized", "GET, HEAD"),
    page("webhooks/clerk", "POST"),
    page(ASSERTION_KEYS, "GET, HEAD"),
    page(START_SCRIPT_PAGE, "GET, HEAD"),
];

const fn page(path: &'static str, methods: &'static str) -> PageEntry {
    PageEntry { path, methods }
}

/// The claims of `token` that these paths lead to, each by its dotted name.
fn told_claims(paths: &[Vec<String>], token: &Token) -> Vec<(String, Value)> {
    let told = paths.iter().filter_map(|path| {
        let (first, rest) = path.split_first()?;
        let value = rest
            .iter()
            .try_fold(token.claim(first)?, |value, name| value.get(name))?;
        Some((path.join("."), value.clone()))
    });
    told.collect()
}

impl<'r> Judge<'_, 'r> {
    /// Our own pages. Whatever is under the prefix and is no page never reaches the upstream.
    pub(super) fn page(
        &self,
        page: &str,
        progress: &mut Progress<'r>,
    ) -> Result<Verdict, Question> {
        let Inputs {
            facts,
            instance,
            now_ms,
            ..
        } = self.0;
        let reading = *facts.method == Method::GET || *facts.method == Method::HEAD;
        let refuse = |reason: Reason, progress: &Progress<'r>| {
            Ok(self.refuse(RefusalKind::Request, reason.into(), Vec::new(), progress))
        };
        match page {
            "unauthorized" | "me" | "sign-in" | "sign-up" | ASSERTION_KEYS if !reading => {
                refuse(Reason::MethodNotAllowed, progress)
            }
            START_SCRIPT_PAGE => Ok(self.start_script(reading, progress)),
            "unauthorized" => Ok(Self::own(Page::Unauthorized, progress)),
            "sign-in" | "sign-up" => {
                let mut state = auth::authenticate(facts, instance, SESSION, now_ms, progress)?;
                // What was renewed is kept; a redirect to Clerk gives way to the one to sign-in.
                state
                    .set_cookies
                    .retain(|cookie| !handshake::counts_a_redirect(cookie));
                if matches!(state.outcome, Outcome::Redirect(_)) {
                    state.keepsakes.clear();
                }
                let pending =
                    matches!(&state.outcome, Outcome::SignedIn(session) if session.is_pending());
                let destination = match (page, pending) {
                    ("sign-in", false) => Destination::SignIn,
                    ("sign-in", true) => Destination::Tasks,
                    (_, false) => Destination::SignUp,
                    (_, true) => Destination::SignUpTasks,
                };
                let Some(base) = facts.url() else {
                    return refuse(Reason::UnexpectedError, progress);
                };
                let back = self.return_address(&base);
                let browser = self.dev_browser(progress);
                match redirect::sign_in_url(
                    instance,
                    destination,
                    &base,
                    Some(&back),
                    browser.as_deref(),
                ) {
                    Some(url) => Ok(Verdict {
                        decision: Decision::Redirect(Redirect {
                            location: url.into(),
                        }),
                        cause: None,
                        standing: Standing::Unasked,
                        who: None,
                        set_cookies: state.set_cookies,
                        keepsakes: state.keepsakes,
                        route: None,
                    }),
                    None => refuse(Reason::UnexpectedError, progress),
                }
            }
            "me" => self.me(progress),
            // Whoever sends events has no session: the signature of each is all that counts.
            "webhooks/clerk" if self.0.webhooks == Webhooks::Taken => {
                if *facts.method == Method::POST {
                    Ok(Self::serve(Task::Webhook, progress))
                } else {
                    Ok(self.other_method("POST", progress))
                }
            }
            ASSERTION_KEYS if let Some(plan) = self.0.headers.assertion() => {
                let keys = Page::AssertionKeys(Arc::clone(&plan.keys));
                Ok(Self::own(keys, progress))
            }
            _ => self.own_sessions(page, progress),
        }
    }

    /// `/_gate/me`.
    fn me(&self, progress: &mut Progress<'r>) -> Result<Verdict, Question> {
        let Inputs {
            facts,
            instance,
            now_ms,
            ..
        } = self.0;
        let state = auth::authenticate(facts, instance, SESSION, now_ms, progress)?;
        let session = state.session(instance.pending).cloned();
        let session = session.as_ref();
        let Some((session, identity)) =
            session.and_then(|session| Some((session, session.token.identity()?)))
        else {
            return Ok(match state.outcome {
                Outcome::SignedOut(cause) => {
                    let kind = if is_our_trouble(cause.reason) {
                        RefusalKind::Unavailable
                    } else {
                        RefusalKind::SignedOut
                    };
                    self.refuse(kind, cause, state.set_cookies, progress)
                }
                Outcome::SignedIn(_) => self.refuse(
                    RefusalKind::SignedOut,
                    Reason::SessionPending.into(),
                    state.set_cookies,
                    progress,
                ),
                Outcome::Redirect(_) | Outcome::Broken(_) | Outcome::Machine(_) => {
                    self.judge_page(state, progress)?
                }
            });
        };
        let token = &*session.token;
        let me = Me {
            identity: identity.clone(),
            issued_s: seconds(token, "iat"),
            expires_s: seconds(token, "exp"),
            claims: told_claims(self.0.policy.me_claims(), token),
        };
        Ok(Verdict {
            standing: Standing::SignedIn,
            who: Some(who(identity)),
            set_cookies: state.set_cookies,
            keepsakes: state.keepsakes,
            ..Self::own(Page::Me(Box::new(me)), progress)
        })
    }

    /// The refusal of a method that a page does not take, with those that it does.
    pub(super) fn other_method(&self, methods: &'static str, progress: &Progress<'r>) -> Verdict {
        let reason = Reason::MethodNotAllowed.into();
        let mut verdict = self.refuse(RefusalKind::Request, reason, Vec::new(), progress);
        if let Decision::Refuse(refusal) = &mut verdict.decision {
            refusal.methods = methods;
        }
        verdict
    }

    /// An order that is about nobody in particular.
    pub(super) fn serve(task: Task, progress: &Progress<'r>) -> Verdict {
        Verdict {
            decision: Decision::Serve(Order { task, owner: None }),
            cause: None,
            standing: Standing::Unasked,
            who: None,
            set_cookies: Vec::new(),
            keepsakes: Vec::new(),
            route: progress.route().cloned(),
        }
    }

    /// What starts clerk-js in pages that it was put into: the same for everybody.
    fn start_script(&self, reading: bool, progress: &Progress<'r>) -> Verdict {
        let trouble = match (&self.0.instance.injection, reading) {
            (None, _) => Some(Reason::PageUnknown),
            (Some(_), false) => Some(Reason::MethodNotAllowed),
            (Some(_), true) => None,
        };
        if let Some(reason) = trouble {
            return self.refuse(RefusalKind::Request, reason.into(), Vec::new(), progress);
        }
        let asked = self.0.facts.parameter(injection::START_SCRIPT_VERSION);
        let current = asked.as_deref() == Some(injection::start_script_version());
        Self::own(Page::StartScript { current }, progress)
    }

    /// Redirects and broken results on a page of ours are those of any route.
    pub(super) fn judge_page(
        &self,
        state: AuthState,
        progress: &Progress<'r>,
    ) -> Result<Verdict, Question> {
        let route = self.0.policy.route(None);
        let terms = Terms {
            route,
            requirements: &[&route.requirement],
            open: false,
        };
        self.judge(terms, state, progress)
    }

    pub(super) fn own(page: Page, progress: &Progress<'r>) -> Verdict {
        Verdict {
            decision: Decision::Page(page),
            cause: None,
            standing: Standing::Unasked,
            who: None,
            set_cookies: Vec::new(),
            keepsakes: Vec::new(),
            route: progress.route().cloned(),
        }
    }

    /// Where to go after signing in: `redirect_url` if it stays on our origin, else the front page.
    // SECURITY: the whole address is parsed and written anew, so nothing that browsers read
    // differently (`//host`, backslashes, tabs) survives.
    pub(super) fn return_address(&self, base: &Url) -> Url {
        let front = base.join("/").unwrap_or_else(|_| base.clone());
        self.0
            .facts
            .parameter("redirect_url")
            .and_then(|wanted| front.join(&wanted).ok())
            // `blob:` has the origin of the address inside it.
            .filter(|url| url.scheme() == base.scheme())
            .filter(|url| url.origin() == base.origin() && !url.path().starts_with("//"))
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .unwrap_or(front)
    }
}
