//! A verdict as a message to Envoy.

use std::net::IpAddr;

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::proto::{
    self, AppendAction, CheckResponse, Code, DeniedHttpResponse, HeaderValueOption, HttpResponse,
    HttpStatus, OkHttpResponse,
};
use crate::core::decide::Permit;
use crate::core::facts::BodyLength;
use crate::core::reason::Reason;
use crate::modes::asked::Asked;
use crate::modes::own_answer;
use crate::pages::Document;
use crate::upstream::head::X_REQUEST_ID;

/// The leave to forward a request, with everything that Envoy has to change of it.
pub(super) fn yes(
    asked: &Asked<'_, '_>,
    permit: &Permit,
    peer: IpAddr,
) -> Result<CheckResponse, Reason> {
    let Asked {
        snapshot,
        facts,
        request_id,
        ..
    } = *asked;
    let limit = permit.max_body().or(snapshot.max_body);
    if let (Some(limit), BodyLength::Exactly(length)) = (limit, facts.body)
        && length > limit
    {
        return Err(Reason::BodyTooLarge);
    }
    let upstream = snapshot.upstreams.get(permit.upstream());
    let altered = upstream.and_then(|upstream| {
        upstream.alter(permit, facts, peer, request_id, snapshot.headers.names())
    });
    let altered = altered.ok_or(Reason::UpstreamMalformed)?;
    let mut headers = Vec::with_capacity(altered.set.len());
    for name in altered.set.keys() {
        let mut action = AppendAction::OverwriteIfExistsOrAdd;
        for value in altered.set.get_all(name) {
            let value = text(value).ok_or(Reason::HeaderNotText)?;
            headers.push(header(name, value, action));
            action = AppendAction::AppendIfExistsOrAdd;
        }
    }
    let remove = altered.remove.iter().map(|name| name.as_str().to_owned());
    let ok = OkHttpResponse {
        headers,
        headers_to_remove: remove.collect(),
        response_headers_to_add: for_the_client(asked),
        query_parameters_to_remove: altered.remove_parameters,
    };
    Ok(CheckResponse {
        status: Some(status(Code::Ok, "")),
        http_response: Some(HttpResponse::Ok(ok)),
    })
}

/// What the client's answer gets beside what the application writes.
fn for_the_client(asked: &Asked<'_, '_>) -> Vec<HeaderValueOption> {
    let verdict = &asked.ruling.verdict;
    let mut headers = HeaderMap::new();
    own_answer::dress(&mut headers, verdict);
    own_answer::finish(&mut headers, asked.snapshot, asked.ruling);
    headers.insert(X_REQUEST_ID, asked.request_id.clone());
    let beside = |name: &HeaderName| {
        *name == SET_COOKIE || asked.ruling.fields.iter().any(|(field, _)| field == name)
    };
    let mut written: Vec<HeaderValueOption> = Vec::with_capacity(headers.len() + 1);
    for (name, value) in &headers {
        let action = if beside(name) {
            AppendAction::AppendIfExistsOrAdd
        } else {
            AppendAction::OverwriteIfExistsOrAdd
        };
        written.extend(text(value).map(|value| header(name, value, action)));
    }
    // As the proxy has it: cookies of ours are never stored, and what was made for somebody is theirs.
    if !verdict.set_cookies.is_empty() {
        let action = AppendAction::OverwriteIfExistsOrAdd;
        written.push(header(&CACHE_CONTROL, "private, no-store", action));
    } else if verdict.who.is_some() {
        written.push(header(&CACHE_CONTROL, "private", AppendAction::AddIfAbsent));
    }
    written
}

/// A no, with what the client has to see.
pub(super) fn no(document: Document, request_id: &HeaderValue, reason: &str) -> CheckResponse {
    let mut headers = document.headers;
    headers.insert(X_REQUEST_ID, request_id.clone());
    headers.remove(CONTENT_LENGTH);
    let written = headers.keys().flat_map(|name| {
        let mut action = AppendAction::OverwriteIfExistsOrAdd;
        let lines = headers.get_all(name).iter().filter_map(text);
        lines
            .map(move |value| {
                let action = std::mem::replace(&mut action, AppendAction::AppendIfExistsOrAdd);
                header(name, value, action)
            })
            .collect::<Vec<_>>()
    });
    let code = match document.status {
        StatusCode::UNAUTHORIZED | StatusCode::TEMPORARY_REDIRECT => Code::Unauthenticated,
        _ => Code::PermissionDenied,
    };
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus {
            code: i32::from(document.status.as_u16()),
        }),
        headers: written.collect(),
        // Pages are text.
        body: String::from_utf8_lossy(&document.body).into_owned(),
    };
    CheckResponse {
        status: Some(status(code, reason)),
        http_response: Some(HttpResponse::Denied(denied)),
    }
}

fn status(code: Code, message: &str) -> proto::Status {
    proto::Status {
        code: code as i32,
        message: message.to_owned(),
    }
}

/// A header, and what becomes of others of its name. Before Envoy knew of actions, `append` said it,
/// and what is not appended has always taken the place of what was there.
fn header(name: &HeaderName, value: &str, action: AppendAction) -> HeaderValueOption {
    let append = match action {
        AppendAction::OverwriteIfExistsOrAdd => Some(false),
        AppendAction::AppendIfExistsOrAdd
        | AppendAction::AddIfAbsent
        | AppendAction::OverwriteIfExists => None,
    };
    HeaderValueOption {
        header: Some(proto::HeaderValue {
            key: name.as_str().to_owned(),
            value: value.to_owned(),
            raw_value: Vec::new(),
        }),
        append,
        append_action: action as i32,
    }
}

/// Messages carry text, and some clients send what is none.
fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}
