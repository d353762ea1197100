//! What becomes of the beginning of a path on its way to the upstream (`strip-prefix`, `add-prefix`).
//!
//! The policy judges the path that was asked for. An application that gets another one reads that one,
//! in its own lenient ways, so `policy` judges the readings of the other one as well.

use thiserror::Error;

use super::path::CanonicalPath;
use super::pattern::Spelling;
use super::readings;
use super::reason::Reason;

/// The beginning of a path: whole segments, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    folded: String,
}

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PrefixError {
    /// It does not begin with a slash, or nothing follows.
    #[error("a prefix begins with `/`, and something follows it")]
    NotAbsolute,
    /// It ends with a slash.
    #[error("a prefix is whole segments, and ends without a slash")]
    Slash,
    /// Something in it could be read in more than one way.
    #[error("a prefix is of letters, digits, `-`, `.`, `_`, `~` and `/`, in its usual form")]
    NotPlain,
}

impl Prefix {
    /// Reads a prefix as it is written in TOML.
    // SECURITY: of characters that every server reads in the same way. Nothing that stands in one has a
    // reading that leads out of it.
    pub fn parse(text: &str) -> Result<Self, PrefixError> {
        if !text.starts_with('/') || text.len() < 2 {
            return Err(PrefixError::NotAbsolute);
        }
        if text.ends_with('/') {
            return Err(PrefixError::Slash);
        }
        let is_plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/');
        let is_kept = |segment: &str| !segment.ends_with('.');
        let is_canonical = CanonicalPath::parse(text).is_ok_and(|path| path.as_str() == text);
        if !text.chars().all(is_plain) || !text.split('/').all(is_kept) || !is_canonical {
            return Err(PrefixError::NotPlain);
        }
        Ok(Self {
            text: text.to_owned(),
            folded: readings::fold(text),
        })
    }

    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The prefix in this spelling.
    fn spelt(&self, spelling: Spelling) -> &str {
        match spelling {
            Spelling::Exact => &self.text,
            Spelling::Folded => &self.folded,
        }
    }

    /// Whether a text begins with its segments.
    pub fn is_of(&self, text: &str) -> bool {
        behind(&self.text, text).is_some()
    }
}

/// What stands in a text behind the segments that it begins with: nothing, or a slash and more.
fn behind<'t>(beginning: &str, text: &'t str) -> Option<&'t str> {
    let rest = text.strip_prefix(beginning)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The prefixes of a route. At least one of them is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    strip: Option<Prefix>,
    add: Option<Prefix>,
}

impl Prefixes {
    /// Those of a route that strips and adds these; `None` where it does neither.
    pub fn new(strip: Option<Prefix>, add: Option<Prefix>) -> Option<Self> {
        (strip.is_some() || add.is_some()).then_some(Self { strip, add })
    }

    /// What is taken away.
    pub fn stripped(&self) -> Option<&Prefix> {
        self.strip.as_ref()
    }

    /// What is put in front.
    pub fn added(&self) -> Option<&Prefix> {
        self.add.as_ref()
    }

    /// The path that the application gets. The error says why there is none: the path does not begin with
    /// what is stripped, or the other one would be too long.
    pub fn inside(&self, path: &CanonicalPath) -> Result<CanonicalPath, Reason> {
        moved(self.strip.as_ref(), self.add.as_ref(), path)
    }

    /// The path to ask for so that the application gets this one, if there is such a path.
    pub fn outside(&self, inside: &CanonicalPath) -> Option<CanonicalPath> {
        moved(self.add.as_ref(), self.strip.as_ref(), inside).ok()
    }

    /// As which paths something counts that an application could take the path for which it gets.
    ///
    /// `text` is in the spelling `of`; the answers are to be matched with patterns in the spelling `to`.
    pub fn counts_as(&self, text: &str, of: Spelling, to: Spelling) -> Vec<String> {
        let added = self.add.as_ref().map_or("", |prefix| prefix.spelt(of));
        // What is not below it is by itself: a script is told the rest of a path alone.
        let rest = behind(added, text).unwrap_or(text);
        let mut paths = Vec::new();
        let Some(strip) = &self.strip else {
            paths.push(if rest.is_empty() { "/" } else { rest }.to_owned());
            return paths;
        };
        let outside = strip.spelt(to);
        paths.push([outside, rest].concat());
        // `/app` and `/app/` are one to the application.
        if rest.is_empty() {
            paths.push([outside, "/"].concat());
        } else if rest == "/" {
            paths.push(outside.to_owned());
        }
        // SECURITY: one that knows its prefix may take it away once more (Starlette's `root_path`, ASP.NET's
        // `UsePathBase`).
        if behind(strip.spelt(of), text).is_some() {
            paths.push(text.to_owned());
        }
        paths
    }
}

