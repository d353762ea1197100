//! The head of a forwarded request and of its answer: what is taken away, what is set.
//!
//! Hop-by-hop headers go first, then everything that only the gate may say, then our own headers
//! are set, so that nothing a client sends can remove or replace them.

mod answer;
mod names;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, RANGE, TE, TRAILER, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::core::cookies;
use crate::core::decide::{BodyRule, Permit};
use crate::core::facts::{RequestFacts, Upgrade};
use crate::core::origin::Host;
use crate::core::peers;
use crate::core::prefix::Prefix;
use crate::core::reserved::Reserved;
use crate::core::trace_context;
pub use answer::{Privacy, answer_trailers, end_to_end, is_framed_in_one_way, set_cookies};
use names::is_one_of;
pub use names::{CLERK_PARAMETERS, COOKIES_FOR_CLERK, HOP_BY_HOP, SECRET_COOKIES, STATE_COOKIES};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What was taken away from the beginning of the path.
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// The id that stands in the log, in answers of ours and towards the upstream.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Which headers a client's request loses.
#[derive(Clone, Debug)]
pub struct HeaderRules {
    reserved: Arc<Reserved>,
    cookies: ClerkCookies,
}

/// What the gate says of the way that a request has come.
#[derive(Clone, Copy, Debug)]
pub struct Met<'a> {
    /// The peer it came from.
    pub peer: IpAddr,
    /// The id that it goes by.
    pub request_id: &'a HeaderValue,
    /// The trace that it is part of; where there are no traces, what the client says of one goes on.
    pub trace: Option<&'a trace_context::Outbound>,
    /// What was taken away from the beginning of its path, if anything was.
    pub stripped: Option<&'a Prefix>,
}

/// What becomes of Clerk's cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClerkCookies {
    /// All of them stay here.
    Strip,
    /// Session and client state go on; secrets never do.
    Keep,
}

impl HeaderRules {
    /// The rules where these headers are reserved.
    pub fn new(reserved: Arc<Reserved>, cookies: ClerkCookies) -> Self {
        Self { reserved, cookies }
    }

    /// What a client's headers leave for Clerk's Frontend API, cookies aside. Native SDKs send it
    /// `x-clerk-client-id` and the like.
    pub(super) fn passing_to_clerk(&self, headers: &HeaderMap) -> HeaderMap {
        passing(headers, |name| self.reserved.contains_but_clerks(name))
    }

