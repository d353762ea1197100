//! Every way in which a lenient server might read a canonical path.
//!
//! Upstreams strip `;params`, decode twice, ignore case, cut suffixes, and stand behind one another.
//! A rule that holds for `/admin` must hold for whatever some of them take for `/admin`, so the
//! requirement of each reading's route is added to that of the canonical path. See `policy` for how
//! they are judged.

mod names;
mod spelling;

pub use spelling::{SuffixReading, fold, spellings};

use super::path::{CanonicalPath, Escapes, decode_again};
use names::{bare_names, visible};

/// The most texts that one path is followed through. Ordinary paths have one or two; a path with
/// more is made to have them.
const MAX_TEXTS: usize = 64;

/// The most bytes in all of them.
// SECURITY: each text is matched in several spellings; without a bound, one request could keep a
// core busy for seconds.
const MAX_TEXT_BYTES: usize = 32 * 1024;

/// One way to read a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What kind of leniency leads to it.
    pub kind: ReadingKind,
    /// The path such a server would see, folded where the kind is a spelling.
    pub path: String,
}

/// What kind of leniency leads to a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadingKind {
    /// `;params` taken away before dot segments are resolved (Tomcat, Spring).
    Parameters,
    /// Escapes decoded again, with `?`, `#` and `\` then taken as delimiters.
    Decoded,
    /// Case, full-width letters, characters that show nothing, spaces, trailing dots and slashes
    /// ignored (IIS, Express).
    Folded,
    /// A suffix taken for a format (`/admin.json`: Rails, Spring).
    Suffix,
    /// A front controller with the path behind it (`/index.php/admin`).
    FrontController,
    /// The path that is the same one once its prefix is taken away (`/app` and `/app/`).
    Prefix,
}

impl ReadingKind {
    /// Whether the reading changes which segments there are, rather than how they are spelt.
    pub fn is_structural(self) -> bool {
        matches!(self, Self::Parameters | Self::Decoded | Self::Prefix)
    }

    /// The name in `explain` and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Decoded => "decoded",
            Self::Folded => "folded",
            Self::Suffix => "suffix",
            Self::FrontController => "front-controller",
            Self::Prefix => "prefix",
        }
    }
}

/// The readings of a path that change which segments there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings {
    /// Those that differ from the path. Structural ones come first; behind them stand those where
    /// a spelling was dissolved on the way, which count as spellings.
    pub found: Vec<Reading>,
    /// Whether these are all of them.
    pub extent: Extent,
}

/// Whether a path was read in every way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It was.
    All,
    /// It has too many readings to be an honest path.
    TooMany,
}

/// The readings of `path` by servers that take it apart differently, in any order and any number
/// of them behind one another. Nothing for an ordinary path.
pub fn structural(path: &CanonicalPath) -> Readings {
    let mut readings = Readings {
        found: Vec::new(),
        extent: Extent::All,
    };
    if !path.as_str().contains(['%', ';']) {
        return readings;
    }
    let mut bytes = path.as_str().len();
    let mut texts = vec![Text {
        bytes: path.as_str().as_bytes().to_vec(),
        form: Form::Escaped,
        kind: None,
    }];
    // Structure first: what can be reached without dissolving a spelling counts as structural.
    for dissolve in [false, true] {
        let mut at = 0;
        while let Some(text) = texts.get(at) {
            let mut further = text.further();
            if dissolve {
                further.extend(text.dissolved());
            }
            for next in further {
                let known = |text: &Text| text.bytes == next.bytes && text.form == next.form;
                if !texts.iter().any(known) {
                    bytes += next.bytes.len();
                    texts.push(next);
                }
            }
            if texts.len() > MAX_TEXTS || bytes > MAX_TEXT_BYTES {
                readings.extent = Extent::TooMany;
                break;
            }
            at += 1;
        }
    }
    for text in texts {
        let read = text.path();
        if read != path.as_str() && readings.found.iter().all(|known| known.path != read) {
            let kind = text.kind.unwrap_or(ReadingKind::Decoded);
            readings.found.push(Reading { kind, path: read });
        }
    }
    readings
}

/// A path as some server holds it on the way to its router.
#[derive(Clone)]
struct Text {
    bytes: Vec<u8>,
    form: Form,
    /// What led to it; `None` for the path itself.
    kind: Option<ReadingKind>,
}

/// Whether escapes have been decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it came: `%` begins an escape.
    Escaped,
    /// Decoded at least once: `%` is a character, unless somebody decodes again.
    Decoded,
}

