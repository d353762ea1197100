//! The gate's own cookies: the seal, by which a session outlives its token, and the state of each
//! handshake that began here (design, section 8, B).
//!
//! The core says what they shall hold and is told what they hold; sealing and opening is the gate's
//! affair, and nothing here is read that does not open.

use std::fmt;

use super::auth::{CookieView, Desk, SignedIn};
use super::credentials::{CookieFamily, javascript_integer};
use super::instance::Continuity;
use super::jwt::Token;
use super::origin::Scheme;
use super::question::{Progress, Question, Slot, TokenStanding};
use super::verify::Signature;

/// The cookie that holds the seal; the suffix of the instance stands behind it, after `_`.
pub const SEAL_COOKIE: &str = "__Host-clerk-gate-seal";

/// The cookie that holds the state of a handshake; its journey and the suffix stand behind it, each
/// after `_`.
pub const STATE_COOKIE: &str = "__Host-clerk-gate-state";

/// The parameter of the way back that names the journey.
pub const STATE_PARAMETER: &str = "__clerk_gate_state";

/// How long a handshake may take, in milliseconds.
const HANDSHAKE_WITHIN_MS: u64 = 2 * 60 * 1000;

/// How long browsers keep a session cookie, in seconds: as long as Clerk's own script says.
const SESSION_COOKIE_SECONDS: u32 = 365 * 24 * 60 * 60;

/// What a seal says: that this browser came out of a handshake or renewal of ours with this session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// `sid`.
    pub session: String,
    /// `sub`.
    pub user: String,
    /// When the session was first sealed, in milliseconds since the epoch. Does not slide.
    pub first_ms: u64,
    /// When this seal was made.
    pub sealed_ms: u64,
}

/// That a handshake began here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Which one.
    pub journey: Journey,
    /// Until when its end is taken, in milliseconds since the epoch.
    pub until_ms: u64,
}

/// A browser's way to Clerk and back. Nobody else can know what it is called.
#[derive(Clone, PartialEq, Eq)]
pub struct Journey(String);

impl Journey {
    /// The journey of this name: 16 to 64 letters and digits.
    pub fn named(name: &str) -> Option<Self> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (plain && (16..=64).contains(&name.len())).then(|| Self(name.to_owned()))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journey(…)")
    }
}

/// What the gate's own cookies of a request hold, as far as they opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnCookies {
    /// The seal.
    pub seal: Option<Seal>,
    /// The state.
    pub state: Option<State>,
}

/// No cookie of ours.
pub(super) const NONE: OwnCookies = OwnCookies {
    seal: None,
    state: None,
};

/// What becomes of the gate's own cookies with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keepsake {
    /// The browser is to keep this seal.
    Seal(Seal),
    /// And this state.
    State(State),
    /// It has served.
    DropState(Journey),
}

