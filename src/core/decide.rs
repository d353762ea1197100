//! The verdict. Order is written here and nowhere else: pages, Frontend API proxy, route, preflight,
//! credentials, session, requirement, identity.

mod relay;

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use url::Url;

use super::auth::{self, AuthState, Outcome, SignedIn};
use super::facts::{Audience, RequestFacts};
use super::handshake;
use super::identity::Identity;
use super::identity_headers::HeaderPlan;
use super::instance::Instance;
use super::machine::{Accepts, Machine, TokenType, TokenTypes};
use super::masked::{Address, CookieLines};
use super::policy::{
    CredentialUse, Disclosure, EncodedSlash, OnSignedOut, Policy, Preflight, Route, RouteMatch,
};
use super::protected_resource::{self, ProtectedResource};
use super::question::{Progress, Question};
use super::reason::{Cause, Reason};
use super::redirect::{self, Destination};
use super::requirement::{Caller, Person, Requirement};

pub use relay::FapiPermit;

/// Everything a verdict depends on, made once for each request.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, 'r> {
    /// The request.
    pub facts: &'a RequestFacts<'r>,
    /// The Clerk instance.
    pub instance: &'a Instance,
    /// The route policy.
    pub policy: &'a Policy,
    /// Which headers carry identity.
    pub headers: &'a HeaderPlan,
    /// The prefix of our own pages, with a slash at both ends.
    pub pages_prefix: &'a str,
    /// Now, in milliseconds since the epoch: one reading of the clock for the whole request.
    pub now_ms: u64,
}

/// What `decide` came to.
#[derive(Debug)]
pub enum Step {
    /// The verdict.
    Done(Box<Verdict>),
    /// Something has to be found out first.
    Ask(Question),
}

/// The verdict on a request.
#[derive(Clone)]
pub struct Verdict {
    /// What is done.
    pub decision: Decision,
    /// Why it is not simply forwarded, or why nobody is signed in.
    pub cause: Option<Cause>,
    /// Whether the sender is signed in.
    pub standing: Standing,
    /// Who the sender is, if signed in.
    pub who: Option<Who>,
    /// Set-Cookie strings for the answer, untouched.
    pub set_cookies: Vec<String>,
    /// The route that decided; `None` for our own pages.
    pub route: Option<RouteMatch>,
}

/// The ids of a sender, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// `sub`.
    pub user: String,
    /// `sid`.
    pub session: Option<String>,
    /// The active organisation.
    pub organization: Option<String>,
}

/// How a sender stands, in the words of `x-clerk-auth-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A verified session.
    SignedIn,
    /// No session.
    SignedOut,
    /// On the way to Clerk and back.
    Handshake,
    /// Nobody looked.
    Unasked,
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It goes to the upstream.
    Forward(Permit),
    /// It goes to Clerk's Frontend API.
    Relay(FapiPermit),
    /// The browser is sent elsewhere.
    Redirect(Redirect),
    /// It is refused.
    Refuse(Refusal),
    /// One of our own pages answers it.
    Page(Page),
}

/// Leave to reach an upstream with one request. Only [`decide`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    upstream: usize,
    identity: Vec<(HeaderName, HeaderValue)>,
    max_body: Option<u64>,
    response_timeout: Option<Duration>,
    body: BodyRule,
}

/// What becomes of the body of a forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// It is streamed.
    Stream,
    /// It is left out: a preflight has none.
    Drop,
}

impl Permit {
    /// Which of the configured upstreams is meant.
    pub fn upstream(&self) -> usize {
        self.upstream
    }

    /// The identity headers to set, after every one a client sent has been removed.
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        &self.identity
    }

    /// The largest body in bytes, if the route limits it.
    pub fn max_body(&self) -> Option<u64> {
        self.max_body
    }

    /// How long the upstream may take to begin its answer, if the route says so.
    pub fn response_timeout(&self) -> Option<Duration> {
        self.response_timeout
    }

    /// What becomes of the body.
    pub fn body(&self) -> BodyRule {
        self.body
    }
}

