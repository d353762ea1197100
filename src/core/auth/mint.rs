//! A new token for a session that is sealed, without the browser's doing (design, sections 6 and 8, B).

use super::{AuthState, CookieView, Desk, SignedIn};
use crate::core::instance::{BackendApi, Way};
use crate::core::question::{MintFailure, Progress, Question, Slot};
use crate::core::reason::Reason;

impl<'r> Desk<'_, 'r> {
    /// What minting comes to; `None` where there is nothing to mint with, or Clerk would not.
    pub(super) fn mint(
        &self,
        view: &CookieView,
        progress: &Progress<'r>,
    ) -> Result<Option<AuthState>, Question> {
        let closed = self.instance.ways.mint == Way::Closed;
        if closed || self.instance.backend_api == BackendApi::NoSecretKey {
            return Ok(None);
        }
        let Some(seal) = self.seal_to_mint_with(view, progress)? else {
            return Ok(None);
        };
        let raw = match progress.minted()? {
            Ok(raw) => raw,
            Err(MintFailure::Ended) => {
                return Ok(Some(AuthState::signed_out(Reason::SessionRevoked)));
            }
            Err(MintFailure::Unavailable) => {
                return Ok(Some(AuthState::signed_out(
                    Reason::SessionRenewalUnavailable,
                )));
            }
            Err(MintFailure::Refused) => return Ok(None),
        };
        let verified = self.verified_fresh(Slot::FromMint, progress)?;
        // SECURITY: whatever Clerk says, the seal speaks for this session and no other.
        let token = verified
            .ok()
            .filter(|token| token.identity().is_some() && seal.is_of(token));
        Ok(token.map(|token| AuthState {
            set_cookies: self.session_cookies(view, raw),
            ..AuthState::signed_in(SignedIn::by(token, Slot::FromMint))
        }))
    }
}
