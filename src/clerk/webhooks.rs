//! Events that Clerk sends: whether they are Clerk's, and what they say.
//!
//! They come by Svix, signed as Standard Webhooks has it (protocol reference, section 11). What an
//! event is worth is settled here; what follows from it is the gate's affair.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::Value;
use thiserror::Error;

use crate::core::reason::Reason;

/// How far the time of an event may be from ours, in seconds, in both directions.
pub const TOLERANCE_S: u64 = 300;

/// The largest event, in bytes.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// The longest id, of an event or of what it is about, in bytes.
const MAX_ID_BYTES: usize = 128;

/// The shortest key, in bytes: what Standard Webhooks asks for.
const MIN_KEY_BYTES: usize = 24;

/// The beginnings of the header names, in the order in which they are looked for.
const FAMILIES: [[&str; 3]; 2] = [
    ["svix-id", "svix-timestamp", "svix-signature"],
    ["webhook-id", "webhook-timestamp", "webhook-signature"],
];

/// Why a text is no secret. Shows nothing of it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SecretError {
    /// Neither with nor without `whsec_` is it base64.
    #[error("it is not `whsec_` and base64")]
    Encoding,
    /// A key that short could be guessed.
    #[error("it is shorter than 24 bytes")]
    Short,
}

/// The secrets that events may be signed with: one, or several while it is changed.
#[derive(Clone)]
pub struct WebhookSecrets(Vec<Key>);

impl WebhookSecrets {
    /// The secrets with these texts.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, SecretError> {
        let keys = texts.into_iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self(keys))
    }

    /// Whether the signature of an event is good.
    // SECURITY: each comparison takes the same time whatever it compares, and all are made.
    fn have_signed(&self, claim: &Claim<'_>, body: &[u8]) -> bool {
        let mut good = false;
        for key in &self.0 {
            let mut context = Context::with_key(key);
            context.update(claim.id.as_bytes());
            context.update(b".");
            context.update(claim.timestamp.as_bytes());
            context.update(b".");
            context.update(body);
            let tag = context.sign();
            for signature in &claim.signatures {
                good |= verify_slices_are_equal(tag.as_ref(), signature).is_ok();
            }
        }
        good
    }
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookSecrets({})", self.0.len())
    }
}

fn key(text: &str) -> Result<Key, SecretError> {
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|_| SecretError::Encoding)?;
    if bytes.len() < MIN_KEY_BYTES {
        return Err(SecretError::Short);
    }
    Ok(Key::new(HMAC_SHA256, &bytes))
}

/// Why an event is not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EventError {
    /// A header is missing, empty, doubled or no text.
    #[error("the headers of a signature are not there, once each")]
    Headers,
    /// The time is no number of seconds.
    #[error("the time is no number of seconds")]
    Timestamp,
    /// It was signed too long ago.
    #[error("it was signed more than five minutes ago")]
    TooOld,
    /// It was signed in the future: a clock is wrong.
    #[error("it was signed more than five minutes from now")]
    TooNew,
    /// Signed by none of our secrets, or by something else than `v1`.
    #[error("no signature fits")]
    Signature,
    /// What is signed is no event, or does not say what it is about.
    #[error("what is signed is no event")]
    Content,
}

impl EventError {
    /// The reason to refuse with.
    pub fn reason(self) -> Reason {
        match self {
            Self::Headers | Self::Timestamp | Self::Content => Reason::WebhookMalformed,
            Self::TooOld | Self::TooNew | Self::Signature => Reason::WebhookInvalid,
        }
    }
}

/// What the head of an event claims, in time and with a signature that could be one: only then is
/// its body worth reading.
pub struct Claim<'h> {
    id: &'h str,
    timestamp: &'h str,
    sent_s: u64,
    signatures: Vec<[u8; 32]>,
}

impl<'h> Claim<'h> {
    /// Reads the claim of a head. `now_ms` is the time of the gate.
    pub fn read(headers: &'h HeaderMap, now_ms: u64) -> Result<Self, EventError> {
        let mut families = FAMILIES.iter();
        let [id, timestamp, signatures] = families
            .find_map(|names| family(headers, *names))
            .ok_or(EventError::Headers)?;
        if id.len() > MAX_ID_BYTES {
            return Err(EventError::Headers);
        }
        let digits = timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let sent_s: u64 = timestamp.parse().map_err(|_| EventError::Timestamp)?;
        if !digits {
            return Err(EventError::Timestamp);
        }
        let now = now_ms / 1000;
        if now.saturating_sub(sent_s) > TOLERANCE_S {
            return Err(EventError::TooOld);
        }
        if sent_s.saturating_sub(now) > TOLERANCE_S {
            return Err(EventError::TooNew);
        }
        let signatures: Vec<[u8; 32]> = signatures.split(' ').filter_map(signature).collect();
        if signatures.is_empty() {
            return Err(EventError::Signature);
        }
        Ok(Self {
            id,
            timestamp,
            sent_s,
            signatures,
        })
    }

