//! Who is asking: `authenticateRequest` of Clerk's SDK as a pure function (protocol reference,
//! section 3). Every deviation from the SDK stands in `docs/explanation/deviations.md`.

mod ending;
mod journey;
mod machine;
mod mint;
mod refresh;
mod state;

use std::sync::Arc;

use super::credentials::{CookieFamily, Credentials, javascript_integer};
use super::facts::RequestFacts;
use super::handshake::{self, Consumed};
use super::instance::{Continuity, Instance, PendingSessions};
use super::jwt::{Category, Token};
use super::machine::{Accepts, TokenType};
use super::organization_sync::Target;
use super::question::{Progress, Question, Slot, TokenStanding};
use super::reason::{Cause, Reason};
use super::referrer;
use super::ride_through::{self, Reach};
use super::satellite::{self, Sync};
use super::verify::{self, Leeway, PartyRule, Signature};
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

/// Which cookies count, and what is in them.
pub(super) struct CookieView {
    pub family: CookieFamily,
    pub slot: Slot,
}

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
            && (token.is_machine() || !is_session_category(token))
        {
            return Ok(AuthState::signed_out(Reason::TokenTypeMismatch));
        }
        self.judge(slot, progress)
    }

    /// Section 3.5, in its order.
    fn by_cookie(&self, progress: &mut Progress<'r>) -> Result<AuthState, Question> {
        if let Consumed::State(state) = handshake::consume(self, progress)? {
            return Ok(state);
        }
        let progress = &*progress;
        let Some(credentials) = progress.credentials() else {
            return Ok(AuthState::signed_out(Reason::UnexpectedError));
        };
        let view = self.cookies(progress)?;
        let has_token = credentials.session.of(view.family).is_some();
        let client_uat = credentials
            .client_uat
            .of(view.family)
            .map_or(0, javascript_integer);
        let has_client = client_uat != 0;

        let synced = self.facts.parameter("__clerk_synced");
        match satellite::sync(self, has_token || has_client, synced.as_deref()) {
            Sync::NotNeeded => {}
            Sync::SignedOut => return Ok(AuthState::signed_out(Reason::SessionTokenAndUatMissing)),
            Sync::Needed => {
                return self.maybe_handshake(Reason::SatelliteNeedsSyncing, &view, progress);
            }
        }
        if self.instance.is_development() {
            if self.instance.satellite.is_none()
                && let Some(target) = self
                    .facts
                    .parameter("__clerk_redirect_url")
                    .filter(|t| !t.is_empty())
                && let Some(location) = satellite::answer(self, credentials, view.family, &target)
            {
                return Ok(self.redirect(
                    location,
                    Reason::PrimaryRespondsToSyncing.into(),
                    None,
                    progress,
                ));
            }
            if credentials.dev_browser_parameter.is_some() {
                return self.maybe_handshake(Reason::DevBrowserSync, &view, progress);
            }
            if credentials.dev_browser(view.family).is_none() {
                return self.maybe_handshake(Reason::DevBrowserMissing, &view, progress);
            }
        }
        match (has_client, has_token) {
            (false, false) => return Ok(AuthState::signed_out(Reason::SessionTokenAndUatMissing)),
            (false, true) => {
                return self.maybe_handshake(Reason::SessionTokenButNoClientUat, &view, progress);
            }
            (true, false) => {
                let reason = Reason::ClientUatButNoSessionToken;
                return self.handshake_or_mint(reason, &view, progress);
            }
            (true, true) => {}
        }
        let Ok(token) = &progress.token(view.slot)?.decoded else {
            return Ok(AuthState::signed_out(Reason::TokenInvalid));
        };
        if token.is_machine() || !is_session_category(token) {
            return Ok(AuthState::signed_out(Reason::TokenTypeMismatch));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds since the epoch fit into 53 bits"
        )]
        let older = token
            .number("iat")
            .is_some_and(|iat| iat < client_uat as f64);
        if older {
            return self.maybe_handshake(Reason::SessionTokenIatBeforeClientUat, &view, progress);
        }
        let state = self.judge(view.slot, progress)?;
        // A refreshed session has been compared with nothing yet, and is fresh: no sync.
        let arrived = match &state.outcome {
            // Nor can one that rides through go to Clerk, which is out of reach.
            Outcome::SignedIn(session) => {
                session.slot == view.slot && session.rides_until_ms.is_none()
            }
            // A token that holds, and whose claims nobody can read: the SDK finds out afterwards.
            Outcome::SignedOut(cause) => cause.reason == Reason::UnexpectedError,
            Outcome::Machine(_) | Outcome::Redirect(_) | Outcome::Broken(_) => false,
        };
        if arrived && referrer::arrives_from_elsewhere(self, credentials) {
            return self.maybe_handshake(Reason::PrimaryDomainCrossOriginSync, &view, progress);
        }
        if arrived && let Some(sync) = self.activate_organization(&state, &view, progress)? {
            return Ok(sync);
        }
        Ok(state)
    }

    /// What should be active at the address that is asked for (section 3.11).
    pub(super) fn organization_target(&self) -> Option<Target> {
        self.instance
            .organization_sync
            .target(self.facts.path.as_str())
    }

    /// A handshake that makes another organisation active; `None` where the right one is, or where
    /// the browser cannot be sent on. A pending session is left alone.
    fn activate_organization(
        &self,
        state: &AuthState,
        view: &CookieView,
        progress: &Progress<'r>,
    ) -> Result<Option<AuthState>, Question> {
        let session = state.session(PendingSessions::SignedOut);
        let Some(identity) = session.and_then(|session| session.token.identity()) else {
            return Ok(None);
        };
        let organization = identity.organization.as_ref();
        let slug = organization.and_then(|active| active.slug.as_deref());
        let target = self.organization_target();
        if target.is_none_or(|target| target.is_active(identity.organization_id(), slug)) {
            return Ok(None);
        }
        let sync = self.maybe_handshake(Reason::ActiveOrganizationMismatch, view, progress)?;
        Ok(matches!(sync.outcome, Outcome::Redirect(_)).then_some(sync))
    }

    /// Which copies of the cookies count. Decodes session cookies only as far as that needs.
    pub(super) fn cookies(&self, progress: &Progress<'r>) -> Result<CookieView, Question> {
        let decoded = |slot: Slot| -> Result<Option<Arc<Token>>, Question> {
            match progress.raw(slot) {
                None => Ok(None),
                Some(_) => Ok(progress.token(slot)?.decoded.clone().ok()),
            }
        };
        let plain = decoded(Slot::Session)?;
        let suffixed = decoded(Slot::SuffixedSession)?;
        let family = match progress.credentials() {
            Some(credentials) => credentials.family(
                self.instance,
                plain.as_deref(),
                suffixed.as_deref(),
                self.now_ms,
            ),
            None => CookieFamily::Plain,
        };
        let slot = match family {
            CookieFamily::Plain => Slot::Session,
            CookieFamily::Suffixed => Slot::SuffixedSession,
        };
        Ok(CookieView { family, slot })
    }

    /// Verifies the token in `slot`, refreshes it if it has expired and can be, and says what a
    /// failure leads to (section 3.10).
    fn judge(&self, slot: Slot, progress: &Progress<'r>) -> Result<AuthState, Question> {
        let parties = self.parties(slot, progress)?;
        let reason = match self.verified(slot, parties, self.leeway(), progress)? {
            Ok(token) => {
                return Ok(match token.identity() {
                    Some(_) => AuthState {
                        outcome: Outcome::SignedIn(SignedIn {
                            token,
                            slot,
                            rides_until_ms: None,
                        }),
                        set_cookies: Vec::new(),
                        keepsakes: Vec::new(),
                        token_type: Some(TokenType::Session),
                    },
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

fn is_session_category(token: &Token) -> bool {
    matches!(token.category(), Category::Session | Category::Unstated)
}
