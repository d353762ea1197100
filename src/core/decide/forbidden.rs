//! Somebody who is signed in and may not: what they are told, and what they can do about it.

use super::sign_out::then_sign_in;
use super::{
    ChallengeError, Decision, Disclosure, Judge, Person, Redirect, Refusal, RefusalKind, Route,
    Standing, Terms, Verdict,
};
use crate::core::authorization::Reverification;
use crate::core::facts::Audience;
use crate::core::question::Progress;
use crate::core::reason::Reason;
use crate::core::redirect::Destination;
use crate::core::step_up::{self, StepUp};

impl<'r> Judge<'_, 'r> {
    /// Somebody who is signed in and may not.
    pub(super) fn forbidden(
        &self,
        terms: Terms<'_>,
        person: Person<'_>,
        reason: Reason,
        progress: &Progress<'r>,
    ) -> Verdict {
        let route = terms.route;
        if self.0.facts.audience == Audience::Navigation
            && let Some(location) = route
                .on_forbidden
                .as_deref()
                .and_then(|address| self.address(address, progress))
        {
            return Verdict {
                decision: Decision::Redirect(Redirect { location }),
                cause: Some(reason.into()),
                standing: Standing::SignedIn,
                who: None,
                set_cookies: Vec::new(),
                keepsakes: Vec::new(),
                route: progress.route().cloned(),
            };
        }
        let kind = Self::kind(route, reason, progress);
        let mut verdict = self.refuse(kind, reason.into(), Vec::new(), progress);
        if kind == RefusalKind::Forbidden
            && let Decision::Refuse(refusal) = &mut verdict.decision
            && let Some(wanted) = step_up::wanted(terms.requirements, person)
        {
            self.offer(wanted, refusal, progress);
        }
        verdict
    }

    fn kind(route: &Route, reason: Reason, progress: &Progress<'r>) -> RefusalKind {
        let bearer = progress.credentials().is_some_and(|c| c.bearer.is_some());
        match route.disclosure {
            Disclosure::Hidden => RefusalKind::Hidden,
            // A program that is told that its token is not taken gets itself another one (RFC 6750,
            // section 3.1). A browser has its token renewed, or asks for one by its next page load.
            Disclosure::Open if bearer && reason == Reason::TokenTooOld => {
                RefusalKind::Unauthorized
            }
            Disclosure::Open => RefusalKind::Forbidden,
        }
    }

    /// Says what can be verified again, and where.
    fn offer(&self, wanted: Reverification, refusal: &mut Refusal, progress: &Progress<'r>) {
        let challenge = &mut refusal.challenge;
        challenge.error = challenge
            .error
            .map(|_| ChallengeError::InsufficientAuthentication);
        challenge.step_up = self.sign_in_again().map(|sign_in_again| StepUp {
            wanted,
            sign_in_again,
            through: self.form_targets(self.sign_in(Destination::SignIn, progress).as_deref()),
        });
    }

    /// Where a form goes that ends the session and signs in again, which verifies every factor.
    pub(super) fn sign_in_again(&self) -> Option<String> {
        let back = self.way_back(&self.0.facts.url()?)?;
        Some(format!(
            "{}sign-out{}",
            self.0.pages_prefix,
            then_sign_in(&back)
        ))
    }
}
