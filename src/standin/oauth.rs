//! A small authorisation server: metadata, registration of clients, authorisation with PKCE, and
//! tokens (RFC 8414, 7591, 6749, 7636). That much an MCP client needs to find its way.
//!
//! Clients are public ones, codes are good once and for a minute, access tokens are opaque. Refresh
//! tokens, identity tokens and remembered consent are left out.

use std::collections::HashMap;
use std::time::Duration;

use askama::Template;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::answer::{self, Answer};
use super::call::Call;
use super::instance::Instance;
use super::machines::{MachineGrant, MachineKind};
use super::portal;
use super::random;
use super::visit::{Shown, Visit};

/// The scopes that can be had.
const SCOPES: [&str; 2] = ["profile", "email"];

/// How long an access token is good for: a day.
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// How long a code waits to be exchanged, in milliseconds.
const CODE_LIFETIME: u64 = 60_000;

/// The parameters of an authorisation that its page carries on.
const CARRIED: [&str; 8] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "scope",
    "resource",
    "code_challenge",
    "code_challenge_method",
];

/// What is known of clients, and the codes that nobody has exchanged yet.
#[derive(Default)]
pub(super) struct OAuth {
    clients: Vec<Client>,
    codes: HashMap<String, Code>,
}

#[derive(Clone)]
struct Client {
    id: String,
    name: String,
    redirect_uris: Vec<String>,
}

struct Code {
    client_id: String,
    redirect_uri: String,
    challenge: String,
    grant: MachineGrant,
    made_at: u64,
}

/// Answers what programs ask; `None` if it is something else.
pub(super) fn answer(instance: &Instance, call: &Call, path: &[&str]) -> Option<Answer> {
    match (&call.method, path) {
        (&Method::GET, [".well-known", "oauth-authorization-server"]) => {
            Some(answer::json(StatusCode::OK, &metadata(instance)))
        }
        (&Method::POST, ["oauth", "register"]) => Some(register(instance, call)),
        (&Method::POST, ["oauth", "token"]) => Some(token(instance, call)),
        _ => None,
    }
}

fn metadata(instance: &Instance) -> Value {
    let url = instance.url();
    json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/oauth/authorize"),
        "token_endpoint": format!("{url}/oauth/token"),
        "registration_endpoint": format!("{url}/oauth/register"),
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    })
}

