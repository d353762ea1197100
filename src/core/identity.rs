//! Who a session token describes: user, session, organisation, in both versions of the claims
//! (protocol reference, sections 4.4, 4.5 and 5.1).

use serde_json::{Map, Value};

/// A person's session as its claims tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// `sub`; never empty where a request is signed in.
    pub user: String,
    /// `sid`.
    pub session: Option<String>,
    /// `sts`.
    pub status: SessionStatus,
    /// The active organisation.
    pub organization: Option<Organization>,
    /// Minutes since the first and the second factor were verified, as they stand.
    pub factor_ages: Option<Value>,
    /// `act`: the operator behind an impersonated session.
    pub actor: Option<Value>,
    /// `fea` as it stands.
    pub features: Option<String>,
    /// `pla` as it stands.
    pub plans: Option<String>,
}

/// Whether a session may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionStatus {
    /// No `sts`: an older instance.
    Unstated,
    /// `active`.
    Active,
    /// `pending`: tasks are left, so the person counts as signed out (section 3.13).
    Pending,
    /// Something newer than this program; counts as active, as in the SDK.
    Other(String),
}

/// The organisation that is active in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Organization {
    /// `org_…`; role and permissions count only with it.
    pub id: Option<String>,
    /// The slug.
    pub slug: Option<String>,
    /// The role with its `org:` prefix.
    pub role: Option<String>,
    /// Permissions in full (`org:feature:permission`).
    pub permissions: Vec<String>,
}

impl Identity {
    /// Reads the claims of a session token.
    ///
    /// `None` if the user id is missing or Clerk's library would throw: a `fea` entry
    /// without a scope in a token that has an organisation.
    pub fn from_claims(claims: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let version_two = claims.get("v").and_then(Value::as_f64) == Some(2.0);
        let organization = if version_two {
            match claims.get("o") {
                Some(Value::Object(o)) => Some(organization_v2(o, text("fea").as_deref())?),
                _ => None,
            }
        } else {
            organization_v1(claims)
        };
        Some(Self {
            user: text("sub")?,
            session: text("sid"),
            status: match claims.get("sts").and_then(Value::as_str) {
                None => SessionStatus::Unstated,
                Some("active") => SessionStatus::Active,
                Some("pending") => SessionStatus::Pending,
                Some(other) => SessionStatus::Other(other.to_owned()),
            },
            organization,
            factor_ages: claims.get("fva").filter(|v| !v.is_null()).cloned(),
            actor: claims.get("act").filter(|v| !v.is_null()).cloned(),
            features: text("fea"),
            plans: text("pla"),
        })
    }

    /// Whether somebody else acts in this person's name (section 5.3).
    pub fn is_impersonated(&self) -> bool {
        self.actor.is_some()
    }

    /// `sts: pending`.
    pub fn is_pending(&self) -> bool {
        self.status == SessionStatus::Pending
    }

    /// The id of the active organisation.
    pub fn organization_id(&self) -> Option<&str> {
        self.organization.as_ref()?.id.as_deref()
    }
}

fn organization_v1(claims: &Map<String, Value>) -> Option<Organization> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let organization = Organization {
        // SECURITY: a role counts only in an organisation, and an empty id names none.
        id: text("org_id").filter(|id| !id.is_empty()),
        slug: text("org_slug"),
        role: text("org_role"),
        permissions: match claims.get("org_permissions") {
            Some(Value::Array(list)) => list
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        },
    };
    (organization != Organization::default()).then_some(organization)
}

