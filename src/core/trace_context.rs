//! Where a request stands in a trace: W3C Trace Context, as it is read and as it is written.
//!
//! What is not well-formed counts for nothing, and what belongs to it neither. Whether a request is
//! written down is decided elsewhere.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that says which trace a request is part of.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What the programs that write traces down say to each other beside it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// How many members a `tracestate` has at most (W3C Trace Context, section 3.3.1.1).
const MOST_MEMBERS: usize = 32;
/// How long it may be. What does not fit is left out from the right.
const MOST_STATE_BYTES: usize = 512;

/// The number of a trace; never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// The number of a span within its trace; never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl TraceId {
    /// The trace of this number.
    pub fn of(number: u128) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// The bytes, as they are sent.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    /// The span of this number.
    pub fn of(number: u64) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// The bytes, as they are sent.
    pub fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a request says of the trace that it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The trace.
    pub trace: TraceId,
    /// The span that the request was sent in.
    pub parent: SpanId,
    /// Whether whoever sent it says that it is written down.
    pub sampled: bool,
    /// What the programs that write it down say to each other, if that is well-formed.
    pub state: Option<HeaderValue>,
}

impl Inbound {
    /// What these headers say; `None` where they say nothing that is well-formed.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return None;
        };
        let (trace, parent, sampled) = parent(line.as_bytes())?;
        Some(Self {
            trace,
            parent,
            sampled,
            state: state(headers),
        })
    }
}

/// What is said of a trace to whoever is asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    traceparent: HeaderValue,
    state: Option<HeaderValue>,
}

impl Outbound {
    /// That the request is sent in this span, with what else was said of its trace.
    pub fn new(trace: TraceId, span: SpanId, sampled: bool, state: Option<HeaderValue>) -> Self {
        let text = format!("00-{trace}-{span}-{:02x}", u8::from(sampled));
        // INVARIANT: digits and hyphens are legal header text.
        let traceparent =
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self { traceparent, state }
    }

    /// Says it in these headers, in the place of what a client has said there.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.traceparent.clone());
        match &self.state {
            Some(state) => headers.insert(TRACESTATE, state.clone()),
            None => headers.remove(TRACESTATE),
        };
    }
}

/// Reads a `traceparent` (section 3.2.2). Later versions may say more behind what is known.
fn parent(line: &[u8]) -> Option<(TraceId, SpanId, bool)> {
    let (known, more) = line.split_at_checked(55)?;
    let mut parts = known.split(|byte| *byte == b'-');
    let mut part = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length)?;
        hexadecimal(part)
    };
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let fits = match version {
        0 => more.is_empty(),
        0xff => false,
        _ => more.is_empty() || more.starts_with(b"-"),
    };
    let span = u64::try_from(span).ok()?;
    fits.then_some((TraceId::of(trace)?, SpanId::of(span)?, flags & 1 == 1))
}

/// A number in hexadecimal, in lower case only.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// Reads `tracestate`, whichever lines it stands on. One bad member, and none of it counts.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut members: Vec<&str> = Vec::new();
    for line in headers.get_all(TRACESTATE) {
        for member in line.to_str().ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let known = members
                .iter()
                .any(|known| known.split_once('=').is_some_and(|(other, _)| other == key));
            if known || members.len() == MOST_MEMBERS || !is_key(key) || !is_value(value) {
                return None;
            }
            members.push(member);
        }
    }
    let mut text = String::new();
    for member in members {
        if text.len() + member.len() + 1 > MOST_STATE_BYTES {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(member);
    }
    (!text.is_empty()).then(|| HeaderValue::try_from(text).ok())?
}

