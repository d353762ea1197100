//! A local Clerk for development and tests: Frontend API, Backend API and account portal on one
//! loopback address, and a sample application to put behind a gate.
//!
//! It is an annexe: it imports nothing else of this crate, keeps everything in memory and makes its
//! keys anew in each run. Anybody who reaches it can be anyone, so it listens on this machine only.
//! Read on in `router` (who answers what), `instance` (what is handed out) and `state` (what is
//! remembered).

mod answer;
mod app;
mod backend_api;
mod call;
mod devices;
mod faults;
mod frontend_api;
mod instance;
mod keys;
mod listing;
mod machines;
mod oauth;
mod people;
mod portal;
mod random;
mod redirect;
mod resources;
mod router;
mod scripts;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod tokens;
mod visit;
mod webhooks;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Handle;

use self::devices::{Activity, SEED_ADDRESS, SEED_BROWSER};
use self::instance::Instance;
use self::keys::KeyRing;
use self::server::Server;
use self::state::{Session, Status};
use self::webhooks::Webhooks;

pub use self::app::SampleApp;
pub use self::faults::{Endpoint, Fault};
pub use self::machines::{MachineGrant, MachineKind, MachineToken};
pub use self::people::{Membership, Organization, Permission, Person, SessionStart, seed_people};
pub use self::scripts::ClerkJs;
pub use self::webhooks::{WebhookDelivery, WebhookFault};

/// Tells the time in Unix milliseconds.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How a stand-in shall be.
#[derive(Clone)]
pub struct StandInOptions {
    /// Where to listen; an IPv4 loopback address, with port 0 for any free port.
    pub listen: SocketAddr,
    /// How long session tokens are good for.
    pub token_lifetime: Duration,
    /// The clock.
    pub now: Now,
    /// Who can sign in.
    pub people: Vec<Person>,
    /// The origins people may be sent back to, instead of whatever is on this machine.
    pub allowed_redirect_origins: Option<Vec<String>>,
    /// Whether a handshake that understands nonces gets one, instead of a token.
    pub nonce_handshakes: bool,
    /// Whether browsers get a refresh token.
    pub refresh_tokens: bool,
    /// Clerk's script, to be served to browsers; with it the publishable key names a host as those of
    /// Clerk's development instances are named, for the script knows such an instance by that.
    pub clerk_js: Option<ClerkJs>,
}

impl StandInOptions {
    /// The usual: any free port of 127.0.0.1, tokens of 60 seconds, the seed people, refresh tokens.
    pub fn new(now: Now) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token_lifetime: Duration::from_mins(1),
            now,
            people: seed_people(),
            allowed_redirect_origins: None,
            nonce_handshakes: false,
            refresh_tokens: true,
            clerk_js: None,
        }
    }
}

/// A running local Clerk; it ends when dropped.
pub struct StandIn {
    instance: Arc<Instance>,
    server: Server,
}

/// A session made for a test, with what its browser would hold.
#[derive(Clone, PartialEq, Eq)]
pub struct TestSession {
    /// The session's id, `sess_…`.
    pub session_id: String,
    /// The person's id, `user_…`.
    pub user_id: String,
    /// A session token, minted just now.
    pub token: String,
    /// The value of `__client_uat`.
    pub client_uat: u64,
    /// The value of `__clerk_db_jwt`.
    pub dev_browser: String,
    /// The value of `__client`, the Frontend API's own cookie, which a production instance goes by.
    pub client: String,
    /// The value of `__refresh_<suffix>`, if refresh tokens are handed out.
    pub refresh_token: Option<String>,
}