/// A redirect.
#[derive(Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 307: the method stays, and only GET and HEAD are ever redirected.
    pub location: String,
}

/// A refusal, to be turned into an answer by `reply`.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// Why.
    pub cause: Cause,
    /// Who reads it.
    pub audience: Audience,
    /// Where to sign in, if that would help.
    pub sign_in_url: Option<String>,
    /// What a client is told that could come again with a better token.
    pub challenge: Challenge,
}

/// What `WWW-Authenticate` says (RFC 6750, section 3; RFC 9728, section 5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// What is wrong with the token that came; `None` if none came.
    pub error: Option<ChallengeError>,
    /// The scopes that are asked for, where one is missing.
    pub scopes: Vec<String>,
    /// Where the resource is described, if it takes OAuth tokens.
    pub resource_metadata: Option<String>,
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// It is not accepted.
    InvalidToken,
    /// It may not do this.
    InsufficientScope,
}

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Sign in first.
    SignedOut,
    /// A machine token that is missing, is not accepted or is not enough.
    Unauthorized,
    /// Signed in, but not allowed.
    Forbidden,
    /// The same, where nothing may be told.
    Hidden,
    /// The request cannot be taken, whoever sent it.
    Request,
    /// We cannot tell at the moment.
    Unavailable,
}

/// A page of our own.
#[derive(Clone, Debug, PartialEq)]
pub enum Page {
    /// `/_gate/unauthorized`: the page for people who may not.
    Unauthorized,
    /// `/_gate/me`: who am I.
    Me(Box<Identity>),
    /// What an OAuth client has to know.
    ProtectedResource(Box<ProtectedResource>),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("decision", &self.decision)
            .field("cause", &self.cause)
            .field("standing", &self.standing)
            .field("who", &self.who)
            .field("set_cookies", &CookieLines(&self.set_cookies))
            .field("route", &self.route)
            .finish()
    }
}

impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redirect")
            .field(&Address(&self.location))
            .finish()
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("kind", &self.kind)
            .field("cause", &self.cause)
            .field("audience", &self.audience)
            .field("sign_in_url", &self.sign_in_url.as_deref().map(Address))
            .field("challenge", &self.challenge)
            .finish()
    }
}

/// Decides about a request, or asks. Total: it always answers, and it never asks twice.
pub fn decide<'r>(inputs: Inputs<'_, 'r>, progress: &mut Progress<'r>) -> Step {
    match Judge(inputs).decide(progress) {
        Ok(verdict) => Step::Done(Box::new(verdict)),
        Err(question) if progress.ask(question) => Step::Ask(question),
        // INVARIANT: the gate notes an answer to each question. Should it ever not, nobody gets in.
        Err(_) => Step::Done(Box::new(Judge(inputs).refuse(
            RefusalKind::Unavailable,
            Reason::UnexpectedError.into(),
            Vec::new(),
            progress,
        ))),
    }
}

/// What our own pages take.
const SESSION: Accepts = Accepts::One(TokenType::Session);

/// What a request is judged by: its route, and what the route and its stricter readings ask.
#[derive(Clone, Copy)]
struct Terms<'t> {
    route: &'t Route,
    requirements: &'t [&'t Requirement],
    open: bool,
}

impl Terms<'_> {
    /// The tokens with which every requirement can be met.
    fn accepts(&self) -> Accepts {
        accepts(self.requirements)
    }

    fn judge(&self, caller: Caller<'_>) -> Result<(), Reason> {
        let mut requirements = self.requirements.iter();
        requirements.try_for_each(|requirement| requirement.judge(caller))
    }
}

/// The tokens with which each of these requirements can be met. What anybody meets has a say only
/// where it stands alone.
pub(super) fn accepts(requirements: &[&Requirement]) -> Accepts {
    let open = requirements.iter().all(|requirement| requirement.is_open());
    let asking = requirements
        .iter()
        .filter(|requirement| open || !requirement.is_open());
    let types = asking.map(|requirement| requirement.token_types());
    types.fold(TokenTypes::ANY, TokenTypes::and).into()
}

