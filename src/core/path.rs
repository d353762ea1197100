//! The canonical path: the one spelling that is matched, logged and forwarded.
//!
//! Unreserved characters are decoded, everything else outside `pchar` is encoded in upper case,
//! dot segments are resolved and slashes merged. What cannot be read in one way only is refused.
//! The query never takes part. Lenient ways to read the same path stand in `readings`.

use std::fmt;

/// The longest path we read, in bytes.
const MAX_PATH_BYTES: usize = 8 * 1024;

/// How often an escape may be encoded, the plain escape included.
const MAX_NESTED_ESCAPES: usize = 4;

/// A path in its only spelling. Begins with `/`; ASCII; made by [`CanonicalPath::parse`] alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CanonicalPath {
    text: String,
    encoded_slash: bool,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Not an absolute path (`*`, an authority, empty).
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    Percent,
    /// A control character, raw or encoded, once or twice.
    Control,
    /// A fragment, a raw backslash or an encoded one.
    Delimiter,
    /// Text that is no UTF-8 in an overlong form: only ever written to deceive.
    Overlong,
    /// Servers disagree on what it means (`/a//../b`).
    Ambiguous,
    /// Longer than 8 KiB.
    TooLong,
}

impl CanonicalPath {
    /// Reads the path of a request target, without query.
    ///
    /// `%2F` is kept as it is and noted ([`Self::has_encoded_slash`]); the route decides.
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        if raw.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if is_plain(raw.as_bytes()) {
            return Ok(Self {
                text: raw.to_owned(),
                encoded_slash: false,
            });
        }
        let decoded = unescaped(raw.as_bytes())?;
        let text = resolve(&decoded);
        // SECURITY: whether `//` is merged before or after `..` is resolved differs between
        // servers. Where it matters, no reading is right.
        if raw.contains("//") && resolve_without_merging(&decoded) != text {
            return Err(PathError::Ambiguous);
        }
        // One in a segment that `..` takes away never reaches the upstream.
        let encoded_slash = text.contains("%2F");
        Ok(Self {
            text,
            encoded_slash,
        })
    }

    /// Decoded bytes in the spelling of canonical paths, dot segments and all: for readings, which
    /// start from bytes.
    pub(super) fn written(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len() + 1);
        if bytes.first() != Some(&b'/') {
            text.push('/');
        }
        for byte in bytes {
            if *byte == b'/' {
                text.push('/');
            } else {
                push_byte(&mut text, *byte);
            }
        }
        text
    }

    /// The ways to resolve the dot segments of a text: slashes merged before that, and after.
    pub(super) fn resolutions(text: &str) -> [String; 2] {
        [resolve(text), resolve_without_merging(text)]
    }

    /// A path that begins with `prefix`, behind which stands what stands in this one from `from` on: a
    /// slash and more, or nothing, which is the slash alone.
    ///
    /// `None` if something else stands there, or that would be too long. `prefix` is canonical, and ends
    /// with no slash.
    pub(super) fn with_beginning(&self, prefix: &str, from: usize) -> Option<Self> {
        let rest = match self.text.get(from..)? {
            "" => "/",
            rest => rest,
        };
        let fits = rest.starts_with('/') && prefix.len() + rest.len() <= MAX_PATH_BYTES;
        fits.then(|| Self {
            text: [prefix, rest].concat(),
            encoded_slash: self.encoded_slash,
        })
    }

    /// The path as it is matched and sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a `%2F` is kept in it.
    pub fn has_encoded_slash(&self) -> bool {
        self.encoded_slash
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a path is canonical as it stands: the common case, which costs one look at each byte.
fn is_plain(raw: &[u8]) -> bool {
    raw.windows(2).all(|pair| !matches!(pair, b"//" | b"/."))
        && raw.iter().all(|byte| *byte == b'/' || is_pchar(*byte))
}

/// `pchar` of RFC 3986 without `%`.
fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A path with one spelling for each byte, its dot segments still in place.
fn unescaped(raw: &[u8]) -> Result<String, PathError> {
    let mut text = String::with_capacity(raw.len());
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(byte) = raw.get(at).copied() {
        at += 1;
        let (value, escaped) = if byte == b'%' {
            let value = escape(raw, at).ok_or(PathError::Percent)?;
            at += 2;
            (value, true)
        } else {
            (byte, false)
        };
        match value {
            0..=0x1f | 0x7f => return Err(PathError::Control),
            b'\\' => return Err(PathError::Delimiter),
            b'#' | b'?' if !escaped => return Err(PathError::Delimiter),
            b'/' if !escaped => text.push('/'),
            // An escaped `pchar` that is not unreserved means itself and nothing else.
            _ if escaped && !is_unreserved(value) => push_escape(&mut text, value),
            _ => push_byte(&mut text, value),
        }
        bytes.push(value);
    }
    look_deeper(bytes)?;
    Ok(text)
}

fn push_byte(text: &mut String, byte: u8) {
    if is_pchar(byte) {
        text.push(char::from(byte));
    } else {
        push_escape(text, byte);
    }
}

fn push_escape(text: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    for nibble in [byte >> 4, byte & 0xf] {
        text.push(HEX.get(usize::from(nibble)).map_or('0', |c| char::from(*c)));
    }
}

/// The byte that two hexadecimal digits at `at` stand for.
fn escape(raw: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let high = digit(*raw.get(at)?)?;
    let low = digit(*raw.get(at + 1)?)?;
    Some(high << 4 | low)
}

/// Whether an overlong UTF-8 form of an ASCII character is in it (`%C0%AF` for `/`).
fn has_overlong(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| match pair {
        [0xc0 | 0xc1, next] => next & 0xc0 == 0x80,
        [0xe0, next] => matches!(next, 0x80..=0x9f),
        [0xf0, next] => matches!(next, 0x80..=0x8f),
        // Longer forms, which UTF-8 once had.
        [0xf8, next] => matches!(next, 0x80..=0x87),
        [0xfc, next] => matches!(next, 0x80..=0x83),
        _ => false,
    })
}

