//! The same table for calls of gRPC, whose callers look at a status of their own and at no other.

use http::{HeaderName, HeaderValue, StatusCode};

use super::super::decide::{Refusal, RefusalKind};
use super::super::facts::Audience;
use super::super::reason::Reason;
use super::{Content, Reply};

/// What a caller is told that a call came to.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The same for people.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A status of gRPC (`google.rpc.Code`), as far as the gate gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// `INVALID_ARGUMENT`
    InvalidArgument,
    /// `DEADLINE_EXCEEDED`
    DeadlineExceeded,
    /// `NOT_FOUND`
    NotFound,
    /// `PERMISSION_DENIED`
    PermissionDenied,
    /// `RESOURCE_EXHAUSTED`
    ResourceExhausted,
    /// `UNIMPLEMENTED`
    Unimplemented,
    /// `INTERNAL`
    Internal,
    /// `UNAVAILABLE`
    Unavailable,
    /// `UNAUTHENTICATED`
    Unauthenticated,
}

impl Code {
    /// All of them, by number.
    pub const ALL: [Self; 9] = [
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::Unauthenticated,
    ];

    /// The number, as it is sent.
    pub fn number(self) -> &'static str {
        match self {
            Self::InvalidArgument => "3",
            Self::DeadlineExceeded => "4",
            Self::NotFound => "5",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::Unauthenticated => "16",
        }
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

/// The answer to a call that is refused.
pub(super) fn reply(refusal: &Refusal, request_id: &str) -> Reply {
    let plain = Refusal {
        audience: Audience::Program,
        ..refusal.clone()
    };
    let message = match refusal.kind {
        // Nothing may tell that there is something.
        RefusalKind::Hidden => "there is no such method",
        _ => refusal.cause.reason.message(),
    };
    let mut headers = super::reply(&plain, request_id).headers;
    let code = code(refusal.kind, refusal.cause.reason);
    headers.extend(status_lines(code, message));
    Reply {
        status: StatusCode::OK,
        headers,
        content: Content::Call,
    }
}

/// The status and the message, as they stand in a head or in trailers.
pub fn status_lines(
    code: Code,
    message: &'static str,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    [
        (GRPC_STATUS, HeaderValue::from_static(code.number())),
        // INVARIANT: of plain letters, so that nothing has to be encoded; a test below holds it.
        (GRPC_MESSAGE, HeaderValue::from_static(message)),
    ]
    .into_iter()
}

/// The status of a refusal.
pub fn code(kind: RefusalKind, reason: Reason) -> Code {
    match kind {
        RefusalKind::SignedOut | RefusalKind::Unauthorized => Code::Unauthenticated,
        RefusalKind::Forbidden => Code::PermissionDenied,
        // What a server says of a method that it does not have.
        RefusalKind::Hidden => Code::Unimplemented,
        RefusalKind::Unavailable => Code::Unavailable,
        RefusalKind::Request => request_code(reason),
    }
}

/// The status of what is wrong with a request or an upstream: what that of HTTP stands for.
///
/// As gRPC has it for callers who meet HTTP alone (its `http-grpc-status-mapping`), and closer where that
/// would say nothing.
fn request_code(reason: Reason) -> Code {
    // The call may have been carried out: `UNAVAILABLE` would have it made again.
    if matches!(reason, Reason::UpstreamProtocol | Reason::UpstreamMalformed) {
        return Code::Internal;
    }
    match super::request_status(reason) {
        StatusCode::BAD_REQUEST | StatusCode::MISDIRECTED_REQUEST => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_has_to_be_encoded_for_callers() {
        for reason in Reason::ALL {
            let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'%';
            assert!(reason.message().bytes().all(plain), "{reason}");
        }
    }
}
