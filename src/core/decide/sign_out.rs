//! Signing out: the question, the order, and where to go on.

use std::sync::Arc;

use url::Url;

use super::answers::{is_our_trouble, who};
use super::order::{Extent, Owner, SignOut, Task};
use super::own_sessions::{Asked, Kept, order};
use super::verdict::SignOutForm;
use super::{Inputs, Judge, Page, RefusalKind, Standing, Verdict};
use crate::core::auth::{self, AuthState, Outcome};
use crate::core::identity::Identity;
use crate::core::instance::PendingSessions;
use crate::core::question::{Progress, Question};
use crate::core::reason::{Cause, Reason};
use crate::core::redirect::{self, Destination};

impl<'r> Judge<'_, 'r> {
    /// `GET /_gate/sign-out`: asks whether it shall be so, and ends nothing.
    pub(super) fn may_sign_out(
        &self,
        state: AuthState,
        progress: &Progress<'r>,
    ) -> Result<Verdict, Question> {
        let Inputs {
            facts,
            instance,
            now_ms,
            ..
        } = self.0;
        let done = facts.parameter("done").is_some();
        let session = state.session(PendingSessions::SignedIn).cloned();
        let cause = match &state.outcome {
            Outcome::SignedOut(cause) => Some(cause),
            Outcome::Redirect(redirect) => redirect.cause.as_ref(),
            Outcome::SignedIn(_) | Outcome::Machine(_) | Outcome::Broken(_) => None,
        };
        // A session that is over here and may live on at Clerk: it can be tried again.
        let over_here = cause.is_some_and(|cause| cause.reason == Reason::SessionRevoked);
        let token = match &session {
            Some(session) => Some(Arc::clone(&session.token)),
            None if over_here && !done => auth::session_to_end(facts, instance, now_ms, progress)?,
            None => None,
        };
        if let Some(token) = token {
            let impersonated = token.identity().is_some_and(Identity::is_impersonated);
            let sealed = match &session {
                Some(session) => auth::is_sealed(facts, instance, session, now_ms, progress)?,
                None => false,
            };
            if session.is_some() && !sealed && !impersonated {
                let fetched = auth::fetch_seal(facts, instance, now_ms, progress)?;
                if matches!(fetched.outcome, Outcome::Redirect(_)) {
                    return self.judge_page(fetched, progress);
                }
            }
            let everywhere = sealed && !impersonated;
            let after = self.after_sign_out(progress);
            let query = self.after_query();
            let prefix = self.0.pages_prefix;
            let form = SignOutForm {
                this: format!("{prefix}sign-out{query}"),
                everywhere: everywhere.then(|| format!("{prefix}sign-out/all{query}")),
                form_targets: self.form_targets(Some(&after)),
            };
            return Ok(Verdict {
                standing: if session.is_some() {
                    Standing::SignedIn
                } else {
                    Standing::SignedOut
                },
                who: token.identity().map(who),
                set_cookies: state.set_cookies,
                keepsakes: state.keepsakes,
                ..Self::own(Page::SignOut(form), progress)
            });
        }
        match state.outcome {
            Outcome::SignedOut(cause) if is_our_trouble(cause.reason) => {
                Ok(self.refuse(RefusalKind::Unavailable, cause, state.set_cookies, progress))
            }
            // Whoever has just signed out stays so: a handshake would bring the next session.
            Outcome::Redirect(_) if !done => self.judge_page(state, progress),
            Outcome::Broken(_) | Outcome::Machine(_) => self.judge_page(state, progress),
            Outcome::SignedIn(_) | Outcome::Redirect(_) | Outcome::SignedOut(_) => {
                let sign_in = format!("{}sign-in", self.0.pages_prefix);
                Ok(Verdict {
                    standing: Standing::SignedOut,
                    ..Self::own(Page::SignedOut(sign_in), progress)
                })
            }
        }
    }

    /// `POST /_gate/sign-out`, of one session or of all.
    pub(super) fn sign_out(
        &self,
        extent: Extent,
        state: AuthState,
        progress: &Progress<'r>,
    ) -> Result<Verdict, Question> {
        let Inputs {
            facts,
            instance,
            now_ms,
            ..
        } = self.0;
        let session = state.session(PendingSessions::SignedIn).cloned();
        if let (Extent::Everywhere, Some(session)) = (extent, &session) {
            let asked = Asked::SignOut(extent);
            if let Some(unsealed) = self.unsealed(asked, session, progress)? {
                return Ok(unsealed);
            }
            return Ok(self.asked_of(asked, session, Kept::of(state), progress));
        }
        let token = match &session {
            Some(session) => Some(Arc::clone(&session.token)),
            None => auth::session_to_end(facts, instance, now_ms, progress)?,
        };
        let cause = match state.outcome {
            Outcome::SignedOut(cause) => Some(cause),
            Outcome::Redirect(redirect) => redirect.cause,
            Outcome::SignedIn(_) | Outcome::Machine(_) | Outcome::Broken(_) => None,
        };
        match (token, cause) {
            (None, Some(cause)) if is_our_trouble(cause.reason) => {
                Ok(self.refuse(RefusalKind::Unavailable, cause, Vec::new(), progress))
            }
            // Clerk has a session for this browser, and nothing here names it: nothing is done rather
            // than half of it.
            (None, Some(cause)) if cause.reason == Reason::ClientUatButNoSessionToken => {
                Ok(self.refuse(RefusalKind::SignedOut, cause, Vec::new(), progress))
            }
            // SECURITY: a token that has run out ends its own session and no other.
            (Some(_), cause) if extent == Extent::Everywhere => {
                let cause = cause.unwrap_or_else(|| Cause::from(Reason::UnexpectedError));
                Ok(self.refuse(RefusalKind::SignedOut, cause, Vec::new(), progress))
            }
            (token, _) => {
                let owner = token.as_deref().and_then(Owner::of);
                let owner = owner.zip(token.as_deref());
                let task = Task::SignOut(self.sign_out_of(extent, progress));
                Ok(order(task, owner, Kept::default()))
            }
        }
    }

    fn goes_to_sign_in(&self) -> bool {
        self.0.facts.parameter("then").as_deref() == Some("sign-in")
    }

    pub(super) fn sign_out_of(&self, extent: Extent, progress: &Progress<'r>) -> SignOut {
        SignOut {
            extent,
            after: self.after_sign_out(progress),
        }
    }

    /// Where a person goes who has signed out.
    fn after_sign_out(&self, progress: &Progress<'r>) -> String {
        let Inputs {
            facts, instance, ..
        } = self.0;
        let wanted = if self.goes_to_sign_in() {
            let browser = self.dev_browser(progress);
            facts.url().and_then(|base| {
                let back = self.return_address(&base);
                let browser = browser.as_deref();
                redirect::sign_in_url(instance, Destination::SignIn, &base, Some(&back), browser)
                    .map(String::from)
            })
        } else {
            let configured = instance.after_sign_out_url.as_deref();
            configured.and_then(|address| self.address(address, progress))
        };
        wanted.unwrap_or_else(|| format!("{}sign-out?done", self.0.pages_prefix))
    }

    /// The query that carries the way on through the form.
    fn after_query(&self) -> String {
        let facts = self.0.facts;
        let base = facts.url().filter(|_| self.goes_to_sign_in());
        base.map_or_else(String::new, |base| {
            // SECURITY: what stands in the form is our own reading of the address.
            then_sign_in(&self.return_address(&base))
        })
    }

    /// Origins besides our own that a form may come to in the end: browsers hold the redirects that
    /// follow to the policy of the page, and the next page load may lead to Clerk and back.
    pub(super) fn form_targets(&self, first: Option<&str>) -> Vec<String> {
        let Inputs {
            facts, instance, ..
        } = self.0;
        let frontend_api = instance.frontend_api_at(&facts.origin);
        let mut targets: Vec<String> = Vec::new();
        for address in first.into_iter().chain([&*frontend_api]) {
            let origin = Url::parse(address).ok().map(|url| url.origin());
            let Some(origin) = origin.filter(url::Origin::is_tuple) else {
                continue;
            };
            let origin = origin.ascii_serialization();
            if origin != facts.origin.to_string() && !targets.contains(&origin) {
                targets.push(origin);
            }
        }
        targets
    }
}

/// The query of a sign-out that leads on to the sign-in page, and from there to `back`.
pub(super) fn then_sign_in(back: &Url) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("then", "sign-in")
        .append_pair("redirect_url", back.as_str())
        .finish();
    format!("?{query}")
}
