//! Calls to Clerk over HTTP: bounded in time and size, without redirects, without secrets in
//! errors.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use rustls::ClientConfig;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use tokio::time::Instant;
use url::Url;

use super::budget::{Budget, Purpose};
use super::calls::{CallOutcome, Calls};
use crate::core::handshake::API_VERSION;
use crate::tls;

/// How long one call may take, from connect to the last byte.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// A client for one of Clerk's APIs.
#[derive(Clone, Debug)]
pub struct ClerkClient {
    http: reqwest::Client,
    base: Url,
    secret_key: Option<SecretString>,
    budget: Arc<Budget>,
    calls: Arc<Calls>,
}

/// An answer of Clerk's, whatever its status.
#[derive(Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Whether the content type is exactly `application/json`, as the SDK asks for.
    pub is_json: bool,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Answer {
    /// Answers carry session tokens, so of the body only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("is_json", &self.is_json)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// No connection, or it broke.
    #[error("clerk cannot be reached")]
    Unreachable,
    /// Nothing came in time.
    #[error("clerk did not answer in time")]
    Timeout,
    /// More came than is read.
    #[error("the answer of clerk is too large")]
    TooLarge,
    /// No call is left for this purpose.
    #[error("the budget of calls to clerk is spent")]
    BudgetSpent,
    /// The client could not be made.
    #[error("the client for clerk could not be made")]
    Client,
}

impl ClerkClient {
    /// A client for the API at `base`, with `secret_key` on each call if there is one; calls come out
    /// of `budget`.
    pub fn new(
        base: Url,
        secret_key: Option<SecretString>,
        budget: Arc<Budget>,
        tls: &ClientConfig,
    ) -> Result<Self, CallError> {
        let http = tls::http_client(tls)
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|_| CallError::Client)?;
        Ok(Self {
            http,
            base,
            secret_key,
            budget,
            calls: Arc::default(),
        })
    }

    /// The same, with its calls counted there.
    #[must_use]
    pub fn counted_in(self, calls: &Arc<Calls>) -> Self {
        let calls = Arc::clone(calls);
        Self { calls, ..self }
    }

    /// What its calls come out of.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// `GET` of a path below the base.
    pub async fn get(
        &self,
        purpose: Purpose,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer, CallError> {
        let mut url = self.address(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(purpose, self.http.get(url)).await
    }

    /// `POST` of JSON to a path below the base.
    pub async fn post(
        &self,
        purpose: Purpose,
        path: &str,
        query: &[(&str, &str)],
        body: &serde_json::Value,
    ) -> Result<Answer, CallError> {
        let mut url = self.address(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(purpose, self.http.post(url).json(body)).await
    }

    fn address(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    async fn send(
        &self,
        purpose: Purpose,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, CallError> {
        Ok(self.exchange(purpose, request).await?.0)
    }

    /// A request to a path below the base, to be completed; `change` may add to its query.
    pub(super) fn request(
        &self,
        method: reqwest::Method,
        path: &str,
        change: impl FnOnce(&mut Url),
    ) -> reqwest::RequestBuilder {
        let mut url = self.address(path);
        change(&mut url);
        self.http.request(method, url)
    }

    /// Sends a request, and gives the headers of the answer with it.
    pub(super) async fn exchange(
        &self,
        purpose: Purpose,
        request: reqwest::RequestBuilder,
    ) -> Result<(Answer, HeaderMap), CallError> {
        let began = Instant::now();
        let came = self.call(purpose, request).await;
        let outcome = match &came {
            Ok((answer, _)) => CallOutcome::of(answer.status),
            Err(error) => CallOutcome::Failed(*error),
        };
        self.calls.note(purpose, outcome, began.elapsed());
        came
    }

    async fn call(
        &self,
        purpose: Purpose,
        request: reqwest::RequestBuilder,
    ) -> Result<(Answer, HeaderMap), CallError> {
        if !self.budget.take(purpose) {
            return Err(CallError::BudgetSpent);
        }
        let mut request = request
            .header("Clerk-API-Version", API_VERSION)
            .header("Accept", "application/json");
        if let Some(key) = &self.secret_key {
            request = request.bearer_auth(key.expose_secret());
        }
        let mut response = request.send().await.map_err(|error| call_error(&error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let is_json = headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|value| value == "application/json");
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| call_error(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(CallError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let answer = Answer {
            status,
            is_json,
            body: body.into(),
        };
        Ok((answer, headers))
    }
}

fn call_error(error: &reqwest::Error) -> CallError {
    if error.is_timeout() {
        CallError::Timeout
    } else {
        CallError::Unreachable
    }
}
