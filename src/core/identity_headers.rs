//! The identity that the upstream is told: which headers, and what may stand in them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::identity::Identity;
use super::jwt::Token;
use super::machine::{Machine, TokenType};
use super::reserved::Reserved;
use super::ride_through::RIDE_THROUGH_HEADER;
use super::signed_assertion::{ASSERTION_HEADER, AssertionPlan};

/// The headers of every forwarded request, whoever sent it. Removed from what clients send.
pub static IDENTITY_HEADERS: [HeaderName; 11] = [
    HeaderName::from_static("x-user-id"),
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("x-org-id"),
    HeaderName::from_static("x-org-slug"),
    HeaderName::from_static("x-org-role"),
    HeaderName::from_static("x-org-permissions"),
    HeaderName::from_static("x-actor-id"),
    HeaderName::from_static("x-token-type"),
    HeaderName::from_static("x-token-subject"),
    HeaderName::from_static("x-token-scopes"),
    HeaderName::from_static("x-client-id"),
];

/// What is encoded in a value that is no legal header text.
const ENCODED: percent_encoding::AsciiSet = percent_encoding::CONTROLS.add(b'%').add(b' ');

/// The longest value we put into one header, in bytes.
const MAX_VALUE_BYTES: usize = 8 * 1024;

/// Which headers carry identity, beside the fixed ones.
#[derive(Clone, Debug, Default)]
pub struct HeaderPlan {
    mapped: Vec<MappedHeader>,
    assertion: Option<Arc<AssertionPlan>>,
    /// Headers that something else than a claim is put into.
    others: Vec<HeaderName>,
}

/// A header that takes its value from a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedHeader {
    /// The header.
    pub name: HeaderName,
    /// The names that lead to the claim, outermost first.
    pub claim: Vec<String>,
}

impl HeaderPlan {
    /// A plan with these headers on top of the fixed ones.
    pub fn new(mapped: Vec<MappedHeader>) -> Self {
        Self {
            mapped,
            assertion: None,
            others: Vec::new(),
        }
    }

    /// The same plan, with further headers that only the gate may set.
    #[must_use]
    pub fn reserving(self, others: Vec<HeaderName>) -> Self {
        Self { others, ..self }
    }

    /// The same plan where sessions may ride through an outage of Clerk's, and the application is told.
    #[must_use]
    pub fn telling_of_rides(mut self) -> Self {
        self.others.push(RIDE_THROUGH_HEADER.clone());
        self
    }

    /// The same plan with a signed assertion on every request.
    #[must_use]
    pub fn asserting(self, assertion: Arc<AssertionPlan>) -> Self {
        Self {
            assertion: Some(assertion),
            ..self
        }
    }

    /// What signed assertions say, if there are any.
    pub fn assertion(&self) -> Option<&AssertionPlan> {
        self.assertion.as_deref()
    }

    /// Every header that a plan may set: all of them are ours alone, set or not.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        IDENTITY_HEADERS
            .iter()
            .chain([&ASSERTION_HEADER])
            .chain(self.mapped.iter().map(|header| &header.name))
            .chain(&self.others)
    }

    /// What no client may send where this is the plan.
    pub fn reserved(&self) -> Reserved {
        Reserved::of(self.names())
    }

    /// The headers for a verified session. Nothing is set for what the session does not say.
    pub fn headers(&self, token: &Token) -> Vec<(HeaderName, HeaderValue)> {
        let fixed = token.told(of_session);
        let mut headers = Vec::with_capacity(fixed.len() + self.mapped.len());
        headers.extend_from_slice(fixed);
        for header in &self.mapped {
            let text = header.text(|name| token.claim(name));
            if let Some(value) = text.as_deref().and_then(header_value) {
                headers.push((header.name.clone(), value));
            }
        }
        headers
    }

    /// The headers for a verified machine. Whoever it stands for has the place that a person or an
    /// organisation has in a session (protocol reference, section 6.5).
    pub fn of_machine(&self, machine: &Machine) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(6 + self.mapped.len());
        let mut set = |name: &HeaderName, text: &str| {
            if let Some(value) = header_value(text) {
                headers.push((name.clone(), value));
            }
        };
        let [
            user,
            _,
            organization,
            _,
            _,
            _,
            actor,
            token_type,
            subject,
            scopes,
            client,
        ] = &IDENTITY_HEADERS;
        if let Some(id) = machine.user() {
            set(user, id);
        }
        if let Some(id) = machine.organization() {
            set(organization, id);
        }
        if let Some(act) = &machine.actor {
            set(actor, actor_name(act));
        }
        set(token_type, machine.kind.as_str());
        set(subject, &machine.subject);
        set(scopes, &spaced(&machine.scopes));
        if let Some(id) = &machine.client {
            set(client, id);
        }
        let sub = machine.sub();
        for header in &self.mapped {
            if let Some(text) = header.text(|name| machine.claim(&sub, name)) {
                set(&header.name, &text);
            }
        }
        headers
    }
}

