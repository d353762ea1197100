//! Sends spans away: OTLP over HTTP, in protobuf, by a task of its own.
//!
//! Whoever takes them may be slow, away or wrong. Requests know nothing of it: what cannot be sent is
//! counted and forgotten.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prost::Message as _;
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use super::SpanCounts;
use super::otlp::{ExportRequest, ExportResponse, Resource, ResourceSpans, Scope, ScopeSpans};
use super::spans::{Finished, text};
use crate::tls::{self, ExtraRoots};

/// How many requests are sent away together at most.
const BATCH: usize = 512;
/// How long the first of them waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long to wait before each further attempt.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// The longest pause that is asked for and made.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much of an answer is read.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The address that takes them.
    pub endpoint: Url,
    /// Headers that are sent along, such as a key.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// What the gate is called there.
    pub service: String,
}

/// Why there can be no exporter.
#[derive(Debug, Error)]
pub enum ExporterError {
    /// There are no certificates to check others with.
    #[error("the certificates that are trusted: {0}")]
    Certificates(#[from] std::io::Error),
    /// The client cannot be made.
    #[error("the client for traces could not be made")]
    Client,
    /// A header cannot be sent.
    #[error("the value of `{0}` is no legal header text")]
    Header(HeaderName),
}

/// Sends away what was written down.
pub struct Exporter {
    client: Client,
    endpoint: Url,
    headers: HeaderMap,
    resource: Resource,
    waiting: mpsc::Receiver<Finished>,
    counts: Arc<SpanCounts>,
    reached: bool,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// What came of an attempt.
enum Attempt {
    /// Everything was taken but so many.
    Taken { rejected: u64 },
    /// It may work later, perhaps after a pause that was asked for.
    Later(Trouble, Option<Duration>),
    /// It never will.
    Never(Trouble),
}

/// Why spans were not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
enum Trouble {
    #[error("it cannot be reached")]
    Unreachable,
    #[error("it did not answer in time")]
    Timeout,
    #[error("it answered {0}")]
    Status(StatusCode),
}

impl Exporter {
    /// Sends what waits there to this destination, and counts it.
    pub(super) fn new(
        to: &Destination,
        waiting: mpsc::Receiver<Finished>,
        counts: Arc<SpanCounts>,
    ) -> Result<Self, ExporterError> {
        let tls = if to.endpoint.scheme() == "https" {
            tls::client_config(&ExtraRoots::default())?
        } else {
            tls::client_config_without_roots()?
        };
        let client = tls::http_client(&tls)
            .timeout(ATTEMPT)
            .build()
            .map_err(|_| ExporterError::Client)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &to.headers {
            let mut value = HeaderValue::from_str(value.expose_secret())
                .map_err(|_| ExporterError::Header(name.clone()))?;
            value.set_sensitive(true);
            headers.append(name.clone(), value);
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        let resource = Resource {
            attributes: vec![
                text("service.name", &to.service),
                text("service.version", env!("CARGO_PKG_VERSION")),
            ],
        };
        Ok(Self {
            client,
            endpoint: to.endpoint.clone(),
            headers,
            resource,
            waiting,
            counts,
            reached: true,
        })
    }

    /// Sends until `closing` is called off, then what is left, once, and returns.
    pub async fn run(mut self, closing: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                came = self.waiting.recv_many(&mut batch, BATCH) => if came == 0 {
                    return;
                },
            }
            let until = Instant::now() + DELAY;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                tokio::select! {
                    () = closing.cancelled() => break,
                    () = tokio::time::sleep_until(until) => break,
                    came = self.waiting.recv_many(&mut batch, room) => if came == 0 {
                        break;
                    },
                }
            }
            self.send(batch, &closing).await;
        }
        self.waiting.close();
        loop {
            let mut batch = Vec::new();
            if self.waiting.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
            self.send(batch, &closing).await;
        }
    }

    /// Sends spans away, more than once if need be; once where there is no time left.
    async fn send(&mut self, batch: Vec<Finished>, closing: &CancellationToken) {
        let count = batch.iter().map(Finished::spans).sum();
        let message = self.message(batch);
        let mut pauses = PAUSES.into_iter();
        let trouble = loop {
            let (trouble, asked) = match self.attempt(message.clone()).await {
                Attempt::Taken { rejected } => {
                    let rejected = rejected.min(count);
                    self.counts.rejected.add_many(rejected);
                    self.counts.sent.add_many(count - rejected);
                    if !self.reached {
                        info!("traces are taken again");
                    }
                    self.reached = true;
                    return;
                }
                Attempt::Never(trouble) => break trouble,
                Attempt::Later(trouble, asked) => (trouble, asked),
            };
            let Some(pause) = pauses.next() else {
                break trouble;
            };
            let pause = asked.unwrap_or(pause).min(LONGEST_PAUSE);
            tokio::select! {
                () = closing.cancelled() => break trouble,
                () = tokio::time::sleep(pause) => {}
            }
        };
        self.counts.failed.add_many(count);
        if self.reached {
            warn!(cause = %trouble, "traces cannot be sent");
        }
        self.reached = false;
    }

    fn message(&self, batch: Vec<Finished>) -> Bytes {
        let mut spans = Vec::new();
        for finished in batch {
            finished.write(&mut spans);
        }
        let scope = Scope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let request = ExportRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                }],
            }],
        };
        request.encode_to_vec().into()
    }

    async fn attempt(&self, message: Bytes) -> Attempt {
        let request = self.client.post(self.endpoint.clone());
        let request = request.headers(self.headers.clone()).body(message);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => return Attempt::Later(Trouble::Timeout, None),
            Err(_) => return Attempt::Later(Trouble::Unreachable, None),
        };
        let status = answer.status();
        let trouble = Trouble::Status(status);
        match status.as_u16() {
            200..=299 => {}
            // Those that the protocol says are worth another attempt.
            429 | 502..=504 => {
                let asked = answer.headers().get(RETRY_AFTER);
                let asked = asked.and_then(|asked| asked.to_str().ok()?.parse().ok());
                return Attempt::Later(trouble, asked.map(Duration::from_secs));
            }
            _ => return Attempt::Never(trouble),
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            if body.len() + chunk.len() > MOST_ANSWER_BYTES {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        // Who says nothing that can be understood has said that everything is well.
        let said = ExportResponse::decode(&*body).unwrap_or_default();
        let rejected = said.partial_success.map_or(0, |said| said.rejected_spans);
        Attempt::Taken {
            rejected: u64::try_from(rejected).unwrap_or(0),
        }
    }
}
