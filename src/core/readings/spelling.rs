//! The spelling readings of a path: the same segments, written otherwise.

use unicode_normalization::UnicodeNormalization as _;

use super::names::{bare_name, visible};
use super::{Reading, ReadingKind};
use crate::core::path::CanonicalPath;

/// The most segments whose suffixes are cut one by one, from the front; the last one always is.
const MAX_SUFFIXES: usize = 4;

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
    // Without a dot there is neither a suffix nor a script.
    if suffix == SuffixReading::Look && folded.contains('.') {
        for path in without_suffixes(&folded) {
            push(ReadingKind::Suffix, path);
        }
        for behind in behind_scripts(&folded) {
            for path in without_last_suffix(&behind) {
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

/// A folded path with the suffix of one segment cut, and of all.
fn without_suffixes(path: &str) -> Vec<String> {
    let names: Vec<&str> = path.split('/').collect();
    let is_dotted = |name: &str| name.rfind('.').is_some_and(|dot| dot > 0);
    let dotted = || (0..names.len()).filter(|at| names.get(*at).is_some_and(|n| is_dotted(n)));
    let cut = |whose: &dyn Fn(usize) -> bool, dot: fn(&str) -> Option<usize>| {
        let cut: Vec<&str> = names
            .iter()
            .enumerate()
            .map(|(at, name)| match dot(name) {
                Some(end) if end > 0 && whose(at) => name.get(..end).unwrap_or(name),
                _ => name,
            })
            .collect();
        fold(&cut.join("/"))
    };
    let mut found = Vec::new();
    for which in dotted().take(MAX_SUFFIXES) {
        found.push(cut(&|at| at == which, |name| name.find('.')));
        found.push(cut(&|at| at == which, |name| name.rfind('.')));
    }
    if dotted().nth(1).is_some() {
        found.push(cut(&|_| true, |name| name.find('.')));
    }
    if dotted().nth(MAX_SUFFIXES).is_some() {
        found.extend(without_last_suffix(path));
    }
    found
}

/// A folded path with the suffix of its last segment cut, at the first dot and at the last.
fn without_last_suffix(path: &str) -> Vec<String> {
    let Some((before, name)) = path.rsplit_once('/') else {
        return Vec::new();
    };
    let dots = [name.find('.'), name.rfind('.')].into_iter().flatten();
    dots.filter_map(|dot| name.get(..dot).filter(|stem| !stem.is_empty()))
        .map(|stem| fold(&format!("{before}/{stem}")))
        .collect()
}

/// What stands behind a segment that is a script (`/index.php/admin`), by itself and with the
/// folder of the script in front. Servers take the first script there is, or the last.
fn behind_scripts(path: &str) -> Vec<String> {
    let names: Vec<&str> = path.split('/').skip(1).collect();
    let is_front = |at: &usize| {
        let script = names.get(*at).is_some_and(|name| is_script(name));
        script && at + 1 < names.len()
    };
    let first = (0..names.len()).filter(is_front).take(2);
    let last = (0..names.len()).rev().filter(is_front).take(1);
    let mut found = Vec::new();
    for at in first.chain(last) {
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
