//! Calls of gRPC: how they are told from other requests.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

/// What the body of a call is.
const GRPC: &[u8] = b"application/grpc";

/// What sort of a request somebody has made, as far as it matters for how they are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// One whose sender looks at the status of HTTP.
    Plain,
    /// A call of gRPC.
    Call,
}

impl Manner {
    /// What sort a request of this method and these headers is.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        if *method == Method::POST && is_grpc(headers) {
            Self::Call
        } else {
            Self::Plain
        }
    }
}

/// Whether a body is one of gRPC: `application/grpc`, and whatever may follow it.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    let line = line.as_bytes();
    let begins = line.get(..GRPC.len());
    begins.is_some_and(|begins| begins.eq_ignore_ascii_case(GRPC))
        && matches!(line.get(GRPC.len()), None | Some(b'+' | b'-' | b';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_post_whose_body_is_one_of_grpc() {
        for (method, written, expected) in [
            ("POST", "application/grpc", Manner::Call),
            ("POST", "Application/GRPC+proto", Manner::Call),
            ("POST", "application/grpc;x=y", Manner::Call),
            ("POST", "application/grpc-web+proto", Manner::Call),
            ("POST", "application/grpcs", Manner::Plain),
            ("POST", "application/json", Manner::Plain),
            ("POST", "text/plain; application/grpc", Manner::Plain),
            ("GET", "application/grpc", Manner::Plain),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, written.parse().unwrap());
            let method = method.parse().unwrap();
            assert_eq!(Manner::of(&method, &headers), expected, "{written}");
        }
    }
}
