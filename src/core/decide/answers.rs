//! What a judgement comes to: a permit, a refusal with its challenge, an address to go to.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::{
    BodyRule, Challenge, ChallengeError, Decision, Inputs, Judge, Permit, READING, Refusal,
    RefusalKind, Standing, Verdict, Who,
};
use crate::core::auth::SignedIn;
use crate::core::binding::Binding;
use crate::core::facts::{Audience, Upgrade};
use crate::core::identity::Identity;
use crate::core::injection::Insertion;
use crate::core::policy::{Pages, Route};
use crate::core::protected_resource;
use crate::core::question::{Progress, Question};
use crate::core::reason::{Cause, Reason};
use crate::core::redirect::{self, Destination};
use crate::core::ride_through::{self, RIDE_THROUGH_HEADER, RIDES};
use crate::core::signed_assertion::Subject;

impl<'r> Judge<'_, 'r> {
    pub(super) fn forward(
        &self,
        route: &Route,
        session: Option<&SignedIn>,
        body: BodyRule,
        progress: &Progress<'r>,
    ) -> Verdict {
        let Some(session) = session else {
            let (subject, binding) = (Subject::Nobody, Binding::Nobody);
            return self.forward_as(route, Vec::new(), subject, binding, body, progress);
        };
        let headers = self.0.headers.headers(&session.token);
        let subject = session.token.identity();
        let subject = subject.map_or(Subject::Nobody, Subject::Person);
        let binding = Binding::of_session(self.0.facts.site, session);
        let mut verdict = self.forward_as(route, headers, subject, binding, body, progress);
        if session.rides_until_ms.is_some()
            && let Decision::Forward(permit) = &mut verdict.decision
        {
            let ends_ms = ride_through::ends_ms(&session.token).unwrap_or_default();
            let ago_ms = self.0.now_ms.saturating_sub(ends_ms);
            permit.rides = Some(Duration::from_millis(ago_ms));
            permit.identity.push((RIDE_THROUGH_HEADER.clone(), RIDES));
        }
        verdict
    }

    /// What is put into the page: only browsers that go to one get it.
    fn insertion(&self, route: &Route, subject: Subject<'_>) -> Option<Box<Insertion>> {
        let Inputs {
            facts,
            instance,
            pages_prefix,
            ..
        } = self.0;
        let page = route.pages == Pages::WithClerkJs
            && facts.audience == Audience::Navigation
            && facts.upgrade == Upgrade::None
            && !matches!(subject, Subject::Machine(_));
        let insertion = page.then(|| Insertion::of(instance, &facts.origin, pages_prefix));
        insertion.flatten().map(Box::new)
    }

    /// The same for somebody who may: with the token of the route's template, where it has one.
    pub(super) fn forward_signed_in(
        &self,
        route: &Route,
        session: &SignedIn,
        progress: &Progress<'r>,
    ) -> Result<Verdict, Question> {
        // What Clerk is asked for a template is nothing to whoever has spent a limit.
        if let Some(refused) = self.admission(progress)? {
            return Ok(refused);
        }
        let header = match &route.template {
            None => None,
            Some(template) => match progress.template(session.slot)? {
                Ok(token) => HeaderValue::try_from(template.text(token))
                    .ok()
                    .map(|value| (template.header.clone(), value)),
                Err(_) => None,
            },
        };
        if route.template.is_some() && header.is_none() {
            let cause = Reason::TemplateUnavailable.into();
            return Ok(self.refuse(RefusalKind::Unavailable, cause, Vec::new(), progress));
        }
        let mut verdict = self.forward(route, Some(session), BodyRule::Stream, progress);
        if let (Decision::Forward(permit), Some((name, mut value))) =
            (&mut verdict.decision, header)
        {
            value.set_sensitive(true);
            permit.identity.push((name, value));
        }
        Ok(verdict)
    }

    pub(super) fn forward_as(
        &self,
        route: &Route,
        identity: Vec<(HeaderName, HeaderValue)>,
        subject: Subject<'_>,
        binding: Binding,
        body: BodyRule,
        progress: &Progress<'r>,
    ) -> Verdict {
        let Inputs { facts, now_ms, .. } = self.0;
        let plan = self.0.headers.assertion();
        Verdict {
            decision: Decision::Forward(Permit {
                upstream: route.upstream,
                target: progress.route().and_then(|found| found.target().cloned()),
                identity,
                assertion: plan.map(|plan| plan.assert(facts, route, subject, now_ms)),
                max_body: route.max_body,
                response_timeout: route.response_timeout,
                body,
                binding,
                withheld: route
                    .template
                    .as_ref()
                    .map(|template| template.header.clone()),
                insertion: self.insertion(route, subject),
                rides: None,
            }),
            cause: None,
            standing: Standing::Unasked,
            who: None,
            set_cookies: Vec::new(),
            keepsakes: Vec::new(),
            route: progress.route().cloned(),
        }
    }

    pub(super) fn refuse(
        &self,
        kind: RefusalKind,
        cause: Cause,
        set_cookies: Vec<String>,
        progress: &Progress<'r>,
    ) -> Verdict {
        let helps = kind == RefusalKind::SignedOut;
        Verdict {
            decision: Decision::Refuse(Refusal {
                kind,
                cause: cause.clone(),
                audience: self.0.facts.audience,
                sign_in_url: if helps {
                    self.sign_in(Destination::SignIn, progress)
                } else {
                    None
                },
                challenge: self.challenge(cause.reason, progress),
                methods: READING,
            }),
            cause: Some(cause),
            standing: Standing::SignedOut,
            who: None,
            set_cookies,
            keepsakes: Vec::new(),
            route: progress.route().cloned(),
        }
    }

    /// What a client is told that could come again with a better token.
    pub(super) fn challenge(&self, reason: Reason, progress: &Progress<'r>) -> Challenge {
        let Inputs { facts, policy, .. } = self.0;
        let presented = progress.credentials().is_some_and(|c| c.bearer.is_some());
        let route = progress.route();
        Challenge {
            error: match reason {
                Reason::ScopeMissing => Some(ChallengeError::InsufficientScope),
                _ => presented.then_some(ChallengeError::InvalidToken),
            },
            scopes: match (reason, route) {
                (Reason::ScopeMissing, Some(found)) => {
                    let requirement = &policy.route(found.route).requirement;
                    requirement
                        .scopes()
                        .into_iter()
                        .map(str::to_owned)
                        .collect()
                }
                _ => Vec::new(),
            },
            resource_metadata: route
                .and_then(|found| protected_resource::description(facts, policy, found)),
            step_up: None,
            unended: None,
        }
    }

    /// The address that people come back to when they have signed in: this page. The way back of
    /// anything that is no page load is the front page: nobody can go back to a form post.
    pub(super) fn way_back(&self, base: &Url) -> Option<Url> {
        let facts = self.0.facts;
        match facts.audience {
            Audience::Navigation => super::handshake::without_result(facts, base),
            Audience::Submission | Audience::Program => base.join("/").ok(),
        }
    }

    /// The sign-in page with the way back to this very request.
    pub(super) fn sign_in(
        &self,
        destination: Destination,
        progress: &Progress<'r>,
    ) -> Option<String> {
        let Inputs {
            facts, instance, ..
        } = self.0;
        let base = facts.url()?;
        let back = self.way_back(&base)?;
        let browser = self.dev_browser(progress);
        redirect::sign_in_url(
            instance,
            destination,
            &base,
            Some(&back),
            browser.as_deref(),
        )
        .map(Url::into)
    }

    pub(super) fn dev_browser(&self, progress: &Progress<'r>) -> Option<String> {
        if !self.0.instance.is_development() {
            return None;
        }
        let credentials = progress.credentials()?;
        credentials
            .dev_browser_parameter
            .clone()
            .filter(|browser| !browser.is_empty())
            .or_else(|| {
                credentials
                    .dev_browser
                    .suffixed
                    .as_deref()
                    .map(str::to_owned)
            })
            .or_else(|| credentials.dev_browser.plain.as_deref().map(str::to_owned))
    }

    /// A configured address on the public origin, or an absolute one as it is.
    pub(super) fn address(&self, address: &str, progress: &Progress<'r>) -> Option<String> {
        let base = self.0.facts.url()?;
        let target = base.join(address).ok()?;
        let browser = self.dev_browser(progress);
        Some(redirect::decorated(self.0.instance, target, &base, browser.as_deref()).into())
    }
}

pub(super) fn who(identity: &Identity) -> Who {
    Who {
        user: identity.user.clone(),
        session: identity.session.clone(),
        organization: identity.organization_id().map(str::to_owned),
    }
}

/// Reasons that say nothing about the sender: we have no key to judge by.
pub(super) fn is_our_trouble(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::JwkRemoteFailedToLoad
            | Reason::SecretKeyInvalid
            | Reason::SessionRenewalUnavailable
            | Reason::TokenVerificationUnavailable
    )
}
