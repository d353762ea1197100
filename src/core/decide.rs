//! The verdict. Order is written here and nowhere else: pages, Frontend API proxy, route, budgets
//! of addresses, preflight, credentials, session, requirement, all other budgets, identity.

mod answers;
mod budgets;
mod callers;
mod forbidden;
mod order;
mod own_sessions;
mod pages;
mod relay;
mod sign_out;
mod unended;
mod verdict;

use http::header::ORIGIN;

use super::auth::{self, AuthRedirect, AuthState, Outcome, SignedIn};
use super::budget::Sender;
use super::facts::{RequestFacts, Upgrade};
use super::handshake;
use super::identity_headers::HeaderPlan;
use super::instance::{Continuity, Instance};
use super::machine::{Accepts, TokenType, TokenTypes};
use super::policy::{CredentialUse, Disclosure, EncodedSlash, Moved, Policy, Preflight, Route};
use super::protected_resource::{self};
use super::question::{Progress, Question, Slot, Stage};
use super::reason::Reason;
use super::redirect::Destination;
use super::requirement::{Caller, Person, Requirement};

use answers::is_our_trouble;
pub use budgets::tells_of_budgets;
pub use order::{
    Browser, Extent, Order, Owner, PresentToken, SignOut, Surroundings, Task, Webhooks,
};
pub use pages::{PAGES, PageEntry};
pub use relay::FapiPermit;
pub use verdict::{
    BodyRule, Challenge, ChallengeError, Decision, Me, Page, Permit, Redirect, Refusal,
    RefusalKind, SignOutForm, Standing, Verdict, Who,
};

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
    /// Whether events of Clerk's are taken in.
    pub webhooks: Webhooks,
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

/// The methods of pages that are only read.
pub const READING: &str = "GET, HEAD";

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
            methods: READING,
        }),
        cause: Some(Reason::HostNotServed.into()),
        standing: Standing::Unasked,
        who: None,
        set_cookies: Vec::new(),
        keepsakes: Vec::new(),
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
        let unreadable = match found.moved {
            Moved::Nowhere(reason) => Some(reason),
            Moved::Not | Moved::To(_) => (facts.path.has_encoded_slash()
                && route.encoded_slash == EncodedSlash::Refuse)
                .then_some(Reason::PathEncodedSlash),
        };
        if let Some(reason) = unreadable {
            let cause = reason.into();
            return Ok(self.refuse(RefusalKind::Request, cause, Vec::new(), progress));
        }
        if let Some(verdict) = self.arrives(route, progress)? {
            return Ok(verdict);
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
            self.prepare(Stage::Admission, route, Sender::Nobody, progress);
            let verdict = self.forward(route, None, BodyRule::Stream, progress);
            return self.admits(verdict, progress);
        }
        let (now_ms, rides) = (self.0.now_ms, policy.ride_ms(&found));
        let accepts = terms.accepts();
        let state = auth::authenticate_riding(facts, instance, accepts, now_ms, rides, progress)?;
        let state = self.renewed(terms, state, progress)?;
        let sender = self.sender(route, &state);
        self.prepare(Stage::Admission, route, sender, progress);
        let verdict = self.judge(terms, state, progress)?;
        self.admits(verdict, progress)
    }

    /// Where a cookie's token holds and is only too old for the route, the session as it is once it has
    /// been renewed; where it cannot be, as it was.
    fn renewed(
        &self,
        terms: Terms<'_>,
        state: AuthState,
        progress: &Progress<'r>,
    ) -> Result<AuthState, Question> {
        let Inputs {
            facts,
            instance,
            now_ms,
            ..
        } = self.0;
        let Some(session) = state.session(instance.pending) else {
            return Ok(state);
        };
        if !matches!(session.slot, Slot::Session | Slot::SuffixedSession) {
            return Ok(state);
        }
        let too_old = session.token.identity().is_some_and(|identity| {
            let person = Person {
                identity,
                token: &session.token,
                now_ms,
            };
            terms.judge(Caller::Person(person)) == Err(Reason::TokenTooOld)
        });
        if !too_old {
            return Ok(state);
        }
        let renewed = auth::renew(facts, instance, Reason::TokenTooOld, now_ms, progress)?;
        Ok(match renewed.outcome {
            Outcome::SignedIn(_) | Outcome::Redirect(_) => renewed,
            Outcome::SignedOut(_) | Outcome::Broken(_) | Outcome::Machine(_) => state,
        })
    }

    /// Session and requirements are known: what follows. The gate's own cookies are kept whatever that
    /// is.
    fn judge(
        &self,
        terms: Terms<'_>,
        mut state: AuthState,
        progress: &Progress<'r>,
    ) -> Result<Verdict, Question> {
        let mut kept = std::mem::take(&mut state.keepsakes);
        let mut verdict = self.judge_state(terms, state, progress)?;
        kept.append(&mut verdict.keepsakes);
        verdict.keepsakes = kept;
        Ok(verdict)
    }

    fn judge_state(
        &self,
        terms: Terms<'_>,
        state: AuthState,
        progress: &Progress<'r>,
    ) -> Result<Verdict, Question> {
        let Terms { route, open, .. } = terms;
        let machine = state.token_type != Some(TokenType::Session);
        let session = state.session(self.0.instance.pending).cloned();
        let cookies = state.set_cookies;
        Ok(match state.outcome {
            Outcome::Redirect(AuthRedirect {
                cause: Some(cause), ..
            }) if !open && self.is_unended(&cause, progress) => {
                self.unended(route, cause, cookies, progress)
            }
            Outcome::Redirect(redirect) => Verdict {
                decision: Decision::Redirect(Redirect {
                    location: redirect.location,
                }),
                cause: redirect.cause,
                standing: Standing::Handshake,
                who: None,
                set_cookies: cookies,
                keepsakes: Vec::new(),
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
            // SECURITY: a page of any site can open a WebSocket here, and the browser sends the cookies
            // along. Only what the browser says of that page tells it from one of ours.
            Outcome::SignedIn(signed_in) if self.is_foreign_websocket(&signed_in) => {
                let reason = Reason::OriginNotAllowed;
                if open {
                    Verdict {
                        cause: Some(reason.into()),
                        standing: Standing::SignedOut,
                        set_cookies: cookies,
                        ..self.forward(route, None, BodyRule::Stream, progress)
                    }
                } else {
                    let kind = match route.disclosure {
                        Disclosure::Open => RefusalKind::Forbidden,
                        Disclosure::Hidden => RefusalKind::Hidden,
                    };
                    self.refuse(kind, reason.into(), cookies, progress)
                }
            }
            Outcome::SignedIn(_) => match session {
                Some(session) => self.signed_in(terms, &session, cookies, progress)?,
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
        })
    }

    /// Whether this is a handshake for a WebSocket that carries the cookies of a session, and of which
    /// the browser does not say that a page of this site, or of a listed one, asked for it.
    fn is_foreign_websocket(&self, session: &SignedIn) -> bool {
        let Inputs {
            facts, instance, ..
        } = self.0;
        if facts.upgrade != Upgrade::WebSocket || session.slot == Slot::Bearer {
            return false;
        }
        // Browsers always say where a page is of: what the SDK lets through without it is no browser's.
        if instance.continuity == Continuity::Faithful && !facts.headers.contains_key(ORIGIN) {
            return false;
        }
        let asked = facts.page_origin();
        !asked.is_some_and(|origin| {
            origin == facts.origin || instance.websocket_origins.contains(&origin)
        })
    }
}
