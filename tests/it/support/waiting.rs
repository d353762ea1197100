//! How long a test waits for what has to come.

use std::time::Duration;

/// How long anything may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(DEADLINE, future).await;
    waited.expect("something in time")
}

/// Waits until something holds, and fails if it never does.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "never: {what}");
}