fn is_key(key: &str) -> bool {
    let begins = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let goes_on = |byte: u8| begins(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= 256
        && key.bytes().next().is_some_and(begins)
        && key.bytes().all(goes_on)
        && key.matches('@').count() <= 1
}

fn is_value(value: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
    !value.is_empty() && value.len() <= 256 && value.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read(parents: &[&str], states: &[&str]) -> Option<Inbound> {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, parent.parse().unwrap());
        }
        for state in states {
            headers.append(TRACESTATE, state.parse().unwrap());
        }
        Inbound::read(&headers)
    }

    #[test]
    fn what_is_well_formed_is_continued() {
        for (line, sampled) in [
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-ff"), true),
            (format!("00-{TRACE}-{SPAN}-02"), false),
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes-later"), true),
        ] {
            let inbound = read(&[&line], &[]).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(inbound.trace.to_string(), TRACE, "{line}");
            assert_eq!(inbound.parent.to_string(), SPAN, "{line}");
            assert_eq!(inbound.sampled, sampled, "{line}");
        }
    }

    #[test]
    fn what_is_not_well_formed_counts_for_nothing() {
        let zero_trace = "0".repeat(32);
        let zero_span = "0".repeat(16);
        for line in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-001"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("01-{TRACE}-{SPAN}-01.more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0x-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{zero_trace}-{SPAN}-01"),
            format!("00-{TRACE}-{zero_span}-01"),
            format!("00-{TRACE}{SPAN}--01"),
            format!("00-{SPAN}-{TRACE}-01"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-{SPAN}-01é"),
        ] {
            assert_eq!(read(&[&line], &["a=1"]), None, "{line}");
        }
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(read(&[&good, &good], &[]), None, "two are none");
        assert_eq!(read(&[], &["a=1"]), None);
    }

    #[test]
    fn a_state_goes_on_as_it_came_or_not_at_all() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let state = |lines: &[&str]| {
            let state = read(&[&good], lines).unwrap().state;
            state.map(|state| state.to_str().unwrap().to_owned())
        };
        for (lines, expected) in [
            (&["a=1"][..], Some("a=1")),
            (&["a=1 , b=2", "c@d=x y"], Some("a=1,b=2,c@d=x y")),
            (&["a=1,,b=2", ""], Some("a=1,b=2")),
            (&["0a/_*-=~"], Some("0a/_*-=~")),
            (&[""], None),
            (&["a"], None),
            (&["a="], None),
            (&["=1"], None),
            (&["A=1"], None),
            (&["a=1=2"], None),
            (&["a=1", "a=2"], None),
            (&["a=1,_b=2"], None),
            (&["a@b@c=1"], None),
            (&["a=\t1"], None),
        ] {
            assert_eq!(state(lines).as_deref(), expected, "{lines:?}");
        }
        let members = |count: usize| {
            let members = (0..count).map(|n| format!("m{n}=1"));
            members.collect::<Vec<_>>().join(",")
        };
        assert_eq!(state(&[&members(32)]), Some(members(32)));
        assert_eq!(state(&[&members(33)]), None);
        let long = |key: &str| format!("{key}={}", "x".repeat(200));
        let three = [long("a"), long("b"), long("c")].join(",");
        let two = [long("a"), long("b")].join(",");
        assert_eq!(state(&[&three]), Some(two));
        assert_eq!(state(&[&format!("a={}", "x".repeat(257))]), None);
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let inbound = read(&[&good], &["a=1"]).unwrap();
        for sampled in [false, true] {
            let state = inbound.state.clone();
            let outbound = Outbound::new(inbound.trace, inbound.parent, sampled, state);
            let mut headers = HeaderMap::new();
            headers.append(TRACEPARENT, "x".parse().unwrap());
            headers.append(TRACEPARENT, "y".parse().unwrap());
            outbound.write(&mut headers);
            let read = Inbound::read(&headers).unwrap();
            assert_eq!(
                read,
                Inbound {
                    sampled,
                    ..inbound.clone()
                }
            );
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACESTATE, "old=1".parse().unwrap());
        Outbound::new(inbound.trace, inbound.parent, true, None).write(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
