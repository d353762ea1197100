//! Which part of the stand-in answers a request.

use std::sync::Arc;

use http::{Request, StatusCode, header};
use hyper::body::Incoming;
use url::Host;

use super::answer::{self, Answer};
use super::call::Call;
use super::faults::{Closed, Endpoint};
use super::instance::Instance;
use super::{backend_api, frontend_api, portal, redirect, scripts};

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
        other => portal::answer(instance, call, other),
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
