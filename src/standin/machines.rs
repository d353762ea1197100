//! Machine tokens: what was handed out, and what the Backend API says about it.
//!
//! API keys, machine-to-machine tokens and OAuth access tokens in the shapes of Clerk's answers. An
//! opaque token is looked up here; a JWT speaks for itself, so ending it changes nothing.

use std::time::Duration;

use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use super::StandIn;
use super::answer::{self, Answer};
use super::call::Call;
use super::instance::Instance;
use super::random;

/// The category of machine-to-machine JWTs.
const MACHINE_CATEGORY: &str = "cl_B7d4PD333AAA";

/// How long a JWT is good for if nothing else is said.
const JWT_LIFETIME: Duration = Duration::from_hours(1);

/// The kinds of machine token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineKind {
    /// An API key of a user or an organisation.
    ApiKey,
    /// A machine's token for another machine.
    M2m,
    /// An OAuth access token.
    OAuth,
}

/// What a machine token shall say.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineGrant {
    /// Its kind.
    pub kind: MachineKind,
    /// `user_…`, `org_…` or `mch_…`.
    pub subject: String,
    /// Scopes; of a machine-to-machine token the ids of the machines that it is for.
    pub scopes: Vec<String>,
    /// Further claims; null for none.
    pub claims: Value,
    /// The OAuth client.
    pub client_id: String,
    /// Whom it is for; empty for anybody.
    pub audience: Vec<String>,
    /// Who acts for the subject; null for nobody.
    pub actor: Value,
    /// How long it is good for; without end if nothing is said.
    pub lifetime: Option<Duration>,
}

impl MachineGrant {
    /// A grant without end, with these scopes and nothing further.
    pub fn new(kind: MachineKind, subject: &str, scopes: &[&str]) -> Self {
        Self {
            kind,
            subject: subject.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            claims: Value::Null,
            client_id: "client_2Standin0000000000000000001".to_owned(),
            audience: Vec::new(),
            actor: Value::Null,
            lifetime: None,
        }
    }
}

/// An opaque machine token that was made.
#[derive(Clone, PartialEq, Eq)]
pub struct MachineToken {
    /// Its id, which is no secret.
    pub id: String,
    /// The token itself.
    pub secret: String,
}

/// The opaque tokens of one instance.
#[derive(Default)]
pub(super) struct Issued(Vec<Entry>);

struct Entry {
    token: MachineToken,
    grant: MachineGrant,
    created_at: u64,
    updated_at: u64,
    ends_at: Option<u64>,
    revoked: bool,
}

impl Issued {
    /// Makes an opaque token.
    pub(super) fn issue(&mut self, grant: MachineGrant, now: u64) -> MachineToken {
        let prefix = grant.kind.prefix();
        let token = MachineToken {
            id: format!("{prefix}_{}", random::text(32).to_lowercase()),
            secret: format!("{prefix}_{}", random::text(43)),
        };
        self.0.push(Entry {
            token: token.clone(),
            created_at: now,
            updated_at: now,
            ends_at: grant.lifetime.map(|time| now + milliseconds(time)),
            revoked: false,
            grant,
        });
        token
    }

    fn by_secret(&self, kind: MachineKind, secret: &str) -> Option<&Entry> {
        let mut entries = self.0.iter();
        entries.find(|entry| entry.grant.kind == kind && entry.token.secret == secret)
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.token.id == id) {
            change(entry);
        }
    }
}

impl MachineKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "ak",
            Self::M2m => "mt",
            Self::OAuth => "oat",
        }
    }

    /// The kind that is verified at a path, and the field that holds the token.
    pub(super) fn verified_at(path: &[&str]) -> Option<(Self, &'static str)> {
        match path {
            ["api_keys", "verify"] => Some((Self::ApiKey, "secret")),
            ["m2m_tokens", "verify"] => Some((Self::M2m, "token")),
            ["oauth_applications", "access_tokens", "verify"] => {
                Some((Self::OAuth, "access_token"))
            }
            _ => None,
        }
    }
}