    /// The headers of the request to the upstream.
    pub fn request(
        &self,
        facts: &RequestFacts<'_>,
        permit: &Permit,
        host: &HostRule,
        met: &Met<'_>,
    ) -> HeaderMap {
        let mut headers = passing(facts.headers, |name| self.reserved.contains(name));
        if let Some(cookies) = self.cookies(facts.headers) {
            headers.insert(COOKIE, cookies);
        }
        if listed(facts.headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers")) {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if permit.body() == BodyRule::Stream
            && let Some(names) = self.trailers(facts.headers)
        {
            headers.insert(TRAILER, names);
        }
        if facts.upgrade == Upgrade::WebSocket {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        if permit.insertion().is_some() {
            ask_for_all_of_it(&mut headers);
        }
        headers.insert(
            X_FORWARDED_PROTO,
            HeaderValue::from_static(facts.origin.scheme().as_str()),
        );
        let mut set = |name: HeaderName, text: String| {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        let own = peers::has_address(met.peer).then(|| met.peer.to_string());
        let chain = facts.forwarded_for.iter().chain(&own);
        let chain: Vec<&str> = chain.map(String::as_str).collect();
        if !chain.is_empty() {
            set(X_FORWARDED_FOR, chain.join(", "));
        }
        set(X_FORWARDED_HOST, facts.origin.host().to_string());
        if let Some(prefix) = met.stripped {
            set(X_FORWARDED_PREFIX, prefix.as_str().to_owned());
        }
        match host {
            HostRule::Preserve => set(HOST, facts.host.to_string()),
            HostRule::Fixed(host) => set(HOST, host.to_string()),
        }
        headers.insert(X_REQUEST_ID, met.request_id.clone());
        if let Some(trace) = met.trace {
            trace.write(&mut headers);
        }
        // SECURITY: what the gate says in this header, or leaves unsaid, no client says.
        if let Some(name) = permit.withheld() {
            headers.remove(name);
        }
        // SECURITY: last, so that nothing above can take them away.
        for (name, value) in permit.identity() {
            headers.insert(name.clone(), value.clone());
        }
        headers
    }

    /// The trailers that a client announces, without those that may not go on.
    fn trailers(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let names: Vec<&str> = listed(headers, &TRAILER)
            .filter(|name| {
                let name: Result<HeaderName, _> = name.parse();
                name.is_ok_and(|name| self.passes_trailer(&name))
            })
            .collect();
        if names.is_empty() {
            return None;
        }
        HeaderValue::try_from(names.join(", ")).ok()
    }

    /// Whether a trailer of a client may go on.
    pub fn passes_trailer(&self, name: &HeaderName) -> bool {
        !(is_hop_by_hop(name)
            || self.reserved.contains(name)
            || [
                HOST,
                COOKIE,
                CONTENT_LENGTH,
                TRAILER,
                http::header::AUTHORIZATION,
                http::header::CONTENT_TYPE,
            ]
            .contains(name))
    }

    /// The cookies that go on, byte for byte, in one line.
    pub(super) fn cookies(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        kept_cookies(headers, |name| !self.keeps_back(name))
    }

    fn keeps_back(&self, name: &[u8]) -> bool {
        let Ok(name) = std::str::from_utf8(name) else {
            return false;
        };
        if is_one_of(&STATE_COOKIES, name) {
            self.cookies == ClerkCookies::Strip
        } else {
            is_one_of(&SECRET_COOKIES, name)
        }
    }
}

/// Asks for a page whole and not compressed, whatever the client holds of it already: what it holds
/// may be the page as it is, or another page with something put into it.
fn ask_for_all_of_it(headers: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
        headers.remove(name);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// What a client's headers leave when those are gone that are about the connection, that are set
/// anew, or that `is_ours` alone.
fn passing(headers: &HeaderMap, is_ours: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let nominated = nominated(headers);
    let mut passing = HeaderMap::with_capacity(headers.len() + 12);
    for (name, value) in headers {
        let dropped = is_hop_by_hop(name)
            || nominated.contains(name)
            || *name == HOST
            || *name == COOKIE
            || *name == EXPECT
            || *name == TRAILER
            || is_ours(name);
        if !dropped {
            passing.append(name.clone(), value.clone());
        }
    }
    passing
}

/// The cookies that go to Clerk's Frontend API, byte for byte, in one line.
pub(super) fn clerk_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    kept_cookies(headers, |name| {
        std::str::from_utf8(name).is_ok_and(|name| is_one_of(&COOKIES_FOR_CLERK, name))
    })
}

/// The cookies whose name is kept, byte for byte, in one line.
fn kept_cookies(headers: &HeaderMap, keeps: impl Fn(&[u8]) -> bool) -> Option<HeaderValue> {
    let mut kept: Vec<u8> = Vec::new();
    for piece in cookies::pieces(headers) {
        let piece = piece.trim_ascii();
        let name = piece
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if piece.is_empty() || !keeps(name) {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(piece);
    }
    if kept.is_empty() {
        None
    } else {
        HeaderValue::try_from(kept).ok()
    }
}

/// Which `Host` the upstream is told.
#[derive(Clone, Debug)]
pub enum HostRule {
    /// The one that was asked for.
    Preserve,
    /// This one: the upstream's own, or another one that is configured.
    Fixed(Host),
}

/// The query without Clerk's parameters; everything else stays byte for byte.
pub fn query_for_upstream(query: &str) -> Option<String> {
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            !CLERK_PARAMETERS.contains(&name.as_ref())
        })
        .collect();
    let kept = kept.join("&");
    (!kept.is_empty() || query.is_empty()).then_some(kept)
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// The headers that `Connection` names. Ours are set afterwards, so naming them does nothing.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    listed(headers, &CONNECTION)
        .filter_map(|name| name.parse().ok())
        // SECURITY: a client must not make us drop what the upstream needs to read the request.
        .filter(|name: &HeaderName| {
            ![CONTENT_LENGTH, HOST, COOKIE, http::header::AUTHORIZATION].contains(name)
        })
        .collect()
}

/// The items of a header that is a list, whichever lines they stand on.
fn listed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved() -> Arc<Reserved> {
        Arc::new(Reserved::of(std::iter::empty()))
    }

    fn rules() -> HeaderRules {
        HeaderRules::new(reserved(), ClerkCookies::Strip)
    }

    #[test]
    fn cookies_of_clerk_stay_here() {
        let mut headers = HeaderMap::new();
        headers.append(
            COOKIE,
            "a=1; __session=x; __session_abc=y; __client_uat=1; b=\"2\""
                .parse()
                .unwrap(),
        );
        headers.append(
            COOKIE,
            "__refresh_abc=r; __client=c; __sessions=mine; c=3"
                .parse()
                .unwrap(),
        );
        assert_eq!(
            rules().cookies(&headers).unwrap(),
            "a=1; b=\"2\"; __sessions=mine; c=3"
        );
        let keep = HeaderRules::new(reserved(), ClerkCookies::Keep);
        let kept = keep.cookies(&headers).unwrap();
        assert_eq!(
            kept,
            "a=1; __session=x; __session_abc=y; __client_uat=1; b=\"2\"; __sessions=mine; c=3"
        );
    }

    #[test]
    fn the_query_keeps_its_spelling() {
        assert_eq!(
            query_for_upstream("q=a%20b~c&&x").as_deref(),
            Some("q=a%20b~c&&x")
        );
        assert_eq!(
            query_for_upstream("a=1&__clerk_db_jwt=x&b=%zz").as_deref(),
            Some("a=1&b=%zz")
        );
        assert_eq!(query_for_upstream("__clerk%5Fhandshake=x"), None);
    }
}
