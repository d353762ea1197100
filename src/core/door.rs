//! Doors: a gateway asks about a request that it has, and says in headers which one that is.
//!
//! Each gateway has its own words for method, address, host, scheme and client. A door reads these
//! and no others, and only where each of them is there exactly once; what comes of it is read by
//! [`RequestFacts::read`] like any request.

mod attributes;

use std::net::IpAddr;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::edge::Edge;
use super::facts::{RequestFacts, WireRequest};
use super::origin::Scheme;
use super::peers;
use super::reason::Reason;
use super::reserved::{Reserved, is_read_like, is_reserved_by_beginning, with_letters};
pub use attributes::{Attributes, HeadLimits, Wording};

/// A gateway, by what it says of a request and by what it makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `auth_request` of nginx.
    Nginx,
    /// `forwardAuth` of Traefik.
    Traefik,
    /// `forward_auth` of Caddy.
    Caddy,
    /// A Lua action of HAProxy.
    Haproxy,
    /// `ext_authz` of Envoy, over HTTP.
    Envoy,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 5] = [
        Self::Nginx,
        Self::Traefik,
        Self::Caddy,
        Self::Haproxy,
        Self::Envoy,
    ];

    /// The path that is asked.
    pub fn path(self) -> &'static str {
        match self {
            Self::Nginx => "/auth/nginx",
            Self::Traefik => "/auth/traefik",
            Self::Caddy => "/auth/caddy",
            Self::Haproxy => "/auth/haproxy",
            Self::Envoy => "/auth/envoy",
        }
    }

    /// The dialect of a path. Envoy writes the path it asks about behind its own.
    pub fn of(path: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dialect| match path.strip_prefix(dialect.path()) {
                Some("") => *dialect != Self::Envoy,
                Some(rest) => *dialect == Self::Envoy && rest.starts_with('/'),
                None => false,
            })
    }

    /// Where this gateway says what.
    fn words(self) -> Words {
        match self {
            Self::Nginx | Self::Haproxy => Words {
                request: Some([&X_ORIGINAL_METHOD, &X_ORIGINAL_URI, &X_ORIGINAL_HOST]),
                proto: &X_ORIGINAL_PROTO,
                client: &X_ORIGINAL_CLIENT,
            },
            Self::Traefik | Self::Caddy => Words {
                request: Some([&X_FORWARDED_METHOD, &X_FORWARDED_URI, &X_FORWARDED_HOST]),
                proto: &X_FORWARDED_PROTO,
                client: &X_FORWARDED_FOR,
            },
            Self::Envoy => Words {
                request: None,
                proto: &X_ORIGINAL_PROTO,
                client: &X_ORIGINAL_CLIENT,
            },
        }
    }
}

/// The headers that a gateway says it in.
struct Words {
    /// Method, address and host; `None` where the question itself has those of the request.
    request: Option<[&'static HeaderName; 3]>,
    proto: &'static HeaderName,
    client: &'static HeaderName,
}

/// The shared secret of a gateway and the gate.
pub static SECRET_HEADER: HeaderName = HeaderName::from_static("x-clerk-gate-secret");

static X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
static X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
static X_ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-original-host");
static X_ORIGINAL_PROTO: HeaderName = HeaderName::from_static("x-original-proto");
static X_ORIGINAL_CLIENT: HeaderName = HeaderName::from_static("x-original-client");
static X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
static X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What any gateway may say of a request, and what is between it and the gate alone.
static SAID: [&HeaderName; 11] = [
    &X_ORIGINAL_METHOD,
    &X_ORIGINAL_URI,
    &X_ORIGINAL_HOST,
    &X_ORIGINAL_PROTO,
    &X_ORIGINAL_CLIENT,
    &X_FORWARDED_METHOD,
    &X_FORWARDED_URI,
    &X_FORWARDED_HOST,
    &X_FORWARDED_PROTO,
    &X_FORWARDED_FOR,
    &SECRET_HEADER,
];

/// Headers that change what an application takes a request for, in letters and digits.
const OVERRIDES: [&str; 3] = ["xoriginalurl", "xrewriteurl", "xhttphostoverride"];

/// Only a WebSocket handshake has one of these, and no script of a page can set them. Gateways take
/// `Upgrade` away, and a handshake in HTTP/2 has no key.
static HANDSHAKE: [HeaderName; 2] = [
    HeaderName::from_static("sec-websocket-key"),
    HeaderName::from_static("sec-websocket-version"),
];

/// Goes with `Upgrade: h2c`.
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The request that a gateway asks about.
pub struct Original {
    method: Method,
    target: Uri,
    version: Version,
    headers: HeaderMap,
    peer: IpAddr,
    scheme: Scheme,
}

impl Original {
    /// Reads what a gateway says.
    pub fn read(
        dialect: Dialect,
        asked: WireRequest<'_>,
        reserved: &Reserved,
    ) -> Result<Self, Reason> {
        let headers = asked.headers;
        refuse_disguised(headers, reserved)?;
        refuse_other_protocols(headers)?;
        let words = dialect.words();
        let (method, target, host) = if let Some([method, uri, host]) = words.request {
            (
                Method::from_bytes(only(headers, method)?.as_bytes())
                    .map_err(|_| Reason::DoorMetadata)?,
                target(only(headers, uri)?.as_bytes())?,
                only(headers, host)?.clone(),
            )
        } else {
            let said = asked.target.path_and_query().map(PathAndQuery::as_str);
            let said = said.and_then(|said| said.strip_prefix(dialect.path()));
            (
                asked.method.clone(),
                target(said.unwrap_or_default().as_bytes())?,
                only(headers, &HOST)?.clone(),
            )
        };
        let proto = only(headers, words.proto)?.to_str().ok();
        let scheme = proto.and_then(scheme).ok_or(Reason::DoorMetadata)?;
        let chain = only(headers, words.client)?.to_str().unwrap_or_default();
        let chain: Option<Vec<IpAddr>> = chain
            .split(',')
            .map(|text| text.trim().parse().ok())
            .collect();
        // The rightmost address is the one that the gateway has seen; the others are hearsay, which
        // counts as far as proxies are trusted.
        let mut chain = chain.ok_or(Reason::DoorMetadata)?;
        let peer: IpAddr = chain.pop().ok_or(Reason::DoorMetadata)?;
        // SECURITY: what stands for somebody without an address may be trusted here, and no gateway says it.
        if !peers::has_address(peer) {
            return Err(Reason::DoorMetadata);
        }
        Ok(Self {
            method,
            target,
            version: Version::HTTP_11,
            headers: original_headers(headers, host, &chain),
            peer: peer.to_canonical(),
            scheme,
        })
    }

