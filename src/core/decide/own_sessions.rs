//! The pages for signing out, for one's sessions and for tokens: who may ask what of them. What signing
//! out comes to is in `sign_out`.
//!
//! What they change is in their path and method alone, so no body has to be read before it is known
//! whether it may be asked.

use std::sync::Arc;

use http::header::ORIGIN;
use http::{HeaderName, Method};

use super::answers::who;
use super::order::{Browser, Extent, Order, Owner, PresentToken, Surroundings, Task};
use super::{Decision, Inputs, Judge, READING, RefusalKind, SESSION, Standing, Verdict};
use crate::core::auth::{self, AuthState, Outcome, SignedIn};
use crate::core::continuity::{Keepsake, is_session_id};
use crate::core::cookies::Cookies;
use crate::core::credentials::Credentials;
use crate::core::identity::Identity;
use crate::core::instance::{Continuity, Way};
use crate::core::jwt::{MAX_TOKEN_BYTES, Token};
use crate::core::question::{Progress, Question, Slot};
use crate::core::reason::Reason;
use crate::core::redirect::{self, Destination};
use crate::core::requirement::{Caller, Person};
use crate::core::template;

/// What browsers say of where a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A token that came with a request is good enough for a page while it lasts longer than this, in
/// seconds.
const LASTS_S: u64 = 10;

/// The methods of pages that are only changed.
const CHANGING: &str = "POST";

/// The methods of pages that are read and changed.
const BOTH: &str = "GET, HEAD, POST";

/// What the browser is given to keep, besides what an order comes to.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) cookies: Vec<String>,
    pub(super) keepsakes: Vec<Keepsake>,
}

impl Kept {
    pub(super) fn of(state: AuthState) -> Self {
        Self {
            cookies: state.set_cookies,
            keepsakes: state.keepsakes,
        }
    }
}

