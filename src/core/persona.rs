//! Somebody who does not exist: the person of an assertion, or of a question to `explain`.
//!
//! A persona is written down as a token that nobody has signed. Whoever rehearses a request with it
//! answers the question of the signature; a running gate never does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::instance::{Instance, IssuerRule};
use super::machine::{Machine, TokenType};

/// Who sends a request that is only rehearsed.
#[derive(Clone, Debug, PartialEq)]
pub enum Sender {
    /// Nobody who is signed in.
    Nobody,
    /// This person.
    Somebody(Box<Persona>),
    /// This machine.
    Machine(Box<Machine>),
}

impl Sender {
    /// What stands in the `Authorization` header of such a sender. `now_ms` in milliseconds since
    /// the epoch.
    pub fn bearer(&self, instance: &Instance, now_ms: u64) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Somebody(persona) => Some(persona.token(instance, now_ms)),
            Self::Machine(machine) => Some(format!("{}persona", machine.kind.prefix())),
        }
    }
}

/// A machine of this kind, which stands for nobody in particular.
pub fn machine(kind: TokenType) -> Machine {
    let subject = match kind {
        TokenType::M2m => "mch_example",
        TokenType::ApiKey | TokenType::OAuth | TokenType::Session => "user_example",
    };
    Machine {
        kind,
        id: "token_example".to_owned(),
        subject: subject.to_owned(),
        scopes: Vec::new(),
        claims: Map::new(),
        client: (kind == TokenType::OAuth).then(|| "client_example".to_owned()),
        audience: None,
        actor: None,
        expires_ms: None,
    }
}

/// Somebody who is signed in, as far as a requirement could ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Persona {
    /// The user's id.
    pub user: String,
    /// The active organisation's id; role and permissions mean nothing without one.
    pub organization: Option<String>,
    /// The role in it, with its `org:`.
    pub role: Option<String>,
    /// The permissions in it, in full.
    pub permissions: Vec<String>,
    /// Features, each with its scope (`o:export`).
    pub features: Vec<String>,
    /// Plans, each with its scope (`u:gold`).
    pub plans: Vec<String>,
    /// Minutes since the first and the second factor were verified; -1 for never.
    pub factor_ages: (i64, i64),
    /// Whether somebody else acts in their name.
    pub impersonated: bool,
    /// Whether the session has tasks left.
    pub pending: bool,
    /// Seconds since the token was issued.
    pub token_age: u64,
    /// Further claims.
    pub claims: Map<String, Value>,
}

impl Default for Persona {
    fn default() -> Self {
        Self {
            user: "user_example".to_owned(),
            organization: None,
            role: None,
            permissions: Vec::new(),
            features: Vec::new(),
            plans: Vec::new(),
            factor_ages: (0, -1),
            impersonated: false,
            pending: false,
            token_age: 0,
            claims: Map::new(),
        }
    }
}

impl Persona {
    /// Notes a role or a permission; the organisation it is held in is made up if none is named.
    fn in_organization(&mut self) {
        self.organization
            .get_or_insert_with(|| "org_example".to_owned());
    }

    /// Gives a role, with or without its `org:`.
    pub fn set_role(&mut self, role: &str) {
        self.in_organization();
        let bare = role.strip_prefix("org:").unwrap_or(role);
        self.role = Some(format!("org:{bare}"));
    }

    /// Gives a permission, with or without its `org:`.
    pub fn add_permission(&mut self, permission: &str) {
        self.in_organization();
        let bare = permission.strip_prefix("org:").unwrap_or(permission);
        self.permissions.push(format!("org:{bare}"));
    }

    /// Gives a feature; without a scope it is the user's own.
    pub fn add_feature(&mut self, feature: &str) {
        self.features.push(scoped(feature));
    }

    /// Gives a plan; without a scope it is the user's own.
    pub fn add_plan(&mut self, plan: &str) {
        self.plans.push(scoped(plan));
    }

    /// The session token that such a person would hold, without a signature. `now_ms` in
    /// milliseconds since the epoch.
    pub fn token(&self, instance: &Instance, now_ms: u64) -> String {
        let now = now_ms / 1000;
        let issued = now.saturating_sub(self.token_age);
        let mut claims = json!({
            "sub": self.user,
            "sid": "sess_example",
            "iat": issued,
            "nbf": issued,
            "exp": now + 60,
            "sts": if self.pending { "pending" } else { "active" },
            "fva": [self.factor_ages.0, self.factor_ages.1],
        });
        if let Value::Object(claims) = &mut claims {
            if let IssuerRule::OneOf(issuers) = &instance.issuer
                && let Some(issuer) = issuers.first()
            {
                claims.insert("iss".into(), json!(issuer));
            }
            if let Some(party) = instance.authorized_parties.first() {
                claims.insert("azp".into(), json!(party));
            }
            if let Some(id) = &self.organization {
                claims.insert("org_id".into(), json!(id));
                claims.insert("org_permissions".into(), json!(self.permissions));
            }
            if let Some(role) = &self.role {
                claims.insert("org_role".into(), json!(role));
            }
            for (name, list) in [("fea", &self.features), ("pla", &self.plans)] {
                if !list.is_empty() {
                    claims.insert(name.into(), json!(list.join(",")));
                }
            }
            if self.impersonated {
                claims.insert("act".into(), json!({ "sub": "user_operator" }));
            }
            claims.extend(self.claims.clone());
        }
        let header = json!({ "alg": "RS256", "typ": "JWT" });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", encode(&header), encode(&claims))
    }
}

fn scoped(name: &str) -> String {
    if name.contains(':') {
        name.to_owned()
    } else {
        format!("u:{name}")
    }
}
