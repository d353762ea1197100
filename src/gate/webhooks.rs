//! What follows from Clerk's events, each once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use tracing::info;

use super::Gate;
use crate::clerk::webhooks::{Claim, EventError, News, WebhookSecrets};

/// How many events are remembered.
const MOST_EVENTS: usize = 10_000;

/// The events that were taken in and could still come again.
///
/// Only whoever knows a secret adds to it. When it is full and none of them is too old, an event is
/// acted on and not remembered: whatever follows from one takes something away, and taking it away
/// once more lets nobody in, while an event that is passed over might.
#[derive(Debug)]
pub struct SeenEvents {
    most: usize,
    /// Ids, and the last second at which each is taken.
    seen: Mutex<HashMap<String, u64>>,
}

impl Default for SeenEvents {
    fn default() -> Self {
        Self::of(MOST_EVENTS)
    }
}

impl SeenEvents {
    /// A memory for this many events.
    pub fn of(most: usize) -> Self {
        Self {
            most,
            seen: Mutex::default(),
        }
    }

    /// Notes an event, good until this second. Whether it is new.
    pub fn note(&self, id: &str, good_until_s: u64, now_s: u64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = seen.get_mut(id) {
            // An event that is sent again is signed anew, with a later time.
            *until = good_until_s.max(*until);
            return false;
        }
        if seen.len() >= self.most {
            seen.retain(|_, until| *until >= now_s);
        }
        if seen.len() < self.most {
            seen.insert(id.to_owned(), good_until_s);
        }
        true
    }
}

impl Gate {
    /// What the head of an event claims, if it could be Clerk's.
    pub fn claim<'h>(&self, headers: &'h HeaderMap) -> Result<Claim<'h>, EventError> {
        Claim::read(headers, self.clock.now_ms())
    }

    /// Takes an event in, if it is Clerk's and new.
    pub fn take(
        &self,
        secrets: &WebhookSecrets,
        claim: &Claim<'_>,
        body: &[u8],
    ) -> Result<(), EventError> {
        let event = claim.verify(secrets, body)?;
        let now_ms = self.clock.now_ms();
        let id = claim.id();
        let new = self.events.note(id, claim.good_until_s(), now_ms / 1000);
        let news = event.news.as_ref();
        info!(
            event = event.name,
            id,
            new,
            session = news.and_then(News::session),
            user = news.and_then(News::user),
            org = news.and_then(News::organization),
            "clerk sent an event"
        );
        if let (true, Some(news)) = (new, news) {
            self.heed(news, now_ms);
        }
        Ok(())
    }

    fn heed(&self, news: &News, now_ms: u64) {
        match news {
            News::SessionOver { session, .. } => self.denials.deny_session(session, now_ms),
            News::UserOut { user } => self.denials.deny_user(user, now_ms),
            News::UserChanged { user, before_s } => {
                self.denials.expire_tokens(user, *before_s, now_ms);
            }
            News::OrganizationGone {
                organization,
                before_s,
            } => self
                .denials
                .expire_tokens_in(organization, *before_s, now_ms),
        }
    }
}