/// Looks at what decoding again would bring out: a control character (`%2500`), an overlong form,
/// or escapes within escapes without end, which cost time and mean nothing.
fn look_deeper(mut bytes: Vec<u8>) -> Result<(), PathError> {
    for _ in 0..MAX_NESTED_ESCAPES {
        if has_overlong(&bytes) {
            return Err(PathError::Overlong);
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err(PathError::Control);
        }
        match decode_again(&bytes, Escapes::Characters) {
            Some(next) => bytes = next,
            None => return Ok(()),
        }
    }
    Err(PathError::Ambiguous)
}

/// Which escapes somebody decodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// `%61`.
    Bytes,
    /// `%u0061` of IIS too.
    Characters,
}

/// Decodes escapes; `None` if there is none.
pub(super) fn decode_again(bytes: &[u8], escapes: Escapes) -> Option<Vec<u8>> {
    let mut changed = false;
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        at += 1;
        if byte != b'%' {
            out.push(byte);
        } else if let Some(value) = escape(bytes, at) {
            changed = true;
            out.push(value);
            at += 2;
        } else if escapes == Escapes::Characters
            && let Some(character) = unicode_escape(bytes, at)
        {
            changed = true;
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            at += 5;
        } else {
            out.push(byte);
        }
    }
    changed.then_some(out)
}

/// The character that `u` and four hexadecimal digits at `at` stand for.
fn unicode_escape(raw: &[u8], at: usize) -> Option<char> {
    if !raw.get(at)?.eq_ignore_ascii_case(&b'u') {
        return None;
    }
    let (high, low) = (escape(raw, at + 1)?, escape(raw, at + 3)?);
    char::from_u32(u32::from(u16::from_be_bytes([high, low])))
}

/// Merges slashes and resolves dot segments. `..` above the root stays at the root.
fn resolve(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut pieces = path.split('/').peekable();
    let mut directory = true;
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        match piece {
            "" | "." => directory |= last,
            ".." => {
                segments.pop();
                directory = true;
            }
            name => {
                segments.push(name);
                directory = !last;
            }
        }
    }
    join(&segments, directory)
}

/// As [`resolve`], but an empty segment is one that `..` takes away.
fn resolve_without_merging(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut directory = true;
    let mut pieces = path.split('/').skip(1).peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        match piece {
            "." => directory = true,
            ".." => {
                segments.pop();
                directory = true;
            }
            name => {
                segments.push(name);
                directory = !last;
            }
        }
    }
    resolve(&join(&segments, directory))
}

fn join(segments: &[&str], directory: bool) -> String {
    let mut text = String::new();
    for segment in segments {
        text.push('/');
        text.push_str(segment);
    }
    if directory || segments.is_empty() {
        text.push('/');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn canonical(raw: &str) -> String {
        CanonicalPath::parse(raw).unwrap().to_string()
    }

    #[test]
    fn a_path_has_one_spelling() {
        for (raw, expected) in [
            ("/", "/"),
            ("/admin", "/admin"),
            ("/admin/", "/admin/"),
            ("//admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/public/../admin", "/admin"),
            ("/public/%2e%2e/admin", "/admin"),
            ("/public/%2E./admin", "/admin"),
            ("/./a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/aé", "/a%C3%A9"),
            ("/a b", "/a%20b"),
            ("/a;x=1", "/a;x=1"),
            ("/a%3Bx", "/a%3Bx"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%252Fb", "/a%252Fb"),
            ("/{a}|\"b\"", "/%7Ba%7D%7C%22b%22"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/%E9t%E9", "/%E9t%E9"),
        ] {
            let once = canonical(raw);
            assert_eq!(once, expected, "{raw}");
            assert_eq!(canonical(&once), once, "{raw} again");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (raw, error) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("admin", PathError::NotAbsolute),
            ("/a%", PathError::Percent),
            ("/a%2", PathError::Percent),
            ("/a%ZZ", PathError::Percent),
            ("/a%00", PathError::Control),
            ("/a%0d%0a", PathError::Control),
            ("/a\tb", PathError::Control),
            ("/a%2500", PathError::Control),
            ("/a%25250a", PathError::Control),
            ("/a\\b", PathError::Delimiter),
            ("/a%5Cb", PathError::Delimiter),
            ("/a#b", PathError::Delimiter),
            ("/%C0%AFadmin", PathError::Overlong),
            ("/%E0%80%AFadmin", PathError::Overlong),
            ("/%F8%80%80%80%AFadmin", PathError::Overlong),
            ("/%25C0%25AFadmin", PathError::Overlong),
            ("/a%25u000a", PathError::Control),
            ("/a//../b", PathError::Ambiguous),
            ("/a%2525252561", PathError::Ambiguous),
        ] {
            assert_eq!(CanonicalPath::parse(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn an_encoded_slash_is_noted() {
        assert!(CanonicalPath::parse("/a%2Fb").unwrap().has_encoded_slash());
        for without in ["/a%252Fb", "/a%2Fb/../c", "/a%2Fb/%2e%2e/c"] {
            let path = CanonicalPath::parse(without).unwrap();
            assert!(!path.has_encoded_slash(), "{without}");
        }
    }
}