fn register(instance: &Instance, call: &Call) -> Answer {
    let body = call.json().unwrap_or_default();
    let listed = body.get("redirect_uris").and_then(Value::as_array);
    let uris: Option<Vec<String>> = listed
        .filter(|uris| !uris.is_empty())
        .into_iter()
        .flatten()
        .map(|uri| {
            let uri = uri.as_str()?;
            instance.origins.check(uri).map(|_| uri.to_owned())
        })
        .collect();
    let Some(redirect_uris) = uris.filter(|uris| !uris.is_empty()) else {
        return refused(
            "invalid_redirect_uri",
            "`redirect_uris` are addresses on allowed origins",
        );
    };
    let name = body.get("client_name").and_then(Value::as_str);
    let client = Client {
        id: random::id("client"),
        name: name.unwrap_or("A client without a name").to_owned(),
        redirect_uris,
    };
    let shown = json!({
        "client_id": client.id,
        "client_id_issued_at": instance.now() / 1000,
        "client_name": client.name,
        "redirect_uris": client.redirect_uris,
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    instance.oauth().clients.push(client);
    answer::json(StatusCode::CREATED, &shown)
}

/// What a client asks a person for.
struct Asked {
    client: Client,
    redirect_uri: Url,
    state: Option<String>,
    challenge: String,
    scopes: Vec<String>,
    resource: Option<String>,
}

/// Why an authorisation goes no further.
enum Wrong {
    /// The client is not to be trusted with the answer.
    Stranger(&'static str),
    /// The client is told.
    Told(Box<Answer>),
}

#[derive(Template)]
#[template(path = "standin/authorize.html")]
struct AuthorizePage {
    title: &'static str,
    client: String,
    scopes: String,
    carried: Vec<(&'static str, String)>,
    people: Vec<Shown>,
}

/// The page on which a person picks whom the client may act for.
pub(super) fn authorize(visit: &Visit<'_>) -> Answer {
    let parameter = |name: &str| visit.call.param(name).map(str::to_owned);
    match Asked::read(visit.instance, parameter) {
        Err(wrong) => wrong.answer(visit.instance),
        Ok(asked) => visit.page(&AuthorizePage {
            title: "Authorise",
            client: asked.client.name,
            scopes: asked.scopes.join(" "),
            carried: CARRIED
                .into_iter()
                .filter_map(|name| Some((name, parameter(name)?)))
                .collect(),
            people: visit
                .instance
                .options
                .people
                .iter()
                .map(Shown::person)
                .collect(),
        }),
    }
}

/// A person has been picked: the client gets a code.
pub(super) fn authorized(visit: &Visit<'_>) -> Answer {
    let Visit { instance, call, .. } = visit;
    let asked = match Asked::read(instance, |name| call.field(name)) {
        Ok(asked) => asked,
        Err(wrong) => return wrong.answer(instance),
    };
    let picked = call.field("person").unwrap_or_default();
    let Some(person) = instance.person(&picked) else {
        return Wrong::Stranger("There is no such person").answer(instance);
    };
    let now = instance.now();
    let code = random::text(40);
    let grant = MachineGrant {
        scopes: asked.scopes.clone(),
        client_id: asked.client.id.clone(),
        audience: asked.resource.clone().into_iter().collect(),
        lifetime: Some(TOKEN_LIFETIME),
        ..MachineGrant::new(MachineKind::OAuth, &person.user_id, &[])
    };
    let kept = Code {
        client_id: asked.client.id.clone(),
        redirect_uri: asked.redirect_uri.to_string(),
        challenge: asked.challenge.clone(),
        grant,
        made_at: now,
    };
    let mut oauth = instance.oauth();
    oauth.codes.retain(|_, code| code.is_fresh(now));
    oauth.codes.insert(code.clone(), kept);
    asked.back(&[("code", &code)])
}

impl Asked {
    // SECURITY: nothing is sent to an address that the client has not registered.
    fn read(
        instance: &Instance,
        parameter: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Wrong> {
        let client_id = parameter("client_id").unwrap_or_default();
        let client = {
            let oauth = instance.oauth();
            let mut clients = oauth.clients.iter();
            clients.find(|client| client.id == client_id).cloned()
        };
        let client = client.ok_or(Wrong::Stranger("There is no such client"))?;
        let wanted = parameter("redirect_uri").unwrap_or_default();
        let redirect_uri = client
            .redirect_uris
            .iter()
            .find(|uri| **uri == wanted)
            .and_then(|uri| Url::parse(uri).ok())
            .ok_or(Wrong::Stranger("The client has no such address"))?;
        let scopes = parameter("scope").unwrap_or_default();
        let scopes: Vec<String> = scopes.split_whitespace().map(str::to_owned).collect();
        let asked = Self {
            client,
            redirect_uri,
            state: parameter("state"),
            challenge: parameter("code_challenge").unwrap_or_default(),
            scopes,
            resource: parameter("resource"),
        };
        let error = if parameter("response_type").as_deref() != Some("code") {
            Some("unsupported_response_type")
        } else if asked.challenge.is_empty()
            || parameter("code_challenge_method").as_deref() != Some("S256")
        {
            Some("invalid_request")
        } else if asked.scopes.iter().any(|one| !SCOPES.contains(&&**one)) {
            Some("invalid_scope")
        } else {
            None
        };
        match error {
            None => Ok(asked),
            Some(error) => Err(Wrong::Told(Box::new(asked.back(&[("error", error)])))),
        }
    }

    /// Back to the client with these words.
    fn back(&self, words: &[(&str, &str)]) -> Answer {
        let mut there = self.redirect_uri.clone();
        let state = self.state.iter().map(|state| ("state", &**state));
        there
            .query_pairs_mut()
            .extend_pairs(words.iter().copied().chain(state));
        answer::redirect(StatusCode::SEE_OTHER, there.as_str())
    }
}

impl Wrong {
    fn answer(self, instance: &Instance) -> Answer {
        match self {
            Self::Stranger(what) => portal::problem(instance, StatusCode::BAD_REQUEST, what),
            Self::Told(answer) => *answer,
        }
    }
}

fn token(instance: &Instance, call: &Call) -> Answer {
    let field = |name: &str| call.field(name).unwrap_or_default();
    if field("grant_type") != "authorization_code" {
        return refused(
            "unsupported_grant_type",
            "only `authorization_code` is known",
        );
    }
    let now = instance.now();
    // Taken away whatever comes of it: a code is shown once.
    let code = instance.oauth().codes.remove(&field("code"));
    let Some(code) = code.filter(|code| code.is_fresh(now)) else {
        return refused("invalid_grant", "the code is unknown, used or too old");
    };
    let hash = digest::digest(&digest::SHA256, field("code_verifier").as_bytes());
    let same = code.client_id == field("client_id")
        && Url::parse(&field("redirect_uri")).is_ok_and(|uri| uri.as_str() == code.redirect_uri)
        && code.challenge == URL_SAFE_NO_PAD.encode(hash);
    if !same {
        return refused(
            "invalid_grant",
            "client, address or verifier are not those that asked for the code",
        );
    }
    let scope = code.grant.scopes.join(" ");
    let token = instance.issued().issue(code.grant, now);
    let granted = json!({
        "access_token": token.secret,
        "token_type": "Bearer",
        "expires_in": TOKEN_LIFETIME.as_secs(),
        "scope": scope,
    });
    answer::json(StatusCode::OK, &granted)
}

impl Code {
    fn is_fresh(&self, now: u64) -> bool {
        now.saturating_sub(self.made_at) < CODE_LIFETIME
    }
}

/// An error in the shape of OAuth (RFC 6749, section 5.2).
fn refused(error: &str, description: &str) -> Answer {
    let body = json!({ "error": error, "error_description": description });
    answer::json(StatusCode::BAD_REQUEST, &body)
}
