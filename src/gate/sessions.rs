//! Somebody's own sessions: listed, ended, changed between, and tokens made of them.
//!
//! Who may ask for this is decided in the core, and stands in an order. What a session that ends here
//! is refused from then on, whatever Clerk says; whether Clerk has ended it too is told.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::renewal::Whose;
use super::template_tokens::MadeToken;
use super::{Gate, Site, lately};
use crate::clerk::backend::BackendApi;
use crate::clerk::browsers::{BrowserApi, Caller, HeldSession, KnownBy};
use crate::clerk::sessions::{Listing, SessionError};
use crate::core::decide::{Browser, Owner};
use crate::core::facts::RequestFacts;
use crate::core::question::MintFailure;
use crate::core::reason::Reason;
use crate::core::session_cookies::ClientUat;
use crate::core::template::Template;

/// How many sessions are ended at once.
const AT_ONCE: usize = 8;

/// What came of ending sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How many Clerk has ended.
    pub confirmed: usize,
    /// How many it has not.
    pub unconfirmed: usize,
    /// Whether Clerk could not say which sessions there are, or there were too many to end all.
    pub unlisted: bool,
    /// What becomes of the sign that somebody is signed in on this browser.
    pub client_uat: ClientUat,
}

impl Ended {
    fn none() -> Self {
        Self {
            confirmed: 0,
            unconfirmed: 0,
            unlisted: false,
            client_uat: ClientUat::Keep,
        }
    }

    /// Whether all that was to end has ended at Clerk too.
    pub fn is_confirmed(&self) -> bool {
        self.unconfirmed == 0 && !self.unlisted
    }
}

impl Gate {
    /// The live sessions of the owner, as they were a few seconds ago at most.
    pub async fn sessions(
        &self,
        site: &Site,
        number: usize,
        owner: &Owner,
    ) -> Result<Listing, Reason> {
        let listing = self.listed(site, number, owner, lately::SHOWN_MS).await?;
        let mut listing = Listing::clone(&listing);
        (listing.sessions).retain(|session| !self.ends.is_over(&session.id));
        Ok(listing)
    }

    /// The live sessions of the owner, as far as that was asked in the last `most_ms`.
    // SECURITY: whoever asks in a loop would spend the calls of others.
    async fn listed(
        &self,
        site: &Site,
        number: usize,
        owner: &Owner,
        most_ms: u64,
    ) -> Result<Arc<Listing>, Reason> {
        let backend = site.backend.as_ref().ok_or(Reason::SessionsUnavailable)?;
        let call = async { backend.sessions_of(owner.user()).await.map(Arc::new) };
        // Each session has a list of its own: whoever has just signed in must find themselves in it.
        let (user, session) = (owner.user().to_owned(), owner.session().to_owned());
        let key = (number, user, session);
        let now_ms = self.clock.now_ms();
        let listing = self.listings.get(key, most_ms, now_ms, call).await;
        listing.map_err(|_| Reason::SessionsUnavailable)
    }

    /// Ends the session that asks.
    pub async fn end_own(&self, site: &Site, owner: &Owner) -> Ended {
        let mut ended = Ended::none();
        // INVARIANT: refused here first, so that it is however the rest goes.
        self.shut_out(owner.session());
        let Some(backend) = &site.backend else {
            ended.unconfirmed = 1;
            return ended;
        };
        match self.ends.revoke(backend, owner.session()).await {
            Ok(client) => {
                ended.confirmed = 1;
                ended.client_uat = client_uat(backend, client.as_deref()).await;
            }
            Err(_) => ended.unconfirmed = 1,
        }
        ended
    }

