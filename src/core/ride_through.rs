//! Riding through an outage of Clerk's: a session that this process has verified before its token ended
//! stays accepted for a while, where the route says so (design, section 8, E).
//!
//! Everything that has to hold is here, in the order in which it is asked. Whether Clerk can be reached
//! is found out by a call that nothing of the request is in but the id of a session that Clerk has
//! signed, so that nobody can have it fail by what they send.

use http::{HeaderName, HeaderValue};

use super::auth::{AuthState, Desk, SignedIn};
use super::continuity::is_session_id;
use super::identity::{Identity, SessionStatus};
use super::instance::{BackendApi, Continuity, Instance};
use super::jwt::Token;
use super::question::{Progress, Question, Slot, TokenStanding};
use super::reason::RefreshFailure;
use super::verify::{self, Leeway, PartyRule, Signature};

/// Says to the application and to the client that a session was accepted after its token had ended.
pub static RIDE_THROUGH_HEADER: HeaderName = HeaderName::from_static("x-clerk-gate-ride-through");

/// What it says.
pub const RIDES: HeaderValue = HeaderValue::from_static("1");

/// What this process knows of a token whose end has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recollection {
    /// Nothing: it was not verified here before its end, or that is forgotten.
    Unknown,
    /// What other gates say cannot be heard at the moment: nobody knows who is out.
    Unheard,
    /// It was verified here before its end, and this is how Clerk was last found.
    Verified(Reach),
}

/// Whether Clerk can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing proves that it cannot.
    Unproven,
    /// It cannot: no connection, no answer in time, or a failure of its own.
    Unreachable,
}

/// A session that would ride through.
pub(super) struct Rider {
    session: SignedIn,
    /// How Clerk was last found.
    reach: Reach,
}

impl<'r> Desk<'_, 'r> {
    /// The session of the token in `slot`, which has ended and is genuine, if it may ride through;
    /// `None` if not, whatever becomes of Clerk.
    pub(super) fn rider(
        &self,
        slot: Slot,
        progress: &Progress<'r>,
    ) -> Result<Option<Rider>, Question> {
        let Some(most_ms) = self.ride_ms else {
            return Ok(None);
        };
        // SECURITY: whoever calls with a bearer token can get another one, and a token that the gate has
        // just got from Clerk says that Clerk is there.
        if !matches!(slot, Slot::Session | Slot::SuffixedSession) {
            return Ok(None);
        }
        if self.instance.continuity == Continuity::Faithful
            || self.instance.backend_api == BackendApi::NoSecretKey
        {
            return Ok(None);
        }
        let answer = progress.token(slot)?;
        let Ok(token) = &answer.decoded else {
            return Ok(None);
        };
        if answer.standing != TokenStanding::Stands || !token.identity().is_some_and(may_ride) {
            return Ok(None);
        }
        let Some(until_ms) = ends_ms(token).map(|ends| ends.saturating_add(most_ms)) else {
            return Ok(None);
        };
        if self.now_ms >= until_ms {
            return Ok(None);
        }
        Ok(match progress.recollection(slot)? {
            Recollection::Unknown | Recollection::Unheard => None,
            Recollection::Verified(reach) => Some(Rider {
                session: SignedIn {
                    token: token.clone(),
                    slot,
                    rides_until_ms: Some(until_ms),
                },
                reach: *reach,
            }),
        })
    }
}

impl Rider {
    /// Whether Clerk need not be asked for a renewal: it was out of reach a moment ago.
    pub(super) fn goes_at_once(&self) -> bool {
        self.reach == Reach::Unreachable
    }

    /// The session, accepted although its token has ended.
    pub(super) fn accepted(&self) -> AuthState {
        AuthState::signed_in(self.session.clone())
    }
}

/// Whether a session is one that can ride: a person's own, in which nothing is left to do.
// SECURITY: whoever acts in another person's name is to be stopped at any time, and a status that this
// program does not know may be one that ends things.
fn may_ride(identity: &Identity) -> bool {
    !identity.is_impersonated()
        && matches!(
            identity.status,
            SessionStatus::Unstated | SessionStatus::Active
        )
        && identity.session.as_deref().is_some_and(is_session_id)
}

/// Whether a renewal that failed so leaves open whether Clerk can be reached. What Clerk has answered
/// does not, and neither does what the gate did not want to ask.
pub(super) fn leaves_open(failure: &RefreshFailure) -> bool {
    match failure {
        RefreshFailure::Unreachable
        | RefreshFailure::Failed(_)
        | RefreshFailure::NoRefreshCookie
        | RefreshFailure::SwitchedOff => true,
        RefreshFailure::NotGet
        | RefreshFailure::Undecodable
        | RefreshFailure::NoSessionId
        | RefreshFailure::Unintelligible
        | RefreshFailure::Empty
        | RefreshFailure::InvalidToken
        | RefreshFailure::NoSecretKey
        | RefreshFailure::BudgetSpent
        | RefreshFailure::Ended
        | RefreshFailure::Code(_) => false,
    }
}

/// Whether a token whose signature is good has not ended yet: whether it is to be kept in mind, should
/// Clerk be out of reach when it has.
///
/// Parties and the session's standing are judged again when it comes to that.
pub fn holds(token: &Token, instance: &Instance, now_ms: u64) -> bool {
    let parties = PartyRule::ListedOrAbsent;
    // SECURITY: the end of a token is its end here: no leeway makes it one that was verified in time.
    verify::session_token(token, Signature::Good, instance, parties, now_ms, Leeway(0)).is_ok()
}

/// When a token ends, in milliseconds since the epoch; `None` if it does not say, or no calendar has it.
pub fn ends_ms(token: &Token) -> Option<u64> {
    let ends = token
        .number("exp")
        .filter(|exp| *exp > 0.0 && *exp < 8.64e12)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and below the last date of any calendar"
    )]
    let seconds = ends as u64;
    Some(seconds.saturating_mul(1000))
}