/// A page, as its path below the prefix names it.
#[derive(Clone, Copy)]
pub(super) enum Asked<'p> {
    SignOut(Extent),
    Sessions,
    RevokeOthers,
    Revoke(&'p str),
    Switch(&'p str),
    Token,
    Template(&'p str),
}

impl<'p> Asked<'p> {
    fn of(page: &'p str) -> Option<Self> {
        let mut names = page.split('/');
        let found = match (names.next()?, names.next(), names.next()) {
            ("sign-out", None, None) => Self::SignOut(Extent::This),
            ("sign-out", Some("all"), None) => Self::SignOut(Extent::Everywhere),
            ("sessions", None, None) => Self::Sessions,
            ("sessions", Some("revoke-others"), None) => Self::RevokeOthers,
            ("sessions", Some(id), Some("revoke")) if is_session_id(id) => Self::Revoke(id),
            ("sessions", Some(id), Some("switch")) if is_session_id(id) => Self::Switch(id),
            ("token", None, None) => Self::Token,
            ("token", Some(name), None) if template::is_name(name) => Self::Template(name),
            _ => return None,
        };
        names.next().is_none().then_some(found)
    }

    fn methods(self) -> &'static str {
        match self {
            Self::SignOut(Extent::This) => BOTH,
            Self::Sessions => READING,
            Self::SignOut(Extent::Everywhere)
            | Self::RevokeOthers
            | Self::Revoke(_)
            | Self::Switch(_)
            | Self::Token
            | Self::Template(_) => CHANGING,
        }
    }
}

impl<'r> Judge<'_, 'r> {
    /// The verdict on a request for one of these pages; on all others, that there is none.
    pub(super) fn own_sessions(
        &self,
        page: &str,
        progress: &mut Progress<'r>,
    ) -> Result<Verdict, Question> {
        let facts = self.0.facts;
        let turned_away = |reason: Reason, progress: &Progress<'r>| {
            Ok(self.turned_away(reason, Kept::default(), progress))
        };
        let Some(asked) = Asked::of(page) else {
            return turned_away(Reason::PageUnknown, progress);
        };
        let mut methods = asked.methods().split(", ");
        if !methods.any(|method| method == facts.method.as_str()) {
            return Ok(self.other_method(asked.methods(), progress));
        }
        let changes = *facts.method == Method::POST;
        if changes && !self.comes_from_here() {
            return turned_away(Reason::OriginNotAllowed, progress);
        }
        progress.read_credentials(|| Credentials::read(facts, self.0.instance));
        // SECURITY: a token in a header was put there by a program, and may be anybody's; what ends
        // sessions or hands out tokens is for the person before the browser.
        if progress.raw(Slot::Bearer).is_some() {
            return turned_away(Reason::CookieSessionNeeded, progress);
        }
        let Inputs {
            instance, now_ms, ..
        } = self.0;
        let state = auth::authenticate(facts, instance, SESSION, now_ms, progress)?;
        match asked {
            Asked::SignOut(Extent::This) if !changes => self.may_sign_out(state, progress),
            Asked::SignOut(extent) => self.sign_out(extent, state, progress),
            Asked::Sessions
            | Asked::RevokeOthers
            | Asked::Revoke(_)
            | Asked::Switch(_)
            | Asked::Token
            | Asked::Template(_) => {
                let Some(session) = state.session(instance.pending).cloned() else {
                    return self.judge_page(state, progress);
                };
                if let Some(unsealed) = self.unsealed(asked, &session, progress)? {
                    return Ok(unsealed);
                }
                Ok(self.asked_of(asked, &session, Kept::of(state), progress))
            }
        }
    }

    /// What becomes of a request that a session token alone is not enough for; `None` where it is, or
    /// the browser has a seal. A page load gets one by a handshake.
    // SECURITY: a session token is good for a minute, and others may see it in that time. Whoever moves
    // it into a cookie must not have sessions ended or listed by it, nor further tokens made of it.
    pub(super) fn unsealed(
        &self,
        asked: Asked<'_>,
        session: &SignedIn,
        progress: &Progress<'r>,
    ) -> Result<Option<Verdict>, Question> {
        let Inputs {
            facts,
            instance,
            now_ms,
            ..
        } = self.0;
        let own = |id: &str| session.token.text("sid") == Some(id);
        let needs_seal = match asked {
            Asked::SignOut(Extent::This) => false,
            Asked::Revoke(id) => !own(id),
            Asked::Token => self.present(session, progress).is_none(),
            Asked::SignOut(Extent::Everywhere)
            | Asked::Sessions
            | Asked::RevokeOthers
            | Asked::Switch(_)
            | Asked::Template(_) => true,
        };
        // Who acts in somebody's name has no seal. They end nothing of that person's here, and nothing is
        // minted for them.
        let acts = session
            .token
            .identity()
            .is_some_and(Identity::is_impersonated);
        if !needs_seal || acts || auth::is_sealed(facts, instance, session, now_ms, progress)? {
            return Ok(None);
        }
        let fetched = auth::fetch_seal(facts, instance, now_ms, progress)?;
        if matches!(fetched.outcome, Outcome::Redirect(_)) {
            return self.judge_page(fetched, progress).map(Some);
        }
        let (token, kept) = (&session.token, Kept::default());
        let refused = self.may_not(Reason::SealMissing, token, kept, progress);
        Ok(Some(refused))
    }

    /// What becomes of a request of somebody who is signed in.
    pub(super) fn asked_of(
        &self,
        asked: Asked<'_>,
        session: &SignedIn,
        kept: Kept,
        progress: &Progress<'r>,
    ) -> Verdict {
        let Some(owner) = Owner::of(&session.token) else {
            return self.turned_away(Reason::CookieSessionNeeded, kept, progress);
        };
        let own = |id: &str| id == owner.session;
        let changes_sessions = match asked {
            Asked::SignOut(_) | Asked::RevokeOthers | Asked::Revoke(_) | Asked::Switch(_) => true,
            Asked::Sessions | Asked::Token | Asked::Template(_) => false,
        };
        // SECURITY: whoever acts in somebody's name must not put that person out.
        if changes_sessions && owner.impersonated {
            return self.may_not(Reason::Impersonated, &session.token, kept, progress);
        }
        let (task, kept) = match asked {
            Asked::Sessions => (Task::Sessions(self.surroundings(progress)), kept),
            Asked::RevokeOthers => (Task::RevokeOthers, kept),
            Asked::Revoke(id) if own(id) => {
                let end = self.sign_out_of(Extent::This, progress);
                (Task::SignOut(end), Kept::default())
            }
            Asked::Revoke(id) => (Task::Revoke(id.to_owned()), kept),
            Asked::SignOut(extent) => (
                Task::SignOut(self.sign_out_of(extent, progress)),
                Kept::default(),
            ),
            Asked::Switch(id) => match self.browser(progress) {
                Some(browser) => {
                    let session = id.to_owned();
                    (Task::Switch { session, browser }, Kept::default())
                }
                None => return self.turned_away(Reason::SessionUnknown, kept, progress),
            },
            Asked::Token => {
                let present = self.present(session, progress);
                // SECURITY: a token that is minted does not say who stands behind it.
                if present.is_none() && owner.impersonated {
                    return self.may_not(Reason::Impersonated, &session.token, kept, progress);
                }
                (Task::Token(present), kept)
            }
            Asked::Template(name) => {
                let mut templates = self.0.policy.templates().iter();
                let Some(template) = templates.find(|template| *template.name == *name) else {
                    return self.turned_away(Reason::TemplateUnknown, kept, progress);
                };
                let person = session.token.identity().map(|identity| Person {
                    identity,
                    token: &session.token,
                    now_ms: self.0.now_ms,
                });
                let judged = person
                    .ok_or(Reason::UnexpectedError)
                    .and_then(|person| template.requirement.judge(Caller::Person(person)));
                if let Err(reason) = judged {
                    return self.may_not(reason, &session.token, kept, progress);
                }
                (Task::Template(Arc::clone(template)), kept)
            }
        };
        order(task, Some((owner, &session.token)), kept)
    }

    fn surroundings(&self, progress: &Progress<'r>) -> Surroundings {
        let Inputs {
            facts,
            instance,
            pages_prefix,
            ..
        } = self.0;
        let dev_browser = self.dev_browser(progress);
        let chooser = facts.url().and_then(|base| {
            let back = base.join(&format!("{pages_prefix}sessions")).ok()?;
            let browser = dev_browser.as_deref();
            redirect::sign_in_url(instance, Destination::Choose, &base, Some(&back), browser)
                .map(String::from)
        });
        Surroundings {
            browser: self.browser(progress),
            chooser,
            form_targets: self.form_targets(None),
            done: facts.parameter("notice"),
        }
    }

    /// By what the Frontend API knows this browser, if that is here to be seen: in production only
    /// behind a proxy of ours.
    fn browser(&self, progress: &Progress<'r>) -> Option<Browser> {
        let Inputs {
            facts, instance, ..
        } = self.0;
        if instance.is_development() {
            return self.dev_browser(progress).map(Browser::DevBrowser);
        }
        instance.frontend_api_proxy.as_ref()?;
        let client = Cookies::read(facts.headers).value("__client")?;
        // SECURITY: it goes into a header as it stands.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_token = client.len() <= MAX_TOKEN_BYTES && client.bytes().all(plain);
        is_token.then(|| Browser::Client(client.into_owned()))
    }

    /// The token that came, where it lasts a while and no other one is asked for.
    fn present(&self, session: &SignedIn, progress: &Progress<'r>) -> Option<PresentToken> {
        let expires_s = seconds(&session.token, "exp")?;
        let lasts = expires_s.saturating_sub(self.0.now_ms / 1000) > LASTS_S;
        let fresh = self.0.facts.parameter("fresh").is_some();
        let jwt = progress.raw(session.slot)?;
        let instance = self.0.instance;
        // Where none is minted, it is the one that came.
        let mints = instance.continuity == Continuity::Full && instance.ways.mint == Way::Open;
        (!mints || lasts && !fresh).then(|| PresentToken {
            jwt: jwt.to_owned(),
            expires_s,
        })
    }

    /// Whether a change is asked for by a page of this very origin.
    // SECURITY: cookies come along with what any site has a browser send. A form of a sibling host is
    // same-site and still somebody else's; `null` is everybody's.
    fn comes_from_here(&self) -> bool {
        let facts = self.0.facts;
        match facts.header(ORIGIN) {
            Some(origin) => origin == facts.origin.to_string(),
            None => facts.header(SEC_FETCH_SITE).as_deref() == Some("same-origin"),
        }
    }

    /// A refusal that has nothing to do with who asks. What was renewed on the way is kept.
    fn turned_away(&self, reason: Reason, kept: Kept, progress: &Progress<'r>) -> Verdict {
        Verdict {
            keepsakes: kept.keepsakes,
            ..self.refuse(RefusalKind::Request, reason.into(), kept.cookies, progress)
        }
    }

    /// Somebody who is signed in and may not.
    fn may_not(
        &self,
        reason: Reason,
        token: &Token,
        kept: Kept,
        progress: &Progress<'r>,
    ) -> Verdict {
        Verdict {
            standing: Standing::SignedIn,
            who: token.identity().map(who),
            keepsakes: kept.keepsakes,
            ..self.refuse(
                RefusalKind::Forbidden,
                reason.into(),
                kept.cookies,
                progress,
            )
        }
    }
}

/// A time of a token, in seconds since the epoch.
pub(super) fn seconds(token: &Token, claim: &str) -> Option<u64> {
    token.claim(claim)?.as_u64()
}

pub(super) fn order(task: Task, owner: Option<(Owner, &Token)>, kept: Kept) -> Verdict {
    let (owner, token) = owner.unzip();
    let identity = token.and_then(Token::identity);
    Verdict {
        decision: Decision::Serve(Order { task, owner }),
        cause: None,
        standing: match identity {
            Some(_) => Standing::SignedIn,
            None => Standing::SignedOut,
        },
        who: identity.map(who),
        set_cookies: kept.cookies,
        keepsakes: kept.keepsakes,
        route: None,
    }
}