impl Entry {
    /// The entry as the Backend API shows it.
    fn shown(&self, now: u64) -> Value {
        let Self { token, grant, .. } = self;
        let mut shown = json!({
            "id": token.id,
            "subject": grant.subject,
            "scopes": grant.scopes,
            "revoked": self.revoked,
            "revocation_reason": self.revoked.then_some("revoked in the stand-in"),
            "expired": self.ends_at.is_some_and(|end| end <= now),
            "expiration": self.ends_at,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        });
        let more = match grant.kind {
            MachineKind::ApiKey => json!({
                "object": "api_key",
                "type": "api_key",
                "name": "an API key",
                "description": null,
                "claims": grant.claims,
                "created_by": grant.subject,
                "last_used_at": null,
            }),
            MachineKind::M2m => json!({
                "object": "machine_to_machine_token",
                "claims": grant.claims,
                "last_used_at": null,
            }),
            MachineKind::OAuth => json!({
                "object": "clerk_idp_oauth_access_token",
                "type": "oauth:access_token",
                "client_id": grant.client_id,
                // In seconds for this kind alone.
                "expiration": self.ends_at.map(|end| end / 1000),
                "aud": grant.audience,
            }),
        };
        if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
            shown.extend(more);
            if !grant.actor.is_null() {
                shown.insert("act".to_owned(), grant.actor.clone());
            }
        }
        shown
    }
}

/// Answers the Backend API's verification of a machine token.
pub(super) fn verify(
    instance: &Instance,
    call: &Call,
    (kind, field): (MachineKind, &'static str),
) -> Answer {
    let key = call.header(header::AUTHORIZATION.as_str());
    let with = |secret: &str| key == Some(&format!("Bearer {secret}"));
    let by_machine = kind == MachineKind::M2m && with(&instance.machine_secret_key);
    if !by_machine && !with(&instance.secret_key) {
        return answer::error(
            StatusCode::UNAUTHORIZED,
            "clerk_key_invalid",
            "the secret key is missing or may not do this",
        );
    }
    let body = call.json().unwrap_or_default();
    let Some(secret) = body.get(field).and_then(Value::as_str) else {
        return answer::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "form_param_missing",
            &format!("`{field}` is required"),
        );
    };
    let issued = instance.issued();
    let found = issued
        .by_secret(kind, secret)
        // A machine knows the tokens that are meant for it.
        .filter(|entry| !by_machine || entry.grant.scopes.contains(&instance.machine_id));
    match found {
        Some(entry) => answer::json(StatusCode::OK, &entry.shown(instance.now())),
        None => answer::not_found(),
    }
}

impl StandIn {
    /// The id of the one machine that has a secret key of its own.
    pub fn machine_id(&self) -> &str {
        &self.instance.machine_id
    }

    /// That secret key: it verifies the machine-to-machine tokens whose scopes name the machine.
    pub fn machine_secret_key(&self) -> &str {
        &self.instance.machine_secret_key
    }

    /// Makes an opaque machine token.
    pub fn machine_token(&self, grant: MachineGrant) -> MachineToken {
        let now = self.instance.now();
        self.instance.issued().issue(grant, now)
    }

    /// Makes a machine's JWT, good for an hour if nothing else is said. There is none of API keys:
    /// one that claims to be is an OAuth token.
    pub fn machine_jwt(&self, grant: &MachineGrant) -> String {
        let now = self.instance.now() / 1000;
        let lifetime = grant.lifetime.unwrap_or(JWT_LIFETIME).as_secs();
        let mut claims = match &grant.claims {
            Value::Object(claims) => claims.clone(),
            _ => Map::new(),
        };
        let mut set = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        set("iss", json!(self.issuer()));
        set("sub", json!(grant.subject));
        set("iat", json!(now));
        set("nbf", json!(now.saturating_sub(10)));
        set("exp", json!(now + lifetime));
        set("jti", json!(random::id(grant.kind.prefix())));
        let kid = self.kid();
        let head = match grant.kind {
            MachineKind::M2m => {
                // Which machines it is for, Clerk does not say in it: that is for the asker to claim.
                json!({ "alg": "RS256", "cat": MACHINE_CATEGORY, "kid": kid, "typ": "JWT" })
            }
            MachineKind::ApiKey | MachineKind::OAuth => {
                set("scope", json!(grant.scopes.join(" ")));
                set("client_id", json!(grant.client_id));
                if !grant.audience.is_empty() {
                    set("aud", json!(grant.audience));
                }
                if !grant.actor.is_null() {
                    set("act", grant.actor.clone());
                }
                json!({ "alg": "RS256", "kid": kid, "typ": "at+jwt" })
            }
        };
        self.sign(&head, &Value::Object(claims))
    }

    /// Ends an opaque machine token now, as if its time were up.
    pub fn expire_machine_token(&self, id: &str) {
        let now = self.instance.now();
        self.instance.issued().change(id, |entry| {
            entry.ends_at = Some(now);
            entry.updated_at = now;
        });
    }

    /// Revokes an opaque machine token.
    pub fn revoke_machine_token(&self, id: &str) {
        let now = self.instance.now();
        self.instance.issued().change(id, |entry| {
            entry.revoked = true;
            entry.updated_at = now;
        });
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
