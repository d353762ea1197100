//! The text of a configuration file, and what of it may be shown.

use std::io;
use std::path::Path;

/// The text of a configuration file, with the name it is called by in messages.
#[derive(Clone)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// A text with a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// No file: everything comes from flags and the environment.
    pub fn none() -> Self {
        Self::new("(no file)", "")
    }

    /// Reads a file. The error is the one of the system, or says that the file is no text.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8"))?;
        Ok(Self::new(path.display().to_string(), text))
    }

    /// What the file is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything, secrets included: to be parsed, never to be shown.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text with every secret covered by stars of the same length, so that places stay true.
    pub(super) fn shown(&self) -> String {
        // The end of a secret of several lines, while it is read.
        let mut open: Option<&str> = None;
        let mut cover_line = |line: &str| {
            if let Some(end) = open {
                if line.contains(end) {
                    open = None;
                }
                return line.chars().map(cover).collect();
            }
            let (key, value) = line.split_once('=').unwrap_or_default();
            let secret = key.contains("secret") || key.contains("seal-key");
            if !secret || key.contains("-file") {
                return cover_keys(&cover_logins(line));
            }
            let mut quotes = [r#"""""#, "'''"].into_iter();
            open = quotes
                .find(|quotes| value.matches(quotes).count() == 1)
                .or_else(|| (value.contains('[') && !value.contains(']')).then_some("]"));
            cover_value(line)
        };
        self.text
            .split_inclusive('\n')
            .map(&mut cover_line)
            .collect()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Covers everything behind the first `=` but quotes and white space.
fn cover_value(line: &str) -> String {
    let at = line.find('=').map_or(0, |at| at + 1);
    let (key, value) = line.split_at(at);
    let covered: String = value.chars().map(cover).collect();
    format!("{key}{covered}")
}

fn cover(c: char) -> char {
    if c.is_ascii_graphic() && !matches!(c, '"' | '\'') {
        '*'
    } else {
        c
    }
}

/// Covers names and passwords in addresses (`scheme://name:password@host`), wherever they stand.
fn cover_logins(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for token in line.split_inclusive(['"', '\'', ' ', '\t', ',']) {
        let begin = token.find("://").map_or(0, |at| at + 3);
        let (scheme, rest) = token.split_at(begin);
        // A password may hold a slash that nobody has encoded.
        let login = match scheme {
            "redis://" | "rediss://" => rest.rfind('@'),
            _ => {
                let end = rest.find('/').unwrap_or(rest.len());
                rest.split_at(end).0.rfind('@')
            }
        };
        let (login, after) = rest.split_at(login.unwrap_or_default());
        out.push_str(scheme);
        out.extend(login.chars().map(cover));
        out.push_str(after);
    }
    out
}

/// Covers what looks like one of Clerk's secret keys, wherever it stands.
fn cover_keys(line: &str) -> String {
    const PREFIXES: [&str; 5] = ["sk_live_", "sk_test_", "ak_", "ask_", "whsec_"];
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = PREFIXES.iter().filter_map(|p| rest.find(p)).min() {
        let (before, found) = rest.split_at(at);
        let end = found
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '+' | '/' | '='))
            .unwrap_or(found.len());
        let (key, after) = found.split_at(end);
        out.push_str(before);
        out.push_str(&key.chars().map(cover).collect::<String>());
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered_and_places_stay() {
        let text = "secret-key = \"sk_live_abc\"\nlisten = \"sk_test_x!\" # é\nsecret-key-file = \"/run/s\"\n";
        let shown = Source::new("x", text).shown();
        assert_eq!(shown.len(), text.len());
        assert_eq!(
            shown,
            "secret-key = \"***********\"\nlisten = \"*********!\" # é\nsecret-key-file = \"/run/s\"\n"
        );
    }

    #[test]
    fn names_and_passwords_in_addresses_are_covered() {
        for (written, shown) in [
            (
                "url = \"redis://gate:hun/ter@2@redis.example.com/1\"",
                "url = \"redis://**************@redis.example.com/1\"",
            ),
            (
                "url = \"http://gate:hunter2@redis.example.com\"",
                "url = \"http://************@redis.example.com\"",
            ),
            ("url = \"gate:hunter2@host\"", "url = \"************@host\""),
            (
                "clerk-js = \"https://cdn.example/npm/@clerk/clerk-js@6\"",
                "clerk-js = \"https://cdn.example/npm/@clerk/clerk-js@6\"",
            ),
        ] {
            assert_eq!(Source::new("x", written).shown(), shown);
        }
    }

    #[test]
    fn a_secret_of_several_lines_is_covered_to_its_end() {
        let text = "seal-key = \"\"\"\nabc,\ndef\"\"\"\nseal-max-age = \"1d\"\n";
        assert_eq!(
            Source::new("x", text).shown(),
            "seal-key = \"\"\"\n****\n***\"\"\"\nseal-max-age = \"1d\"\n"
        );
    }

    #[test]
    fn a_list_of_secrets_is_covered_to_its_end() {
        let text = "secret = [\n  \"abc\", # x\n  'def']\nlisten = \"ghi\"\n";
        assert_eq!(
            Source::new("x", text).shown(),
            "secret = *\n  \"***\"* * *\n  '***'*\nlisten = \"ghi\"\n"
        );
    }
}
