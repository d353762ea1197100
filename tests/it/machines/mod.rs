//! Machine tokens, from a policy in TOML to what the application receives, with a stand-in that
//! knows the tokens and counts how often it is asked about them.

mod calls;
mod combinations;
mod confusion;
mod documents;
mod kinds;
mod readings;
mod troubles;

use std::collections::BTreeMap;
use std::time::Duration;

use clerk_gate::core::identity_headers::IDENTITY_HEADERS;
use clerk_gate::standin::{Endpoint, MachineGrant, MachineKind, MachineToken};
use serde_json::json;

use crate::support::toml::written;
use crate::support::upstream::Received;
use crate::support::{Answer, Call, World, WorldBuilder};

/// Who the tokens are of.
const ADA: &str = "user_2Ada00000000000000000000001";
const ACME: &str = "org_2Acme0000000000000000000001";
const SENDER: &str = "mch_2Sender";

/// A route for each kind of token, and some for several.
const ROUTES: &str = r#"
[identity.headers]
"x-owner" = "sub"
"x-tier"  = "tier"

[[route]]
name    = "public"
path    = ["/", "/public/**"]
require = "public"

[[route]]
name    = "keys"
path    = "/keys/**"
require = { token = "api_key" }

[[route]]
name    = "machines"
path    = "/machines/**"
require = { token = "m2m_token" }

[[route]]
name    = "mcp"
path    = "/mcp/**"
require = { token = "oauth_token", scope = "profile" }

[[route]]
name    = "workers"
path    = "/workers/**"
require = { token = ["api_key", "m2m_token"] }

[[route]]
name    = "anything"
path    = "/anything/**"
require = { token = "any" }

[[route]]
name    = "invoices"
path    = "/invoices/**"
require = { token = "api_key", scope = ["read:invoices", "list:invoices"] }

[[route]]
name    = "hidden"
path    = "/hidden/**"
require = { token = "api_key", scope = "read:invoices" }
hide    = true
"#;

/// A world with the routes and headers of a text in TOML.
fn world_of(text: &str) -> WorldBuilder {
    let written = written(text);
    World::with(Vec::new()).configure(move |config| {
        config.policy = written.policy;
        config.identity = written.identity;
        let instance = &mut config.clerk.instance;
        instance
            .authorization_server
            .clone_from(&instance.frontend_api);
    })
}

/// A world with the routes above.
async fn world() -> World {
    world_of(ROUTES).start().await
}

/// A token of each kind, with claims where there can be some.
struct Tokens {
    key: MachineToken,
    m2m: MachineToken,
    oauth: MachineToken,
    m2m_jwt: String,
    oauth_jwt: String,
    session: String,
}

impl Tokens {
    fn of(world: &World) -> Self {
        let claims = json!({ "tier": "gold" });
        let grant = |kind, subject: &str, scopes: &[&str]| MachineGrant {
            claims: claims.clone(),
            ..MachineGrant::new(kind, subject, scopes)
        };
        let m2m = grant(MachineKind::M2m, SENDER, &["mch_2Receiver"]);
        let oauth = grant(MachineKind::OAuth, ADA, &["profile", "email"]);
        let key = grant(MachineKind::ApiKey, ADA, &["read:invoices", "a b"]);
        Self {
            m2m_jwt: world.clerk.machine_jwt(&m2m),
            oauth_jwt: world.clerk.machine_jwt(&oauth),
            key: world.clerk.machine_token(key),
            m2m: world.clerk.machine_token(m2m),
            oauth: world.clerk.machine_token(oauth),
            session: world.clerk.sign_in("ada", None).token,
        }
    }

    /// By name.
    fn all(&self) -> [(&'static str, &str); 6] {
        [
            ("key", &self.key.secret),
            ("m2m", &self.m2m.secret),
            ("m2m jwt", &self.m2m_jwt),
            ("oauth", &self.oauth.secret),
            ("oauth jwt", &self.oauth_jwt),
            ("session", &self.session),
        ]
    }
}

/// An API key of Ada's with these scopes, for so long.
fn api_key(world: &World, scopes: &[&str], lifetime: Option<Duration>) -> MachineToken {
    world.clerk.machine_token(MachineGrant {
        lifetime,
        ..MachineGrant::new(MachineKind::ApiKey, ADA, scopes)
    })
}

/// How often Clerk was asked about a machine token.
fn lookups(world: &World) -> usize {
    world.clerk.calls(Endpoint::MachineTokens)
}

/// Every header that could carry identity, as it arrived.
fn identity(received: &Received) -> BTreeMap<String, String> {
    let mapped = ["x-owner", "x-tier"];
    IDENTITY_HEADERS
        .iter()
        .map(http::HeaderName::as_str)
        .chain(mapped)
        .filter_map(|name| Some((name.to_owned(), received.header(name)?)))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Status and reason of an answer.
fn told(answer: &Answer) -> (u16, Option<String>) {
    let reason = answer.header("x-clerk-auth-reason").map(str::to_owned);
    (answer.status.as_u16(), reason)
}

/// Fails unless the call is refused so, and nothing of it arrives.
#[track_caller]
fn assert_refused(world: &World, answer: &Answer, status: u16, reason: &str) {
    assert_eq!(
        told(answer),
        (status, Some(reason.to_owned())),
        "{answer:?}"
    );
    world.upstream.assert_untouched();
}

/// The status that a call gets, and whether it arrived.
async fn outcome(world: &World, call: Call) -> (u16, bool) {
    let answer = call.send().await;
    let arrived = !world.upstream.take_received().is_empty();
    (answer.status.as_u16(), arrived)
}
