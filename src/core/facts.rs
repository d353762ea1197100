//! The one reading of a request. Matching, logging, redirects and forwarding all use it; nothing
//! else looks at the target, the host, forwarded headers or the framing.

mod asked;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use http::header::{ACCEPT, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Uri, Version};
use url::Url;

use super::edge::Edge;
use super::masked::{Address, HeaderNames};
use super::origin::{Host, Origin, Scheme};
use super::path::CanonicalPath;
use super::peers;
use super::reason::Reason;
pub use asked::Asked;

/// A request as it came off a wire, before anything was made of it.
#[derive(Clone, Copy)]
pub struct WireRequest<'r> {
    /// The method.
    pub method: &'r Method,
    /// The request target.
    pub target: &'r Uri,
    /// The version of the protocol.
    pub version: Version,
    /// Every header line.
    pub headers: &'r HeaderMap,
    /// The address of the peer.
    pub peer: IpAddr,
    /// Whether the connection itself is encrypted.
    pub scheme: Scheme,
}

/// A request that can be read in exactly one way.
#[derive(Clone)]
pub struct RequestFacts<'r> {
    /// The method.
    pub method: &'r Method,
    /// Every header line, as it came.
    pub headers: &'r HeaderMap,
    /// The canonical path.
    pub path: CanonicalPath,
    /// The query without its `?`, as it came.
    pub query: Option<&'r str>,
    /// The host that was asked for.
    pub host: Host,
    /// The number of the site that the host belongs to: 0 is the one of the top level.
    pub site: usize,
    /// The public origin: what redirects and return addresses are built on.
    pub origin: Origin,
    /// The address of the client, as far as trusted proxies vouch for it.
    pub client: IpAddr,
    /// The `X-Forwarded-For` value that trusted proxies vouch for, before this hop.
    pub forwarded_for: Option<String>,
    /// Who will read an answer of ours.
    pub audience: Audience,
    /// Whether a WebSocket is asked for.
    pub upgrade: Upgrade,
    /// How long the body is said to be.
    pub body: BodyLength,
}

/// Who reads an answer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A person whose browser is going to a page by GET or HEAD: may be redirected.
    Navigation,
    /// A person whose browser sent a form: gets a page, never a redirect that drops the form.
    Submission,
    /// A program: gets a status and JSON.
    Program,
}

/// Whether a WebSocket is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// A plain request.
    None,
    /// A well-formed WebSocket handshake.
    WebSocket,
}

/// How long a body is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// So many bytes.
    Exactly(u64),
    /// It ends when it ends.
    Unknown,
}

/// What is said of the request in `Sec-Fetch-Dest`.
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl<'r> RequestFacts<'r> {
    /// Reads a request. The error is the reason for a refusal.
    pub fn read(wire: WireRequest<'r>, edge: &Edge) -> Result<Self, Reason> {
        let WireRequest {
            method,
            target,
            headers,
            ..
        } = wire;
        let body = body_length(headers, wire.version)?;
        let Asked { path, host, scheme } = Asked::read(wire, edge)?;
        // Redirects are built on this origin; never on one that merely stands in the request.
        let (site, origin) = edge.place(scheme, &host).ok_or(Reason::HostNotServed)?;
        let (client, forwarded_for) = client(headers, wire.peer, edge);
        Ok(Self {
            method,
            headers,
            path,
            query: target.query(),
            site,
            origin,
            host,
            client,
            forwarded_for,
            audience: audience(method, headers),
            upgrade: upgrade(method, headers, wire.version)?,
            body,
        })
    }

    /// The public address of this request, with path and query: Clerk's `clerkUrl`.
    ///
    /// `None` only if origin, path and query do not make a URL, which parsing them rules out.
    pub fn url(&self) -> Option<Url> {
        let mut text = format!("{}{}", self.origin, self.path);
        if let Some(query) = self.query {
            text.push('?');
            text.push_str(query);
        }
        Url::parse(&text).ok()
    }

    /// The decoded value of the first query parameter called `name`.
    pub fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query?.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The value of a header as text, the lines joined as a list.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<String> {
        let mut lines = self.headers.get_all(name).iter();
        let mut joined = text(lines.next()?.as_bytes()).into_owned();
        for line in lines {
            joined.push_str(", ");
            joined.push_str(&text(line.as_bytes()));
        }
        Some(joined)
    }

    /// `Sec-Fetch-Dest`, empty where it is absent.
    pub fn fetch_destination(&self) -> String {
        self.header(SEC_FETCH_DEST).unwrap_or_default()
    }

    /// The origin of the page that sent the request, as its browser says; `None` if it says nothing
    /// that can be read in one way.
    pub fn page_origin(&self) -> Option<Origin> {
        let mut lines = self.headers.get_all(http::header::ORIGIN).iter();
        let origin = Origin::parse(lines.next()?.to_str().ok()?)?;
        lines.next().is_none().then_some(origin)
    }

    /// Whether a redirect to Clerk and back would work (protocol reference, section 3.6).
    pub fn is_handshake_eligible(&self) -> bool {
        if *self.method != Method::GET {
            return false;
        }
        match self.fetch_destination().as_str() {
            "document" | "iframe" => true,
            "" => self
                .header(ACCEPT)
                .is_some_and(|accept| accept.starts_with("text/html")),
            _ => false,
        }
    }

    /// Whether this is a CORS preflight.
    pub fn is_preflight(&self) -> bool {
        *self.method == Method::OPTIONS
            && self.headers.contains_key(http::header::ORIGIN)
            && self
                .headers
                .contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
    }
}

