//! What the stand-in's tokens say: session tokens (version 2), template tokens, handshake tokens.
//!
//! The shapes follow Clerk's; signing is the key ring's business.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::people::{Membership, Permission, Person};
use super::random;
use super::state::Session;

/// The category of session tokens and of handshake tokens.
const SESSION_CATEGORY: &str = "cl_B7d4PD111AAA";
/// The category of JWT-template tokens.
const TEMPLATE_CATEGORY: &str = "cl_B7d4PD222AAA";

/// How long before `iat` a token is already valid, in seconds.
const NOT_BEFORE: u64 = 10;

/// The header of a session token minted now, in Unix milliseconds. By `oiat` a script knows the newer of
/// two tokens.
pub(super) fn session_header(kid: &str, now: u64) -> Value {
    let mut header = handshake_header(kid);
    if let Some(fields) = header.as_object_mut() {
        fields.insert("oiat".to_owned(), json!(now / 1000));
    }
    header
}

/// The header of a handshake token.
pub(super) fn handshake_header(kid: &str) -> Value {
    json!({ "alg": "RS256", "cat": SESSION_CATEGORY, "kid": kid, "typ": "JWT" })
}

/// The header of a JWT-template token.
pub(super) fn template_header(kid: &str) -> Value {
    json!({ "alg": "RS256", "cat": TEMPLATE_CATEGORY, "kid": kid, "typ": "JWT" })
}

/// What every token of a session needs to be told.
pub(super) struct Occasion<'a> {
    /// The Frontend API's address.
    pub(super) issuer: &'a str,
    /// Unix milliseconds.
    pub(super) now: u64,
    /// How long the token is good for.
    pub(super) lifetime: Duration,
    /// The `Origin` of the request; page loads and the Backend API have none.
    pub(super) origin: Option<&'a str>,
}

/// The claims of a session token, version 2.
pub(super) fn session_claims(occasion: &Occasion<'_>, session: &Session, person: &Person) -> Value {
    let mut claims = common_claims(occasion, &person.user_id);
    claims.insert("sid".to_owned(), json!(session.id));
    claims.insert("sts".to_owned(), json!(session.status.name()));
    claims.insert("fva".to_owned(), json!([session.minutes(occasion.now), -1]));
    claims.insert("v".to_owned(), json!(2));
    let membership = session
        .organization_id
        .as_deref()
        .and_then(|organization| person.membership(organization));
    if let Some(membership) = membership {
        organization_claims(&mut claims, membership);
    }
    Value::Object(claims)
}

/// The claims of a JWT-template token: what Clerk reserves, and who it is.
pub(super) fn template_claims(occasion: &Occasion<'_>, person: &Person) -> Value {
    let mut claims = common_claims(occasion, &person.user_id);
    claims.insert("email".to_owned(), json!(person.email));
    claims.insert("name".to_owned(), json!(person.name()));
    Value::Object(claims)
}

/// The claims of a handshake token, which carries `Set-Cookie` lines.
pub(super) fn handshake_claims(occasion: &Occasion<'_>, directives: &[String]) -> Value {
    let iat = occasion.now / 1000;
    json!({ "handshake": directives, "iat": iat, "exp": iat + occasion.lifetime.as_secs() })
}

fn common_claims(occasion: &Occasion<'_>, user_id: &str) -> Map<String, Value> {
    let iat = occasion.now / 1000;
    let mut claims = Map::new();
    if let Some(origin) = occasion.origin {
        claims.insert("azp".to_owned(), json!(origin));
    }
    claims.insert("exp".to_owned(), json!(iat + occasion.lifetime.as_secs()));
    claims.insert("iat".to_owned(), json!(iat));
    claims.insert("iss".to_owned(), json!(occasion.issuer));
    claims.insert("jti".to_owned(), json!(random::text(20).to_lowercase()));
    claims.insert("nbf".to_owned(), json!(iat.saturating_sub(NOT_BEFORE)));
    claims.insert("sub".to_owned(), json!(user_id));
    claims
}

/// `o` and `fea`: the active organisation, with its permissions packed into bit maps.
fn organization_claims(claims: &mut Map<String, Value>, membership: &Membership) {
    let organization = &membership.organization;
    let role = membership.role.strip_prefix("org:");
    let mut o = json!({
        "id": organization.id,
        "slg": organization.slug,
        "rol": role.unwrap_or(&membership.role),
    });
    if let Some(packed) = Packed::from(&membership.permissions)
        && let Some(o) = o.as_object_mut()
    {
        o.insert("per".to_owned(), json!(packed.actions));
        o.insert("fpm".to_owned(), json!(packed.maps));
        claims.insert("fea".to_owned(), json!(packed.features));
    }
    claims.insert("o".to_owned(), o);
}

/// Permissions as version 2 writes them: one decimal bit map over the actions for each feature.
#[derive(Debug, PartialEq, Eq)]
struct Packed {
    features: String,
    actions: String,
    maps: String,
}

impl Packed {
    fn from(permissions: &[Permission]) -> Option<Self> {
        let features = distinct(permissions.iter().map(|permission| &*permission.feature));
        let actions = distinct(permissions.iter().map(|permission| &*permission.action));
        let map = |feature: &&str| {
            let bits = actions.iter().map(|action| {
                permissions
                    .iter()
                    .any(|held| held.feature == *feature && held.action == *action)
            });
            decimal(bits)
        };
        (!features.is_empty()).then(|| Self {
            features: features
                .iter()
                .map(|feature| format!("o:{feature}"))
                .collect::<Vec<_>>()
                .join(","),
            actions: actions.join(","),
            maps: features.iter().map(map).collect::<Vec<_>>().join(","),
        })
    }
}

fn distinct<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// The decimal digits of a number of any size, given its bits from the least significant on.
fn decimal(bits: impl DoubleEndedIterator<Item = bool>) -> String {
    let mut digits = vec![0_u8];
    for bit in bits.rev() {
        let mut carry = u8::from(bit);
        for digit in &mut digits {
            let doubled = *digit * 2 + carry;
            *digit = doubled % 10;
            carry = doubled / 10;
        }
        if carry > 0 {
            digits.push(carry);
        }
    }
    digits
        .iter()
        .rev()
        .map(|digit| char::from(b'0' + digit))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_packed_as_in_the_worked_example() {
        let packed = Packed::from(&[
            Permission::new("dashboard", "manage"),
            Permission::new("dashboard", "read"),
            Permission::new("teams", "read"),
        ]);
        assert_eq!(
            packed,
            Some(Packed {
                features: "o:dashboard,o:teams".to_owned(),
                actions: "manage,read".to_owned(),
                maps: "3,2".to_owned(),
            })
        );
    }

    #[test]
    fn a_bit_map_may_be_wider_than_a_float() {
        let bits = (0..54).map(|bit| bit == 0 || bit == 53);
        assert_eq!(decimal(bits), "9007199254740993");
    }

    #[test]
    fn without_permissions_nothing_is_packed() {
        assert_eq!(Packed::from(&[]), None);
        assert_eq!(decimal([].into_iter()), "0");
    }
}
