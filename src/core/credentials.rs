//! Which credentials a request carries: the header token, the cookies of this instance, and the
//! copy of each cookie that counts (protocol reference, sections 2.5 and 2.8).

use std::borrow::Cow;
use std::fmt;

use http::header::AUTHORIZATION;

use super::continuity::{Journey, SEAL_COOKIE, STATE_COOKIE, STATE_PARAMETER};
use super::cookies::Cookies;
use super::facts::{self, RequestFacts};
use super::instance::Instance;
use super::jwt::Token;

/// Every credential of one request that Clerk knows. Nothing here is verified.
pub struct Credentials<'r> {
    /// The token of the `Authorization` header.
    pub bearer: Option<Cow<'r, str>>,
    /// `__session` and its suffixed copy.
    pub session: Copies<'r>,
    /// `__client_uat` and its suffixed copy.
    pub client_uat: Copies<'r>,
    /// `__clerk_db_jwt` and its suffixed copy.
    pub dev_browser: Copies<'r>,
    /// The dev browser token of the query, present even if empty.
    pub dev_browser_parameter: Option<String>,
    /// `__refresh_<suffix>`; the un-suffixed copy is never read.
    pub refresh: Option<Cow<'r, str>>,
    /// The gate's own seal and state, of this instance, as they came.
    pub seal: Option<Cow<'r, str>>,
    /// The journey that the address names, and its state.
    pub journey: Option<Journey>,
    /// Likewise.
    pub state: Option<Cow<'r, str>>,
    /// `__clerk_handshake`, query first.
    pub handshake: Option<Cow<'r, str>>,
    /// `__clerk_handshake_nonce`, query first.
    pub handshake_nonce: Option<Cow<'r, str>>,
    /// `__clerk_redirect_count`.
    pub redirect_count: f64,
}

/// The two copies of a cookie.
#[derive(Default)]
pub struct Copies<'r> {
    /// The copy without suffix.
    pub plain: Option<Cow<'r, str>>,
    /// The copy with this instance's suffix.
    pub suffixed: Option<Cow<'r, str>>,
}

/// Which copies count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieFamily {
    /// Those without suffix.
    Plain,
    /// Those with this instance's suffix.
    Suffixed,
}

impl Copies<'_> {
    /// The copy that counts.
    pub fn of(&self, family: CookieFamily) -> Option<&str> {
        match family {
            CookieFamily::Plain => self.plain.as_deref(),
            CookieFamily::Suffixed => self.suffixed.as_deref(),
        }
    }
}

impl<'r> Credentials<'r> {
    /// Reads the credentials of a request.
    pub fn read(facts: &RequestFacts<'r>, instance: &Instance) -> Self {
        let cookies = Cookies::read(facts.headers);
        let suffix = instance.key.cookie_suffix();
        let copies = |name: &str| Copies {
            plain: cookies.value(name),
            suffixed: cookies.suffixed(name, suffix),
        };
        let parameter = |name: &str| {
            facts
                .query
                .filter(|query| query.contains("clerk"))
                .and_then(|_| facts.parameter(name))
        };
        let query_first = |name: &str| {
            parameter(name)
                .filter(|value| !value.is_empty())
                .map(Cow::Owned)
                .or_else(|| cookies.value(name))
        };
        let journey = parameter(STATE_PARAMETER).and_then(|name| Journey::named(&name));
        let state = journey.as_ref().and_then(|journey| {
            cookies.suffixed(&format!("{STATE_COOKIE}_{}", journey.name()), suffix)
        });
        Self {
            journey,
            state,
            bearer: bearer(facts),
            session: copies("__session"),
            client_uat: copies("__client_uat"),
            dev_browser: copies("__clerk_db_jwt"),
            dev_browser_parameter: parameter("__clerk_db_jwt"),
            refresh: cookies.suffixed("__refresh", suffix),
            seal: cookies.suffixed(SEAL_COOKIE, suffix),
            handshake: query_first("__clerk_handshake"),
            handshake_nonce: query_first("__clerk_handshake_nonce"),
            redirect_count: cookies
                .value("__clerk_redirect_count")
                .map_or(0.0, |text| javascript_number(&text)),
        }
    }

