//! What gates tell each other: who is out, and that Clerk's keys have changed.

use std::sync::Arc;
use std::time::Duration;

use super::{Gate, Snapshot};
use crate::store::notices::Notice;

/// How long a gate that starts waits for what was told before it was there.
const CATCH_UP: Duration = Duration::from_secs(1);

impl Gate {
    /// Begins to hear what other gates tell, and to tell them of keys. Comes back when all that was told
    /// before is known, or cannot be had now.
    // SECURITY: a gate that was started again must not let in who was signed out before.
    pub async fn join_others(&self, snapshot: &Snapshot) {
        self.follow_keys(snapshot);
        let (denials, clock) = (Arc::clone(&self.denials), Arc::clone(&self.clock));
        let keys = Arc::clone(&self.followed_keys);
        let hearing = self.notices.hear(move |notice| match notice {
            Notice::Out(out) => denials.heard(&out, clock.now_ms()),
            // SECURITY: Clerk says which keys it has, and nobody else.
            Notice::Keys { instance, digest } => {
                let keys = keys.load();
                let theirs = keys.iter().filter(|(of, _)| *of == instance);
                theirs.for_each(|(_, keys)| keys.fetch_anew(&digest));
            }
        });
        let hearing = self.hearing.get_or_init(|| hearing);
        hearing.stay_in_touch(snapshot.policy.rides());
        hearing.caught_up(CATCH_UP).await;
    }

    /// Has other gates told and heard as this snapshot needs it from now on.
    pub fn follow(&self, snapshot: &Snapshot) {
        self.follow_keys(snapshot);
        if let Some(hearing) = self.hearing.get() {
            hearing.stay_in_touch(snapshot.policy.rides());
        }
    }

    /// Tells other gates of the keys of this snapshot when they change, and fetches them when others tell.
    fn follow_keys(&self, snapshot: &Snapshot) {
        let sites = snapshot.sites.iter().map(|site| {
            let instance = site.instance.key.as_str().to_owned();
            let (notices, of) = (self.notices.clone(), instance.clone());
            site.keys.when_changed(move |digest| {
                let instance = of.clone();
                notices.tell(Notice::Keys { instance, digest });
            });
            (instance, site.keys.clone())
        });
        self.followed_keys.store(Arc::new(sites.collect()));
    }
}
