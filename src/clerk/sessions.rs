//! Somebody's sessions at the Backend API: listed, ended, and tokens made of them (protocol
//! reference, section 9.2).

use serde_json::{Value, json};
use thiserror::Error;
use tracing::{error, warn};

use super::backend::{BackendApi, code_of, json_of};
use super::budget::Purpose;
use super::client::Answer;

/// The most sessions of one person that are looked at.
pub const MOST_SESSIONS: usize = 500;

/// How many are asked for at once: a page of them stays well below what is read of an answer.
const PAGE: usize = 100;

/// The longest text of Clerk's that is kept, in characters: user agents come from anywhere.
const MAX_TEXT: usize = 200;

/// Why Clerk did not do it. What there is to say has been logged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// There is no such thing, or no longer.
    #[error("clerk knows no such session or template")]
    Unknown,
    /// No answer, or none that is understood.
    #[error("clerk gave no answer that is understood")]
    Unavailable,
}

/// A session, as Clerk tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// The browser it is on.
    pub client: String,
    /// How it stands.
    pub status: String,
    /// When it began; times in milliseconds since the epoch.
    pub created_ms: Option<u64>,
    /// When it was last in use.
    pub active_ms: Option<u64>,
    /// When it ends.
    pub expires_ms: Option<u64>,
    /// What is known of its browser.
    pub activity: Activity,
}

/// What is known of the browser of a session. Said by that browser, so by anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// The kind of device, such as `Macintosh`.
    pub device: Option<String>,
    /// Whether it is a mobile one.
    pub mobile: Option<bool>,
    /// The browser.
    pub browser: Option<String>,
    /// Its version.
    pub browser_version: Option<String>,
    /// The address it came from.
    pub ip: Option<String>,
    /// The place of that address.
    pub city: Option<String>,
    /// Its country.
    pub country: Option<String>,
}

/// Sessions, and whether these are all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The sessions, the newest first.
    pub sessions: Vec<Session>,
    /// Whether there may be more than are looked at.
    pub cut: bool,
}

impl Session {
    /// Reads a session. `None` if it does not say which one it is, and whose.
    pub fn read(value: &Value) -> Option<Self> {
        let id = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
        let time = |name: &str| value.get(name).and_then(Value::as_u64);
        let activity = value.get("latest_activity").unwrap_or(&Value::Null);
        Some(Self {
            id: id("id")?,
            user: id("user_id")?,
            client: id("client_id").unwrap_or_default(),
            status: text(value, "status")?,
            created_ms: time("created_at"),
            active_ms: time("last_active_at"),
            expires_ms: time("expire_at"),
            activity: Activity {
                device: text(activity, "device_type"),
                mobile: activity.get("is_mobile").and_then(Value::as_bool),
                browser: text(activity, "browser_name"),
                browser_version: text(activity, "browser_version"),
                ip: text(activity, "ip_address"),
                city: text(activity, "city"),
                country: text(activity, "country"),
            },
        })
    }

    /// Whether it can be used, or be made usable.
    pub fn is_live(&self) -> bool {
        matches!(self.status.as_str(), "active" | "pending")
    }
}

/// A text of a value, if it says anything, and no longer than anybody would read.
pub(super) fn text(value: &Value, name: &str) -> Option<String> {
    let text = value.get(name)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.chars().take(MAX_TEXT).collect())
}

impl BackendApi {
    /// The live sessions of a user: active ones, and those with tasks left.
    pub async fn sessions_of(&self, user: &str) -> Result<Listing, SessionError> {
        let (active, pending) =
            tokio::join!(self.listed(user, "active"), self.listed(user, "pending"),);
        let (mut all, pending) = (active?, pending?);
        all.cut |= pending.cut;
        all.sessions.extend(pending.sessions);
        // SECURITY: what is not the user's is not theirs to end, whatever is listed.
        all.sessions
            .retain(|session| session.user == user && session.is_live());
        Ok(all)
    }

