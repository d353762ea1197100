//! Whether Clerk is out: asked once for all who want to know it, and behind those who ride through while
//! it is.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use super::denials::Denials;
use super::flights::Flights;
use crate::clerk::backend::{BackendApi, Lookup};
use crate::clerk::reach::{Reachability, Seen, Sighting};
use crate::clock::SharedClock;
use crate::core::ride_through::Reach;

/// How Clerk was last seen, by instance: sites may be of several, and change their places.
pub(super) struct Outages {
    clock: SharedClock,
    denials: Arc<Denials>,
    /// By the publishable key; as many as there are instances.
    known: Mutex<HashMap<String, Reachability>>,
    asks: Flights<String, Reach>,
}

impl Outages {
    /// Nothing was seen yet.
    pub(super) fn new(clock: SharedClock, denials: Arc<Denials>) -> Self {
        Self {
            clock,
            denials,
            known: Mutex::default(),
            asks: Flights::new(),
        }
    }

    /// What is known without asking.
    pub(super) fn known(&self, instance: &str) -> Reach {
        match self.seen(instance) {
            Seen::Out => Reach::Unreachable,
            Seen::There | Seen::Unknown => Reach::Unproven,
        }
    }

    /// Whether Clerk can be reached, by asking about this session if nothing was seen lately.
    pub(super) async fn ask(&self, backend: &BackendApi, instance: &str, session: &str) -> Reach {
        match self.seen(instance) {
            Seen::Out => return Reach::Unreachable,
            Seen::There => return Reach::Unproven,
            Seen::Unknown => {}
        }
        let ask = self.look(backend, instance, session);
        self.asks.join(instance.to_owned(), Box::pin(ask)).await
    }

    /// Asks behind somebody who rides through, if it is time: they do not wait for it, and whoever comes
    /// when Clerk is back is renewed.
    pub(super) fn ask_again(self: &Arc<Self>, backend: &BackendApi, instance: &str, session: &str) {
        let now_ms = self.clock.now_ms();
        let due = (self.all().get_mut(instance)).is_some_and(|known| known.asks_again(now_ms));
        if due {
            let (outages, backend) = (Arc::clone(self), backend.clone());
            let (instance, session) = (instance.to_owned(), session.to_owned());
            tokio::spawn(async move { outages.look(&backend, &instance, &session).await });
        }
    }

    async fn look(&self, backend: &BackendApi, instance: &str, session: &str) -> Reach {
        let began_ms = self.clock.now_ms();
        let sighting = backend.sight(session).await;
        let now_ms = self.clock.now_ms();
        let is_over = match &sighting {
            Sighting::Answered(Lookup::Found(word)) => !word.is_live(),
            Sighting::Answered(Lookup::Unknown) => true,
            Sighting::Answered(Lookup::Unavailable | Lookup::Unasked)
            | Sighting::Failed
            | Sighting::Nothing => false,
        };
        if is_over {
            self.denials.deny_session(session, now_ms);
        }
        let (before, after) = {
            let mut all = self.all();
            let known = all.entry(instance.to_owned()).or_default();
            let before = known.seen(now_ms);
            known.note(&sighting, began_ms, now_ms);
            (before, known.seen(now_ms))
        };
        match (before, after) {
            (Seen::There | Seen::Unknown, Seen::Out) => {
                warn!(instance, "clerk is out of reach: sessions ride through");
            }
            (Seen::Out, Seen::There | Seen::Unknown) => info!(instance, "clerk is in reach again"),
            _ => {}
        }
        match sighting {
            Sighting::Failed => Reach::Unreachable,
            Sighting::Answered(_) | Sighting::Nothing => Reach::Unproven,
        }
    }

    fn seen(&self, instance: &str) -> Seen {
        let now_ms = self.clock.now_ms();
        let all = self.all();
        all.get(instance)
            .map_or(Seen::Unknown, |known| known.seen(now_ms))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Reachability>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outages")
            .field("known", &*self.all())
            .finish_non_exhaustive()
    }
}
