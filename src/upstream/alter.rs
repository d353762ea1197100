//! What somebody else who forwards a request has to change of its head, so that the application gets
//! what it would get from here.

use std::net::IpAddr;

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, RANGE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Upstream;
use super::head::{CLERK_PARAMETERS, HostRule, Met};
use crate::core::decide::Permit;
use crate::core::facts::RequestFacts;
use crate::core::signed_assertion::ASSERTION_HEADER;

/// What a head has to lose and to get.
#[derive(Debug)]
pub struct Alterations {
    /// Headers that take the place of all lines of their name.
    pub set: HeaderMap,
    /// Headers that go.
    pub remove: Vec<HeaderName>,
    /// Parameters of the query that go, by their names as they are written.
    pub remove_parameters: Vec<String>,
}

/// What is between whoever forwards and the next: it frames its own messages.
static THEIRS: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What is changed of a request only for what is put into its answer, which nobody does there.
static OF_INSERTIONS: [HeaderName; 5] = [
    ACCEPT_ENCODING,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    RANGE,
];

impl Upstream {
    /// What has to be changed of a request that came from `peer` and may go on, where `ours` are the
    /// headers that only the gate may set. `None` if something has to be signed and cannot be.
    pub fn alter<'n>(
        &self,
        permit: &Permit,
        facts: &RequestFacts<'_>,
        peer: IpAddr,
        request_id: &HeaderValue,
        ours: impl Iterator<Item = &'n HeaderName>,
    ) -> Option<Alterations> {
        let met = Met {
            peer,
            request_id,
            // Whoever forwards is the next in the trace, not the gate.
            trace: None,
            // Nor does the gate make another path of it.
            stripped: None,
        };
        // Which host the next one is told is the affair of whoever forwards.
        let host = &HostRule::Preserve;
        let mut wanted = self.rules.request(facts, permit, host, &met);
        if let Some(assertion) = permit.assertion() {
            let signed = self.signer.as_ref()?.sign(assertion, facts.path.as_str())?;
            wanted.insert(&ASSERTION_HEADER, signed);
        }
        let stays = |name: &HeaderName| {
            THEIRS.contains(name) || (permit.insertion().is_some() && OF_INSERTIONS.contains(name))
        };
        let arrived = facts.headers;
        let mut set = HeaderMap::new();
        for name in wanted.keys().filter(|name| !stays(name)) {
            if arrived.get_all(name) != wanted.get_all(name) {
                for value in wanted.get_all(name) {
                    set.append(name.clone(), value.clone());
                }
            }
        }
        // SECURITY: what is ours goes even where it has not come: whoever forwards may know of lines
        // that were not told here.
        let ours = ours.cloned().chain(permit.withheld().cloned());
        let mut remove: Vec<HeaderName> = arrived
            .keys()
            .cloned()
            .chain(ours)
            .filter(|name| !stays(name) && !wanted.contains_key(name))
            .collect();
        remove.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        remove.dedup();
        Some(Alterations {
            set,
            remove,
            remove_parameters: clerk_parameters(facts.query.unwrap_or_default()),
        })
    }
}

/// The names of Clerk's parameters that a query has, as they are written.
fn clerk_parameters(query: &str) -> Vec<String> {
    let names = query.split('&').filter_map(|pair| pair.split('=').next());
    let mut found: Vec<String> = names
        .filter(|name| {
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            CLERK_PARAMETERS.contains(&name.as_ref())
        })
        .map(str::to_owned)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
