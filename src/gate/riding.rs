//! What riding through an outage of Clerk's needs of the world: what was verified before, whether Clerk
//! is out, and whether other gates are heard. Who may ride is the core's affair.

use super::{Gate, Site};
use crate::core::decide::{Decision, Inputs, Verdict};
use crate::core::jwt::Token;
use crate::core::question::{Progress, Slot, TokenStanding};
use crate::core::ride_through::{self, Reach, Recollection};
use crate::store::notices::Hearing;

impl Gate {
    /// What is known of the token in `slot`, which has ended.
    pub(super) fn recollect(
        &self,
        site: &Site,
        slot: Slot,
        progress: &Progress<'_>,
    ) -> Recollection {
        let raw = progress.raw(slot).unwrap_or_default();
        if !self.vouched.knows(site.instance.key.as_str(), raw) {
            Recollection::Unknown
        } else if self.hears_others() {
            Recollection::Verified(self.outages.known(site.instance.key.as_str()))
        } else {
            Recollection::Unheard
        }
    }

    /// Whether Clerk is out of reach, asked about the session of the token in `slot`.
    pub(super) async fn reach(&self, site: &Site, slot: Slot, progress: &Progress<'_>) -> Reach {
        let (Some(backend), Some(token)) = (&site.backend, progress.decoded(slot)) else {
            return Reach::Unproven;
        };
        let session = token.text("sid").unwrap_or_default();
        let reach = (self.outages)
            .ask(backend, site.instance.key.as_str(), session)
            .await;
        // SECURITY: while Clerk was asked, another gate or an event may have said that the session is over.
        let stands = self.denials.standing(token, self.clock.now_ms()) == TokenStanding::Stands;
        if stands && self.hears_others() {
            reach
        } else {
            Reach::Unproven
        }
    }

    /// Whether everything that other gates have written of who is out is known here too, and they can
    /// write.
    // SECURITY: whoever has signed out at another gate must not ride on at this one. A gate that has lost
    // Redis by itself keeps that to itself, and it is not noticed here.
    fn hears_others(&self) -> bool {
        let hearing = self.hearing.get();
        self.budgets.are_up() && hearing.is_none_or(Hearing::is_in_touch)
    }

    /// Keeps a token of a browser in mind that has just been verified, where sessions may ride through.
    ///
    /// Once for each token: from then on it is found among those that were verified.
    pub(super) fn vouch(
        &self,
        site: &Site,
        inputs: Inputs<'_, '_>,
        slot: Slot,
        raw: &str,
        token: &Token,
    ) {
        if slot != Slot::Bearer
            && inputs.policy.rides()
            && ride_through::holds(token, &site.instance, inputs.now_ms)
        {
            self.vouched.keep(site.instance.key.as_str(), raw, token);
        }
    }

    /// Looks whether Clerk is back, behind a request that rides through.
    pub(super) fn looks_again(&self, site: &Site, verdict: &Verdict) {
        if let Decision::Forward(permit) = &verdict.decision
            && permit.rides().is_some()
            && let (Some(backend), Some(who)) = (&site.backend, &verdict.who)
        {
            let session = who.session.as_deref().unwrap_or_default();
            (self.outages).ask_again(backend, site.instance.key.as_str(), session);
        }
    }
}