impl fmt::Debug for WireRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireRequest")
            .field("method", &self.method)
            .field("target", &Address(&self.target.to_string()))
            .field("version", &self.version)
            .field("headers", &HeaderNames(self.headers))
            .field("peer", &self.peer)
            .field("scheme", &self.scheme)
            .finish()
    }
}

impl fmt::Debug for RequestFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFacts")
            .field("method", &self.method)
            .field("headers", &HeaderNames(self.headers))
            .field("path", &self.path)
            .field("query", &self.query.map(|_| "…"))
            .field("host", &self.host)
            .field("site", &self.site)
            .field("origin", &self.origin)
            .field("client", &self.client)
            .field("forwarded_for", &self.forwarded_for)
            .field("audience", &self.audience)
            .field("upgrade", &self.upgrade)
            .field("body", &self.body)
            .finish()
    }
}

/// How long the body is, where there is exactly one way to read it (RFC 9112, section 6).
// SECURITY: two readings of where a request ends are request smuggling.
pub(super) fn body_length(headers: &HeaderMap, version: Version) -> Result<BodyLength, Reason> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(BodyLength::None),
        (Some(coding), None) => {
            let plain = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            if plain && codings.next().is_none() && version == Version::HTTP_11 {
                Ok(BodyLength::Unknown)
            } else {
                Err(Reason::FramingAmbiguous)
            }
        }
        (None, Some(length)) => {
            let digits = length.to_str().map_err(|_| Reason::FramingAmbiguous)?;
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if !plain || lengths.next().is_some() {
                return Err(Reason::FramingAmbiguous);
            }
            match digits.parse::<u64>() {
                Ok(0) => Ok(BodyLength::None),
                // Lengths beyond any file are a trick with somebody's integers.
                Ok(bytes) if bytes < 1 << 53 => Ok(BodyLength::Exactly(bytes)),
                _ => Err(Reason::FramingAmbiguous),
            }
        }
        (Some(_), Some(_)) => Err(Reason::FramingAmbiguous),
    }
}

/// The client's address: the rightmost one that no trusted proxy has.
pub(super) fn client(headers: &HeaderMap, peer: IpAddr, edge: &Edge) -> (IpAddr, Option<String>) {
    if !edge.trusts(peer) {
        return (peer, None);
    }
    let chain: Vec<IpAddr> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map_while(|text| text.trim().parse().ok())
        .take_while(|address| peers::has_address(*address))
        .collect();
    let client = chain
        .iter()
        .rev()
        .copied()
        .find(|address| !edge.trusts(*address))
        .or_else(|| chain.first().copied())
        .unwrap_or(peer);
    let vouched = chain
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    (client, (!vouched.is_empty()).then_some(vouched))
}

/// The value of a header as text, with a sign in the place of whatever is none.
///
/// Nearly all of it is ASCII, which is told at a glance; the lossy reading looks at each byte.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Who reads the answer: `Sec-Fetch-*` first, then `X-Requested-With`, then `Accept`.
pub fn audience(method: &Method, headers: &HeaderMap) -> Audience {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let page = match (text(&SEC_FETCH_DEST), text(&SEC_FETCH_MODE)) {
        (Some("document" | "iframe" | "frame"), _) => true,
        (Some(destination), _) if !destination.is_empty() => false,
        (_, Some("navigate")) => true,
        (_, Some(mode)) if !mode.is_empty() => false,
        _ if headers.contains_key(X_REQUESTED_WITH) => false,
        _ => text(&ACCEPT).is_some_and(|accept| accept.contains("text/html")),
    };
    match (page, method == Method::GET || method == Method::HEAD) {
        (true, true) => Audience::Navigation,
        (true, false) => Audience::Submission,
        (false, _) => Audience::Program,
    }
}

/// Whether a WebSocket is asked for. Other upgrades are not offered, so their header is dropped,
/// which RFC 9110 (section 7.8) lets a server do; a malformed WebSocket handshake is refused.
fn upgrade(method: &Method, headers: &HeaderMap, version: Version) -> Result<Upgrade, Reason> {
    let tokens = |name: HeaderName| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .collect::<Vec<_>>()
    };
    let wanted = tokens(UPGRADE);
    if !wanted
        .iter()
        .any(|token| token.eq_ignore_ascii_case("websocket"))
    {
        return Ok(Upgrade::None);
    }
    let connection = tokens(http::header::CONNECTION);
    let well_formed = wanted.len() == 1
        && method == Method::GET
        && version == Version::HTTP_11
        && connection
            .iter()
            .any(|token| token.eq_ignore_ascii_case("upgrade"));
    if well_formed {
        Ok(Upgrade::WebSocket)
    } else {
        Err(Reason::UpgradeUnsupported)
    }
}
