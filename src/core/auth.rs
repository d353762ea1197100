//! Who is asking: `authenticateRequest` of Clerk's SDK as a pure function (protocol reference,
//! section 3). Every deviation from the SDK stands in `docs/explanation/deviations.md`.

mod cookies;
mod ending;
mod journey;
mod machine;
mod mint;
mod refresh;
mod state;

use std::sync::Arc;

use super::credentials::Credentials;
use super::facts::RequestFacts;
use super::instance::{Continuity, Instance};
use super::jwt::{Category, Token};
use super::machine::{Accepts, TokenType};
use super::question::{Progress, Question, Slot, TokenStanding};
use super::reason::{Cause, Reason};
use super::ride_through::{self, Reach};
use super::verify::{self, Leeway, PartyRule, Signature};
pub(super) use cookies::CookieView;
pub use ending::session_to_end;
pub use state::{AuthRedirect, AuthState, Outcome, SignedIn};

/// Everything one authentication looks at.
pub(super) struct Desk<'a, 'r> {
    pub facts: &'a RequestFacts<'r>,
    pub instance: &'a Instance,
    pub now_ms: u64,
    /// How long a session may ride through an outage of Clerk's after the end of its token, in
    /// milliseconds; `None` where none may.
    pub ride_ms: Option<u64>,
}

/// Longer than calls to Clerk may take one behind the other, in milliseconds.
const LONGEST_CALL_MS: u64 = 15_000;

/// Authenticates a request by one of the tokens that are accepted. The error is the next question.
pub fn authenticate<'r>(
    facts: &RequestFacts<'r>,
    instance: &Instance,
    accepts: Accepts,
    now_ms: u64,
    progress: &mut Progress<'r>,
) -> Result<AuthState, Question> {
    authenticate_riding(facts, instance, accepts, now_ms, None, progress)
}

/// The same where a session may ride through an outage of Clerk's for `ride_ms`.
pub(super) fn authenticate_riding<'r>(
    facts: &RequestFacts<'r>,
    instance: &Instance,
    accepts: Accepts,
    now_ms: u64,
    ride_ms: Option<u64>,
    progress: &mut Progress<'r>,
) -> Result<AuthState, Question> {
    progress.read_credentials(|| Credentials::read(facts, instance));
    let desk = Desk {
        ride_ms,
        ..Desk::new(facts, instance, now_ms)
    };
    let header = progress.raw(Slot::Bearer).is_some();
    // Section 3.3: which path is taken follows from what is accepted and from the header alone.
    match accepts {
        Accepts::One(TokenType::Session) if header => desk.by_header(progress),
        Accepts::One(TokenType::Session) => desk.by_cookie(progress),
        Accepts::One(kind) if !header => {
            Ok(AuthState::without(Some(kind), Reason::NoTokenInHeader))
        }
        Accepts::One(kind) => match Desk::machine_type(progress)? {
            Some(found) if found == kind => desk.by_machine(kind, progress),
            _ => Ok(AuthState::without(Some(kind), Reason::TokenTypeMismatch)),
        },
        Accepts::Any | Accepts::List(_) => {
            let machine = if header {
                Desk::machine_type(progress)?
            } else {
                None
            };
            // SECURITY: what is not accepted is never asked about at Clerk.
            if !accepts.contains(machine.unwrap_or(TokenType::Session)) {
                return Ok(AuthState::without(None, Reason::TokenTypeMismatch));
            }
            match machine {
                Some(kind) => desk.by_machine(kind, progress),
                None if header => desk.by_header(progress),
                None => desk.by_cookie(progress),
            }
        }
    }
}

/// Renews the session of the cookies for `reason`, although its token holds: by a handshake or by its
/// seal. Not what the SDK does.
pub(super) fn renew<'r>(
    facts: &RequestFacts<'r>,
    instance: &Instance,
    reason: Reason,
    now_ms: u64,
    progress: &Progress<'r>,
) -> Result<AuthState, Question> {
    if instance.continuity == Continuity::Faithful {
        return Ok(AuthState::signed_out(reason));
    }
    let desk = Desk::new(facts, instance, now_ms);
    desk.handshake_or_mint(reason, &desk.cookies(progress)?, progress)
}

/// Whether a page of ours that does more than end its own session may be asked for with this one.
pub(super) fn is_sealed<'r>(
    facts: &RequestFacts<'r>,
    instance: &Instance,
    session: &SignedIn,
    now_ms: u64,
    progress: &Progress<'r>,
) -> Result<bool, Question> {
    Desk::new(facts, instance, now_ms).is_sealed(session, progress)
}

/// Sends a page load to Clerk and back for a seal, where that is possible.
pub(super) fn fetch_seal<'r>(
    facts: &RequestFacts<'r>,
    instance: &Instance,
    now_ms: u64,
    progress: &Progress<'r>,
) -> Result<AuthState, Question> {
    let desk = Desk::new(facts, instance, now_ms);
    desk.maybe_handshake(Reason::SealMissing, &desk.cookies(progress)?, progress)
}

impl<'a, 'r> Desk<'a, 'r> {
    const fn new(facts: &'a RequestFacts<'r>, instance: &'a Instance, now_ms: u64) -> Self {
        Self {
            facts,
            instance,
            now_ms,
            ride_ms: None,
        }
    }

    /// Section 3.4: the header token alone decides.
    fn by_header(&self, progress: &Progress<'r>) -> Result<AuthState, Question> {
        let slot = Slot::Bearer;
        if let Ok(token) = &progress.token(slot)?.decoded
            && !is_of_session(token)
        {
            return Ok(AuthState::signed_out(Reason::TokenTypeMismatch));
        }
        self.judge(slot, progress)
    }

