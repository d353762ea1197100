//! The answers to what the core asks of a request: who knows, and what they are asked.
//!
//! Nothing is decided here. What cannot be found out is noted as that.

use std::sync::Arc;

use super::renewal::Whose;
use super::{Gate, Site, seals};
use crate::clerk::backend::{self, RefreshCall};
use crate::core::continuity::OwnCookies;
use crate::core::decide::{Inputs, Owner};
use crate::core::jwt::Token;
use crate::core::question::{MintFailure, Progress, Question, Slot, TokenAnswer, TokenStanding};
use crate::core::reason::{Reason, RefreshFailure};
use crate::core::verify::Signature;
use crate::store::Lease;

impl Gate {
    /// Finds out the answer to a question, and notes it.
    pub(super) async fn find_out(
        &self,
        question: Question,
        site: &Site,
        inputs: Inputs<'_, '_>,
        progress: &mut Progress<'_>,
        leases: &mut Vec<Lease>,
    ) {
        match question {
            Question::Token(slot) => {
                let raw = progress.raw(slot).unwrap_or_default();
                let answer = self.token(site, inputs.now_ms, raw);
                self.meters.tokens.note(answer.signature.is_some());
                progress.answer_token(slot, answer);
            }
            Question::Signature(slot) => {
                let signature = self.signature(site, inputs, slot, progress).await;
                progress.answer_signature(slot, signature);
            }
            Question::HandshakePayload => {
                let nonce = progress
                    .credentials()
                    .and_then(|c| c.handshake_nonce.as_deref());
                let payload = match (&site.backend, nonce) {
                    (Some(backend), Some(nonce)) => {
                        let (number, now_ms) = (inputs.facts.site, inputs.now_ms);
                        self.nonces.exchange(backend, number, nonce, now_ms).await
                    }
                    _ => Err(()),
                };
                progress.answer_payload(payload);
            }
            Question::Machine(kind) => {
                let token = progress.raw(Slot::Bearer).unwrap_or_default();
                let machine = site.machines.verify(kind, token, inputs.now_ms).await;
                progress.answer_machine(machine);
            }
            Question::OwnCookies => {
                progress.answer_own_cookies(Self::own_cookies(site, inputs, progress));
            }
            Question::Journey => {
                // Should chance fail, the question stays open, and the verdict is that nothing can be told.
                if let Some(journey) = seals::new_journey() {
                    progress.answer_journey(journey);
                }
            }
            Question::Mint => {
                let renewer = site.renewer(inputs.facts.site);
                let minted = match (renewer, progress.opened_seal()) {
                    (Some(renewer), Some(seal)) => {
                        let whose = Whose {
                            session: &seal.session,
                            user: &seal.user,
                        };
                        let cookies = [Slot::Session, Slot::SuffixedSession];
                        let came = |jwt: &str| {
                            let mut cookies = cookies.iter();
                            cookies.any(|slot| progress.raw(*slot) == Some(jwt))
                        };
                        self.renewals
                            .mint(renewer, &self.denials, whose, came, inputs.now_ms)
                            .await
                    }
                    _ => Err(MintFailure::Refused),
                };
                progress.answer_mint(minted);
            }
            Question::Recollection(slot) => {
                let recollection = self.recollect(site, slot, progress);
                progress.answer_recollection(recollection);
            }
            Question::Reach(slot) => {
                let reach = self.reach(site, slot, progress).await;
                progress.answer_reach(reach);
            }
            Question::Template(slot) => {
                let token = self.route_token(site, inputs, slot, progress).await;
                progress.answer_template(token);
            }
            Question::Budget(stage) => {
                let charges = progress.charges(stage);
                let spendings = self.budgets.spend(charges, leases, inputs.now_ms).await;
                progress.answer_budget(stage, spendings);
            }
            Question::Refresh(slot) => {
                let outcome = self.refresh(site, inputs, slot, progress).await;
                progress.answer_refresh(outcome);
            }
        }
    }

