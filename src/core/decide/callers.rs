//! Whoever calls is known: a person, a machine, or nobody. What they get.

use super::answers::{is_our_trouble, who};
use super::{BodyRule, Decision, Judge, Redirect, RefusalKind, Standing, Terms, Verdict, Who};
use crate::core::auth::SignedIn;
use crate::core::binding::Binding;
use crate::core::facts::Audience;
use crate::core::machine::Machine;
use crate::core::policy::{Disclosure, OnSignedOut, Route};
use crate::core::question::{Progress, Question, Slot};
use crate::core::reason::{Cause, Reason};
use crate::core::redirect::Destination;
use crate::core::requirement::{Caller, Person};
use crate::core::signed_assertion::Subject;

impl<'r> Judge<'_, 'r> {
    pub(super) fn signed_in(
        &self,
        terms: Terms<'_>,
        session: &SignedIn,
        cookies: Vec<String>,
        progress: &Progress<'r>,
    ) -> Result<Verdict, Question> {
        let Some(identity) = session.token.identity() else {
            return Ok(self.refuse(
                RefusalKind::Unavailable,
                Reason::UnexpectedError.into(),
                cookies,
                progress,
            ));
        };
        let person = Person {
            identity,
            token: &session.token,
            now_ms: self.0.now_ms,
        };
        let verdict = match terms.judge(Caller::Person(person)) {
            Ok(()) => self.forward_signed_in(terms.route, session, progress)?,
            Err(reason) => self.forbidden(terms, person, reason, progress),
        };
        Ok(Verdict {
            standing: Standing::SignedIn,
            who: Some(who(identity)),
            set_cookies: cookies,
            ..verdict
        })
    }

    /// A verified machine. What it lacks is a matter of its token, not of a page (section 7.2); a
    /// missing scope is told as RFC 6750 (section 3.1) has it.
    pub(super) fn machine(
        &self,
        terms: Terms<'_>,
        machine: &Machine,
        cookies: Vec<String>,
        progress: &Progress<'r>,
    ) -> Verdict {
        let route = terms.route;
        let verdict = match terms.judge(Caller::Machine(machine)) {
            Ok(()) => {
                let identity = self.0.headers.of_machine(machine);
                let subject = Subject::Machine(machine);
                let token = progress.decoded(Slot::Bearer).map(AsRef::as_ref);
                let binding = Binding::of_machine(self.0.facts.site, machine, token);
                self.forward_as(
                    route,
                    identity,
                    subject,
                    binding,
                    BodyRule::Stream,
                    progress,
                )
            }
            Err(reason) => {
                let kind = match (reason, route.disclosure) {
                    (Reason::ScopeMissing, Disclosure::Hidden) => RefusalKind::Hidden,
                    (Reason::ScopeMissing, Disclosure::Open) => RefusalKind::Forbidden,
                    _ => RefusalKind::Unauthorized,
                };
                self.refuse(kind, reason.into(), Vec::new(), progress)
            }
        };
        Verdict {
            standing: Standing::SignedIn,
            who: Some(Who {
                user: machine.subject.clone(),
                session: None,
                organization: machine.organization().map(str::to_owned),
            }),
            set_cookies: cookies,
            ..verdict
        }
    }

    /// Somebody who is signed out where a session is asked for.
    pub(super) fn signed_out(
        &self,
        route: &Route,
        cause: Cause,
        destination: Destination,
        cookies: Vec<String>,
        progress: &Progress<'r>,
    ) -> Verdict {
        if is_our_trouble(cause.reason) {
            return self.refuse(RefusalKind::Unavailable, cause, cookies, progress);
        }
        if self.is_unended(&cause, progress) {
            return self.unended(route, cause, cookies, progress);
        }
        let navigation = self.0.facts.audience == Audience::Navigation;
        let location = match &route.on_signed_out {
            OnSignedOut::Redirect if navigation => self.sign_in(destination, progress),
            OnSignedOut::Address(address) if navigation => self.address(address, progress),
            OnSignedOut::Redirect | OnSignedOut::Address(_) | OnSignedOut::Unauthorized => None,
        };
        if let Some(location) = location {
            return Verdict {
                decision: Decision::Redirect(Redirect { location }),
                cause: Some(cause),
                standing: Standing::SignedOut,
                who: None,
                set_cookies: cookies,
                keepsakes: Vec::new(),
                route: progress.route().cloned(),
            };
        }
        let kind = match route.disclosure {
            Disclosure::Open => RefusalKind::SignedOut,
            Disclosure::Hidden => RefusalKind::Hidden,
        };
        self.refuse(kind, cause, cookies, progress)
    }
}
