//! Sending a browser to Clerk and back, or renewing its session where that is no way (protocol reference,
//! section 3.6; design, section 6).

use super::{AuthRedirect, AuthState, CookieView, Desk, Outcome};
use crate::core::continuity::Journey;
use crate::core::handshake;
use crate::core::instance::Way;
use crate::core::machine::TokenType;
use crate::core::question::{Progress, Question};
use crate::core::reason::{Cause, Reason};

impl<'r> Desk<'_, 'r> {
    /// Sends the browser to Clerk and back where that would work, and says signed-out where not.
    pub(super) fn maybe_handshake(
        &self,
        cause: impl Into<Cause>,
        view: &CookieView,
        progress: &Progress<'r>,
    ) -> Result<AuthState, Question> {
        let cause = cause.into();
        if !self.may_redirect(progress) || self.shuns_handshakes(cause.reason) {
            return Ok(AuthState::signed_out(cause));
        }
        let journey = self.journey(progress)?;
        Ok(
            match handshake::location(self, &cause, view, journey, progress) {
                Some(location) => self.redirect(location, cause, journey, progress),
                None => AuthState::signed_out(Reason::UnexpectedError),
            },
        )
    }

    /// Whether handshakes are switched off. A browser that a development instance does not know yet has
    /// no other way (section 3.16).
    pub(super) fn shuns_handshakes(&self, reason: Reason) -> bool {
        let needed = matches!(reason, Reason::DevBrowserMissing | Reason::DevBrowserSync);
        self.instance.ways.handshake == Way::Closed && !needed
    }

    /// A page load goes to Clerk and back. Whatever cannot do that gets a new token by its seal: it
    /// would be refused otherwise, and what it carries would be lost.
    pub(super) fn handshake_or_mint(
        &self,
        cause: impl Into<Cause>,
        view: &CookieView,
        progress: &Progress<'r>,
    ) -> Result<AuthState, Question> {
        let state = self.maybe_handshake(cause, view, progress)?;
        if matches!(state.outcome, Outcome::Redirect(_)) {
            return Ok(state);
        }
        Ok(self.mint(view, progress)?.unwrap_or(state))
    }

    /// Whether the browser can be sent on, and has not been sent on three times in a row (section 3.6).
    pub(super) fn may_redirect(&self, progress: &Progress<'r>) -> bool {
        let count = progress.credentials().map_or(0.0, |c| c.redirect_count);
        self.facts.is_handshake_eligible() && count < handshake::MAX_REDIRECTS
    }

    /// Sends the browser on, on a journey of ours or on none, where it can be.
    pub(super) fn redirect(
        &self,
        location: String,
        cause: Cause,
        journey: Option<&Journey>,
        progress: &Progress<'r>,
    ) -> AuthState {
        if !self.may_redirect(progress) {
            return AuthState::signed_out(cause);
        }
        let count = progress.credentials().map_or(0.0, |c| c.redirect_count);
        AuthState {
            outcome: Outcome::Redirect(AuthRedirect {
                location,
                cause: Some(cause),
            }),
            set_cookies: vec![handshake::counter_cookie(count)],
            keepsakes: journey
                .map(|journey| self.begins(journey))
                .into_iter()
                .collect(),
            token_type: Some(TokenType::Session),
        }
    }
}
