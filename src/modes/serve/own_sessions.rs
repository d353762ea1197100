//! Orders about somebody's own sessions and tokens: done at Clerk, and answered.

use crate::core::decide::{Browser, Extent, Owner, RefusalKind, SignOut, Surroundings};
use crate::core::facts::{Audience, RequestFacts};
use crate::core::reason::Reason;
use crate::core::session_cookies::{self, ClientUat};
use crate::core::template::Template;
use crate::gate::sessions::Ended;
use crate::gate::{Gate, Site, Snapshot};
use crate::pages::{self, SessionsView, Unconfirmed, Word};

use super::{Failure, Served};

/// Where orders about sessions are carried out.
pub(super) struct Counter<'a, 'r> {
    pub(super) gate: &'a Gate,
    pub(super) snapshot: &'a Snapshot,
    pub(super) site: &'a Site,
    pub(super) facts: &'a RequestFacts<'r>,
    pub(super) request_id: &'a str,
}

impl Counter<'_, '_> {
    pub(super) async fn sessions(
        &self,
        owner: &Owner,
        surroundings: &Surroundings,
    ) -> Result<Served, Failure> {
        let audience = self.facts.audience;
        let beside = async {
            let browser = surroundings.browser.as_ref();
            // A program has asked for sessions of a person, not for those of a browser.
            let browser = browser.filter(|_| audience != Audience::Program)?;
            let held = (self.gate).held_beside(self.site, self.facts, owner, browser);
            held.await.ok()
        };
        let listing = (self.gate).sessions(self.site, self.facts.site, owner);
        let (listing, beside) = tokio::join!(listing, beside);
        let listing = listing?;
        let view = SessionsView {
            sessions: &listing.sessions,
            cut: listing.cut,
            current: owner.session(),
            impersonated: owner.is_impersonated(),
            beside: beside.as_deref(),
            chooser: surroundings.chooser.as_deref(),
            word: surroundings.done.as_deref().and_then(Word::parse),
            prefix: &self.snapshot.pages_prefix,
            form_targets: &surroundings.form_targets,
        };
        Ok(pages::sessions(&view, audience).into())
    }

    pub(super) async fn sign_out(&self, owner: Option<&Owner>, wanted: &SignOut) -> Served {
        let ended = match (owner, wanted.extent) {
            (Some(owner), Extent::This) => Some(self.gate.end_own(self.site, owner).await),
            (Some(owner), Extent::Everywhere) => {
                Some(self.gate.end_all(self.site, self.facts.site, owner).await)
            }
            (None, Extent::This | Extent::Everywhere) => None,
        };
        let uat = ended.map_or(ClientUat::Keep, |ended| ended.client_uat);
        let cookies = session_cookies::cleared(&self.site.instance, &self.facts.origin, uat);
        let served = match ended {
            Some(ended) if !ended.is_confirmed() => self.unconfirmed(ended, true),
            ended if self.facts.audience == Audience::Program => {
                pages::signed_out(ended.map_or(0, |ended| ended.confirmed)).into()
            }
            _ => pages::see_other(&wanted.after).into(),
        };
        served.setting(&cookies)
    }

    pub(super) async fn revoke(&self, owner: &Owner, id: &str) -> Result<Served, Failure> {
        let ended = (self.gate)
            .end_one(self.site, self.facts.site, owner, id)
            .await?;
        Ok(self.ended(ended, Word::Revoked))
    }

    pub(super) async fn revoke_others(&self, owner: &Owner) -> Result<Served, Failure> {
        let ended = (self.gate)
            .end_others(self.site, self.facts.site, owner)
            .await?;
        Ok(self.ended(ended, Word::OthersRevoked))
    }

    pub(super) async fn switch(
        &self,
        owner: &Owner,
        browser: &Browser,
        id: &str,
    ) -> Result<Served, Failure> {
        let touched = (self.gate).switch(self.site, self.facts, owner, browser, id);
        let mut cookies = touched.await?;
        // The next page load asks Clerk, which then gives the session that is in front.
        let uat = ClientUat::Keep;
        cookies.extend(session_cookies::cleared(
            &self.site.instance,
            &self.facts.origin,
            uat,
        ));
        let served: Served = if self.facts.audience == Audience::Program {
            pages::switched(id).into()
        } else {
            pages::see_other(&self.page_of_sessions(Word::Switched)).into()
        };
        Ok(served.setting(&cookies))
    }

    pub(super) async fn token(&self, owner: &Owner) -> Result<Served, Failure> {
        let made = self
            .gate
            .session_token(self.site, self.facts.site, owner)
            .await
            .map_err(|reason| match reason {
                Reason::SessionRevoked => Failure {
                    kind: RefusalKind::SignedOut,
                    reason,
                },
                reason => reason.into(),
            })?;
        Ok(pages::token(&made.jwt, made.expires_s).into())
    }

    pub(super) async fn template(
        &self,
        owner: &Owner,
        template: &Template,
    ) -> Result<Served, Failure> {
        let made = self
            .gate
            .template_token(self.site, self.facts.site, owner, template)
            .await?;
        Ok(pages::token(&made.jwt, made.expires_s).into())
    }

    fn ended(&self, ended: Ended, word: Word) -> Served {
        if !ended.is_confirmed() {
            return self.unconfirmed(ended, false);
        }
        if self.facts.audience == Audience::Program {
            return pages::revoked(ended.confirmed).into();
        }
        pages::see_other(&self.page_of_sessions(word)).into()
    }

    fn page_of_sessions(&self, word: Word) -> String {
        let prefix = &self.snapshot.pages_prefix;
        format!("{prefix}sessions?notice={}", word.as_str())
    }

    fn unconfirmed(&self, ended: Ended, own: bool) -> Served {
        let what = Unconfirmed {
            confirmed: ended.confirmed,
            unconfirmed: ended.unconfirmed,
            unlisted: ended.unlisted,
            own,
        };
        let prefix = &self.snapshot.pages_prefix;
        Served {
            document: pages::unconfirmed(what, prefix, self.facts.audience, self.request_id),
            failure: Some(Reason::RevocationUnconfirmed),
        }
    }
}