impl Text {
    /// What a single step of some server makes of it.
    fn further(&self) -> Vec<Self> {
        let bytes = self.bytes.as_slice();
        let mut found = Vec::new();
        let mut step = |kind: ReadingKind, form: Form, next: Vec<u8>| {
            // A kind once changed says what led here; a spelling stays one.
            let kind = match self.kind {
                Some(ReadingKind::Folded) => ReadingKind::Folded,
                Some(ReadingKind::Decoded) => ReadingKind::Decoded,
                _ => kind,
            };
            if next != bytes || form != self.form {
                found.push(Self {
                    bytes: next,
                    form,
                    kind: Some(kind),
                });
            }
        };
        if bytes.contains(&b';') {
            let form = self.form;
            step(ReadingKind::Parameters, form, without_parameters(bytes));
            step(ReadingKind::Parameters, form, before(bytes, b";"));
        }
        for escapes in [Escapes::Bytes, Escapes::Characters] {
            if let Some(next) = decode_again(bytes, escapes) {
                step(ReadingKind::Decoded, Form::Decoded, next);
            }
        }
        if self.form == Form::Decoded {
            step(ReadingKind::Decoded, self.form, before(bytes, b"?#"));
            step(ReadingKind::Decoded, self.form, with_slashes(bytes));
            step(ReadingKind::Decoded, self.form, with_dots(bytes));
            step(ReadingKind::Decoded, self.form, with_unchecked_utf8(bytes));
        }
        if bytes.windows(2).any(|two| matches!(two, b"/." | b"//")) {
            let kind = self.kind.unwrap_or(ReadingKind::Parameters);
            for resolved in CanonicalPath::resolutions(&self.path()) {
                let next = match self.form {
                    Form::Escaped => resolved.into_bytes(),
                    Form::Decoded => percent_encoding::percent_decode_str(&resolved).collect(),
                };
                step(kind, self.form, next);
            }
        }
        found
    }

    /// The same without what a server might not see or not take for a part of a name.
    fn dissolved(&self) -> impl Iterator<Item = Self> {
        let visible = (self.form == Form::Decoded).then(|| visible(&self.bytes).into_bytes());
        [visible, Some(bare_names(&self.bytes))]
            .into_iter()
            .flatten()
            .filter(|bytes| *bytes != self.bytes)
            .map(|bytes| Self {
                bytes,
                form: self.form,
                kind: Some(ReadingKind::Folded),
            })
    }

    /// The path that a router is given.
    fn path(&self) -> String {
        match self.form {
            Form::Escaped => String::from_utf8_lossy(&self.bytes).into_owned(),
            Form::Decoded => CanonicalPath::written(&self.bytes),
        }
    }
}

fn without_parameters(bytes: &[u8]) -> Vec<u8> {
    let mut inside = false;
    bytes
        .iter()
        .copied()
        .filter(|byte| {
            inside = match byte {
                b';' => true,
                b'/' => false,
                _ => inside,
            };
            !inside
        })
        .collect()
}

fn before(bytes: &[u8], delimiters: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|byte| delimiters.contains(byte));
    bytes
        .get(..end.unwrap_or(bytes.len()))
        .unwrap_or_default()
        .to_vec()
}

fn with_slashes(bytes: &[u8]) -> Vec<u8> {
    let slash = |byte: &u8| if *byte == b'\\' { b'/' } else { *byte };
    bytes.iter().map(slash).collect()
}

/// Takes an escaped dot for a dot and leaves all other escapes, as the URL standard does before it
/// resolves a path.
fn with_dots(bytes: &[u8]) -> Vec<u8> {
    let mut read = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, others @ ..] = rest {
        let (byte, behind) = match others {
            [b'2', b'e' | b'E', behind @ ..] if *first == b'%' => (b'.', behind),
            _ => (*first, others),
        };
        read.push(byte);
        rest = behind;
    }
    read
}

/// Reads a two-byte form of an ASCII character without a look at its second byte, as IIS once did:
/// `%C0%2F` for `/`. Where the second byte is a proper one, the path has been refused.
fn with_unchecked_utf8(bytes: &[u8]) -> Vec<u8> {
    let mut read = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, others @ ..] = rest {
        rest = match others {
            [second, behind @ ..] if matches!(first, 0xc0 | 0xc1) => {
                read.push((first & 0x1f) << 6 | (second & 0x3f));
                behind
            }
            _ => {
                read.push(*first);
                others
            }
        };
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structural_paths(raw: &str) -> Vec<String> {
        let path = CanonicalPath::parse(raw).unwrap();
        structural(&path)
            .found
            .into_iter()
            .map(|reading| reading.path)
            .collect()
    }

    #[test]
    fn ordinary_paths_have_no_structural_reading() {
        for raw in ["/", "/assets/app.js", "/users/42", "/caf%C3%A9", "/a%20b"] {
            assert!(structural_paths(raw).is_empty(), "{raw}");
        }
    }

    #[test]
    fn lenient_servers_reach_admin() {
        for raw in [
            "/public/..;/admin",
            "/public/..;x=1/admin",
            "/public/..%3B/admin",
            "/public/%252e%252e/admin",
            "/public%2F..%2Fadmin",
            "/admin%3Fx",
            "/admin%23x",
            "/admin;x=1",
            "/admin%3Bx=1",
            "/public/..%255cadmin",
            "/public/%25252e%25252e/admin",
        ] {
            assert!(
                structural_paths(raw).contains(&"/admin".to_owned()),
                "{raw}: {:?}",
                structural_paths(raw)
            );
        }
    }

    #[test]
    fn what_one_path_costs_is_bounded() {
        let hidden = "/a;b%253B%253F%2523%255C..%252f..;x%20";
        for rest in [
            "/a.php".repeat(1300),
            format!("{}/{}", "/a.php".repeat(8), "a".repeat(7900)),
        ] {
            let path = CanonicalPath::parse(&format!("{hidden}{rest}")).unwrap();
            let readings = structural(&path);
            assert_eq!(readings.extent, Extent::TooMany);
            let bytes: usize = readings
                .found
                .iter()
                .map(|reading| reading.path.len())
                .sum();
            assert!(bytes < 2 * MAX_TEXT_BYTES, "{bytes} bytes");
            assert!(spellings(path.as_str(), SuffixReading::Look).len() < 40);
        }
    }
}
