//! The Frontend API: handshakes, and what a browser's script asks about its own client.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN,
    VARY,
};
use http::{HeaderName, Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::answer::{self, Answer, not_found};
use super::call::Call;
use super::instance::{Copies, Instance};
use super::listing::{self, Form};
use super::resources;
use super::state::{Client, Session, Status};

/// Answers a call under `/v1` that is for the Frontend API, with what other origins may see of it.
pub(super) fn answer(instance: &Instance, call: &Call, path: &[&str]) -> Answer {
    let origin = call.header(ORIGIN.as_str());
    // SECURITY: a page elsewhere on the web may neither read nor change a client on this machine.
    if origin.is_some_and(|origin| !instance.origins.allow_origin(origin)) {
        return answer::error(
            StatusCode::BAD_REQUEST,
            "origin_invalid",
            "the origin is not allowed",
        );
    }
    let mut answer = match call.method {
        Method::OPTIONS => preflight(),
        _ => routed(instance, call, path, origin),
    };
    answer::set(&mut answer, VARY, "Origin");
    if let Some(origin) = origin {
        answer::set(&mut answer, ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answer::set(&mut answer, ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        answer::set(
            &mut answer,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            "Authorization, Clerk-Db-Jwt",
        );
    }
    answer
}

fn preflight() -> Answer {
    let mut answer = answer::text(StatusCode::NO_CONTENT, "text/plain", String::new());
    answer::set(
        &mut answer,
        ACCESS_CONTROL_ALLOW_METHODS,
        "GET, POST, PATCH, DELETE",
    );
    answer::set(
        &mut answer,
        ACCESS_CONTROL_ALLOW_HEADERS,
        "Authorization, Content-Type, Clerk-Api-Version",
    );
    answer::set(&mut answer, ACCESS_CONTROL_MAX_AGE, "600");
    answer
}

fn routed(instance: &Instance, call: &Call, path: &[&str], origin: Option<&str>) -> Answer {
    // clerk-js sends every method but GET as POST, so that browsers ask no leave first.
    let method = match call.param("_method") {
        Some(method) if call.method == Method::POST => method,
        _ => call.method.as_str(),
    };
    match (method, path) {
        ("GET", ["client", "handshake"]) => return handshake(instance, call),
        ("GET" | "PATCH", ["environment"]) => {
            return answer::json(StatusCode::OK, &resources::environment(instance));
        }
        ("POST", ["dev_browser"]) => return dev_browser(instance),
        ("GET", ["proxy-health"]) => return proxy_health(instance, call),
        _ => {}
    }
    let token = call.param("__clerk_db_jwt").or(call.param("__dev_session"));
    let client = token.and_then(|token| instance.state().client_of(token));
    let Some(client) = client else {
        return answer::error(
            StatusCode::UNAUTHORIZED,
            "dev_browser_unauthenticated",
            "the dev browser is missing or unknown",
        );
    };
    let own = Own {
        instance,
        call,
        client,
        origin,
    };
    match (method, path) {
        ("GET", ["client"]) => answer::json(
            StatusCode::OK,
            &json!({ "response": own.shown(), "client": null }),
        ),
        ("DELETE", ["client"] | ["client", "sessions"]) => own.end_all(),
        ("POST", ["client", "sessions", id, "touch"]) => own.touch(id),
        ("POST", ["client", "sessions", id, "end"]) => own.end(id, Status::Ended),
        ("POST", ["client", "sessions", id, "remove"]) => own.end(id, Status::Removed),
        ("POST", ["client", "sessions", id, "tokens"]) => own.token(id, None),
        ("POST", ["client", "sessions", id, "tokens", template]) => own.token(id, Some(template)),
        ("GET", ["me", "organization_memberships"]) => own.memberships(),
        _ => not_found(),
    }
}

fn dev_browser(instance: &Instance) -> Answer {
    let client = instance.state().client_or_new(None, instance.now());
    let body =
        json!({ "object": "dev_browser", "id": client.dev_browser, "token": client.dev_browser });
    let mut answer = answer::json(StatusCode::OK, &body);
    let name = HeaderName::from_static("clerk-db-jwt");
    answer::set(&mut answer, name, &client.dev_browser);
    answer
}

/// What Clerk asks of a proxy before it is put to use: the three headers that only a proxy sets.
fn proxy_health(instance: &Instance, call: &Call) -> Answer {
    let client = call.header("x-forwarded-for").unwrap_or_default();
    let proxy_url = call.header("clerk-proxy-url").unwrap_or_default();
    let known = call.header("clerk-secret-key") == Some(&instance.secret_key);
    if known && !client.is_empty() && Url::parse(proxy_url).is_ok() {
        let body = json!({ "status": "healthy", "x_forwarded_for": client });
        answer::json(StatusCode::OK, &body)
    } else {
        let body = json!({ "status": "unhealthy" });
        answer::json(StatusCode::SERVICE_UNAVAILABLE, &body)
    }
}

fn handshake(instance: &Instance, call: &Call) -> Answer {
    let target = call.param("redirect_url").unwrap_or_default();
    let Some(target) = instance.origins.check(target) else {
        return answer::error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "form_param_value_invalid",
            "`redirect_url` is missing or not on an allowed origin",
        );
    };
    let target = match call.param("__clerk_hs_reason") {
        Some("satellite-needs-syncing") => target.synced(),
        _ => target,
    };
    let now = instance.now();
    let client = {
        let mut state = instance.state();
        // In production a browser has no dev browser token, and is known by the Frontend API's own
        // cookie. This host stands for those of the primary and of its satellites, so what they
        // say to each other falls away.
        let own = call.cookie("__client").and_then(|id| state.client(id));
        let client = match (call.param("__clerk_db_jwt"), own) {
            (None, Some(client)) => client,
            (dev_browser, _) => state.client_or_new(dev_browser, now),
        };
        let current = state.current(&client, now);
        if let Some(session) = &current {
            state.seen(&session.id, now);
        }
        if let (Some(session), Some(asked)) = (current, call.param_or_empty("organization_id"))
            && let Some(organization) = Organization::asked(instance, &session, asked)
        {
            state.activate(&session.id, organization.0.as_deref(), now);
        }
        client
    };
    let copies = Copies::asked(call.param("suffixed_cookies"));
    let directives = instance.directives(&client, copies);
    let nonce = instance.options.nonce_handshakes && call.param("format") == Some("nonce");
    let location = if nonce {
        let nonce = instance.state().keep_payload(directives, now);
        target.with("__clerk_handshake_nonce", &nonce)
    } else {
        target.with("__clerk_handshake", &instance.handshake_token(&directives))
    };
    answer::redirect(StatusCode::TEMPORARY_REDIRECT, &location)
}

/// The organisation to be active: one that the person belongs to, or none.
struct Organization(Option<String>);

impl Organization {
    /// What an `organization_id` asks for; an organisation of others changes nothing.
    fn asked(instance: &Instance, session: &Session, asked: &str) -> Option<Self> {
        if asked.is_empty() {
            return Some(Self(None));
        }
        let membership = instance.person(&session.user_id)?.membership(asked)?;
        Some(Self(Some(membership.organization.id.clone())))
    }
}

/// A call of a known client about itself.
struct Own<'a> {
    instance: &'a Instance,
    call: &'a Call,
    client: Client,
    origin: Option<&'a str>,
}

impl Own<'_> {
    /// The client as it stands now.
    fn shown(&self) -> Value {
        let now = self.instance.state().client(&self.client.id);
        let client = now.as_ref().unwrap_or(&self.client);
        resources::own_client(self.instance, client, self.origin)
    }

    /// A session of this client, and no other's.
    fn session(&self, id: &str) -> Option<Session> {
        let session = self.instance.state().session(id, self.instance.now());
        session.filter(|session| session.client_id == self.client.id)
    }

    fn answered(&self, session: &Session) -> Answer {
        let session = resources::own_session(self.instance, session, self.origin);
        let body = json!({ "response": session, "client": self.shown() });
        answer::json(StatusCode::OK, &body)
    }

    fn touch(&self, id: &str) -> Answer {
        let Some(session) = self.session(id) else {
            return not_found();
        };
        let now = self.instance.now();
        if self.instance.state().choose(id, now).is_none() {
            return no_longer();
        }
        if let Some(asked) = self.call.field_or_empty("active_organization_id") {
            let Some(organization) = Organization::asked(self.instance, &session, &asked) else {
                return not_found();
            };
            let mut state = self.instance.state();
            state.activate(id, organization.0.as_deref(), now);
        }
        self.session(id)
            .map_or_else(not_found, |session| self.answered(&session))
    }

    /// The organisations of the person whose session the script has active.
    fn memberships(&self) -> Answer {
        let session = self
            .call
            .param("_clerk_session_id")
            .and_then(|id| self.session(id));
        let Some(session) = session.filter(|session| session.status.is_live()) else {
            return no_longer();
        };
        let person = self.instance.person(&session.user_id);
        person.map_or_else(not_found, |person| {
            let all = resources::memberships(person);
            let found = listing::part(self.call, all, Form::asked(self.call));
            let body = json!({ "response": found, "client": self.shown() });
            answer::json(StatusCode::OK, &body)
        })
    }

    fn end(&self, id: &str, how: Status) -> Answer {
        if self.session(id).is_none() {
            return not_found();
        }
        let ended = self.instance.end(id, how);
        ended.map_or_else(not_found, |session| self.answered(&session))
    }

    fn end_all(&self) -> Answer {
        let now = self.instance.now();
        let live = self.instance.state().live_sessions(&self.client.id, now);
        for session in live {
            self.instance.end(&session.id, Status::Removed);
        }
        let shown = self.shown();
        answer::json(
            StatusCode::OK,
            &json!({ "response": shown, "client": shown }),
        )
    }

    fn token(&self, id: &str, template: Option<&str>) -> Answer {
        let Some(mut session) = self.session(id) else {
            return not_found();
        };
        if !session.status.is_live() {
            return no_longer();
        }
        if let Some(asked) = self.call.field_or_empty("organization_id") {
            let Some(organization) = Organization::asked(self.instance, &session, &asked) else {
                return not_found();
            };
            session.organization_id = organization.0;
        }
        let now = self.instance.now();
        self.instance.state().seen(id, now);
        let jwt = match template {
            Some(template) => self
                .instance
                .template_token(template, &session, self.origin, None),
            None => self.instance.session_token(&session, self.origin, None),
        };
        jwt.map_or_else(not_found, |jwt| {
            answer::json(StatusCode::OK, &json!({ "object": "token", "jwt": jwt }))
        })
    }
}

fn no_longer() -> Answer {
    answer::error(
        StatusCode::UNAUTHORIZED,
        "authentication_invalid",
        "the session has ended",
    )
}