    /// Ends every session of the owner.
    pub async fn end_all(&self, site: &Site, number: usize, owner: &Owner) -> Ended {
        self.shut_out(owner.session());
        let Some(backend) = &site.backend else {
            self.denials.deny_user(owner.user(), self.clock.now_ms());
            return Ended {
                unconfirmed: 1,
                unlisted: true,
                ..Ended::none()
            };
        };
        let (own, listing) = tokio::join!(
            self.ends.revoke(backend, owner.session()),
            self.listed(site, number, owner, lately::FRESH_MS),
        );
        let listed = listing.as_ref().ok();
        let others = listed.into_iter().flat_map(|listing| &listing.sessions);
        let others = others
            .map(|session| session.id.clone())
            .filter(|id| id != owner.session());
        let mut ended = self.end_each(backend, others.collect()).await;
        ended.unlisted = listed.is_none_or(|listing| listing.cut);
        if ended.unlisted {
            // Whichever they are, their tokens are refused from now on.
            self.denials.deny_user(owner.user(), self.clock.now_ms());
        }
        match own {
            Ok(client) => {
                ended.confirmed += 1;
                ended.client_uat = client_uat(backend, client.as_deref()).await;
            }
            Err(_) => ended.unconfirmed += 1,
        }
        ended
    }

    /// Ends another session of the owner's.
    pub async fn end_one(
        &self,
        site: &Site,
        number: usize,
        owner: &Owner,
        id: &str,
    ) -> Result<Ended, Reason> {
        let backend = site.backend.as_ref().ok_or(Reason::SessionsUnavailable)?;
        let listing = self.listed(site, number, owner, lately::FRESH_MS).await?;
        // SECURITY: an id from outside counts only if Clerk has just said that it is the caller's.
        if !listing.sessions.iter().any(|session| session.id == id) {
            return Err(if listing.cut {
                Reason::SessionsUnavailable
            } else {
                Reason::SessionUnknown
            });
        }
        Ok(self.end_each(backend, vec![id.to_owned()]).await)
    }

    /// Ends all sessions of the owner but the one that asks.
    pub async fn end_others(
        &self,
        site: &Site,
        number: usize,
        owner: &Owner,
    ) -> Result<Ended, Reason> {
        let backend = site.backend.as_ref().ok_or(Reason::SessionsUnavailable)?;
        let listing = self.listed(site, number, owner, lately::FRESH_MS).await?;
        let others = listing.sessions.iter().map(|session| session.id.clone());
        let others = others.filter(|id| id != owner.session()).collect();
        let ended = self.end_each(backend, others).await;
        Ok(Ended {
            unlisted: listing.cut,
            ..ended
        })
    }

    /// Ends those of these sessions that have not ended yet.
    async fn end_each(&self, backend: &BackendApi, mut ids: Vec<String>) -> Ended {
        let mut ended = Ended::none();
        ids.retain(|id| !self.ends.is_over(id));
        for id in &ids {
            self.shut_out(id);
        }
        let mut calls = JoinSet::new();
        let mut note = |answer: Option<Result<bool, _>>| match answer {
            Some(Ok(true)) => ended.confirmed += 1,
            Some(Ok(false) | Err(_)) => ended.unconfirmed += 1,
            None => {}
        };
        for id in ids {
            if calls.len() >= AT_ONCE {
                note(calls.join_next().await);
            }
            let (ends, backend) = (Arc::clone(&self.ends), backend.clone());
            calls.spawn(async move { ends.revoke(&backend, &id).await.is_ok() });
        }
        while let Some(answer) = calls.join_next().await {
            note(Some(answer));
        }
        ended
    }

    /// Refuses a session from now on. What was made of it is not handed out again.
    fn shut_out(&self, session: &str) {
        self.denials.deny_session(session, self.clock.now_ms());
    }

    /// Who else is signed in on the browser of the owner's session.
    pub async fn held_beside(
        &self,
        site: &Site,
        facts: &RequestFacts<'_>,
        owner: &Owner,
        browser: &Browser,
    ) -> Result<Vec<HeldSession>, Reason> {
        self.held(site, facts, owner, browser, lately::SHOWN_MS)
            .await
    }

