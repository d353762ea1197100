//! Every way in which a lenient server might read a canonical path.
//!
//! Upstreams strip `;params`, decode twice, ignore case, cut suffixes. A rule that holds for
//! `/admin` must hold for whatever some server takes for `/admin`, so the requirement of each
//! reading's route is added to that of the canonical path. See `policy` for how they are judged.

use unicode_normalization::UnicodeNormalization as _;

use super::path::{CanonicalPath, decode_again};

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
    /// Case, full-width letters, trailing dots, spaces and slashes ignored (IIS, Express).
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

/// Structural readings of `path` that differ from it. Nothing for an ordinary path.
pub fn structural(path: &CanonicalPath) -> Vec<Reading> {
    let text = path.as_str();
    if !text.contains(['%', ';']) {
        return Vec::new();
    }
    let mut found = Vec::new();
    if text.contains(';') {
        // Escapes stay: a server that strips parameters first splits on the raw character.
        let stripped = without_parameters(text.as_bytes());
        let resolved = CanonicalPath::parse(&String::from_utf8_lossy(&stripped));
        add(&mut found, path, ReadingKind::Parameters, resolved.ok());
    }
    if text.contains('%') {
        let mut bytes = path.decoded();
        loop {
            for whole in [true, false] {
                let bytes = if whole {
                    bytes.clone()
                } else {
                    up_to_delimiter(&bytes)
                };
                let bytes = backslashes_as_slashes(bytes);
                add(
                    &mut found,
                    path,
                    ReadingKind::Decoded,
                    Some(CanonicalPath::from_decoded(&bytes)),
                );
                let stripped = without_parameters(&bytes);
                add(
                    &mut found,
                    path,
                    ReadingKind::Decoded,
                    Some(CanonicalPath::from_decoded(&stripped)),
                );
            }
            match decode_again(&bytes) {
                Some(next) => bytes = next,
                None => break,
            }
        }
    }
    found
}

fn add(
    found: &mut Vec<Reading>,
    path: &CanonicalPath,
    kind: ReadingKind,
    read: Option<CanonicalPath>,
) {
    let Some(read) = read else { return };
    if read.as_str() != path.as_str() && found.iter().all(|known| known.path != read.as_str()) {
        found.push(Reading {
            kind,
            path: read.as_str().to_owned(),
        });
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

fn up_to_delimiter(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|byte| matches!(byte, b'?' | b'#'));
    bytes
        .get(..end.unwrap_or(bytes.len()))
        .unwrap_or_default()
        .to_vec()
}

fn backslashes_as_slashes(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in &mut bytes {
        if *byte == b'\\' {
            *byte = b'/';
        }
    }
    bytes
}

/// The spelling readings of `path`, which may itself be a structural reading.
///
/// All of them are folded; match them against folded patterns.
pub fn spellings(path: &str, suffix: SuffixReading) -> Vec<Reading> {
    let folded = fold(path);
    let mut found = Vec::new();
    let mut push = |kind, path: String| {
        if !found.iter().any(|known: &Reading| known.path == path) {
            found.push(Reading { kind, path });
        }
    };
    if suffix == SuffixReading::Look {
        let last = map_segments(&folded, |segment, last| {
            if last {
                without_suffix(segment)
            } else {
                segment
            }
        });
        if last != folded {
            push(ReadingKind::Suffix, last);
        }
        let every = map_segments(&folded, |segment, _| without_suffix(segment));
        if every != folded {
            push(ReadingKind::Suffix, every);
        }
        if let Some(rest) = behind_front_controller(&folded) {
            let short = map_segments(&rest, |segment, last| {
                if last {
                    without_suffix(segment)
                } else {
                    segment
                }
            });
            push(ReadingKind::FrontController, short);
            push(ReadingKind::FrontController, rest);
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

/// Folds a path as the most lenient server would: NFKC, lower case, no trailing dots, spaces or
/// slash. A pattern is folded by the same rule, piece by piece.
pub fn fold(path: &str) -> String {
    if path
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'/' | b'-' | b'_'))
        && !path.ends_with('/')
    {
        return path.to_owned();
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    let plain = String::from_utf8_lossy(&decoded);
    let folded: String = plain.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    let mut text = String::with_capacity(folded.len());
    for segment in folded.split('/') {
        let segment = segment.trim_end_matches(['.', ' ', '\u{a0}']);
        if !segment.is_empty() {
            text.push('/');
            text.push_str(segment);
        }
    }
    let text = CanonicalPath::from_decoded(text.as_bytes());
    let text = text.as_str();
    text.strip_suffix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(text)
        .to_owned()
}

fn map_segments<'a>(path: &'a str, edit: impl Fn(&'a str, bool) -> &'a str) -> String {
    let mut pieces = path.split('/').skip(1).peekable();
    let mut text = String::with_capacity(path.len());
    while let Some(piece) = pieces.next() {
        text.push('/');
        text.push_str(edit(piece, pieces.peek().is_none()));
    }
    text
}

/// A segment up to its first dot, but for those that begin with one.
fn without_suffix(segment: &str) -> &str {
    match segment.find('.') {
        Some(at) if at > 0 => segment.get(..at).unwrap_or(segment),
        _ => segment,
    }
}

/// What stands behind a first segment that is a script (`/index.php/admin`).
fn behind_front_controller(path: &str) -> Option<String> {
    let (script, rest) = path.get(1..)?.split_once('/')?;
    let (_, extension) = script.rsplit_once('.')?;
    let script = matches!(
        extension,
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
    );
    script.then(|| format!("/{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structural_paths(raw: &str) -> Vec<String> {
        let path = CanonicalPath::parse(raw).unwrap();
        structural(&path)
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
