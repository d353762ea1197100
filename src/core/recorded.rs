//! A request that was judged, kept so that its verdict can be explained later.
//!
//! It holds what the verdict followed from, and no credential: of tokens what they say, never their text;
//! of cookies that they came; of a query which of Clerk's parameters it had. What it has is enough for the
//! very function that decided.

use std::fmt;

use http::header::{ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, REFERER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use super::facts::{Audience, BodyLength, RequestFacts, Upgrade};
use super::origin::{Host, Origin};
use super::path::CanonicalPath;
use super::question::{COVERED, Progress, Question};

/// Headers that have a say in a verdict and hold no secret.
static KEPT: [HeaderName; 7] = [
    ACCEPT,
    ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN,
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("x-requested-with"),
];

/// Parameters that have a say in a verdict, and whether their values do too and are no secret.
const PARAMETERS: [(&str, bool); 10] = [
    ("__clerk_handshake", false),
    ("__clerk_handshake_nonce", false),
    ("__clerk_db_jwt", false),
    ("__clerk_gate_state", false),
    ("__clerk_help", false),
    ("__clerk_synced", true),
    ("then", true),
    ("done", true),
    ("notice", true),
    ("fresh", true),
];

/// The longest value of a parameter that is kept.
const LONGEST_VALUE: usize = 32;

/// What a verdict followed from.
pub struct Recorded {
    method: Method,
    path: CanonicalPath,
    query: Option<String>,
    host: Host,
    site: usize,
    origin: Origin,
    client: std::net::IpAddr,
    audience: Audience,
    upgrade: Upgrade,
    body: BodyLength,
    headers: HeaderMap,
    now_ms: u64,
    progress: Progress<'static>,
    asked: Vec<Question>,
    bytes: usize,
}

impl Recorded {
    /// What the verdict on this request, at this time, has followed from.
    pub fn of(facts: &RequestFacts<'_>, progress: &Progress<'_>, now_ms: u64) -> Self {
        let headers = headers(facts.headers);
        let query = facts.query.and_then(query);
        let of_headers: usize = headers.values().map(HeaderValue::len).sum();
        let of_query = query.as_ref().map_or(0, String::len);
        let bytes = facts.path.as_str().len() + of_headers + of_query + progress.token_bytes();
        Self {
            method: facts.method.clone(),
            path: facts.path.clone(),
            query,
            host: facts.host.clone(),
            site: facts.site,
            origin: facts.origin.clone(),
            client: facts.client,
            audience: facts.audience,
            upgrade: facts.upgrade,
            body: facts.body,
            headers,
            now_ms,
            progress: progress.kept(),
            asked: progress.asked().to_vec(),
            bytes,
        }
    }

    /// The facts, as far as they were kept.
    pub fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            method: &self.method,
            headers: &self.headers,
            path: self.path.clone(),
            query: self.query.as_deref(),
            host: self.host.clone(),
            site: self.site,
            origin: self.origin.clone(),
            client: self.client,
            forwarded_for: None,
            audience: self.audience,
            upgrade: self.upgrade,
            body: self.body,
        }
    }

    /// When it was judged, in milliseconds since the epoch.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The answers that there were.
    pub(super) fn progress(&self) -> Progress<'static> {
        self.progress.kept()
    }

    /// What was answered, in words and in the order in which it was asked.
    pub(super) fn told(&self) -> Vec<String> {
        let asked = self.asked.iter();
        asked
            .filter_map(|question| self.progress.told(*question))
            .collect()
    }

    /// About how much memory it takes beside its own size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("progress", &self.progress)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// The headers that are kept, each in memory of its own: what came is a piece of all that came with it,
/// cookies included.
fn headers(came: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in &KEPT {
        for value in came.get_all(name) {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                kept.append(name.clone(), value);
            }
        }
    }
    // Of an address that a browser comes from, the origin alone has a say.
    let referrer = came.get(REFERER).and_then(|line| line.to_str().ok());
    let referrer = referrer.and_then(|text| Url::parse(text).ok());
    let origin = referrer.map(|url| url.origin().ascii_serialization());
    if let Some(Ok(origin)) = origin.map(HeaderValue::try_from) {
        kept.insert(REFERER, origin);
    }
    kept
}

/// The parameters of a query that have a say, without what is secret in them.
fn query(came: &str) -> Option<String> {
    let mut kept = url::form_urlencoded::Serializer::new(String::new());
    let mut some = false;
    for (name, value) in url::form_urlencoded::parse(came.as_bytes()) {
        let Some((name, told)) = PARAMETERS.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        let value = match &*value {
            "" => "",
            value if *told && value.len() <= LONGEST_VALUE => value,
            _ => COVERED,
        };
        kept.append_pair(name, value);
        some = true;
    }
    some.then(|| kept.finish())
}
