//! Machine tokens: which kinds of token there are, which of them a route takes, and whom a verified
//! one stands for (protocol reference, section 6).

mod kinds;

use std::fmt;

use serde_json::{Map, Value};

use super::jwt::Token;
use super::reason::Reason;

pub use kinds::{Accepts, TokenType, TokenTypes};

/// Whom a verified machine token stands for.
#[derive(Clone, PartialEq)]
pub struct Machine {
    /// The kind of its token; never a session.
    pub kind: TokenType,
    /// The id of the token or key, which is no secret.
    pub id: String,
    /// `user_…`, `org_…` or `mch_…`; never empty.
    pub subject: String,
    /// What it may do, as Clerk lists it.
    pub scopes: Vec<String>,
    /// Further claims.
    pub claims: Map<String, Value>,
    /// The OAuth client that holds the token.
    pub client: Option<String>,
    /// `aud`, as it stands.
    pub audience: Option<Value>,
    /// Somebody who acts for the subject (OAuth token exchange).
    pub actor: Option<Value>,
    /// When it ends, in milliseconds since the epoch; `None` for never.
    pub expires_ms: Option<u64>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("subject", &self.subject)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// Reads what Clerk answers about a token that it knows (section 6.3).
    ///
    /// The SDK takes any such answer for good; here a revoked or expired token is refused. An answer
    /// that cannot be understood is no verdict on the token.
    pub fn from_answer(kind: TokenType, answer: &Value) -> Result<Self, Reason> {
        let text = |name: &str| {
            let text = answer.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        // What the endpoint says of a JWT that is over (RFC 7662, section 2.2).
        if answer.get("active") == Some(&Value::Bool(false)) {
            return Err(Reason::TokenInvalid);
        }
        // Absent is not false: an answer without these is none that we know.
        for (flag, reason) in [
            ("revoked", Reason::TokenRevoked),
            ("expired", Reason::TokenExpired),
        ] {
            match answer.get(flag) {
                Some(Value::Bool(false)) => {}
                Some(_) => return Err(reason),
                None => return Err(Reason::TokenVerificationUnavailable),
            }
        }
        let (Some(id), Some(subject)) = (text("id"), text("subject")) else {
            return Err(Reason::TokenVerificationUnavailable);
        };
        let expires_ms = match answer.get("expiration") {
            None | Some(Value::Null) => None,
            Some(value) => Some(milliseconds(value).ok_or(Reason::TokenVerificationUnavailable)?),
        };
        Ok(Self {
            kind,
            id,
            subject,
            scopes: texts(answer.get("scopes")),
            claims: match answer.get("claims") {
                Some(Value::Object(claims)) => claims.clone(),
                _ => Map::new(),
            },
            client: text("client_id").filter(|_| kind == TokenType::OAuth),
            audience: answer.get("aud").cloned(),
            actor: actor(kind, answer.get("act")),
            expires_ms,
        })
    }

    /// Reads a machine's JWT whose signature and claims hold (section 6.4).
    pub fn from_token(kind: TokenType, token: &Token) -> Self {
        let text = |name: &str| token.text(name).unwrap_or_default().to_owned();
        let scopes = match kind {
            // `scp` counts alone where it is, even if it says nothing.
            TokenType::OAuth => match token.claim("scp").filter(|scp| !scp.is_null()) {
                Some(scp) => texts(Some(scp)),
                None => words(token.text("scope").unwrap_or_default()),
            },
            // SECURITY: to Clerk these are claims like any other, and whichever machine asked for the
            // token wrote them. They say nothing of what it may do.
            TokenType::M2m | TokenType::ApiKey | TokenType::Session => Vec::new(),
        };
        let claims = token.claims().iter();
        Self {
            kind,
            id: text("jti"),
            subject: text("sub"),
            scopes,
            claims: claims
                .filter(|(name, _)| !REGISTERED.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            client: token
                .text("client_id")
                .filter(|_| kind == TokenType::OAuth)
                .map(str::to_owned),
            audience: token.claim("aud").cloned(),
            actor: actor(kind, token.claim("act")),
            // Judged with the token, leeway and all.
            expires_ms: None,
        }
    }

    /// Judges what Clerk's answer does not: the time now, and the audience of an OAuth token.
    pub fn judge(&self, audience: &[String], now_ms: u64) -> Result<(), Reason> {
        if self.expires_ms.is_some_and(|end| end <= now_ms) {
            return Err(Reason::TokenExpired);
        }
        if self.kind == TokenType::OAuth && !is_for(self.audience.as_ref(), audience) {
            return Err(Reason::TokenVerificationFailed);
        }
        Ok(())
    }

    /// The subject as a claim, for [`Self::claim`].
    pub fn sub(&self) -> Value {
        Value::from(self.subject.as_str())
    }

    /// The claim called `name` as far as it is Clerk's word; `sub` is what [`Self::sub`] gives.
    // SECURITY: whichever machine asks for a token for another one writes its claims. They meet no
    // requirement and stand in no header, or every machine could be whoever it likes.
    pub fn claim<'c>(&'c self, sub: &'c Value, name: &str) -> Option<&'c Value> {
        match name {
            "sub" => Some(sub),
            _ if self.kind == TokenType::M2m => None,
            _ => self.claims.get(name),
        }
    }

    /// The user it stands for, if it stands for one.
    // SECURITY: a machine's token for another machine is nobody's, whatever its subject looks like.
    pub fn user(&self) -> Option<&str> {
        Some(self.subject.as_str())
            .filter(|subject| self.kind != TokenType::M2m && subject.starts_with("user_"))
    }

    /// The organisation whose API key it is, if it is one's.
    pub fn organization(&self) -> Option<&str> {
        Some(self.subject.as_str())
            .filter(|subject| self.kind == TokenType::ApiKey && subject.starts_with("org_"))
    }
}

/// Only OAuth knows somebody who acts for the subject.
fn actor(kind: TokenType, act: Option<&Value>) -> Option<Value> {
    act.filter(|act| kind == TokenType::OAuth && !act.is_null())
        .cloned()
}

/// Claims that every token has, and that say nothing further.
const REGISTERED: [&str; 6] = ["iss", "sub", "exp", "nbf", "iat", "jti"];

/// Whether an OAuth token is meant for one of the audiences that are accepted; for any, if none
/// is listed. Stricter than the rule for sessions: one that says nothing is for nobody.
fn is_for(audience: Option<&Value>, accepted: &[String]) -> bool {
    if accepted.is_empty() {
        return true;
    }
    let known = |text: &str| !text.is_empty() && accepted.iter().any(|one| one == text);
    match audience {
        Some(Value::String(one)) => known(one),
        Some(Value::Array(many)) => {
            let texts: Option<Vec<&str>> = many.iter().map(Value::as_str).collect();
            texts.is_some_and(|texts| {
                texts.iter().all(|text| !text.is_empty()) && texts.into_iter().any(known)
            })
        }
        _ => false,
    }
}

/// A time that Clerk tells in seconds for some kinds of token and in milliseconds for others.
fn milliseconds(value: &Value) -> Option<u64> {
    /// As seconds the year 5138, as milliseconds March 1973.
    const BETWEEN: u64 = 100_000_000_000;
    let time = value.as_u64().or_else(|| {
        let time = value.as_f64().filter(|time| *time >= 0.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and too large a number is the end of time"
        )]
        Some(time as u64)
    })?;
    Some(if time < BETWEEN { time * 1000 } else { time })
}

fn words(text: &str) -> Vec<String> {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(changes: &Value) -> Value {
        let mut answer = json!({
            "id": "ak_1", "subject": "user_1", "scopes": ["read"], "claims": { "tier": "gold" },
            "revoked": false, "expired": false, "expiration": null,
        });
        for (name, value) in changes.as_object().unwrap() {
            answer[name] = value.clone();
        }
        answer
    }

    #[test]
    fn an_answer_that_is_no_clear_yes_is_a_no() {
        let read = |changes| Machine::from_answer(TokenType::ApiKey, &answer(&changes));
        assert!(read(json!({})).is_ok());
        let unread = Reason::TokenVerificationUnavailable;
        for (changes, reason) in [
            (json!({ "revoked": true }), Reason::TokenRevoked),
            (json!({ "revoked": "yes" }), Reason::TokenRevoked),
            (json!({ "expired": true }), Reason::TokenExpired),
            (json!({ "active": false }), Reason::TokenInvalid),
            (json!({ "subject": "" }), unread),
            (json!({ "subject": null }), unread),
            (json!({ "subject": ["user_1"] }), unread),
            (json!({ "id": 7 }), unread),
            (json!({ "expiration": "never" }), unread),
            (json!({ "expiration": -5 }), unread),
        ] {
            assert_eq!(read(changes.clone()).unwrap_err(), reason, "{changes}");
        }
    }

    #[test]
    fn an_end_counts_in_seconds_and_in_milliseconds() {
        for (expiration, end) in [
            (json!(1_780_000_000), 1_780_000_000_000),
            (json!(1_780_000_000_000_u64), 1_780_000_000_000),
        ] {
            let changes = json!({ "expiration": expiration });
            let machine = Machine::from_answer(TokenType::ApiKey, &answer(&changes)).unwrap();
            assert_eq!(machine.judge(&[], end - 1), Ok(()));
            assert_eq!(machine.judge(&[], end), Err(Reason::TokenExpired));
        }
    }

    #[test]
    fn only_oauth_tokens_are_held_by_a_client() {
        let changes = answer(&json!({ "client_id": "client_1" }));
        for kind in [TokenType::ApiKey, TokenType::M2m, TokenType::OAuth] {
            let oauth = kind == TokenType::OAuth;
            let machine = Machine::from_answer(kind, &changes).unwrap();
            assert_eq!(machine.client.is_some(), oauth, "{kind}");
        }
    }

    #[test]
    fn only_api_keys_are_an_organisation_s() {
        let changes = answer(&json!({ "subject": "org_1" }));
        for kind in [TokenType::ApiKey, TokenType::M2m, TokenType::OAuth] {
            let machine = Machine::from_answer(kind, &changes).unwrap();
            let its = (kind == TokenType::ApiKey).then_some("org_1");
            assert_eq!(machine.organization(), its, "{kind}");
        }
    }

    #[test]
    fn what_is_accepted_is_told_as_the_sdk_tells_it() {
        let of = |kinds: &[TokenType]| Accepts::from(TokenTypes::of(kinds));
        assert_eq!(of(&[TokenType::ApiKey]), Accepts::One(TokenType::ApiKey));
        assert_eq!(of(&TokenType::ALL), Accepts::Any);
        assert_eq!(of(&[]), Accepts::List(TokenTypes::NONE));
        let two = [TokenType::ApiKey, TokenType::Session];
        assert_eq!(of(&two), Accepts::List(TokenTypes::of(&two)));
    }
}
