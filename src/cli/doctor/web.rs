//! Asking over HTTP: bounded in time and size, without redirects, and never with a secret in an error.

use std::error::Error as _;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};
use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Clock;
use crate::tls::{self, ExtraRoots};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(3);

/// The largest body that is read, in bytes.
const MOST: usize = 256 * 1024;

/// Who asks.
pub(super) struct Web(reqwest::Client);

/// What came.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    headers: HeaderMap,
    /// When it was asked for, and when it began to come, in milliseconds since the epoch.
    asked_ms: u64,
    came_ms: u64,
}

impl Web {
    /// With the certificates that the gate trusts. The error says why there can be none.
    pub(super) fn new() -> Result<Self, String> {
        let tls = tls::client_config(&ExtraRoots::default()).map_err(|error| error.to_string())?;
        let client = tls::http_client(&tls)
            .timeout(PATIENCE)
            .connect_timeout(CONNECT)
            .user_agent(concat!("clerk-gate/", env!("CARGO_PKG_VERSION"), " doctor"))
            .build();
        client.map(Self).map_err(|error| error.to_string())
    }

    /// What is at an address. The error says why nothing came.
    pub(super) async fn get(
        &self,
        url: &str,
        secret: Option<&SecretString>,
        headers: &[(&'static str, &str)],
        clock: &dyn Clock,
    ) -> Result<Reply, String> {
        let mut request = self.0.get(url);
        if let Some(secret) = secret {
            request = request.header(AUTHORIZATION, format!("Bearer {}", secret.expose_secret()));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let asked_ms = clock.now_ms();
        let mut answer = request.send().await.map_err(cause)?;
        let came_ms = clock.now_ms();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(cause)? {
            if body.len() + piece.len() > MOST {
                return Err("its answer is too large".to_owned());
            }
            body.extend_from_slice(&piece);
        }
        Ok(Reply {
            status,
            body,
            headers,
            asked_ms,
            came_ms,
        })
    }
}

impl Reply {
    /// By how much this machine's clock is ahead of the other one at the least, in milliseconds; negative
    /// if it is behind. `None` if the other one tells no time.
    pub(super) fn ahead_ms(&self) -> Option<i64> {
        let told = self.headers.get(DATE)?.to_str().ok()?;
        let told = httpdate::parse_http_date(told).ok()?;
        let told = told.duration_since(std::time::UNIX_EPOCH).ok()?;
        let told_ms = u64::try_from(told.as_millis()).ok()?;
        Some(ahead_ms(self.asked_ms, self.came_ms, told_ms))
    }
}

/// A date is told in whole seconds, and some time between asking and the answer.
fn ahead_ms(asked_ms: u64, came_ms: u64, told_ms: u64) -> i64 {
    let told_until_ms = told_ms.saturating_add(1_000);
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    if asked_ms > told_until_ms {
        signed(asked_ms - told_until_ms)
    } else if came_ms < told_ms {
        -signed(told_ms - came_ms)
    } else {
        0
    }
}

/// What lies at the bottom of an error; never an address, in which there may be more than its host.
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let error = error.without_url();
    let mut deepest = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        deepest = error.to_string();
        source = error.source();
    }
    deepest.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_only_where_no_moment_explains_what_was_told() {
        for (asked, came, told, ahead) in [
            (10_500, 10_600, 10_000, 0),
            (10_999, 11_300, 11_000, 0),
            (13_500, 13_600, 10_000, 2_500),
            (9_000, 9_500, 12_000, -2_500),
        ] {
            assert_eq!(ahead_ms(asked, came, told), ahead, "{asked} {came} {told}");
        }
    }
}
