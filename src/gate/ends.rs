//! Ending sessions at Clerk, each once.

use quick_cache::sync::Cache;

use super::flights::Flights;
use crate::clerk::backend::BackendApi;
use crate::clerk::sessions::SessionError;

/// How many sessions are remembered that were ended of late.
const CAPACITY: usize = 10_000;

/// Sessions that end at Clerk on our asking, and those that have ended so.
#[derive(Debug)]
pub(super) struct Ends {
    calls: Flights<String, Result<Option<String>, SessionError>>,
    over: Cache<Box<str>, ()>,
}

impl Ends {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            calls: Flights::new(),
            over: Cache::new(CAPACITY),
        }
    }

    /// Whether Clerk has ended this session.
    pub(super) fn is_over(&self, id: &str) -> bool {
        self.over.get(id).is_some()
    }

    /// Ends a session at Clerk. Gives the client it was of, where Clerk says so and it has not ended before.
    // SECURITY: whoever holds an old token may ask again and again, and each call comes out of the budget
    // that renews the sessions of others.
    pub(super) async fn revoke(
        &self,
        backend: &BackendApi,
        id: &str,
    ) -> Result<Option<String>, SessionError> {
        if self.is_over(id) {
            return Ok(None);
        }
        let call = async {
            // Another one may have landed in between.
            if self.is_over(id) {
                return Ok(None);
            }
            let revoked = backend.revoke(id).await;
            if revoked.is_ok() {
                self.over.insert(id.into(), ());
            }
            revoked
        };
        self.calls.join(id.to_owned(), call).await
    }
}
