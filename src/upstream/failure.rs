//! What kind of failure it is that a request brought no answer.

use std::error::Error;
use std::io;

use super::UpstreamError;

/// What it is that a connection brought no answer.
pub(super) fn of_exchange(error: &hyper::Error) -> UpstreamError {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return of_io(io.kind());
        }
        if let Some(h2) = inner.downcast_ref::<h2::Error>() {
            return of_http2(h2);
        }
        if let Some(hyper) = inner.downcast_ref::<hyper::Error>()
            && (hyper.is_parse() || hyper.is_incomplete_message())
        {
            return UpstreamError::Malformed;
        }
        source = inner.source();
    }
    UpstreamError::Malformed
}

/// What the other end has called off is as a connection that it has closed.
fn of_http2(error: &h2::Error) -> UpstreamError {
    if let Some(io) = error.get_io() {
        return of_io(io.kind());
    }
    match error.reason() {
        Some(h2::Reason::HTTP_1_1_REQUIRED) if error.is_remote() => UpstreamError::Protocol,
        _ if error.is_remote() => UpstreamError::Unreachable,
        _ => UpstreamError::Malformed,
    }
}

/// What it is that there is no connection, or that it broke.
pub(super) fn of_io(kind: io::ErrorKind) -> UpstreamError {
    match kind {
        io::ErrorKind::TimedOut => UpstreamError::Timeout,
        io::ErrorKind::Unsupported => UpstreamError::Protocol,
        _ => UpstreamError::Unreachable,
    }
}