/// A path that begins with `add` in the place of `strip`.
fn moved(
    strip: Option<&Prefix>,
    add: Option<&Prefix>,
    path: &CanonicalPath,
) -> Result<CanonicalPath, Reason> {
    let (strip, add) = (
        strip.map_or("", Prefix::as_str),
        add.map_or("", Prefix::as_str),
    );
    if behind(strip, path.as_str()).is_none() {
        return Err(Reason::UnexpectedError);
    }
    path.with_beginning(add, strip.len())
        .ok_or(Reason::HeadTooLarge)
}

/// The path that an upstream is asked for, where it is another one than the gate was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path.
    pub path: CanonicalPath,
    /// What was taken away, for `x-forwarded-prefix`.
    pub stripped: Option<Prefix>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    #[test]
    fn a_prefix_is_plain_segments() {
        for good in ["/app", "/app/v1.0", "/a-b_c~d"] {
            assert_eq!(prefix(good).as_str(), good);
        }
        for (bad, error) in [
            ("", PrefixError::NotAbsolute),
            ("/", PrefixError::NotAbsolute),
            ("app", PrefixError::NotAbsolute),
            ("/app/", PrefixError::Slash),
            ("/a//b", PrefixError::NotPlain),
            ("/a/../b", PrefixError::NotPlain),
            ("/a/.", PrefixError::NotPlain),
            ("/a./b", PrefixError::NotPlain),
            ("/a;b", PrefixError::NotPlain),
            ("/a%20b", PrefixError::NotPlain),
            ("/%61", PrefixError::NotPlain),
            ("/a*", PrefixError::NotPlain),
            ("/a?b", PrefixError::NotPlain),
            ("/é", PrefixError::NotPlain),
        ] {
            assert_eq!(Prefix::parse(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn prefixes_end_where_segments_do() {
        for (strip, add, asked, forwarded) in [
            (Some("/app"), None, "/app", Some("/")),
            (Some("/app"), None, "/app/", Some("/")),
            (Some("/app"), None, "/app/x/", Some("/x/")),
            (
                Some("/app"),
                None,
                "/app/caf%C3%A9;x=1",
                Some("/caf%C3%A9;x=1"),
            ),
            (Some("/app"), None, "/application", None),
            (Some("/app"), None, "/App/x", None),
            (Some("/app"), None, "/", None),
            (Some("/app/v1"), None, "/app/v1/x", Some("/x")),
            (None, Some("/base"), "/", Some("/base/")),
            (None, Some("/base"), "/x", Some("/base/x")),
            (Some("/app"), Some("/base"), "/app", Some("/base/")),
            (Some("/app"), Some("/base"), "/app/x", Some("/base/x")),
        ] {
            let prefixes = Prefixes::new(strip.map(prefix), add.map(prefix)).unwrap();
            let asked = CanonicalPath::parse(asked).unwrap();
            let found = prefixes.inside(&asked).ok();
            let found = found.as_ref().map(CanonicalPath::as_str);
            assert_eq!(found, forwarded, "{asked}");
            let back = forwarded.map(|inside| CanonicalPath::parse(inside).unwrap());
            let back = back.and_then(|inside| prefixes.outside(&inside));
            // `/app` and `/app/` are one to the application.
            let slash = asked.as_str().trim_end_matches('/');
            let back = back.map(|back| back.as_str().trim_end_matches('/').to_owned());
            assert_eq!(back, forwarded.map(|_| slash.to_owned()), "{asked}");
        }
        assert_eq!(Prefixes::new(None, None), None);
    }

    #[test]
    fn an_encoded_slash_stays_one() {
        let prefixes = Prefixes::new(Some(prefix("/app")), Some(prefix("/base"))).unwrap();
        let asked = CanonicalPath::parse("/app/a%2fb").unwrap();
        assert!(prefixes.inside(&asked).unwrap().has_encoded_slash());
    }
}