    /// The event, if one of `secrets` has signed it.
    pub fn verify(&self, secrets: &WebhookSecrets, body: &[u8]) -> Result<Event, EventError> {
        if !secrets.have_signed(self, body) {
            return Err(EventError::Signature);
        }
        // SECURITY: nothing is parsed that nobody we know has signed.
        Event::parse(body, self.sent_s).ok_or(EventError::Content)
    }

    /// The id of the event. The same one may come several times.
    pub fn id(&self) -> &'h str {
        self.id
    }

    /// The last second at which this very head is taken.
    pub fn good_until_s(&self) -> u64 {
        self.sent_s.saturating_add(TOLERANCE_S)
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("id", &self.id)
            .field("sent_s", &self.sent_s)
            .field("signatures", &self.signatures.len())
            .finish()
    }
}

/// The values of three headers, if each is there once and says something.
fn family<'h>(headers: &'h HeaderMap, names: [&str; 3]) -> Option<[&'h str; 3]> {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?.trim();
        (!value.is_empty() && values.next().is_none()).then_some(value)
    };
    let [id, timestamp, signature] = names;
    Some([one(id)?, one(timestamp)?, one(signature)?])
}

/// The bytes of a signature of the only version there is.
fn signature(text: &str) -> Option<[u8; 32]> {
    let encoded = text.strip_prefix("v1,")?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

/// An event of Clerk's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type, such as `session.ended`: letters, `.` and `_` only.
    pub name: String,
    /// What follows for the gate; `None` where it is none of its business.
    pub news: Option<News>,
}

/// What an event changes about who may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A session is over.
    SessionOver {
        /// Its id.
        session: String,
        /// Whose it was, if that is told.
        user: Option<String>,
    },
    /// A person is gone or banned.
    UserOut {
        /// Who.
        user: String,
    },
    /// What a person is in an organisation has changed.
    UserChanged {
        /// Who.
        user: String,
        /// Tokens that were issued before this second may say something else.
        before_s: u64,
    },
    /// An organisation is no more.
    OrganizationGone {
        /// Which.
        organization: String,
        /// Tokens that were issued before this second may still name it.
        before_s: u64,
    },
}

impl News {
    /// The session that it is about.
    pub fn session(&self) -> Option<&str> {
        match self {
            Self::SessionOver { session, .. } => Some(session),
            Self::UserOut { .. } | Self::UserChanged { .. } | Self::OrganizationGone { .. } => None,
        }
    }

    /// The person whom it is about.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::SessionOver { user, .. } => user.as_deref(),
            Self::UserOut { user } | Self::UserChanged { user, .. } => Some(user),
            Self::OrganizationGone { .. } => None,
        }
    }

    /// The organisation that it is about.
    pub fn organization(&self) -> Option<&str> {
        match self {
            Self::OrganizationGone { organization, .. } => Some(organization),
            Self::SessionOver { .. } | Self::UserOut { .. } | Self::UserChanged { .. } => None,
        }
    }
}

impl Event {
    fn parse(body: &[u8], sent_s: u64) -> Option<Self> {
        let event: Value = serde_json::from_slice(body).ok()?;
        let name = event.get("type")?.as_str()?;
        let plain = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b'_');
        if name.is_empty() || name.len() > MAX_ID_BYTES || !name.bytes().all(plain) {
            return None;
        }
        let data = event.get("data")?;
        let before_s = || before_s(&event, sent_s);
        let news = match name {
            "session.ended" | "session.removed" | "session.revoked" => Some(News::SessionOver {
                session: id(data, "/id")?,
                user: id(data, "/user_id"),
            }),
            "user.deleted" => Some(News::UserOut {
                user: id(data, "/id")?,
            }),
            "user.updated" if data.get("banned") == Some(&Value::Bool(true)) => {
                Some(News::UserOut {
                    user: id(data, "/id")?,
                })
            }
            "organizationMembership.deleted" | "organizationMembership.updated" => {
                Some(News::UserChanged {
                    user: id(data, "/public_user_data/user_id")?,
                    before_s: before_s(),
                })
            }
            "organization.deleted" => Some(News::OrganizationGone {
                organization: id(data, "/id")?,
                before_s: before_s(),
            }),
            _ => None,
        };
        Some(Self {
            name: name.to_owned(),
            news,
        })
    }
}

/// The second from which on tokens know of an event. Clerk tells the time in milliseconds, and a
/// token's in seconds; one of the very second in which it happened is taken for an older one.
fn before_s(event: &Value, sent_s: u64) -> u64 {
    // SECURITY: a time far ahead would keep a person from ever having a token that is new enough.
    let latest = sent_s.saturating_add(TOLERANCE_S);
    let told = event.get("timestamp").and_then(Value::as_u64);
    told.map_or(sent_s.saturating_add(1), |ms| ms.div_ceil(1000))
        .min(latest)
}

/// An id such as Clerk makes them.
fn id(data: &Value, pointer: &str) -> Option<String> {
    let text = data.pointer(pointer)?.as_str()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_id = !text.is_empty() && text.len() <= MAX_ID_BYTES && text.bytes().all(plain);
    is_id.then(|| text.to_owned())
}
