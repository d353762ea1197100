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

    /// What was read from a file. The error says that it is no text.
    pub fn of_bytes(path: &Path, bytes: Vec<u8>) -> io::Result<Self> {
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

    /// Whether there is a secret in it. What stands in comments is an example.
    pub fn holds_secrets(&self) -> bool {
        let lines = self.text.split_inclusive('\n');
        let said = lines.filter(|line| !line.trim_start().starts_with('#'));
        let said = Self::new("", said.collect::<String>());
        said.shown() != said.text
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
                return covered(line);
            }
            let Some((before, value)) = secret_value(line) else {
                return cover_plain(line);
            };
            let mut quotes = [r#"""""#, "'''"].into_iter();
            open = quotes
                .find(|quotes| value.matches(quotes).count() == 1)
                .or_else(|| (value.contains('[') && !value.contains(']')).then_some("]"));
            cover_plain(before) + &covered(value)
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

/// A line of which a key, alone or in an inline table, tells that a secret follows, cut behind its `=`.
fn secret_value(line: &str) -> Option<(&str, &str)> {
    let (at, _) = line.match_indices('=').find(|(at, _)| {
        let (before, value) = line.split_at(*at);
        let before = before.trim_end();
        let key = before.rsplit(['{', ',', '=', ' ', '\t']).next();
        let key = key.unwrap_or_default();
        // Of `[traces]`, and not the table of `[identity]` or the switch of a limit.
        let headers = key == "headers" || key.ends_with(".headers");
        let text = value
            .trim_start_matches(['=', ' ', '\t'])
            .starts_with(['"', '\'']);
        (key.contains("secret") || key.contains("seal-key") || (headers && text))
            && !key.contains("-file")
    })?;
    Some(line.split_at(at + 1))
}

/// Covers what is secret in a text that does not say so.
fn cover_plain(text: &str) -> String {
    cover_keys(&cover_logins(text))
}

fn cover(c: char) -> char {
    if c.is_ascii_graphic() && !matches!(c, '"' | '\'') {
        '*'
    } else {
        c
    }
}

/// Covers names and passwords in addresses (`scheme://name:password@host`, `?pass=`), wherever they
/// stand.
fn cover_logins(text: &str) -> String {
    text.split_inclusive(['"', '\''])
        .map(|piece| match piece.find("://") {
            Some(at) => {
                let (scheme, rest) = piece.split_at(at + "://".len());
                let login = match scheme {
                    // There may be one in the path.
                    _ if scheme.ends_with("http://") || scheme.ends_with("https://") => {
                        let end = rest.find('/').unwrap_or(rest.len());
                        rest.split_at(end).0.rfind('@')
                    }
                    // A password may hold a slash that nobody has encoded.
                    _ => rest.rfind('@'),
                };
                let (login, after) = rest.split_at(login.unwrap_or_default());
                cover_word(scheme) + &covered(login) + &cover_password(after)
            }
            None => piece
                .split_inclusive([' ', '\t', ','])
                .map(cover_word)
                .collect(),
        })
        .collect()
}

/// Covers what stands before an `@`.
fn cover_word(word: &str) -> String {
    let end = word.find('/').unwrap_or(word.len());
    let login = word.split_at(end).0.rfind('@').unwrap_or_default();
    let (login, after) = word.split_at(login);
    covered(login) + after
}

/// Covers the password among the parameters of an address.
fn cover_password(address: &str) -> String {
    let Some(at) = address.find("pass=") else {
        return address.to_owned();
    };
    let (before, rest) = address.split_at(at + "pass=".len());
    let (password, after) = rest.split_at(rest.find('&').unwrap_or(rest.len()));
    format!("{before}{}{after}", covered(password))
}

fn covered(text: &str) -> String {
    text.chars().map(cover).collect()
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
        out.push_str(&covered(key));
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
    fn a_secret_is_one_where_it_counts() {
        for (text, holds) in [
            ("clerk.secret-key = \"sk_test_x\"\n", true),
            (
                "clerk.jwt-key = \"\"\"\n-----BEGIN PUBLIC KEY-----\n\"\"\"\n",
                false,
            ),
            (
                "# secret-key = \"sk_test_x\"\nclerk.secret-key-file = \"/run/s\"\n",
                false,
            ),
            (
                "[store.redis]\nurl = \"redis://gate:hunter2@10.0.0.9\"\n",
                true,
            ),
            (
                "clerk.publishable-key = \"pk_test_x\" # or secret-key\n",
                false,
            ),
        ] {
            assert_eq!(Source::new("x", text).holds_secrets(), holds, "{text}");
        }
    }

    #[test]
    fn secrets_in_a_table_on_one_line_are_covered() {
        for (written, shown) in [
            (
                "session = { mint = true, seal-key = \"abc\", x = 1 }",
                "session = { mint = true, seal-key = \"***\"* * * * *",
            ),
            (
                "webhooks = { secret-file = \"/run/s\", secret=\"abc\" }",
                "webhooks = { secret-file = \"/run/s\", secret=\"***\" *",
            ),
            ("webhooks.secret = \"abc\"", "webhooks.secret = \"***\""),
            ("traces.headers = \"k=abc\"", "traces.headers = \"*****\""),
            (
                "traces = { sample = 1, headers = \"k=abc\" }",
                "traces = { sample = 1, headers = \"*****\" *",
            ),
            ("headers = false", "headers = false"),
            ("'seal-key' = \"abc\"", "'seal-key' = \"***\""),
        ] {
            assert_eq!(Source::new("x", written).shown(), shown);
        }
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
                "url = \"valkey://gate:hun/ter@2@host\"",
                "url = \"valkey://**************@host\"",
            ),
            (
                "url = 'rediss://gate:hun,ter 2@host' # ours",
                "url = 'rediss://************ *@host' # ours",
            ),
            (
                "url = \"unix:///run/s?db=1&pass=hunter2&user=gate\"",
                "url = \"unix:///run/s?db=1&pass=*******&user=gate\"",
            ),
            (
                "redis = { url = \"redis://a:b@h\", timeout = \"1s\" }",
                "redis = { url = \"redis://***@h\", timeout = \"1s\" }",
            ),
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
