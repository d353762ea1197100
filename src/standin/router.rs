//! Which part of the stand-in answers a request.

use std::sync::Arc;

use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use url::Host;

use super::answer::{self, Answer};
use super::call::Call;
use super::faults::{Closed, Endpoint};
use super::instance::Instance;
use super::machines::{self, MachineKind};
use super::{backend_api, frontend_api, oauth, portal, redirect, scripts};

/// Answers one request, unless a fault is in the way.
pub(super) async fn answer(
    instance: Arc<Instance>,
    request: Request<Incoming>,
) -> Result<Answer, Closed> {
    let endpoint = Endpoint::of(request.method(), request.uri().path());
    let fault = instance.faults.meet(endpoint);
    if let Some(fault) = fault
        && let Some(lie) = fault.answer().await?
    {
        return Ok(lie);
    }
    let truth = match Call::read(request).await {
        Ok(call) => route(&instance, &call),
        Err(_) => answer::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_body_too_large",
            "the body could not be read or is too large",
        ),
    };
    Ok(match fault {
        Some(fault) => fault.tell(truth),
        None => truth,
    })
}

fn route(instance: &Instance, call: &Call) -> Answer {
    if !came_by_a_loopback_name(call) {
        return answer::error(
            StatusCode::MISDIRECTED_REQUEST,
            "host_invalid",
            "the stand-in answers to `127.0.0.1` and `localhost` only",
        );
    }
    let path: Vec<&str> = call.path.trim_start_matches('/').split('/').collect();
    // Clerk's SDK leaves `/v1` out here, and its API knows both.
    if let (&Method::POST, ["v1", rest @ ..] | rest) = (&call.method, path.as_slice())
        && let Some(kind) = MachineKind::verified_at(rest)
    {
        return machines::verify(instance, call, kind);
    }
    match path.as_slice() {
        [".well-known", "jwks.json"] => answer::json(StatusCode::OK, &instance.keys().jwks()),
        ["v1", rest @ ..] => match rest {
            [
                "client" | "dev_browser" | "environment" | "me" | "proxy-health",
                ..,
            ] => frontend_api::answer(instance, call, rest),
            _ => backend_api::answer(instance, call, rest),
        },
        ["npm", rest @ ..] => scripts::answer(instance, call, rest),
        other => oauth::answer(instance, call, other)
            .unwrap_or_else(|| portal::answer(instance, call, other)),
    }
}

// SECURITY: a name that somebody else's DNS points at this machine would make their page same-origin
// with the sign-in pages.
fn came_by_a_loopback_name(call: &Call) -> bool {
    let Some(host) = call.header(header::HOST.as_str()) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    Host::parse(name).is_ok_and(|host| redirect::is_loopback(&host))
}