    /// Which copies of the cookies count for the whole request (section 2.5, in its order).
    ///
    /// `plain` and `suffixed` are the decoded copies of `__session`, unverified.
    pub fn family(
        &self,
        instance: &Instance,
        plain: Option<&Token>,
        suffixed: Option<&Token>,
        now_ms: u64,
    ) -> CookieFamily {
        let set = |value: Option<&str>| value != Some("0");
        let plain_set = set(self.client_uat.plain.as_deref());
        let suffixed_set = set(self.client_uat.suffixed.as_deref());
        if self.session.plain.is_some() {
            let issuer = plain
                .and_then(|token| token.claim("iss"))
                .filter(|iss| is_truthy(iss));
            let Some(issuer) = issuer else {
                return CookieFamily::Plain;
            };
            let own = issuer
                .as_str()
                .is_some_and(|issuer| is_own(issuer, &instance.own_issuer_host));
            if !own {
                return CookieFamily::Suffixed;
            }
        }
        if self.client_uat.suffixed.is_none() && self.session.suffixed.is_none() {
            return CookieFamily::Plain;
        }
        if suffixed_set && plain_set && issued(plain) > issued(suffixed) {
            return CookieFamily::Plain;
        }
        if !suffixed_set && plain_set {
            return CookieFamily::Plain;
        }
        if instance.is_development() && suffixed_set && !plain_set {
            #[expect(
                clippy::cast_precision_loss,
                reason = "seconds since the epoch fit into 53 bits"
            )]
            let now = (now_ms / 1000) as f64;
            let expired =
                suffixed.is_some_and(|token| token.number("exp").is_some_and(|exp| exp <= now));
            if expired {
                return CookieFamily::Plain;
            }
        }
        if self.client_uat.suffixed.is_none() && self.session.suffixed.is_some() {
            return CookieFamily::Plain;
        }
        CookieFamily::Suffixed
    }

    /// The dev browser token: of the query, else of the family's cookie.
    pub fn dev_browser(&self, family: CookieFamily) -> Option<&str> {
        self.dev_browser_parameter
            .as_deref()
            .filter(|value| !value.is_empty())
            .or_else(|| self.dev_browser.of(family))
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |present: bool| if present { "…" } else { "-" };
        f.debug_struct("Credentials")
            .field("bearer", &shown(self.bearer.is_some()))
            .field("session", &shown(self.session.plain.is_some()))
            .field("session_suffixed", &shown(self.session.suffixed.is_some()))
            .field("refresh", &shown(self.refresh.is_some()))
            .finish_non_exhaustive()
    }
}

/// The token of the `Authorization` header (section 2.8). Several lines are one list, which is
/// no token.
fn bearer<'r>(request: &RequestFacts<'r>) -> Option<Cow<'r, str>> {
    let mut lines = request.headers.get_all(AUTHORIZATION).iter();
    let value = match (lines.next()?, lines.next()) {
        (line, None) => facts::text(line.as_bytes()),
        _ => Cow::Owned(request.header(AUTHORIZATION)?),
    };
    let mut words = value.split(' ');
    let first = words.next().unwrap_or_default();
    let token = match words.next() {
        None | Some("") if !first.is_empty() => first,
        Some(token) if first == "Bearer" => token,
        _ => return None,
    };
    // Both are pieces of `value`; keep the borrow where there is one.
    let start = if std::ptr::eq(token.as_ptr(), value.as_ptr()) {
        0
    } else {
        first.len() + 1
    };
    let range = start..start + token.len();
    match value {
        Cow::Borrowed(text) => text.get(range).map(Cow::Borrowed),
        Cow::Owned(text) => text.get(range).map(|piece| Cow::Owned(piece.to_owned())),
    }
}

/// When a token was issued, in seconds; 0 where it does not say. What is no number is neither
/// earlier nor later than anything.
fn issued(token: Option<&Token>) -> f64 {
    match token.and_then(|token| token.claim("iat")) {
        None => 0.0,
        Some(iat) => iat.as_f64().unwrap_or(f64::NAN),
    }
}