    /// Verifies the token in `slot`, refreshes it if it has expired and can be, and says what a
    /// failure leads to (section 3.10).
    fn judge(&self, slot: Slot, progress: &Progress<'r>) -> Result<AuthState, Question> {
        let parties = self.parties(slot, progress)?;
        let reason = match self.verified(slot, parties, self.leeway(), progress)? {
            Ok(token) => {
                return Ok(match token.identity() {
                    Some(_) => AuthState::signed_in(SignedIn::by(token, slot)),
                    // Claims that Clerk's own library cannot read.
                    None => AuthState::signed_out(Reason::UnexpectedError),
                });
            }
            Err(reason) => reason,
        };
        match reason {
            Reason::SessionTokenExpired => {
                let rider = self.rider(slot, progress)?;
                if let Some(rider) = rider.as_ref().filter(|rider| rider.goes_at_once()) {
                    return Ok(rider.accepted());
                }
                let failure = match self.refresh(slot, progress)? {
                    Ok(state) => return Ok(state),
                    Err(failure) => failure,
                };
                if let Some(rider) = &rider
                    && ride_through::leaves_open(&failure)
                    && *progress.reach(slot)? == Reach::Unreachable
                {
                    return Ok(rider.accepted());
                }
                let cause = Cause {
                    reason,
                    refresh: Some(failure),
                };
                let view = self.cookies(progress)?;
                if slot == Slot::Bearer {
                    return self.maybe_handshake(cause, &view, progress);
                }
                self.handshake_or_mint(cause, &view, progress)
            }
            Reason::SessionTokenNbf | Reason::SessionTokenIatInTheFuture => {
                self.maybe_handshake(reason, &self.cookies(progress)?, progress)
            }
            // Clerk knows what has become of the browser's sessions; a program has to find out itself.
            Reason::SessionRevoked if slot != Slot::Bearer => {
                self.maybe_handshake(reason, &self.cookies(progress)?, progress)
            }
            Reason::SessionTokenOutdated if slot != Slot::Bearer => {
                self.handshake_or_mint(reason, &self.cookies(progress)?, progress)
            }
            other => Ok(AuthState::signed_out(other)),
        }
    }

    /// How `azp` of a token that came with the request is judged: it may be absent from a cookie's
    /// token of a session that is sealed (design, section 8, A1).
    fn parties(&self, slot: Slot, progress: &Progress<'r>) -> Result<PartyRule, Question> {
        if slot == Slot::Bearer || self.instance.authorized_parties.is_empty() {
            return Ok(PartyRule::Listed);
        }
        let Ok(token) = &progress.token(slot)?.decoded else {
            return Ok(PartyRule::Listed);
        };
        if token.claim("azp").is_some() {
            return Ok(PartyRule::Listed);
        }
        let view = self.cookies(progress)?;
        let seal = self.seal(view.family, progress)?;
        Ok(match seal.filter(|seal| seal.is_of(token)) {
            Some(_) => PartyRule::ListedOrAbsent,
            None => PartyRule::Listed,
        })
    }

    /// Tokens that come straight from Clerk carry no `azp` (design, section 8, A1).
    pub(super) fn fresh_parties(&self) -> PartyRule {
        match self.instance.continuity {
            Continuity::Faithful => PartyRule::Listed,
            Continuity::Full => PartyRule::ListedOrAbsent,
        }
    }

    /// The same for a token that Clerk has made since this request was read: it may have been issued
    /// after the time that the request is judged by, by as long as the call took.
    pub(super) fn verified_fresh(
        &self,
        slot: Slot,
        progress: &Progress<'r>,
    ) -> Result<Result<Arc<Token>, Reason>, Question> {
        let parties = self.fresh_parties();
        match self.verified(slot, parties, self.leeway(), progress)? {
            // Its end has been judged before.
            Err(Reason::SessionTokenNbf | Reason::SessionTokenIatInTheFuture) => {
                let Leeway(skew_ms) = self.leeway();
                let leeway = Leeway(skew_ms.saturating_add(LONGEST_CALL_MS));
                self.verified(slot, parties, leeway, progress)
            }
            verdict => Ok(verdict),
        }
    }

    pub(super) fn leeway(&self) -> Leeway {
        Leeway(self.instance.clock_skew_ms)
    }

    /// The token in `slot` if it holds, or the reason why it does not.
    pub(super) fn verified(
        &self,
        slot: Slot,
        parties: PartyRule,
        leeway: Leeway,
        progress: &Progress<'r>,
    ) -> Result<Result<Arc<Token>, Reason>, Question> {
        let answer = progress.token(slot)?;
        let Ok(token) = &answer.decoded else {
            return Ok(Err(Reason::TokenInvalid));
        };
        if token.category() == Category::Machine {
            return Ok(Err(Reason::TokenInvalid));
        }
        let signature: Signature = answer.signature.ok_or(Question::Signature(slot))?;
        let verdict = verify::session_token(
            token,
            signature,
            self.instance,
            parties,
            self.now_ms,
            leeway,
        );
        Ok(verdict.and_then(|()| match answer.standing {
            TokenStanding::Stands => Ok(Arc::clone(token)),
            TokenStanding::Revoked => Err(Reason::SessionRevoked),
            TokenStanding::Outdated => Err(Reason::SessionTokenOutdated),
        }))
    }
}

/// Whether a token is one of a session, as far as it says what it is.
fn is_of_session(token: &Token) -> bool {
    !token.is_machine() && matches!(token.category(), Category::Session | Category::Unstated)
}
