//! The Backend API: what a server asks with the secret key.

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::answer::{self, Answer, not_found};
use super::call::Call;
use super::instance::{Copies, Instance};
use super::listing::{self, Form};
use super::resources;
use super::state::{Session, Status};

/// The lifetimes that may be asked for, in seconds.
const LIFETIMES: std::ops::RangeInclusive<u64> = 30..=315_360_000;

/// Answers a call under `/v1` that is not for the Frontend API.
pub(super) fn answer(instance: &Instance, call: &Call, path: &[&str]) -> Answer {
    let expected = format!("Bearer {}", instance.secret_key);
    if call.header(header::AUTHORIZATION.as_str()) != Some(&expected) {
        return answer::error(
            StatusCode::UNAUTHORIZED,
            "clerk_key_invalid",
            "the secret key is missing or not that of this stand-in",
        );
    }
    let found = match (&call.method, path) {
        (&Method::GET, ["jwks"]) => Some(instance.keys().jwks()),
        (&Method::GET, ["jwt_templates"]) => Some(resources::templates()),
        (&Method::GET, ["clients", "handshake_payload"]) => payload(instance, call),
        (&Method::GET, ["clients", id]) => {
            let client = instance.state().client(id);
            client.map(|client| resources::client(instance, &client))
        }
        (&Method::GET, ["users", id]) => {
            let found = instance.person(id);
            found.map(|person| resources::user(instance, person))
        }
        (&Method::POST, ["users", id, "ban"]) => instance.ban(id),
        (&Method::POST, ["users", id, "unban"]) => instance.unban(id),
        (&Method::GET, ["users", id, "organization_memberships"]) => {
            let found = instance.person(id).map(resources::memberships);
            found.map(|found| listing::part(call, found, Form::Counted))
        }
        (&Method::GET, ["organizations", id]) => organization(instance, id),
        (&Method::GET, ["sessions"]) => return sessions(instance, call),
        (&Method::GET, ["sessions", id]) => {
            let session = instance.state().session(id, instance.now());
            session.as_ref().map(resources::session)
        }
        (&Method::POST, ["sessions", id, "revoke"]) => {
            let session = instance.end(id, Status::Revoked);
            session.as_ref().map(resources::session)
        }
        (&Method::POST, ["sessions", id, "refresh"]) => return refresh(instance, call, id),
        (&Method::POST, ["sessions", id, "tokens"]) => return token(instance, call, id, None),
        (&Method::POST, ["sessions", id, "tokens", template]) => {
            return token(instance, call, id, Some(template));
        }
        _ => None,
    };
    found.map_or_else(not_found, |found| answer::json(StatusCode::OK, &found))
}

fn payload(instance: &Instance, call: &Call) -> Option<Value> {
    let now = instance.now();
    let directives = instance.state().take_payload(call.param("nonce")?, now)?;
    Some(json!({ "directives": directives }))
}

fn organization(instance: &Instance, id: &str) -> Option<Value> {
    let mut people = instance.options.people.iter();
    let membership = people.find_map(|person| person.membership(id))?;
    Some(resources::organization(&membership.organization))
}

fn sessions(instance: &Instance, call: &Call) -> Answer {
    let (user, client) = (call.param("user_id"), call.param("client_id"));
    if user.is_none() && client.is_none() {
        return invalid("form_param_missing", "`user_id` or `client_id` is required");
    }
    let status = call.param("status");
    let wanted = |session: &Session| {
        user.is_none_or(|user| user == session.user_id)
            && client.is_none_or(|client| client == session.client_id)
            && status.is_none_or(|status| status == session.status.name())
    };
    let state = instance.state();
    let found = state.sessions(instance.now()).filter(wanted);
    let found = found.map(|session| resources::session(&session)).collect();
    let found = listing::part(call, found, Form::asked(call));
    answer::json(StatusCode::OK, &found)
}

fn token(instance: &Instance, call: &Call, id: &str, template: Option<&str>) -> Answer {
    let session = instance.state().session(id, instance.now());
    let Some(session) = session.filter(|session| session.status.is_live()) else {
        return not_found();
    };
    let Some(body) = call.json() else {
        return malformed();
    };
    let seconds = match body.get("expires_in_seconds") {
        None | Some(Value::Null) => None,
        Some(asked) => match asked.as_u64().filter(|asked| LIFETIMES.contains(asked)) {
            Some(seconds) => Some(seconds),
            None => {
                return invalid(
                    "form_param_value_invalid",
                    "`expires_in_seconds` is a number from 30 to 315360000",
                );
            }
        },
    };
    let jwt = match template {
        Some(template) => instance.template_token(template, &session, None, seconds),
        None => instance.session_token(&session, None, seconds),
    };
    jwt.map_or_else(not_found, |jwt| {
        answer::json(StatusCode::OK, &json!({ "object": "token", "jwt": jwt }))
    })
}

fn refresh(instance: &Instance, call: &Call, id: &str) -> Answer {
    let Some(body) = call.json() else {
        return malformed();
    };
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let (Some(expired), Some(refresh_token), Some(_origin)) = (
        text("expired_token"),
        text("refresh_token"),
        text("request_origin"),
    ) else {
        return invalid(
            "form_param_missing",
            "`expired_token`, `refresh_token` and `request_origin` are required",
        );
    };
    let Some(session) = instance.state().session(id, instance.now()) else {
        return not_found();
    };
    let claims = instance.keys().verify(expired);
    let sid = claims
        .as_ref()
        .and_then(|claims| claims.get("sid")?.as_str());
    if sid != Some(&session.id) {
        return refused(
            "expired_token_invalid",
            "the expired token is not one of this session",
        );
    }
    if !instance.options.refresh_tokens || refresh_token != session.refresh_token {
        return refused(
            "refresh_token_invalid",
            "the refresh token is not the one of this session",
        );
    }
    if !session.status.is_live() {
        return refused(
            "session_refresh_session_token_ineligible",
            "the session has ended",
        );
    }
    let now = instance.now();
    instance.state().seen(&session.id, now);
    let Some(jwt) = instance.session_token(&session, None, None) else {
        return not_found();
    };
    match text("format") {
        None | Some("token") => {
            answer::json(StatusCode::OK, &json!({ "object": "token", "jwt": jwt }))
        }
        Some("cookie") => {
            let copies = Copies::asked(call.param("suffixed_cookies"));
            let cookies = instance.cookie("__session", &jwt, copies);
            let found = json!({ "object": "cookies", "cookies": cookies });
            answer::json(StatusCode::OK, &found)
        }
        Some(_) => invalid(
            "form_param_value_invalid",
            "`format` is `token` or `cookie`",
        ),
    }
}

fn refused(code: &str, message: &str) -> Answer {
    answer::error(StatusCode::UNAUTHORIZED, code, message)
}

fn invalid(code: &str, message: &str) -> Answer {
    answer::error(StatusCode::UNPROCESSABLE_ENTITY, code, message)
}

fn malformed() -> Answer {
    answer::error(
        StatusCode::BAD_REQUEST,
        "request_body_invalid",
        "the body is not JSON",
    )
}