impl<'r> Desk<'_, 'r> {
    /// The journey that begins now. None where the SDK knows of none.
    pub(super) fn journey<'p>(
        &self,
        progress: &'p Progress<'r>,
    ) -> Result<Option<&'p Journey>, Question> {
        if self.instance.continuity == Continuity::Faithful {
            return Ok(None);
        }
        progress.journey().map(Some)
    }

    /// What the browser keeps of it.
    pub(super) fn begins(&self, journey: &Journey) -> Keepsake {
        Keepsake::State(State {
            journey: journey.clone(),
            until_ms: self.now_ms.saturating_add(HANDSHAKE_WITHIN_MS),
        })
    }

    /// Whether the handshake result of this request belongs to something that began here.
    ///
    /// In development results stand in the address and everybody is on one machine, and browsers keep
    /// our cookies only where the address is safe: elsewhere it is as with the SDK.
    // SECURITY: who is led to a result of somebody else's must not be signed in as them (login CSRF).
    pub(super) fn may_consume(&self, progress: &Progress<'r>) -> Result<bool, Question> {
        if self.instance.continuity == Continuity::Faithful
            || self.instance.is_development()
            || !self.keeps_our_cookies()
        {
            return Ok(true);
        }
        Ok(self.began_here(progress)?.is_some())
    }

    /// The journey that this request comes back from, if it began here and not too long ago.
    // SECURITY: the name stands in the address and in a sealed cookie of this browser. Another site can
    // have a journey begin in it, and cannot learn what it is called.
    pub(super) fn began_here<'p>(
        &self,
        progress: &'p Progress<'r>,
    ) -> Result<Option<&'p Journey>, Question> {
        let named = progress.credentials().and_then(|c| c.journey.as_ref());
        let state = progress.own_cookies()?.state.as_ref();
        let state = state.filter(|state| self.now_ms < state.until_ms);
        Ok(state
            .map(|state| &state.journey)
            .filter(|journey| named == Some(*journey)))
    }

    /// Whether a page of ours that does more than end its own session may be asked for with this one:
    /// its browser came out of a handshake or renewal of ours. The token alone may be anybody's who has
    /// seen it.
    pub(super) fn is_sealed(
        &self,
        session: &SignedIn,
        progress: &Progress<'r>,
    ) -> Result<bool, Question> {
        if self.instance.continuity == Continuity::Faithful || !self.keeps_our_cookies() {
            return Ok(true);
        }
        match session.slot {
            // Clerk has just sent it, on our asking.
            Slot::FromHandshake | Slot::FromRefresh | Slot::FromMint => return Ok(true),
            Slot::Session | Slot::SuffixedSession | Slot::Bearer | Slot::Handshake => {}
        }
        let view = self.cookies(progress)?;
        let seal = self.seal(view.family, progress)?;
        Ok(seal.is_some_and(|seal| seal.is_of(&session.token)))
    }

    /// Whether browsers keep cookies that ask for a safe connection.
    fn keeps_our_cookies(&self) -> bool {
        self.facts.origin.scheme() == Scheme::Https || self.facts.origin.host().is_loopback()
    }

    /// The seal for a session that has just come from Clerk, on our asking. A seal that is there
    /// already keeps its age.
    ///
    /// None for an impersonated session: a minted token does not say who stands behind it.
    pub(super) fn sealed(
        &self,
        token: &Token,
        progress: &Progress<'r>,
    ) -> Result<Option<Keepsake>, Question> {
        if self.instance.continuity == Continuity::Faithful {
            return Ok(None);
        }
        let Some(identity) = token.identity().filter(|who| !who.is_impersonated()) else {
            return Ok(None);
        };
        let Some(session) = identity.session.clone().filter(|id| is_session_id(id)) else {
            return Ok(None);
        };
        let known = &progress.own_cookies()?.seal;
        let first = known
            .as_ref()
            .filter(|seal| seal.session == session && seal.user == identity.user)
            .map_or(self.now_ms, |seal| seal.first_ms);
        Ok(Some(Keepsake::Seal(Seal {
            session,
            user: identity.user.clone(),
            first_ms: first,
            // A clock of ours that is behind must not make the seal older than the sign-in it is of.
            sealed_ms: self.now_ms.max(issued_ms(token)),
        })))
    }

    /// The seal of this request, if it counts: it is not too old, and nothing has changed at the
    /// browser's client since.
    pub(super) fn seal<'p>(
        &self,
        family: CookieFamily,
        progress: &'p Progress<'r>,
    ) -> Result<Option<&'p Seal>, Question> {
        if self.instance.continuity == Continuity::Faithful {
            return Ok(None);
        }
        let Some(credentials) = progress.credentials() else {
            return Ok(None);
        };
        let client_uat = credentials
            .client_uat
            .of(family)
            .map_or(0, javascript_integer);
        let Ok(client_uat @ 1..) = u64::try_from(client_uat) else {
            return Ok(None);
        };
        let seal = progress.own_cookies()?.seal.as_ref();
        Ok(seal.filter(|seal| {
            let age = self.now_ms.saturating_sub(seal.first_ms);
            age <= self.instance.seal_max_age_ms && client_uat <= seal.sealed_ms / 1000
        }))
    }

    /// The seal with which a new token may be minted: it counts, and the token that the browser has,
    /// if it has one, is of the same session.
    pub(super) fn seal_to_mint_with<'p>(
        &self,
        view: &CookieView,
        progress: &'p Progress<'r>,
    ) -> Result<Option<&'p Seal>, Question> {
        let Some(seal) = self.seal(view.family, progress)? else {
            return Ok(None);
        };
        if progress.raw(view.slot).is_none() {
            return Ok(Some(seal));
        }
        let answer = progress.token(view.slot)?;
        let Ok(token) = &answer.decoded else {
            return Ok(None);
        };
        let signature = answer.signature.ok_or(Question::Signature(view.slot))?;
        let fits = signature == Signature::Good
            && answer.standing != TokenStanding::Revoked
            && seal.is_of(token);
        Ok(fits.then_some(seal))
    }

    /// The cookies that put a minted token in the place of the old one.
    pub(super) fn session_cookies(&self, view: &CookieView, token: &str) -> Vec<String> {
        let suffix = self.instance.key.cookie_suffix();
        let secure = match self.facts.origin.scheme() {
            Scheme::Https => "; Secure",
            Scheme::Http => "",
        };
        let cookie = |name: &str| {
            format!(
                "{name}={token}; Path=/; Max-Age={SESSION_COOKIE_SECONDS}; SameSite=Lax{secure}"
            )
        };
        let mut cookies = vec![cookie("__session")];
        if view.slot == Slot::SuffixedSession {
            cookies.push(cookie(&format!("__session_{suffix}")));
        }
        cookies
    }
}

impl Seal {
    /// Whether a token is one of this session.
    pub(super) fn is_of(&self, token: &Token) -> bool {
        token.text("sid") == Some(&self.session) && token.text("sub") == Some(&self.user)
    }
}

/// When a token was issued, in milliseconds since the epoch.
fn issued_ms(token: &Token) -> u64 {
    let issued_s = token.claim("iat").and_then(serde_json::Value::as_u64);
    issued_s.unwrap_or_default().saturating_mul(1000)
}

/// The longest id of a session that is taken for one, in bytes.
const MAX_ID_BYTES: usize = 128;

/// Whether a text may be the id of a session.
// SECURITY: it becomes part of a path at the Backend API.
pub fn is_session_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ID_BYTES
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
