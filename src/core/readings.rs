//! Every way in which a lenient server might read a canonical path.
//!
//! Upstreams strip `;params`, decode twice, ignore case, cut suffixes, and stand behind one another.
//! A rule that holds for `/admin` must hold for whatever some of them take for `/admin`, so the
//! requirement of each reading's route is added to that of the canonical path. See `policy` for how
//! they are judged.

use unicode_normalization::UnicodeNormalization as _;

use super::path::{CanonicalPath, Escapes, decode_again};

/// The most texts that one path is followed through. Ordinary paths have one or two; a path with
/// more is made to have them.
const MAX_TEXTS: usize = 64;

/// The most segments with a dot whose suffixes are looked at one by one; beyond that, all at once.
const MAX_SUFFIXES: usize = 8;

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
}

impl ReadingKind {
    /// Whether the reading changes which segments there are, rather than how they are spelt.
    pub fn is_structural(self) -> bool {
        matches!(self, Self::Parameters | Self::Decoded)
    }

    /// The name in `explain` and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Decoded => "decoded",
            Self::Folded => "folded",
            Self::Suffix => "suffix",
            Self::FrontController => "front-controller",
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
                    texts.push(next);
                }
            }
            if texts.len() > MAX_TEXTS {
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

/// A decoded path as a reader sees it who dissolves compatibility characters, passes over what
/// shows nothing or is no text, and takes no space at either end of a name.
fn visible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text
        .chars()
        .filter(|c| !is_invisible(*c))
        .nfkc()
        .filter(|c| !is_invisible(*c))
        .collect();
    let names: Vec<&str> = text.split('/').map(|name| name.trim_matches(' ')).collect();
    names.join("/")
}

/// File names as Windows takes them: without dots and spaces at the end, and without streams.
fn bare_names(path: &[u8]) -> Vec<u8> {
    let mut bare = Vec::with_capacity(path.len());
    for (at, name) in path.split(|byte| *byte == b'/').enumerate() {
        if at > 0 {
            bare.push(b'/');
        }
        bare.extend_from_slice(match name {
            b"." | b".." => name,
            name => bare_name(name),
        });
    }
    bare
}

fn bare_name(name: &[u8]) -> &[u8] {
    // `::$DATA`, `:$I30:$INDEX_ALLOCATION`.
    let stream = name.windows(2).position(|two| matches!(two, b"::" | b":$"));
    let name = name.get(..stream.unwrap_or(name.len())).unwrap_or(name);
    let end = name.iter().rposition(|byte| !matches!(byte, b'.' | b' '));
    name.get(..end.map_or(0, |at| at + 1)).unwrap_or_default()
}

/// Control characters, Unicode's default-ignorable ones, and the sign for broken UTF-8.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}'
                | '\u{fffd}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The spelling readings of `path`, which may itself be a structural reading.
///
/// All of them are folded; match them against folded patterns.
pub fn spellings(path: &str, suffix: SuffixReading) -> Vec<Reading> {
    let folded = fold(path);
    let mut found: Vec<Reading> = Vec::new();
    let mut push = |kind, path: String| {
        if !found.iter().any(|known| known.path == path) {
            found.push(Reading { kind, path });
        }
    };
    if suffix == SuffixReading::Look {
        for path in without_suffixes(&folded) {
            push(ReadingKind::Suffix, path);
        }
        for behind in behind_scripts(&folded) {
            for path in without_suffixes(&behind) {
                push(ReadingKind::FrontController, path);
            }
            push(ReadingKind::FrontController, behind);
        }
    }
    push(ReadingKind::Folded, folded);
    found
}

/// Whether suffixes are looked at: not where the winning pattern itself names the extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuffixReading {
    /// Suffixes and front controllers are read too.
    Look,
    /// They are not.
    Skip,
}

/// Folds a path as the most lenient server would: what is visible of it, in lower case, without
/// trailing dots, spaces and slash, without file streams. A pattern is folded by the same rule,
/// piece by piece.
pub fn fold(path: &str) -> String {
    if path
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'/' | b'-' | b'_'))
        && !path.ends_with('/')
    {
        return path.to_owned();
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    // Upper case first: `ı` and `ſ` become letters that have a lower case.
    let folded: String = visible(&decoded)
        .chars()
        .map(|c| if c == 'İ' { 'I' } else { c })
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfkc()
        .collect();
    let mut text = Vec::with_capacity(folded.len());
    for name in folded.as_bytes().split(|byte| *byte == b'/') {
        let name = bare_name(name);
        if !name.is_empty() {
            text.push(b'/');
            text.extend_from_slice(name);
        }
    }
    CanonicalPath::written(&text)
}

/// A folded path with the suffix of one segment cut, at its first and at its last dot, and of all.
fn without_suffixes(path: &str) -> Vec<String> {
    let names: Vec<&str> = path.split('/').collect();
    let dotted: Vec<usize> = (0..names.len())
        .filter(|at| {
            names
                .get(*at)
                .is_some_and(|name| name.rfind('.').is_some_and(|dot| dot > 0))
        })
        .collect();
    let mut found = Vec::new();
    let cut = |which: &[usize], dot: fn(&str) -> Option<usize>| {
        let cut: Vec<&str> = names
            .iter()
            .enumerate()
            .map(|(at, name)| match dot(name) {
                Some(end) if end > 0 && which.contains(&at) => name.get(..end).unwrap_or(name),
                _ => name,
            })
            .collect();
        fold(&cut.join("/"))
    };
    if dotted.len() <= MAX_SUFFIXES {
        for at in &dotted {
            found.push(cut(&[*at], |name| name.find('.')));
            found.push(cut(&[*at], |name| name.rfind('.')));
        }
    }
    if dotted.len() > 1 {
        found.push(cut(&dotted, |name| name.find('.')));
    }
    found
}

/// What stands behind a segment that is a script (`/index.php/admin`), by itself and with the
/// folder of the script in front.
fn behind_scripts(path: &str) -> Vec<String> {
    let names: Vec<&str> = path.split('/').skip(1).collect();
    let scripts = names
        .iter()
        .enumerate()
        .filter(|(at, name)| at + 1 < names.len() && is_script(name))
        .take(MAX_SUFFIXES);
    let mut found = Vec::new();
    for (at, _) in scripts {
        let (before, behind) = names.split_at(at);
        let behind = behind.get(1..).unwrap_or_default();
        found.push(format!("/{}", behind.join("/")));
        if !before.is_empty() {
            found.push(format!("/{}/{}", before.join("/"), behind.join("/")));
        }
    }
    found
}

fn is_script(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    matches!(
        extension,
        Some(
            "php"
                | "php5"
                | "phtml"
                | "cgi"
                | "fcgi"
                | "pl"
                | "py"
                | "rb"
                | "asp"
                | "aspx"
                | "jsp"
                | "do"
                | "cfm"
        )
    )
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
    fn spellings_are_folded() {
        for path in [
            "/ADMIN",
            "/Admin/",
            "/admin.",
            "/admin%20",
            "/admin.json",
            "/%EF%BD%81dmin",
            "/index.php/admin",
            "/index.php/admin.json",
            "/a%CC%80dmin%20.",
        ] {
            let found = spellings(path, SuffixReading::Look);
            let wanted = if path.contains("%CC") {
                "/%C3%A0dmin"
            } else {
                "/admin"
            };
            assert!(
                found.iter().any(|reading| reading.path == wanted),
                "{path}: {found:?}"
            );
        }
        assert_eq!(spellings("/a/b.css", SuffixReading::Skip).len(), 1);
    }
}
