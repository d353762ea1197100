//! Renewing a session whose token has expired (protocol reference, section 3.9).

use super::{AuthState, Desk, SignedIn};
use crate::core::continuity::is_session_id;
use crate::core::instance::{BackendApi, Continuity, Way};
use crate::core::question::{Progress, Question, Slot};
use crate::core::reason::RefreshFailure;

impl<'r> Desk<'_, 'r> {
    /// Section 3.9. The outer error is a question, the inner one why there is no new token.
    pub(super) fn refresh(
        &self,
        slot: Slot,
        progress: &Progress<'r>,
    ) -> Result<Result<AuthState, RefreshFailure>, Question> {
        if self.instance.ways.refresh == Way::Closed {
            return Ok(Err(RefreshFailure::SwitchedOff));
        }
        let every_method = self.instance.continuity == Continuity::Full;
        if !every_method && *self.facts.method != http::Method::GET {
            return Ok(Err(RefreshFailure::NotGet));
        }
        if progress.credentials().is_none_or(|c| c.refresh.is_none()) {
            return Ok(Err(RefreshFailure::NoRefreshCookie));
        }
        if self.instance.backend_api == BackendApi::NoSecretKey {
            return Ok(Err(RefreshFailure::NoSecretKey));
        }
        // The cookie's token is renewed even where the header's has expired.
        let source = self.refresh_source(slot, progress)?;
        let session_id = match &progress.token(source)?.decoded {
            Ok(token) => token.text("sid").unwrap_or_default(),
            Err(_) => return Ok(Err(RefreshFailure::Undecodable)),
        };
        if session_id.is_empty() {
            return Ok(Err(RefreshFailure::NoSessionId));
        }
        if !is_session_id(session_id) {
            return Ok(Err(RefreshFailure::Unintelligible));
        }
        let directives = match progress.refreshed(source)? {
            Ok(directives) if directives.is_empty() => return Ok(Err(RefreshFailure::Empty)),
            Ok(directives) => directives.clone(),
            Err(failure) => return Ok(Err(failure.clone())),
        };
        if progress.raw(Slot::FromRefresh).is_none() {
            return Ok(Err(RefreshFailure::InvalidToken));
        }
        let verified = self.verified_fresh(Slot::FromRefresh, progress)?;
        Ok(match verified {
            Ok(token) if token.identity().is_some() => Ok(AuthState {
                keepsakes: self.sealed(&token, progress)?.into_iter().collect(),
                set_cookies: directives,
                ..AuthState::signed_in(SignedIn::by(token, Slot::FromRefresh))
            }),
            _ => Err(RefreshFailure::InvalidToken),
        })
    }

    pub(super) fn refresh_source(
        &self,
        slot: Slot,
        progress: &Progress<'r>,
    ) -> Result<Slot, Question> {
        if slot != Slot::Bearer {
            return Ok(slot);
        }
        let view = self.cookies(progress)?;
        Ok(if progress.raw(view.slot).is_some() {
            view.slot
        } else {
            Slot::Bearer
        })
    }
}