    /// The gate's own cookies of a request, as far as they can be opened.
    pub(super) fn own_cookies(
        site: &Site,
        inputs: Inputs<'_, '_>,
        progress: &Progress<'_>,
    ) -> OwnCookies {
        let came = progress.credentials();
        site.seals.open(
            &site.instance,
            &inputs.facts.origin,
            came.and_then(|c| c.seal.as_deref()),
            came.and_then(|c| c.state.as_deref()),
        )
    }

    /// Decodes a token, or finds it among those that were verified before.
    pub(super) fn token(&self, site: &Site, now_ms: u64, raw: &str) -> TokenAnswer {
        // SECURITY: a machine's token may be good for days. It must not be taken for so long although
        // nobody has looked whether its key still is.
        let verified = site
            .keys
            .stands()
            .then(|| self.tokens.verified(raw, site.keys.generation(), now_ms))
            .flatten();
        let signature = verified.as_ref().map(|_| Signature::Good);
        let decoded = match verified {
            Some(token) => Ok(token),
            None => Token::decode(raw).map(Arc::new),
        };
        let standing = decoded.as_ref().map_or(TokenStanding::Stands, |token| {
            self.denials.standing(token, now_ms)
        });
        TokenAnswer {
            decoded,
            signature,
            standing,
        }
    }

    async fn signature(
        &self,
        site: &Site,
        inputs: Inputs<'_, '_>,
        slot: Slot,
        progress: &Progress<'_>,
    ) -> Signature {
        let (Some(raw), Some(token)) = (progress.raw(slot), progress.decoded(slot)) else {
            return Signature::Bad;
        };
        let (signature, generation) = site.keys.check(raw, token).await;
        if signature == Signature::Good && slot != Slot::Handshake {
            self.tokens
                .keep(raw, token, generation, site.instance.clock_skew_ms);
            self.live.hears(inputs.facts.site, token);
            self.vouch(site, inputs, slot, raw, token);
        }
        signature
    }

    /// A token of the template of the route that a request has come to.
    async fn route_token(
        &self,
        site: &Site,
        inputs: Inputs<'_, '_>,
        slot: Slot,
        progress: &Progress<'_>,
    ) -> Result<Arc<str>, Reason> {
        let found = progress.route().ok_or(Reason::TemplateUnavailable)?;
        let template = inputs.policy.route(found.route).template.as_deref();
        let owner = progress.decoded(slot).and_then(|token| Owner::of(token));
        let (Some(template), Some(owner)) = (template, owner) else {
            return Err(Reason::TemplateUnavailable);
        };
        let number = inputs.facts.site;
        let made = self.template_token(site, number, &owner, template).await?;
        Ok(made.jwt)
    }

    async fn refresh(
        &self,
        site: &Site,
        inputs: Inputs<'_, '_>,
        slot: Slot,
        progress: &Progress<'_>,
    ) -> Result<Vec<String>, RefreshFailure> {
        let facts = inputs.facts;
        let Some(renewer) = site.renewer(facts.site) else {
            return Err(RefreshFailure::NoSecretKey);
        };
        let refresh_token = progress.credentials().and_then(|c| c.refresh.as_deref());
        let (Some(expired), Some(token), Some(refresh_token)) =
            (progress.raw(slot), progress.decoded(slot), refresh_token)
        else {
            return Err(RefreshFailure::Unintelligible);
        };
        let session = token.text("sid").unwrap_or_default();
        if self.denials.is_denied(session, inputs.now_ms) {
            return Err(RefreshFailure::Ended);
        }
        let call = RefreshCall {
            session_id: session.to_owned(),
            expired_token: expired.to_owned(),
            refresh_token: refresh_token.to_owned(),
            origin: facts.origin.to_string(),
            headers: backend::header_lists(facts.headers),
        };
        self.refreshes.refresh(renewer, &call, inputs.now_ms).await
    }
}
