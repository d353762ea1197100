//! A JSON Web Token taken apart: header, claims and the text that was signed.
//!
//! Decoding proves nothing. Whether the signature is good is a question that `decide` asks;
//! what the claims must be is judged in `verify`.

use std::fmt;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::identity::Identity;
use super::machine::TokenType;

/// The longest token we look at. Cookies end at 4 KiB; a bearer token may be somewhat larger.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Canonical base64url: no padding, no stray bits.
// SECURITY: a lenient reading would let one token be spelt in many ways.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// A decoded token. Says nothing about who made it.
#[derive(Clone, PartialEq)]
pub struct Token {
    header: Header,
    claims: Map<String, Value>,
    identity: Option<Identity>,
    /// Whether there is anything in the place of the signature.
    signed: bool,
    /// What an upstream is told of the identity.
    told: OnceLock<Vec<(HeaderName, HeaderValue)>>,
}

/// The protected header, as far as it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// `alg` if it is text.
    pub alg: Option<String>,
    /// `kid` if it is text.
    pub kid: Option<String>,
    /// `typ` as it stands; the rules tell absent from null.
    pub typ: Option<Value>,
    /// Clerk's token category.
    pub cat: Option<Value>,
    /// Whether `crit` is present: we understand no extension, so it is refused.
    pub crit: bool,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not three parts separated by dots.
    Parts,
    /// A part does not decode.
    Undecodable,
    /// Longer than [`MAX_TOKEN_BYTES`].
    TooLong,
}

/// The class of a token, from the `cat` header (protocol reference, section 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Absent, or the value that carries no information.
    Unstated,
    /// A session token or a handshake token.
    Session,
    /// A machine-to-machine token.
    Machine,
    /// A JWT-template token, or a category that we do not know.
    Other,
}

impl Token {
    /// Takes `raw` apart. Never verifies anything.
    pub fn decode(raw: &str) -> Result<Self, Malformed> {
        if raw.len() > MAX_TOKEN_BYTES {
            return Err(Malformed::TooLong);
        }
        let mut parts = raw.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed::Parts);
        };
        let header = object(header)?;
        let claims = object(claims)?;
        ENGINE
            .decode(signature)
            .map_err(|_| Malformed::Undecodable)?;
        let text = |name: &str| header.get(name).and_then(Value::as_str).map(str::to_owned);
        let identity = Identity::from_claims(&claims);
        Ok(Self {
            header: Header {
                alg: text("alg"),
                kid: text("kid"),
                typ: header.get("typ").cloned(),
                cat: header.get("cat").cloned(),
                crit: header.contains_key("crit"),
            },
            claims,
            identity,
            signed: !signature.is_empty(),
            told: OnceLock::new(),
        })
    }

    /// The protected header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All claims, unverified.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The claim called `name`.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// The same token as if it did not have this claim.
    pub(super) fn without(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.claims.remove(name);
        other
    }

    /// About how much memory its claims take.
    pub(super) fn bytes(&self) -> usize {
        weight_of_object(&self.claims)
    }

    /// The claim called `name` if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claim(name).and_then(Value::as_str)
    }

    /// The claim called `name` if it is a number. Seconds since the epoch for times.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.claim(name).and_then(Value::as_f64)
    }

    /// Who the claims describe, if they can be read as a session's (section 4.4).
    ///
    /// `None` where Clerk's own reading of the claims fails.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The headers that `tell` makes of the identity: the same for each request with this token,
    /// so made once.
    pub(super) fn told(
        &self,
        tell: fn(&Identity) -> Vec<(HeaderName, HeaderValue)>,
    ) -> &[(HeaderName, HeaderValue)] {
        self.told
            .get_or_init(|| self.identity.as_ref().map(tell).unwrap_or_default())
    }

    /// The class of the token.
    pub fn category(&self) -> Category {
        match self.header.cat.as_ref() {
            None => Category::Unstated,
            Some(Value::String(cat)) => match cat.as_str() {
                "cl_B7d4PD111AAA" => Category::Session,
                "cl_I7d4PD111III" => Category::Unstated,
                "cl_B7d4PD333AAA" => Category::Machine,
                _ => Category::Other,
            },
            Some(_) => Category::Other,
        }
    }

    /// The kind of a machine's JWT; `None` for a person's (section 6.1).
    pub fn machine_type(&self) -> Option<TokenType> {
        if !self.signed {
            // To the SDK, a text without a signature is no JWT of a machine.
            None
        } else if self.text("sub").is_some_and(|sub| sub.starts_with("mch_")) {
            Some(TokenType::M2m)
        } else if self.has_access_token_type() {
            Some(TokenType::OAuth)
        } else {
            None
        }
    }

    /// Whether the category of a token with a machine's subject is absent or a machine's own.
    pub(super) fn may_be_of_a_machine(&self) -> bool {
        self.header.cat.is_none() || self.category() == Category::Machine
    }

    /// Whether `typ` is that of an OAuth access token (RFC 9068, section 2.1).
    pub(super) fn has_access_token_type(&self) -> bool {
        matches!(
            self.header.typ.as_ref().and_then(Value::as_str),
            Some("at+jwt" | "application/at+jwt")
        )
    }

    /// Whether this is a machine's JWT rather than a person's.
    pub fn is_machine(&self) -> bool {
        self.machine_type().is_some()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

/// Decodes one part. Without copying it twice: base64 into bytes, bytes into an object.
fn object(part: &str) -> Result<Map<String, Value>, Malformed> {
    let bytes = ENGINE.decode(part).map_err(|_| Malformed::Undecodable)?;
    serde_json::from_slice(&bytes).map_err(|_| Malformed::Undecodable)
}

/// What an object takes for each so many of its members, which it has room for from the first on.
const MEMBERS: usize = 11;
const ROOM_FOR_MEMBERS: usize = 640;

/// About how much memory a value takes beside its own place.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(items) => {
            let places = items.capacity() * size_of::<Value>();
            places + items.iter().map(weight).sum::<usize>()
        }
        Value::Object(members) => weight_of_object(members),
    }
}