/// The verdict on a request of a site that is not there.
pub fn not_served(facts: &RequestFacts<'_>) -> Verdict {
    Verdict {
        decision: Decision::Refuse(Refusal {
            kind: RefusalKind::Request,
            cause: Reason::HostNotServed.into(),
            audience: facts.audience,
            sign_in_url: None,
            challenge: Challenge::default(),
        }),
        cause: Some(Reason::HostNotServed.into()),
        standing: Standing::Unasked,
        who: None,
        set_cookies: Vec::new(),
        route: None,
    }
}

struct Judge<'a, 'r>(Inputs<'a, 'r>);

impl<'r> Judge<'_, 'r> {
    fn decide(&self, progress: &mut Progress<'r>) -> Result<Verdict, Question> {
        let Inputs {
            facts,
            instance,
            policy,
            ..
        } = self.0;
        if let Some(page) = facts.path.as_str().strip_prefix(self.0.pages_prefix) {
            return self.page(page, progress);
        }
        if let Some(verdict) = self.relay(progress) {
            return Ok(verdict);
        }
        if let Some(resource) = protected_resource::described(facts, policy, instance) {
            return Ok(Self::own(
                Page::ProtectedResource(Box::new(resource)),
                progress,
            ));
        }
        progress.find_route(|| policy.find(facts.method, facts.host.name(), &facts.path));
        let Some(found) = progress.route().cloned() else {
            return Ok(self.refuse(
                RefusalKind::Request,
                Reason::UnexpectedError.into(),
                Vec::new(),
                progress,
            ));
        };
        let route = policy.route(found.route);
        if facts.path.has_encoded_slash() && route.encoded_slash == EncodedSlash::Refuse {
            return Ok(self.refuse(
                RefusalKind::Request,
                Reason::PathEncodedSlash.into(),
                Vec::new(),
                progress,
            ));
        }
        let readings = || {
            let stricter = found.stricter.iter().map(|other| policy.route(other.route));
            std::iter::once(route).chain(stricter)
        };
        // SECURITY: a path that some server takes for another route is let through only if that
        // route would let it through as well.
        if facts.is_preflight() && readings().all(|read| read.preflight == Preflight::Forward) {
            return Ok(self.forward(route, None, BodyRule::Drop, progress));
        }
        let requirements: Vec<&Requirement> = readings().map(|read| &read.requirement).collect();
        let open = requirements.iter().all(|requirement| requirement.is_open());
        let terms = Terms {
            route,
            requirements: &requirements,
            open,
        };
        // A stricter reading forces a look at the credentials even where the route has none.
        if route.credentials == CredentialUse::Ignore && open {
            return Ok(self.forward(route, None, BodyRule::Stream, progress));
        }
        let state = auth::authenticate(facts, instance, terms.accepts(), self.0.now_ms, progress)?;
        Ok(self.judge(terms, state, progress))
    }

    /// Session and requirements are known: what follows.
    fn judge(&self, terms: Terms<'_>, state: AuthState, progress: &Progress<'r>) -> Verdict {
        let Terms { route, open, .. } = terms;
        let machine = state.token_type != Some(TokenType::Session);
        let session = state.session(self.0.instance.pending).cloned();
        let cookies = state.set_cookies;
        match state.outcome {
            Outcome::Redirect(redirect) => Verdict {
                decision: Decision::Redirect(Redirect {
                    location: redirect.location,
                }),
                cause: redirect.cause,
                standing: Standing::Handshake,
                who: None,
                set_cookies: cookies,
                route: progress.route().cloned(),
            },
            Outcome::Broken(reason) => {
                self.refuse(RefusalKind::Request, reason.into(), cookies, progress)
            }
            Outcome::SignedOut(cause) if open => Verdict {
                cause: Some(cause),
                standing: Standing::SignedOut,
                set_cookies: cookies,
                ..self.forward(route, None, BodyRule::Stream, progress)
            },
            // No page to sign in on helps a machine, and nothing is hidden from one (section 7.2).
            Outcome::SignedOut(cause) if machine => {
                let kind = if is_our_trouble(cause.reason) {
                    RefusalKind::Unavailable
                } else {
                    RefusalKind::Unauthorized
                };
                self.refuse(kind, cause, cookies, progress)
            }
            Outcome::SignedOut(cause) => {
                self.signed_out(route, cause, Destination::SignIn, cookies, progress)
            }
            Outcome::Machine(machine) => self.machine(terms, &machine, cookies, progress),
            Outcome::SignedIn(_) => match session {
                Some(session) => self.signed_in(terms, &session, cookies, progress),
                None if open => Verdict {
                    cause: Some(Reason::SessionPending.into()),
                    standing: Standing::SignedOut,
                    set_cookies: cookies,
                    ..self.forward(route, None, BodyRule::Stream, progress)
                },
                None => self.signed_out(
                    route,
                    Reason::SessionPending.into(),
                    Destination::Tasks,
                    cookies,
                    progress,
                ),
            },
        }
    }

    fn signed_in(
        &self,
        terms: Terms<'_>,
        session: &SignedIn,
        cookies: Vec<String>,
        progress: &Progress<'r>,
    ) -> Verdict {
        let Some(identity) = session.token.identity() else {
            return self.refuse(
                RefusalKind::Unavailable,
                Reason::UnexpectedError.into(),
                cookies,
                progress,
            );
        };
        let person = Person {
            identity,
            token: &session.token,
            now_ms: self.0.now_ms,
        };
        let verdict = match terms.judge(Caller::Person(person)) {
            Ok(()) => self.forward(terms.route, Some(session), BodyRule::Stream, progress),
            Err(reason) => self.forbidden(terms.route, reason, progress),
        };
        Verdict {
            standing: Standing::SignedIn,
            who: Some(who(identity)),
            set_cookies: cookies,
            ..verdict
        }
    }

    /// A verified machine. What it lacks is a matter of its token, not of a page (section 7.2); a
    /// missing scope is told as RFC 6750 (section 3.1) has it.
    fn machine(
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
                Self::forward_as(route, identity, BodyRule::Stream, progress)
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
    fn signed_out(
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
                route: progress.route().cloned(),
            };
        }
        let kind = match route.disclosure {
            Disclosure::Open => RefusalKind::SignedOut,
            Disclosure::Hidden => RefusalKind::Hidden,
        };
        self.refuse(kind, cause, cookies, progress)
    }

    /// Somebody who is signed in and may not.
    fn forbidden(&self, route: &Route, reason: Reason, progress: &Progress<'r>) -> Verdict {
        let navigation = self.0.facts.audience == Audience::Navigation;
        if navigation
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
                route: progress.route().cloned(),
            };
        }
        let kind = match route.disclosure {
            Disclosure::Open => RefusalKind::Forbidden,
            Disclosure::Hidden => RefusalKind::Hidden,
        };
        self.refuse(kind, reason.into(), Vec::new(), progress)
    }

    fn forward(
        &self,
        route: &Route,
        session: Option<&SignedIn>,
        body: BodyRule,
        progress: &Progress<'r>,
    ) -> Verdict {
        let identity = session
            .map(|session| self.0.headers.headers(&session.token))
            .unwrap_or_default();
        Self::forward_as(route, identity, body, progress)
    }

    fn forward_as(
        route: &Route,
        identity: Vec<(HeaderName, HeaderValue)>,
        body: BodyRule,
        progress: &Progress<'r>,
    ) -> Verdict {
        Verdict {
            decision: Decision::Forward(Permit {
                upstream: route.upstream,
                identity,
                max_body: route.max_body,
                response_timeout: route.response_timeout,
                body,
            }),
            cause: None,
            standing: Standing::Unasked,
            who: None,
            set_cookies: Vec::new(),
            route: progress.route().cloned(),
        }
    }

    fn refuse(
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
            }),
            cause: Some(cause),
            standing: Standing::SignedOut,
            who: None,
            set_cookies,
            route: progress.route().cloned(),
        }
    }

    /// What a client is told that could come again with a better token.
    fn challenge(&self, reason: Reason, progress: &Progress<'r>) -> Challenge {
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
        }
    }

    /// The sign-in page with the way back to this very request. The way back of anything that is
    /// no page load is the front page: nobody can go back to a form post.
    fn sign_in(&self, destination: Destination, progress: &Progress<'r>) -> Option<String> {
        let Inputs {
            facts, instance, ..
        } = self.0;
        let base = facts.url()?;
        let back = match facts.audience {
            Audience::Navigation => super::handshake::without_result(facts, &base)?,
            Audience::Submission | Audience::Program => base.join("/").ok()?,
        };
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

    fn dev_browser(&self, progress: &Progress<'r>) -> Option<String> {
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
    fn address(&self, address: &str, progress: &Progress<'r>) -> Option<String> {
        let base = self.0.facts.url()?;
        let target = base.join(address).ok()?;
        let browser = self.dev_browser(progress);
        Some(redirect::decorated(self.0.instance, target, &base, browser.as_deref()).into())
    }

    /// Our own pages. Whatever is under the prefix and is no page never reaches the upstream.
    fn page(&self, page: &str, progress: &mut Progress<'r>) -> Result<Verdict, Question> {
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
            "unauthorized" | "me" | "sign-in" | "sign-up" if !reading => {
                refuse(Reason::MethodNotAllowed, progress)
            }
            "unauthorized" => Ok(Self::own(Page::Unauthorized, progress)),
            "sign-in" | "sign-up" => {
                let mut state = auth::authenticate(facts, instance, SESSION, now_ms, progress)?;
                // What was renewed is kept; a redirect to Clerk gives way to the one to sign-in.
                state
                    .set_cookies
                    .retain(|cookie| !handshake::counts_a_redirect(cookie));
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
                        route: None,
                    }),
                    None => refuse(Reason::UnexpectedError, progress),
                }
            }
            "me" => {
                let state = auth::authenticate(facts, instance, SESSION, now_ms, progress)?;
                let session = state.session(instance.pending).cloned();
                let Some(identity) = session.as_ref().and_then(|s| s.token.identity()) else {
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
                            self.judge_page(state, progress)
                        }
                    });
                };
                Ok(Verdict {
                    standing: Standing::SignedIn,
                    who: Some(who(identity)),
                    set_cookies: state.set_cookies,
                    ..Self::own(Page::Me(Box::new(identity.clone())), progress)
                })
            }
            _ => refuse(Reason::PageUnknown, progress),
        }
    }

    /// Redirects and broken results on a page of ours are those of any route.
    fn judge_page(&self, state: AuthState, progress: &Progress<'r>) -> Verdict {
        let route = self.0.policy.route(None);
        let terms = Terms {
            route,
            requirements: &[&route.requirement],
            open: false,
        };
        self.judge(terms, state, progress)
    }

    fn own(page: Page, progress: &Progress<'r>) -> Verdict {
        Verdict {
            decision: Decision::Page(page),
            cause: None,
            standing: Standing::Unasked,
            who: None,
            set_cookies: Vec::new(),
            route: progress.route().cloned(),
        }
    }

    /// Where to go after signing in: `redirect_url` if it stays on our origin, else the front page.
    // SECURITY: the whole address is parsed and written anew, so nothing that browsers read
    // differently (`//host`, backslashes, tabs) survives.
    fn return_address(&self, base: &Url) -> Url {
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

fn who(identity: &Identity) -> Who {
    Who {
        user: identity.user.clone(),
        session: identity.session.clone(),
        organization: identity.organization_id().map(str::to_owned),
    }
}

/// Reasons that say nothing about the sender: we have no key to judge by.
fn is_our_trouble(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::JwkRemoteFailedToLoad
            | Reason::SecretKeyInvalid
            | Reason::TokenVerificationUnavailable
    )
}
