//! What a request asks for: the part of the one reading that says where it goes.

use http::header::HOST;
use http::{HeaderMap, HeaderName, Method};

use super::WireRequest;
use crate::core::edge::Edge;
use crate::core::origin::{Host, Origin, Scheme};
use crate::core::path::{CanonicalPath, PathError};
use crate::core::reason::Reason;

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is asked for, whether or not it is served.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The canonical path.
    pub path: CanonicalPath,
    /// The host.
    pub host: Host,
    /// The scheme.
    pub scheme: Scheme,
}

impl Asked {
    /// Reads what a request asks for. The error is the reason for a refusal.
    pub fn read(wire: WireRequest<'_>, edge: &Edge) -> Result<Self, Reason> {
        let (headers, trusted) = (wire.headers, edge.trusts(wire.peer));
        let own_host = own_host(wire)?;
        let path = CanonicalPath::parse(wire.target.path()).map_err(path_reason)?;
        let host = match forwarded(headers, &X_FORWARDED_HOST, trusted)? {
            Some(text) => Host::parse(text).ok_or(Reason::HostInvalid)?,
            None => own_host,
        };
        let scheme = match forwarded(headers, &X_FORWARDED_PROTO, trusted)? {
            Some(text) => Scheme::parse(text).ok_or(Reason::HostInvalid)?,
            None => wire.scheme,
        };
        Ok(Self { path, host, scheme })
    }
}

fn path_reason(error: PathError) -> Reason {
    match error {
        PathError::NotAbsolute => Reason::TargetUnsupported,
        PathError::Ambiguous | PathError::Delimiter | PathError::Overlong => Reason::PathAmbiguous,
        PathError::Percent | PathError::Control => Reason::PathMalformed,
        PathError::TooLong => Reason::HeadTooLarge,
    }
}

/// The host of the request itself: one `Host` line, and the authority of an absolute target
/// must be the same.
fn own_host(wire: WireRequest<'_>) -> Result<Host, Reason> {
    if wire.method == Method::CONNECT || wire.target.path() == "*" {
        return Err(Reason::TargetUnsupported);
    }
    let mut lines = wire.headers.get_all(HOST).iter();
    let line = lines.next().map(|line| {
        line.to_str()
            .ok()
            .and_then(Host::parse)
            .ok_or(Reason::HostInvalid)
    });
    if lines.next().is_some() {
        return Err(Reason::HostInvalid);
    }
    let authority = wire
        .target
        .authority()
        .map(|authority| Host::parse(authority.as_str()).ok_or(Reason::HostInvalid));
    match (line.transpose()?, authority.transpose()?) {
        (Some(line), None) if wire.target.scheme().is_none() => Ok(line),
        (Some(line), Some(authority)) => {
            let scheme = wire
                .target
                .scheme_str()
                .and_then(Scheme::parse)
                .ok_or(Reason::TargetUnsupported)?;
            let same = Origin::new(scheme, line.clone()) == Origin::new(scheme, authority);
            if same {
                Ok(line)
            } else {
                Err(Reason::HostInvalid)
            }
        }
        _ => Err(Reason::HostInvalid),
    }
}

/// The first value of a forwarded header of a trusted peer.
// SECURITY: a stranger's forwarded headers are as good as absent, whatever they say.
fn forwarded<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
    trusted: bool,
) -> Result<Option<&'r str>, Reason> {
    if !trusted {
        return Ok(None);
    }
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| Reason::HostInvalid)?;
    let first = text.split(',').next().unwrap_or_default().trim();
    Ok((!first.is_empty()).then_some(first))
}