fn weight_of_object(members: &Map<String, Value>) -> usize {
    let room = members.len().div_ceil(MEMBERS) * ROOM_FOR_MEMBERS;
    let held = members.iter();
    room + held
        .map(|(name, value)| name.len() + weight(value))
        .sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> String {
        ENGINE.encode(text)
    }

    #[test]
    fn a_token_weighs_what_it_takes_in_memory() {
        let header = encode(r#"{"alg":"RS256"}"#);
        let token = |claims: &str| {
            let text = format!("{header}.{}.AAAA", encode(claims));
            (Token::decode(&text).unwrap().bytes(), text.len())
        };
        let objects = vec![r#"{"":0}"#; 1700].join(",");
        let (bytes, length) = token(&format!(r#"{{"a":[{objects}]}}"#));
        assert!(length < 17_000 && bytes > 1_000_000, "{length}, {bytes}");
        let (bytes, _) = token(r#"{"sub":"user_1","sid":"sess_1"}"#);
        assert!(bytes < 1_000, "{bytes}");
    }

    #[test]
    fn a_token_has_exactly_one_spelling() {
        let header = encode(r#"{"alg":"RS256"}"#);
        let claims = encode(r#"{"sub":"user_1"}"#);
        assert!(Token::decode(&format!("{header}.{claims}.AAAA")).is_ok());
        for bad in [
            format!("{header}.{claims}.AAA="),
            format!("{header}.{claims}.AB"),
            format!(" {header}.{claims}.AAAA"),
            format!("{header}.{claims}.AA+A"),
            format!("{header}.{claims}"),
            format!("{header}.{claims}.AAAA.AAAA"),
            format!("{header}.{}.AAAA", encode("[]")),
        ] {
            assert!(Token::decode(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_without_a_signature_is_no_machine_s() {
        let header = encode(r#"{"alg":"RS256","typ":"at+jwt"}"#);
        for (claims, kind) in [
            (r#"{"sub":"mch_1"}"#, TokenType::M2m),
            (r#"{"sub":"user_1"}"#, TokenType::OAuth),
        ] {
            let claims = encode(claims);
            let kind_of = |signature: &str| {
                let raw = format!("{header}.{claims}.{signature}");
                Token::decode(&raw).unwrap().machine_type()
            };
            assert_eq!(kind_of("AAAA"), Some(kind));
            assert_eq!(kind_of(""), None);
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_token() {
        let raw = format!(
            "{}.{}.AAAA",
            encode(r#"{"alg":"RS256"}"#),
            encode(r#"{"sub":"user_hidden"}"#)
        );
        let shown = format!("{:?}", Token::decode(&raw).unwrap());
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
