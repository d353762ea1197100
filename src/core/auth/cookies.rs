//! Who a browser is, by its cookies (protocol reference, section 3.5).

use std::sync::Arc;

use super::{AuthState, Desk, Outcome, is_of_session};
use crate::core::credentials::{CookieFamily, javascript_integer};
use crate::core::handshake::{self, Consumed};
use crate::core::instance::PendingSessions;
use crate::core::jwt::Token;
use crate::core::organization_sync::Target;
use crate::core::question::{Progress, Question, Slot};
use crate::core::reason::Reason;
use crate::core::referrer;
use crate::core::satellite::{self, Sync};

/// Which cookies count, and what is in them.
pub(in crate::core) struct CookieView {
    pub family: CookieFamily,
    pub slot: Slot,
}

impl<'r> Desk<'_, 'r> {
    /// Section 3.5, in its order.
    pub(super) fn by_cookie(&self, progress: &mut Progress<'r>) -> Result<AuthState, Question> {
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
        if !is_of_session(token) {
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
    pub(in crate::core) fn organization_target(&self) -> Option<Target> {
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
    pub(in crate::core) fn cookies(&self, progress: &Progress<'r>) -> Result<CookieView, Question> {
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
}
