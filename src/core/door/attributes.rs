//! The request that Envoy asks about over gRPC: what it is comes in a message, not in headers.
//!
//! Unlike a gateway that is answered over HTTP, Envoy takes headers away where it is told to. So a
//! header that looks like one of ours is no reason to refuse here; it goes, as it does in the proxy.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::{Original, X_FORWARDED_FOR, target};
use crate::core::origin::Scheme;
use crate::core::peers;
use crate::core::reason::Reason;

/// What Envoy says of a request. What is not said is empty.
pub struct Attributes<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query, as they came.
    pub target: &'a str,
    /// `Host`, or `:authority`.
    pub host: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// `HTTP/1.1` and the like.
    pub protocol: &'a str,
    /// The address that the request came from.
    pub client: &'a str,
    /// The headers, with those that begin with a colon.
    pub lines: &'a [(&'a str, &'a [u8])],
    /// How the lines are written.
    pub wording: Wording,
}

/// How Envoy writes header lines of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// Each as it came (`encode_raw_headers`).
    Each,
    /// All of them in one line, with commas between them.
    Joined,
}

/// How large a request's head may be, as Envoy tells it.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Names and values, in bytes.
    pub bytes: usize,
    /// Lines.
    pub count: usize,
}

/// Headers whose meaning depends on how many lines there are, and in which a comma never stands.
static SINGLE: [HeaderName; 2] = [AUTHORIZATION, COOKIE];

impl Original {
    /// Reads what Envoy says.
    pub fn of_attributes(said: &Attributes<'_>, limits: HeadLimits) -> Result<Self, Reason> {
        if said.host.is_empty() || said.method.is_empty() {
            return Err(Reason::DoorMetadata);
        }
        let peer: IpAddr = said.client.parse().map_err(|_| Reason::DoorMetadata)?;
        let peer = peer.to_canonical();
        // SECURITY: as at the other doors, nobody is said to have no address.
        if !peers::has_address(peer) {
            return Err(Reason::DoorMetadata);
        }
        let method =
            Method::from_bytes(said.method.as_bytes()).map_err(|_| Reason::DoorMetadata)?;
        Ok(Self {
            method,
            target: target(said.target.as_bytes())?,
            version: version(said.protocol)?,
            headers: headers(said, peer, limits)?,
            peer,
            scheme: Scheme::parse(said.scheme).ok_or(Reason::DoorMetadata)?,
        })
    }
}

/// Envoy makes an HTTP/1.1 handshake of a WebSocket whatever it came in, so no other version matters.
fn version(protocol: &str) -> Result<Version, Reason> {
    match protocol {
        "HTTP/1.0" => Ok(Version::HTTP_10),
        "HTTP/1.1" | "HTTP/2" | "HTTP/3" => Ok(Version::HTTP_11),
        _ => Err(Reason::DoorMetadata),
    }
}

fn headers(said: &Attributes<'_>, peer: IpAddr, limits: HeadLimits) -> Result<HeaderMap, Reason> {
    let bytes: usize = said
        .lines
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes + said.target.len() > limits.bytes || said.lines.len() > limits.count {
        return Err(Reason::HeadTooLarge);
    }
    let mut headers = HeaderMap::with_capacity(said.lines.len() + 1);
    for (name, value) in said.lines {
        if let Some(pseudo) = name.strip_prefix(':') {
            agree(said, pseudo, value)?;
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Reason::DoorMetadata)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Reason::DoorMetadata)?;
        if name == HOST {
            agree(said, "authority", value.as_bytes())?;
            continue;
        }
        // SECURITY: in one line, two tokens or two sets of cookies look like a third thing. Which of
        // them the application would take is a guess, and so is the order of names that differ in case.
        let guess = SINGLE.contains(&name) && value.as_bytes().contains(&b',');
        if said.wording == Wording::Joined && (guess || headers.contains_key(&name)) {
            return Err(Reason::DoorMetadata);
        }
        headers.append(name, value);
    }
    let host = HeaderValue::try_from(said.host).map_err(|_| Reason::HostInvalid)?;
    headers.insert(HOST, host);
    leave_out_last(&mut headers, peer);
    Ok(headers)
}

/// Refuses what contradicts itself.
fn agree(said: &Attributes<'_>, pseudo: &str, value: &[u8]) -> Result<(), Reason> {
    let known = match pseudo {
        "method" => said.method,
        "path" => said.target,
        "scheme" => said.scheme,
        "authority" => said.host,
        _ => return Ok(()),
    };
    if known.as_bytes() == value {
        Ok(())
    } else {
        Err(Reason::DoorMetadata)
    }
}

/// Leaves out what Envoy itself has written at the end of the chain: the peer, which it tells anyway.
fn leave_out_last(headers: &mut HeaderMap, peer: IpAddr) {
    let lines = headers.get_all(&X_FORWARDED_FOR).iter();
    let texts: Option<Vec<&str>> = lines.map(|line| line.to_str().ok()).collect();
    let chain = texts.unwrap_or_default().join(",");
    let (rest, last) = chain.rsplit_once(',').unwrap_or(("", &chain));
    let is_peer = last
        .trim()
        .parse()
        .is_ok_and(|last: IpAddr| last.to_canonical() == peer);
    if !is_peer {
        return;
    }
    match HeaderValue::try_from(rest) {
        Ok(rest) if !rest.is_empty() => headers.insert(&X_FORWARDED_FOR, rest),
        _ => headers.remove(&X_FORWARDED_FOR),
    };
}

impl std::fmt::Debug for Attributes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attributes")
            .field("method", &self.method)
            .field("host", &self.host)
            .field("scheme", &self.scheme)
            .field("protocol", &self.protocol)
            .field("client", &self.client)
            .field("wording", &self.wording)
            .finish_non_exhaustive()
    }
}