    async fn held(
        &self,
        site: &Site,
        facts: &RequestFacts<'_>,
        owner: &Owner,
        browser: &Browser,
        most_ms: u64,
    ) -> Result<Vec<HeldSession>, Reason> {
        let api = site.browsers.as_ref().ok_or(Reason::SessionsUnavailable)?;
        let call = async {
            let held = api.sessions(&caller(site, facts, browser)).await;
            held.map(Arc::from)
        };
        let (Browser::Client(known_by) | Browser::DevBrowser(known_by)) = browser;
        let key = (facts.site, owner.session().to_owned(), known_by.clone());
        let held = (self.browsers).get(key, most_ms, self.clock.now_ms(), call);
        let held = held.await.map_err(|_| Reason::SessionsUnavailable)?;
        // SECURITY: a token of another browser may have been planted in this one. The one that holds the
        // owner's session is the owner's.
        if !held.iter().any(|session| session.id == owner.session()) {
            return Ok(Vec::new());
        }
        let now_ms = self.clock.now_ms();
        let live = |session: &HeldSession| {
            session.id != owner.session() && !self.denials.is_denied(&session.id, now_ms)
        };
        Ok(held.iter().filter(|held| live(held)).cloned().collect())
    }

    /// Brings another session of the browser to the front. Gives the Set-Cookie lines of Clerk's.
    pub async fn switch(
        &self,
        site: &Site,
        facts: &RequestFacts<'_>,
        owner: &Owner,
        browser: &Browser,
        id: &str,
    ) -> Result<Vec<String>, Reason> {
        let api: &BrowserApi = site.browsers.as_ref().ok_or(Reason::SessionsUnavailable)?;
        let held = self.held(site, facts, owner, browser, lately::FRESH_MS);
        let held = held.await?;
        if !held.iter().any(|session| session.id == id) {
            return Err(Reason::SessionUnknown);
        }
        let touched = api.touch(&caller(site, facts, browser), id).await;
        touched.map_err(|error| match error {
            SessionError::Unknown => Reason::SessionUnknown,
            SessionError::Unavailable => Reason::SessionsUnavailable,
        })
    }

    /// A new session token for the session of the owner.
    pub async fn session_token(
        &self,
        site: &Site,
        number: usize,
        owner: &Owner,
    ) -> Result<MadeToken, Reason> {
        let renewer = site.renewer(number).ok_or(Reason::SessionsUnavailable)?;
        let now_ms = self.clock.now_ms();
        let whose = Whose {
            session: owner.session(),
            user: owner.user(),
        };
        let minted = self
            .renewals
            .mint(renewer, &self.denials, whose, |_| false, now_ms);
        match minted.await {
            Ok(jwt) => {
                let made = MadeToken::of_session(&jwt, owner, now_ms);
                made.ok_or(Reason::SessionsUnavailable)
            }
            Err(MintFailure::Ended) => Err(Reason::SessionRevoked),
            Err(MintFailure::Unavailable | MintFailure::Refused) => {
                Err(Reason::SessionsUnavailable)
            }
        }
    }

    /// A token of a template for the session of the owner.
    pub async fn template_token(
        &self,
        site: &Site,
        number: usize,
        owner: &Owner,
        template: &Template,
    ) -> Result<MadeToken, Reason> {
        let backend = site.backend.as_ref().ok_or(Reason::TemplateUnavailable)?;
        let now_ms = self.clock.now_ms();
        let name = &template.name;
        let made = (self.templates).get(backend, number, owner, name, &self.denials, now_ms);
        made.await.map_err(|_| Reason::TemplateUnavailable)
    }
}

/// The sign of a client goes where Clerk says that nobody is left on the browser.
async fn client_uat(backend: &BackendApi, client: Option<&str>) -> ClientUat {
    let Some(client) = client else {
        return ClientUat::Keep;
    };
    match backend.is_in_use(client).await {
        Some(false) => ClientUat::Clear,
        Some(true) | None => ClientUat::Keep,
    }
}

fn caller<'c>(site: &Site, facts: &RequestFacts<'_>, browser: &'c Browser) -> Caller<'c> {
    let proxy = site.instance.frontend_api_proxy.as_ref();
    Caller {
        known_by: match browser {
            Browser::Client(client) => KnownBy::Client(client),
            Browser::DevBrowser(token) => KnownBy::DevBrowser(token),
        },
        origin: facts.origin.to_string(),
        proxy_url: proxy.map(|proxy| format!("{}{proxy}", facts.origin)),
        address: facts.client.to_string(),
    }
}
