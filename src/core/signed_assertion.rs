//! What an upstream is told under a signature: that a request came through the gate, whose it is,
//! and which request it was.
//!
//! Here it is said; the key that signs it is the business of `upstream`.

use std::sync::Arc;

use http::HeaderName;
use serde_json::{Map, Value, json};

use super::facts::RequestFacts;
use super::identity::Identity;
use super::identity_headers::{actor_name, spaced};
use super::machine::{Machine, TokenType};
use super::policy::Route;

/// The header that carries the signed assertion. No client's ever arrives.
pub static ASSERTION_HEADER: HeaderName = HeaderName::from_static("x-clerk-gate-assertion");

/// The most permissions that are listed, in bytes: as many as fit into their header.
const MAX_PERMISSIONS_BYTES: usize = 8 * 1024;

/// What assertions of this gate say, whoever calls.
#[derive(Clone, Debug)]
pub struct AssertionPlan {
    /// `iss` by site; `None` for the origin that the request came to.
    pub issuers: Vec<Option<String>>,
    /// `aud` by upstream, where the route names no other.
    pub audiences: Vec<String>,
    /// How long an assertion holds, in seconds.
    pub lifetime_s: u64,
    /// The public keys, as a JSON Web Key Set.
    pub keys: Arc<Value>,
}

/// The claims of one assertion; `path`, as the upstream is asked for it, and `jti` come with the signature.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedAssertion {
    claims: Map<String, Value>,
}

/// Whom an assertion is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    /// Nobody: it says only that the request came through the gate.
    Nobody,
    /// A person with a session.
    Person(&'a Identity),
    /// A machine with a token of its own.
    Machine(&'a Machine),
}

impl SignedAssertion {
    /// The claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

impl AssertionPlan {
    /// What is said of a request that goes on by this route.
    pub(super) fn assert(
        &self,
        facts: &RequestFacts<'_>,
        route: &Route,
        subject: Subject<'_>,
        now_ms: u64,
    ) -> SignedAssertion {
        let now = now_ms / 1000;
        let issuer = self.issuers.get(facts.site).cloned().flatten();
        let audience = match &route.assertion_audience {
            Some(audience) => Some(audience),
            None => self.audiences.get(route.upstream),
        };
        let mut claims = Map::new();
        let mut say = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        say(
            "iss",
            issuer.unwrap_or_else(|| facts.origin.to_string()).into(),
        );
        // INVARIANT: `server` lists an audience for each upstream. An empty one is nobody's.
        say("aud", audience.cloned().unwrap_or_default().into());
        say("iat", now.into());
        say("exp", now.saturating_add(self.lifetime_s).into());
        // SECURITY: bound to this method, and when it is signed to the path, or whoever catches one could use
        // it for another.
        say("htm", facts.method.as_str().into());
        match subject {
            Subject::Nobody => {}
            Subject::Person(identity) => person(identity, &mut say),
            Subject::Machine(machine) => of_machine(machine, &mut say),
        }
        SignedAssertion { claims }
    }
}

/// The same as the identity headers of a session say.
fn person(identity: &Identity, say: &mut impl FnMut(&str, Value)) {
    say("sub", identity.user.as_str().into());
    if let Some(session) = &identity.session {
        say("sid", session.as_str().into());
    }
    // Role and permissions mean nothing without the organisation they are held in.
    if let Some(organization) = identity.organization.as_ref().filter(|o| o.id.is_some()) {
        for (name, value) in [
            ("org_id", &organization.id),
            ("org_slug", &organization.slug),
            ("org_role", &organization.role),
        ] {
            if let Some(text) = value {
                say(name, text.as_str().into());
            }
        }
        let bytes: usize = organization.permissions.iter().map(String::len).sum();
        if bytes > 0 && bytes <= MAX_PERMISSIONS_BYTES {
            say("org_permissions", json!(organization.permissions));
        }
    }
    if let Some(act) = &identity.actor {
        say("act", json!({ "sub": actor_name(act) }));
    }
    say("token_type", TokenType::Session.as_str().into());
}

/// The same as the identity headers of a machine say.
fn of_machine(machine: &Machine, say: &mut impl FnMut(&str, Value)) {
    say("sub", machine.subject.as_str().into());
    if let Some(id) = machine.organization() {
        say("org_id", id.into());
    }
    if let Some(act) = &machine.actor {
        say("act", json!({ "sub": actor_name(act) }));
    }
    let scope = spaced(&machine.scopes);
    if !scope.is_empty() && scope.len() <= MAX_PERMISSIONS_BYTES {
        say("scope", scope.into());
    }
    if let Some(id) = &machine.client {
        say("client_id", id.as_str().into());
    }
    say("token_type", machine.kind.as_str().into());
}
