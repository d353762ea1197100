//! That Clerk has other keys, told by one gate and heard by another: what is told is no key, and what is
//! heard only has one's own fetched.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::{Inner, KeySource, KeyStore, millis};
use crate::clerk::keys::KeySet;

/// Who is told of keys, and which are awaited.
#[derive(Debug, Default)]
pub(super) struct News {
    told: OnceLock<Told>,
    /// The digest of the keys that a fetch which is yet to come is to bring.
    wanted: Mutex<Option<String>>,
}

/// Is told the digest of the keys that a fetch has brought.
struct Told(Box<dyn Fn(String) + Send + Sync>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

/// Why keys are fetched.
#[derive(Clone, Copy)]
pub(super) enum Cause {
    /// They are missing, or old.
    Need,
    /// Somebody else says that there are others.
    Notice,
}

impl KeyStore {
    /// Has this called with the digest of the keys whenever a fetch has brought others than there were,
    /// but for fetches that [`KeyStore::fetch_anew`] has caused. The first who asks is told.
    pub fn when_changed(&self, told: impl Fn(String) + Send + Sync + 'static) {
        let _ = self.0.news.told.set(Told(Box::new(told)));
    }

    /// Fetches in the background because the keys at Clerk are said to have another digest: once for
    /// any number who say so, and no sooner than a cool-down after the last fetch. Where nobody has needed
    /// keys yet, nothing is fetched.
    pub fn fetch_anew(&self, digest: &str) {
        let inner = &self.0;
        if matches!(inner.source, KeySource::Fixed)
            || !inner.has_others_than(digest)
            || inner.news.wants(Some(digest.to_owned())).is_some()
        {
            return;
        }
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            loop {
                let mut attempts = inner.fetching.lock().await;
                let now = inner.clock.now_ms();
                let pause = millis(inner.times.unknown_kid_cool_down);
                let since = attempts.last_ms.map(|last| now.saturating_sub(last));
                let left = pause.saturating_sub(since.unwrap_or(pause));
                if left == 0 {
                    // Somebody else's fetch may have brought them.
                    let wanted = inner.news.wants(None);
                    if wanted.is_some_and(|digest| inner.has_others_than(&digest)) {
                        let _ = inner.fetch(&mut attempts, Cause::Notice).await;
                    }
                    return;
                }
                drop(attempts);
                tokio::time::sleep(Duration::from_millis(left)).await;
            }
        });
    }
}

impl Inner {
    /// Whether there are keys, and not those of this digest.
    fn has_others_than(&self, digest: &str) -> bool {
        let current = self.current.load();
        let current = current.as_ref();
        current.is_some_and(|current| current.keys.digest() != digest)
    }
}

impl News {
    /// The digest of these keys, if there were others before and nobody has told of them.
    pub(super) fn of(cause: Cause, before: Option<&KeySet>, now: &KeySet) -> Option<String> {
        let others = before.is_some_and(|old| !(old.is_part_of(now) && now.is_part_of(old)));
        match cause {
            Cause::Need if others => Some(now.digest()),
            Cause::Need | Cause::Notice => None,
        }
    }

    /// Tells of keys, if that is news.
    pub(super) fn tell(&self, digest: Option<String>) {
        if let (Some(digest), Some(told)) = (digest, self.told.get()) {
            (told.0)(digest);
        }
    }

    /// Which keys are wanted from now on; gives those that were before.
    fn wants(&self, digest: Option<String>) -> Option<String> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut wanted, digest)
    }
}