    /// The request as if it had come to the gate itself.
    pub fn wire(&self) -> WireRequest<'_> {
        WireRequest {
            method: &self.method,
            target: &self.target,
            version: self.version,
            headers: &self.headers,
            peer: self.peer,
            scheme: self.scheme,
        }
    }

    /// Reads the request.
    pub fn facts(&self, edge: &Edge) -> Result<RequestFacts<'_>, Reason> {
        let facts = RequestFacts::read(self.wire(), edge)?;
        // SECURITY: the gateway sends on the path that it has, not the one that was judged.
        if facts.path.as_str() != self.target.path() {
            return Err(Reason::PathNotCanonical);
        }
        Ok(facts)
    }
}

/// The value of a header that has to be there once, and to say something.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, Reason> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(value), None) if !value.as_bytes().trim_ascii().is_empty() => Ok(value),
        _ => Err(Reason::DoorMetadata),
    }
}

/// A target in origin form. Its parser would leave out a fragment without a word.
fn target(text: &[u8]) -> Result<Uri, Reason> {
    if text.first() != Some(&b'/') {
        return Err(Reason::DoorMetadata);
    }
    if text.contains(&b'#') {
        return Err(Reason::PathAmbiguous);
    }
    PathAndQuery::try_from(text)
        .map(Uri::from)
        .map_err(|_| Reason::PathMalformed)
}

/// Traefik says `ws` and `wss` of WebSockets.
fn scheme(text: &str) -> Option<Scheme> {
    match text {
        "ws" => Some(Scheme::Http),
        "wss" => Some(Scheme::Https),
        text => Scheme::parse(text),
    }
}

/// The headers of the request itself: without what the gateway says, and what is between it and us.
fn original_headers(headers: &HeaderMap, host: HeaderValue, chain: &[IpAddr]) -> HeaderMap {
    let mut original = headers.clone();
    for name in SAID {
        original.remove(name);
    }
    // Any other protocol has been refused.
    let upgrades = protocols(headers).next().is_some();
    original.remove(UPGRADE);
    original.remove(CONNECTION);
    if upgrades || HANDSHAKE.iter().any(|name| headers.contains_key(name)) {
        original.insert(UPGRADE, HeaderValue::from_static("websocket"));
        original.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    original.insert(HOST, host);
    let chain: Vec<String> = chain.iter().map(ToString::to_string).collect();
    if let Ok(chain) = HeaderValue::try_from(chain.join(", "))
        && !chain.is_empty()
    {
        original.insert(&X_FORWARDED_FOR, chain);
    }
    original
}

/// The protocols that a request would change to.
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(UPGRADE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Refuses a request that would change to anything but a WebSocket.
// SECURITY: a door cannot take a header from a request, and what is said after `Upgrade: h2c` would
// be further requests, which nobody judges.
fn refuse_other_protocols(headers: &HeaderMap) -> Result<(), Reason> {
    let other = protocols(headers).any(|token| !token.eq_ignore_ascii_case(b"websocket"));
    if other || headers.contains_key(&HTTP2_SETTINGS) {
        Err(Reason::UpgradeUnsupported)
    } else {
        Ok(())
    }
}

/// Whether a request with a header of this name is refused, whatever the gate itself sets.
// SECURITY: a door cannot take a header from a request, and what a gateway takes from one is spelled as
// everybody spells it.
pub fn is_refused(name: &HeaderName) -> bool {
    !SAID.contains(&name)
        && (is_reserved_by_beginning(name)
            || with_letters(name.as_str(), |letters| OVERRIDES.contains(&letters)))
}

/// Refuses a request with a header that the application might read in the place of one of ours.
// SECURITY: a gateway replaces `x-user-id`, and passes on `X_User_Id`, which is the same variable for
// CGI, WSGI and PHP.
fn refuse_disguised(headers: &HeaderMap, reserved: &Reserved) -> Result<(), Reason> {
    let disguised = headers.keys().any(|name| {
        let is_known = SAID.contains(&name) || reserved.is_ours(name);
        let mut spelling = name.as_str().bytes();
        let is_odd = !spelling.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !is_known
            && (is_refused(name)
                || is_odd && reserved.contains(name)
                || reserved.is_like_ours(name)
                || SAID.iter().any(|said| is_read_like(name, said)))
    });
    if disguised {
        Err(Reason::HeaderDisguised)
    } else {
        Ok(())
    }
}

impl std::fmt::Debug for Original {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.wire().fmt(f)
    }
}
