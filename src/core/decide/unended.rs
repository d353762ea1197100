//! Somebody whose session has ended here and not at Clerk: it goes on bringing them back with it.

use super::{Decision, Destination, Disclosure, Judge, RefusalKind, Route, Verdict};
use crate::core::facts::Audience;
use crate::core::notice::{Again, Tab};
use crate::core::question::{Progress, Slot};
use crate::core::reason::{Cause, Reason};

impl<'r> Judge<'_, 'r> {
    /// Whether Clerk has just brought a token of a session that is over here. The sign-in page would
    /// bring the next one, and so on for ever.
    pub(super) fn is_unended(&self, cause: &Cause, progress: &Progress<'r>) -> bool {
        // The page for signing out offers as much itself.
        let path = self.0.facts.path.as_str().strip_prefix(self.0.pages_prefix);
        cause.reason == Reason::SessionRevoked
            && path != Some("sign-out")
            && self.0.facts.audience == Audience::Navigation
            && progress.raw(Slot::FromHandshake).is_some()
    }

    /// A page that says so, with a form that ends the session at Clerk too and signs in anew.
    pub(super) fn unended(
        &self,
        route: &Route,
        cause: Cause,
        cookies: Vec<String>,
        progress: &Progress<'r>,
    ) -> Verdict {
        let kind = match route.disclosure {
            Disclosure::Open => RefusalKind::SignedOut,
            Disclosure::Hidden => RefusalKind::Hidden,
        };
        let mut verdict = self.refuse(kind, cause, cookies, progress);
        if let Decision::Refuse(refusal) = &mut verdict.decision {
            // Signing in is what leads back here.
            refusal.sign_in_url = None;
            let through = self.sign_in(Destination::SignIn, progress);
            refusal.challenge.unended = self.sign_in_again().map(|action| Again {
                action,
                through: self.form_targets(through.as_deref()),
                tab: Tab::Same,
            });
        }
        verdict
    }
}