    /// Whether anybody is still signed in on a browser. `None` where that cannot be told at once.
    pub async fn is_in_use(&self, client: &str) -> Option<bool> {
        let limit = PAGE.to_string();
        let query = [("client_id", client), ("limit", &limit)];
        let answer = (self.client).get(Purpose::LookUp, "/v1/sessions", &query);
        let answer = answer.await.ok()?;
        let listed = list(&answer).ok()?;
        let live = listed
            .iter()
            .any(|session| session.client == client && session.is_live());
        (live || listed.len() < PAGE).then_some(live)
    }

    async fn listed(&self, user: &str, status: &str) -> Result<Listing, SessionError> {
        let mut sessions: Vec<Session> = Vec::new();
        let limit = PAGE.to_string();
        for offset in (0..MOST_SESSIONS).step_by(PAGE) {
            let offset = offset.to_string();
            let query = [
                ("user_id", user),
                ("status", status),
                ("limit", limit.as_str()),
                ("offset", offset.as_str()),
            ];
            let answer = (self.client)
                .get(Purpose::LookUp, "/v1/sessions", &query)
                .await
                .map_err(|error| {
                    warn!(cause = %error, "sessions could not be listed at clerk");
                    SessionError::Unavailable
                })?;
            let page = list(&answer)?;
            let last = page.len() < PAGE;
            sessions.extend(page);
            if last {
                return Ok(Listing {
                    sessions,
                    cut: false,
                });
            }
        }
        Ok(Listing {
            sessions,
            cut: true,
        })
    }

    /// Ends a session. One that Clerk knows no more is over as well. Gives the browser it was on.
    pub async fn revoke(&self, session: &str) -> Result<Option<String>, SessionError> {
        let path = format!("/v1/sessions/{session}/revoke");
        let answer = (self.client)
            .post(Purpose::End, &path, &[], &json!({}))
            .await
            .map_err(|error| {
                warn!(cause = %error, session, "a session could not be revoked at clerk");
                SessionError::Unavailable
            })?;
        let body = json_of(&answer);
        match answer.status {
            // SECURITY: a page of somebody else's at the address of the API is no word of Clerk's.
            404 if body.as_ref().and_then(code_of) == Some("resource_not_found") => {
                return Ok(None);
            }
            200 => {}
            status => {
                warn!(status, session, "clerk did not revoke a session");
                return Err(SessionError::Unavailable);
            }
        }
        let revoked = body
            .as_ref()
            .and_then(Session::read)
            .filter(|revoked| revoked.id == session && !revoked.is_live());
        let Some(revoked) = revoked else {
            warn!(session, "clerk's answer to a revocation is not understood");
            return Err(SessionError::Unavailable);
        };
        Ok(Some(revoked.client).filter(|client| !client.is_empty()))
    }

    /// A token of a template for a session.
    pub async fn template_token(
        &self,
        session: &str,
        template: &str,
    ) -> Result<String, SessionError> {
        let path = format!("/v1/sessions/{session}/tokens/{template}");
        let answer = (self.client)
            .post(Purpose::LookUp, &path, &[], &json!({}))
            .await
            .map_err(|error| {
                warn!(cause = %error, session, template, "clerk could not be asked for a token");
                SessionError::Unavailable
            })?;
        match answer.status {
            200 => {}
            404 => {
                error!(
                    template,
                    session,
                    "clerk has no token of this template: is it spelt as in the dashboard?"
                );
                return Err(SessionError::Unknown);
            }
            status => {
                warn!(status, session, template, "clerk gave no token");
                return Err(SessionError::Unavailable);
            }
        }
        let jwt = json_of(&answer).and_then(|body| Some(body.get("jwt")?.as_str()?.to_owned()));
        jwt.ok_or_else(|| {
            warn!(
                session,
                template, "clerk's answer with a token is not understood"
            );
            SessionError::Unavailable
        })
    }
}

/// The sessions of an answer: a bare list, or one with a count.
fn list(answer: &Answer) -> Result<Vec<Session>, SessionError> {
    let sessions = (answer.status == 200)
        .then(|| json_of(answer))
        .flatten()
        .and_then(|body| {
            let list = body.get("data").unwrap_or(&body).as_array()?;
            list.iter().map(Session::read).collect()
        });
    sessions.ok_or_else(|| {
        warn!(
            status = answer.status,
            "clerk's answer with sessions is not understood"
        );
        SessionError::Unavailable
    })
}