impl StandIn {
    /// Makes a key, listens and serves.
    pub async fn start(options: StandInOptions) -> io::Result<Self> {
        if !options.listen.is_ipv4() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "`{}` is no IPv4 address: a publishable key can name no other",
                    options.listen
                ),
            ));
        }
        let listener = Server::bind(options.listen).await?;
        let authority = listener.local_addr()?.to_string();
        let keys = tokio::task::spawn_blocking(KeyRing::generate)
            .await
            .map_err(io::Error::other)??;
        let webhooks = Webhooks::new(Arc::clone(&options.now), Handle::current());
        let instance = Arc::new(Instance::new(authority, keys, options, webhooks));
        let serving = Arc::clone(&instance);
        let server = Server::start(listener, move |request| {
            router::answer(Arc::clone(&serving), request)
        })?;
        Ok(Self { instance, server })
    }

    /// Stops, and waits until all tasks have ended.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }

    /// The address in use.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Where all its APIs and pages are, such as `http://127.0.0.1:4001`.
    pub fn url(&self) -> String {
        self.instance.url()
    }

    /// The publishable key that names this stand-in.
    pub fn publishable_key(&self) -> &str {
        &self.instance.publishable_key
    }

    /// The secret key of its Backend API.
    pub fn secret_key(&self) -> &str {
        &self.instance.secret_key
    }

    /// The suffix of its cookies, as in `__session_<suffix>`.
    pub fn cookie_suffix(&self) -> &str {
        &self.instance.cookie_suffix
    }

    /// The public key for networkless verification.
    pub fn jwt_key_pem(&self) -> String {
        self.instance.keys().pem()
    }

    /// The `iss` of its tokens: `https://` and the host that the publishable key names.
    pub fn issuer(&self) -> String {
        self.instance.issuer()
    }

    /// The page to sign in on.
    pub fn sign_in_url(&self) -> String {
        format!("{}/sign-in", self.instance.url())
    }

    /// Makes an endpoint fail from now on.
    pub fn misbehave(&self, endpoint: Endpoint, fault: Fault) {
        self.instance.faults.set(endpoint, fault);
    }

    /// Ends all misbehaviour.
    pub fn behave(&self) {
        self.instance.faults.clear();
        self.instance.webhooks.fail(None);
    }

    /// How often an endpoint was asked, faults included.
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.instance.faults.calls(endpoint)
    }

    /// How often anything was asked.
    pub fn calls_total(&self) -> usize {
        self.calls(Endpoint::All)
    }

    /// Signs with a new key, under a new id; the old one stays in the key set only if asked.
    pub fn rotate_keys(&self, keep_old: bool) -> io::Result<()> {
        self.instance.rotate_keys(keep_old)
    }

    /// The id of the key that signs.
    pub fn kid(&self) -> String {
        self.instance.keys().kid().to_owned()
    }

    /// Signs somebody in on a new browser, as if they had used the pages.
    ///
    /// # Panics
    ///
    /// If there is nobody with this key, or they are banned.
    pub fn sign_in(&self, person_key: &str, origin: Option<&str>) -> TestSession {
        self.sign_in_at(None, person_key, origin, SEED_BROWSER, SEED_ADDRESS)
    }

    /// The same, on a browser that says this of itself, at this address.
    ///
    /// # Panics
    ///
    /// As above.
    pub fn sign_in_from(&self, person_key: &str, user_agent: &str, address: IpAddr) -> TestSession {
        self.sign_in_at(None, person_key, None, user_agent, address)
    }

    /// Signs somebody in on a browser on which somebody is signed in already. Both stay; page loads
    /// get the new one.
    ///
    /// # Panics
    ///
    /// As above.
    pub fn sign_in_beside(&self, other: &TestSession, person_key: &str) -> TestSession {
        let browser = Some(&*other.dev_browser);
        self.sign_in_at(browser, person_key, None, SEED_BROWSER, SEED_ADDRESS)
    }

    fn sign_in_at(
        &self,
        browser: Option<&str>,
        person_key: &str,
        origin: Option<&str>,
        user_agent: &str,
        address: IpAddr,
    ) -> TestSession {
        #[expect(clippy::expect_used, reason = "the test names its own people")]
        let person = self.instance.person(person_key).expect("a known person");
        let now = self.instance.now();
        let (client, session) = {
            let mut state = self.instance.state();
            assert!(
                !state.is_banned(&person.user_id),
                "`{person_key}` is banned"
            );
            let client = state.client_or_new(browser, now);
            let activity = Activity::of(user_agent, address);
            let session = state.sign_in(&client.id, person, activity, now);
            (client, session)
        };
        let token = self.instance.session_token(&session, origin, None);
        TestSession {
            token: token.unwrap_or_default(),
            client_uat: now / 1000,
            dev_browser: client.dev_browser,
            client: client.id,
            refresh_token: self
                .instance
                .options
                .refresh_tokens
                .then_some(session.refresh_token),
            session_id: session.id,
            user_id: session.user_id,
        }
    }

    /// A session token minted now, with some claims replaced; null removes a claim.
    ///
    /// # Panics
    ///
    /// If there is no such session.
    pub fn mint(&self, session_id: &str, overrides: &Value) -> String {
        #[expect(clippy::expect_used, reason = "the test names its own sessions")]
        let session = self.session(session_id).expect("a known session");
        let claims = self.instance.session_claims(&session, None, None);
        let mut claims = match claims {
            Some(Value::Object(claims)) => claims,
            _ => Map::new(),
        };
        for (name, value) in overrides.as_object().into_iter().flatten() {
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
        let header = tokens::session_header(&self.kid(), self.instance.now());
        self.sign(&header, &Value::Object(claims))
    }

    /// A JWT with just this header and these claims, signed RS256 with the current key.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.instance.keys().sign(header, claims)
    }

    /// A handshake token that carries these `Set-Cookie` lines.
    pub fn handshake_token(&self, directives: &[String]) -> String {
        self.instance.handshake_token(directives)
    }

    /// Revokes a session, as an administrator would; tokens already issued stay as they are.
    pub fn revoke(&self, session_id: &str) {
        self.instance.end(session_id, Status::Revoked);
    }

    /// Bans somebody, as an administrator would: every session is revoked.
    pub fn ban(&self, person_key: &str) {
        self.instance.ban(person_key);
    }

    /// Sends events to this address from now on: an `http` one, of this machine.
    pub fn send_events_to(&self, address: &str) -> io::Result<()> {
        self.instance.webhooks.aim(address)
    }

    /// What events are signed with, `whsec_…`.
    pub fn webhook_secret(&self) -> &str {
        &self.instance.webhooks.secret
    }

    /// Makes events arrive otherwise than they should, from now on.
    pub fn misdeliver(&self, fault: WebhookFault) {
        self.instance.webhooks.fail(Some(fault));
    }

    /// The events that were sent, once none is under way any more.
    pub async fn events_sent(&self) -> Vec<WebhookDelivery> {
        self.instance.webhooks.sent().await
    }

    fn session(&self, id: &str) -> Option<Session> {
        self.instance.state().session(id, self.instance.now())
    }
}
