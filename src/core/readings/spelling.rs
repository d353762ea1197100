//! The spelling readings of a path: the same segments, written otherwise.

use unicode_normalization::UnicodeNormalization as _;

use super::names::{bare_name, visible};
use super::{Reading, ReadingKind};
use crate::core::path::CanonicalPath;

/// The most segments with a dot whose suffixes are looked at one by one; beyond that, all at once.
const MAX_SUFFIXES: usize = 8;

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