fn organization_v2(o: &Map<String, Value>, features: Option<&str>) -> Option<Organization> {
    let text = |name: &str| {
        o.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let mut organization_features = Vec::new();
    for entry in features.unwrap_or_default().split(',').map(str::trim) {
        if entry.is_empty() && features.unwrap_or_default().is_empty() {
            continue;
        }
        let (scope, slug) = entry.split_once(':')?;
        if matches!(scope, "o" | "ou" | "uo") {
            organization_features.push(slug);
        }
    }
    Some(Organization {
        id: text("id").map(str::to_owned),
        slug: text("slg").map(str::to_owned),
        role: text("rol").map(|role| format!("org:{role}")),
        permissions: match (text("per"), text("fpm")) {
            (Some(names), Some(maps)) => permissions(&organization_features, names, maps),
            _ => Vec::new(),
        },
    })
}

/// Expands the permission bit maps of a v2 token (section 4.5).
///
/// Maps are indexed by the features of the organisation alone, as the JavaScript SDK does.
fn permissions(features: &[&str], names: &str, maps: &str) -> Vec<String> {
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    let mut granted = Vec::new();
    for (feature, map) in features.iter().zip(maps.split(',').map(str::trim)) {
        for (bit, name) in bits(map).zip(&names) {
            if bit {
                granted.push(format!("org:{feature}:{name}"));
            }
        }
    }
    granted
}

/// The bits of a decimal number of any length, lowest first. Nothing for any other text.
fn bits(decimal: &str) -> impl Iterator<Item = bool> {
    let valid = !decimal.is_empty()
        && decimal.len() <= 400
        && decimal.bytes().all(|byte| byte.is_ascii_digit());
    let mut digits: Vec<u8> = if valid {
        decimal.bytes().map(|byte| byte - b'0').collect()
    } else {
        Vec::new()
    };
    std::iter::from_fn(move || {
        if digits.iter().all(|digit| *digit == 0) {
            return None;
        }
        let mut carry = 0;
        for digit in &mut digits {
            let value = carry * 10 + *digit;
            *digit = value / 2;
            carry = value % 2;
        }
        Some(carry == 1)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn granted(fea: &str, per: &str, fpm: &str) -> Vec<String> {
        let claims = json!({ "sub": "user_1", "v": 2, "fea": fea,
            "o": { "id": "org_1", "per": per, "fpm": fpm } });
        let Value::Object(claims) = claims else {
            unreachable!()
        };
        Identity::from_claims(&claims)
            .unwrap()
            .organization
            .unwrap()
            .permissions
    }

    #[test]
    fn the_worked_example_of_the_protocol_reference() {
        assert_eq!(
            granted("o:dashboard,o:teams", "manage,read", "3,2"),
            [
                "org:dashboard:manage",
                "org:dashboard:read",
                "org:teams:read"
            ]
        );
    }

    #[test]
    fn an_empty_id_names_no_organisation() {
        for claims in [
            json!({ "sub": "user_1", "org_id": "", "org_role": "org:admin", "org_permissions": ["org:a:b"] }),
            json!({ "sub": "user_1", "v": 2, "o": { "id": "", "rol": "admin", "per": "b", "fpm": "1" }, "fea": "o:a" }),
        ] {
            let identity = Identity::from_claims(claims.as_object().unwrap()).unwrap();
            assert_eq!(identity.organization_id(), None, "{claims}");
        }
    }

    #[test]
    fn bit_maps_are_of_any_length_and_only_decimal() {
        let names = (0..54)
            .map(|i| format!("p{i}"))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(
            granted("o:f", &names, "9007199254740993"),
            ["org:f:p0", "org:f:p53"]
        );
        assert_eq!(granted("o:a,o:b", "x,y,z,v,w", "7,21").len(), 6);
        assert_eq!(granted("o:a", " x , y ", " 3 ").len(), 2);
        for nothing in ["2", "0x1", "-1", "1.0", "abc"] {
            assert!(granted("o:a", "x", nothing).is_empty(), "{nothing}");
        }
        assert!(granted("u:a", "x", "1").is_empty());
        assert_eq!(
            granted(
                "o:reservations,u:dashboard,uo:support-chat,o:impersonation",
                "read,manage",
                "2,3"
            ),
            [
                "org:reservations:manage",
                "org:support-chat:read",
                "org:support-chat:manage"
            ]
        );
    }
}