/// What JavaScript takes for true.
fn is_truthy(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => false,
        serde_json::Value::Bool(yes) => *yes,
        serde_json::Value::Number(number) => number.as_f64().is_some_and(|n| n != 0.0),
        serde_json::Value::String(text) => !text.is_empty(),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => true,
    }
}

/// Whether an issuer is this host, whatever scheme is written.
fn is_own(issuer: &str, host: &str) -> bool {
    // The usual spelling, which needs no copy.
    issuer.strip_prefix("https://") == Some(host) || without_schemes(issuer) == host
}

/// Deletes every `http://` and `https://`, as the SDK does before it compares.
fn without_schemes(issuer: &str) -> String {
    let mut text = issuer.to_owned();
    for scheme in ["https://", "http://"] {
        let mut from = 0;
        while let Some(at) = text
            .get(from..)
            .and_then(|rest| rest.to_ascii_lowercase().find(scheme))
        {
            text.replace_range(from + at..from + at + scheme.len(), "");
            from += at;
        }
    }
    text
}

/// `Number(text)` of JavaScript as far as a counter needs it; what is no number is 0.
fn javascript_number(text: &str) -> f64 {
    let text = text.trim();
    if matches!(text, "Infinity" | "+Infinity") {
        return f64::INFINITY;
    }
    let radix = |prefix: &str, radix: u32| {
        text.strip_prefix(prefix)
            .or_else(|| text.strip_prefix(&prefix.to_ascii_uppercase()))
            .and_then(|digits| u32::from_str_radix(digits, radix).ok())
            .map(f64::from)
    };
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| radix("0b", 2))
        .or_else(|| plain.then(|| text.parse().ok()).flatten())
        // A counter beyond all numbers has counted too far, and is not one that begins again.
        .filter(|number: &f64| *number > f64::NEG_INFINITY)
        .unwrap_or(0.0)
}

/// `parseInt(text)` of JavaScript; what does not begin with a number is 0.
pub(super) fn javascript_integer(text: &str) -> i64 {
    let text = text.trim_start();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(rest) => (rest, 16),
        None => (digits, 10),
    };
    let end = digits
        .chars()
        .take_while(|digit| digit.is_digit(radix))
        .count();
    let magnitude = digits
        .get(..end.min(15))
        .and_then(|digits| i64::from_str_radix(digits, radix).ok());
    magnitude.map_or(0, |value| sign * value)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn an_issue_time_that_is_no_number_is_not_compared() {
        let token = |claims: &str| {
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let raw = format!("{}.{}.AAAA", encode("{}"), encode(claims));
            Token::decode(&raw).unwrap()
        };
        assert!(issued(None).total_cmp(&0.0).is_eq());
        assert!(issued(Some(&token("{}"))).total_cmp(&0.0).is_eq());
        let one = issued(Some(&token(r#"{"iat":1}"#)));
        assert!(one.total_cmp(&1.0).is_eq());
        for odd in [r#"{"iat":"soon"}"#, r#"{"iat":null}"#, r#"{"iat":[]}"#] {
            let odd = issued(Some(&token(odd)));
            assert_eq!(odd.partial_cmp(&one), None, "{odd}");
        }
    }

    #[test]
    fn a_counter_is_read_as_javascript_reads_numbers() {
        for (text, expected) in [
            ("3", 3.0),
            (" 03 ", 3.0),
            ("3.0", 3.0),
            (".3e1", 3.0),
            ("0x3", 3.0),
            ("0b11", 3.0),
            ("-1", -1.0),
            ("", 0.0),
            ("x", 0.0),
            ("3abc", 0.0),
            ("NaN", 0.0),
            ("inf", 0.0),
            ("Infinity", f64::INFINITY),
            ("1e999", f64::INFINITY),
        ] {
            let number = javascript_number(text);
            assert!(
                number.total_cmp(&expected).is_eq(),
                "{text}: {number} instead of {expected}"
            );
        }
    }
}