/// What every plan tells of a session.
fn of_session(identity: &Identity) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(8);
    let mut set = |name: HeaderName, text: &str| {
        if let Some(value) = header_value(text) {
            headers.push((name, value));
        }
    };
    let [
        user,
        session,
        org,
        slug,
        role,
        permissions,
        actor,
        token_type,
        ..,
    ] = IDENTITY_HEADERS.clone();
    set(user, &identity.user);
    if let Some(id) = &identity.session {
        set(session, id);
    }
    // Role and permissions mean nothing without the organisation they are held in.
    if let Some(organization) = identity.organization.as_ref().filter(|o| o.id.is_some()) {
        for (name, value) in [
            (org, &organization.id),
            (slug, &organization.slug),
            (role, &organization.role),
        ] {
            if let Some(text) = value {
                set(name, text);
            }
        }
        if !organization.permissions.is_empty() {
            set(
                permissions,
                &joined(organization.permissions.iter().map(String::as_str)),
            );
        }
    }
    if let Some(act) = &identity.actor {
        set(actor, actor_name(act));
    }
    set(token_type, TokenType::Session.as_str());
    headers
}

impl MappedHeader {
    /// The text of the claim, among those that `claim` finds.
    fn text<'c>(&self, claim: impl Fn(&str) -> Option<&'c Value>) -> Option<String> {
        let (first, rest) = self.claim.split_first()?;
        let found = rest
            .iter()
            .try_fold(claim(first)?, |value, name| value.get(name));
        found.and_then(claim_text)
    }
}

/// Whoever acts without a name still acts: the application has to see it.
pub(super) fn actor_name(act: &Value) -> &str {
    let sub = act.get("sub").and_then(Value::as_str);
    sub.filter(|sub| !sub.is_empty()).unwrap_or("unknown")
}

/// Scopes as OAuth lists them (RFC 6749, section 3.3); one with a space in it never makes another.
pub(super) fn spaced(scopes: &[String]) -> String {
    let encoded: Vec<String> = scopes
        .iter()
        .filter(|scope| !scope.is_empty())
        .map(|scope| {
            if scope.contains(' ') {
                scope.replace('%', "%25").replace(' ', "%20")
            } else {
                scope.clone()
            }
        })
        .collect();
    encoded.join(" ")
}

/// A claim as text: text and numbers as they are, lists of these joined, nothing else.
fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Array(list) => {
            let texts: Option<Vec<String>> = list
                .iter()
                .map(|item| match item {
                    Value::Array(_) | Value::Object(_) | Value::Null => None,
                    scalar => claim_text(scalar),
                })
                .collect();
            Some(joined(texts?.iter().map(String::as_str)))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// Joins with commas; a comma inside an item is encoded, so that it never makes another item.
fn joined<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let encoded: Vec<String> = items
        .map(|item| {
            if item.contains(',') {
                item.replace('%', "%25").replace(',', "%2C")
            } else {
                item.to_owned()
            }
        })
        .collect();
    encoded.join(",")
}

/// Text as a header value. What is no visible ASCII is percent-encoded, and `%` with it; text
/// that is too long for a header is left out.
// SECURITY: a claim with CR, LF or NUL must never make a header line of its own.
fn header_value(text: &str) -> Option<HeaderValue> {
    if text.is_empty() || text.len() > MAX_VALUE_BYTES {
        return None;
    }
    let legal = text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && !text.starts_with(' ')
        && !text.ends_with(' ');
    if legal {
        return HeaderValue::from_str(text).ok();
    }
    let encoded = percent_encoding::utf8_percent_encode(text, &ENCODED).to_string();
    if encoded.len() > MAX_VALUE_BYTES {
        return None;
    }
    HeaderValue::from_str(&encoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_inject_anything() {
        for (text, expected) in [
            ("plain value", Some("plain value")),
            ("100%", Some("100%")),
            ("a\r\nx-user-id: root", Some("a%0D%0Ax-user-id:%20root")),
            ("é%", Some("%C3%A9%25")),
            (" padded ", Some("%20padded%20")),
            ("nul\0", Some("nul%00")),
            ("", None),
        ] {
            assert_eq!(
                header_value(text).as_ref().map(|v| v.to_str().unwrap()),
                expected,
                "{text:?}"
            );
        }
        assert!(header_value(&"x".repeat(100_000)).is_none());
        assert!(header_value(&"é".repeat(4_000)).is_none());
    }

    #[test]
    fn scopes_stay_apart_and_empty_ones_away() {
        let spaced =
            |scopes: &[&str]| spaced(&scopes.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(spaced(&["read", "write"]), "read write");
        assert_eq!(spaced(&["a b%", "", "c%"]), "a%20b%25 c%");
        assert_eq!(spaced(&[""]), "");
    }

    #[test]
    fn lists_keep_their_items_apart() {
        assert_eq!(joined(["a", "b"].into_iter()), "a,b");
        assert_eq!(joined(["a,b", "c%"].into_iter()), "a%2Cb,c%");
    }
}
