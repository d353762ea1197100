//! The `Cookie` header, read by Clerk's rules (protocol reference, section 2.7).

use std::borrow::Cow;

use http::HeaderMap;
use http::header::COOKIE;
use memchr::memchr;
use percent_encoding::percent_decode;

use super::facts::text;

/// The cookies of one request, as names and raw values in the order they came.
///
/// HTTP/2 may split the header into crumbs; all of them are read as one list.
#[derive(Clone, Debug, Default)]
pub struct Cookies<'r> {
    pairs: Vec<Pair<'r>>,
}

#[derive(Clone, Copy)]
struct Pair<'r> {
    name: &'r [u8],
    value: &'r [u8],
}

impl std::fmt::Debug for Pair<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values are credentials.
        write!(f, "{}=…", String::from_utf8_lossy(self.name))
    }
}

impl<'r> Cookies<'r> {
    /// Reads every `Cookie` line of `headers`. Never fails: what is no pair is no cookie.
    pub fn read(headers: &'r HeaderMap) -> Self {
        let mut pairs = Vec::new();
        for piece in pieces(headers) {
            let Some(at) = memchr(b'=', piece) else {
                continue;
            };
            let (name, value) = piece.split_at(at);
            let value = value.get(1..).unwrap_or_default();
            pairs.push(Pair {
                name: trim(name),
                value: trim(value),
            });
        }
        Self { pairs }
    }

    /// The decoded value of the first cookie called `name`; an empty one counts as absent.
    ///
    /// Names are compared byte for byte. A value whose percent-encoding does not decode is
    /// taken as it stands.
    pub fn value(&self, name: &str) -> Option<Cow<'r, str>> {
        let pair = self
            .pairs
            .iter()
            .find(|pair| pair.name == name.as_bytes())?;
        let value = decode(pair.value);
        (!value.is_empty()).then_some(value)
    }

    /// The value of the first cookie called `<name>_<suffix>`.
    pub fn suffixed(&self, name: &str, suffix: &str) -> Option<Cow<'r, str>> {
        let pair = self.pairs.iter().find(|pair| {
            pair.name
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"_"))
                .is_some_and(|rest| rest == suffix.as_bytes())
        })?;
        let value = decode(pair.value);
        (!value.is_empty()).then_some(value)
    }
}

/// What stands between the semicolons of every `Cookie` line, as it stands.
pub fn pieces(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(COOKIE).iter().flat_map(|line| {
        let mut rest = Some(line.as_bytes());
        std::iter::from_fn(move || {
            let line = rest?;
            let Some(at) = memchr(b';', line) else {
                return rest.take();
            };
            rest = line.get(at + 1..);
            line.get(..at)
        })
    })
}

fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|b| !blank(b)).unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|b| !blank(b))
        .map_or(start, |at| at + 1);
    bytes.get(start..end).unwrap_or_default()
}

/// Percent-decodes after splitting, so that an encoded `;` or `=` never makes another cookie.
fn decode(raw: &[u8]) -> Cow<'_, str> {
    if memchr(b'%', raw).is_none() || !well_formed(raw) {
        return text(raw);
    }
    percent_decode(raw)
        .decode_utf8()
        .unwrap_or_else(|_| text(raw))
}

/// Whether each `%` begins a whole escape; `decodeURIComponent` throws otherwise.
fn well_formed(raw: &[u8]) -> bool {
    raw.iter().enumerate().all(|(at, byte)| {
        *byte != b'%'
            || raw
                .get(at + 1..at + 3)
                .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(line: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, line.parse().unwrap());
        headers
    }

    #[test]
    fn values_are_decoded_after_splitting() {
        let headers = cookies("a=1%3B%20__session%3Devil; b=2");
        let cookies = Cookies::read(&headers);
        assert_eq!(cookies.value("a").as_deref(), Some("1; __session=evil"));
        assert_eq!(cookies.value("__session"), None);
    }

    #[test]
    fn the_first_of_a_name_wins_and_an_empty_one_is_absent() {
        let headers = cookies("a=; a=2; b=1; b=2;c=\"q\"; =x; d ;e=%ZZ");
        let cookies = Cookies::read(&headers);
        assert_eq!(cookies.value("a"), None);
        assert_eq!(cookies.value("b").as_deref(), Some("1"));
        assert_eq!(cookies.value("c").as_deref(), Some("\"q\""));
        assert_eq!(cookies.value("d"), None);
        assert_eq!(cookies.value("e").as_deref(), Some("%ZZ"));
    }

    #[test]
    fn crumbs_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1".parse().unwrap());
        headers.append(COOKIE, "b=2; a=3".parse().unwrap());
        let cookies = Cookies::read(&headers);
        assert_eq!(cookies.value("a").as_deref(), Some("1"));
        assert_eq!(cookies.value("b").as_deref(), Some("2"));
    }
}
