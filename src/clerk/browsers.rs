//! What the Frontend API knows of a browser: who else is signed in on it, and who is in front
//! (protocol reference, sections 9.4 and 9.6).
//!
//! The gate asks in the browser's name, and only where it is the proxy of the Frontend API or where a
//! development instance knows browsers by a token.

use std::fmt;

use http::header::{COOKIE, ORIGIN, SET_COOKIE};
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tracing::warn;
use url::Url;

use super::budget::Purpose;
use super::client::{Answer, CallError, ClerkClient};
use super::sessions::{SessionError, text};

/// The most sessions of one browser that are shown.
const MOST_SESSIONS: usize = 20;

/// The most Set-Cookie lines that are passed on.
const MOST_COOKIES: usize = 16;

/// The Frontend API, for calls in a browser's name.
#[derive(Clone)]
pub struct BrowserApi {
    client: ClerkClient,
    /// Sent where the gate is the proxy.
    secret_key: Option<SecretString>,
}

/// A browser, as the Frontend API is told of it.
pub struct Caller<'c> {
    /// By what it is known.
    pub known_by: KnownBy<'c>,
    /// The origin whose page asks.
    pub origin: String,
    /// The address of the proxy, where there is one.
    pub proxy_url: Option<String>,
    /// The address of the browser.
    pub address: String,
}

/// By what a browser is known.
pub enum KnownBy<'c> {
    /// The value of `__client`.
    Client(&'c str),
    /// The dev browser token.
    DevBrowser(&'c str),
}

/// A live session on a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSession {
    /// Its id.
    pub id: String,
    /// The name of its user, if Clerk tells one.
    pub name: Option<String>,
    /// The address or name that they sign in with.
    pub identifier: Option<String>,
}

impl fmt::Debug for BrowserApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserApi").finish_non_exhaustive()
    }
}

impl BrowserApi {
    /// The Frontend API behind `client`, with the secret key of a proxy.
    pub fn new(client: ClerkClient, secret_key: Option<SecretString>) -> Self {
        Self { client, secret_key }
    }

    /// The live sessions of a browser.
    pub async fn sessions(&self, caller: &Caller<'_>) -> Result<Vec<HeldSession>, SessionError> {
        let (answer, _) = self.ask(caller, Method::GET, "/v1/client").await?;
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let sessions = body.and_then(|body| {
            let client = body.get("response")?;
            if client.is_null() {
                return Some(Vec::new());
            }
            let sessions = client.get("sessions")?.as_array()?.iter();
            Some(
                sessions
                    .filter_map(HeldSession::read)
                    .take(MOST_SESSIONS)
                    .collect(),
            )
        });
        sessions.ok_or_else(|| {
            warn!("the frontend api's answer about a browser is not understood");
            SessionError::Unavailable
        })
    }

    /// Brings a session to the front. Gives the Set-Cookie lines for the browser.
    pub async fn touch(
        &self,
        caller: &Caller<'_>,
        session: &str,
    ) -> Result<Vec<String>, SessionError> {
        let path = format!("/v1/client/sessions/{session}/touch");
        let (_, cookies) = self.ask(caller, Method::POST, &path).await?;
        Ok(cookies)
    }

    async fn ask(
        &self,
        caller: &Caller<'_>,
        method: Method,
        path: &str,
    ) -> Result<(Answer, Vec<String>), SessionError> {
        let unavailable = |error: CallError| {
            warn!(cause = %error, "the frontend api could not be asked about a browser");
            SessionError::Unavailable
        };
        let request = self.client.request(method, path, |url: &mut Url| {
            if let KnownBy::DevBrowser(token) = caller.known_by {
                url.query_pairs_mut().append_pair("__clerk_db_jwt", token);
            }
        });
        let mut request = request.header(ORIGIN, &caller.origin);
        if let KnownBy::Client(client) = caller.known_by {
            request = request.header(COOKIE, format!("__client={client}"));
        }
        if let (Some(key), Some(proxy_url)) = (&self.secret_key, &caller.proxy_url) {
            request = request
                .header("clerk-secret-key", key.expose_secret())
                .header("clerk-proxy-url", proxy_url)
                .header("x-forwarded-for", &caller.address);
        }
        let (answer, headers) = self
            .client
            .exchange(Purpose::LookUp, request)
            .await
            .map_err(unavailable)?;
        match answer.status {
            200 => {}
            401 | 404 => return Err(SessionError::Unknown),
            status => {
                warn!(status, "the frontend api does not tell of a browser");
                return Err(SessionError::Unavailable);
            }
        }
        let cookies = headers
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .filter(|line| self.may_pass(line))
            .take(MOST_COOKIES)
            .map(str::to_owned)
            .collect();
        Ok((answer, cookies))
    }

    // SECURITY: what the Frontend API says back of its request is not for the browser.
    fn may_pass(&self, line: &str) -> bool {
        let key = self.secret_key.as_ref();
        line.starts_with("__c") && !key.is_some_and(|key| line.contains(key.expose_secret()))
    }
}

impl HeldSession {
    fn read(session: &Value) -> Option<Self> {
        let status = session.get("status")?.as_str()?;
        if !matches!(status, "active" | "pending") {
            return None;
        }
        let id = session.get("id")?.as_str()?.to_owned();
        let user = session.get("public_user_data").unwrap_or(&Value::Null);
        let names = ["first_name", "last_name"].map(|name| text(user, name));
        let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        Some(Self {
            id,
            name: (!name.is_empty()).then_some(name),
            identifier: text(user, "identifier"),
        })
    }
}
