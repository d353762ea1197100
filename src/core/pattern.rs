//! Path patterns: globs whose wildcards respect the slash, compiled together into one matcher.
//!
//! `*` matches within a segment, `**` across segments, and `X/**` matches `X` as well.

use globset::{Candidate, ErrorKind, GlobBuilder, GlobSet, GlobSetBuilder};
use thiserror::Error;

use super::path::CanonicalPath;
use super::readings;

/// A path pattern that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    written: String,
    canonical: String,
}

/// Why a pattern is refused; the text says what to write instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatternError {
    /// Does not begin with a slash.
    #[error("a path pattern begins with `/`")]
    NotAbsolute,
    /// A pattern as `createRouteMatcher` takes it.
    #[error("`{0}` is a pattern of Clerk's route matcher; here a pattern is a glob")]
    Clerk(String),
    /// `**` beside other characters in a segment.
    #[error("`**` stands alone between slashes")]
    DoubleStar,
    /// A character with a meaning that globs give it and we do not.
    #[error("`{0}` has no meaning in a path pattern; `*`, `**` and `{{a,b}}` do")]
    Special(char),
    /// The query never takes part in matching.
    #[error("a path pattern has no query: matching is on the path only")]
    Query,
    /// Dot segments or doubled slashes never arrive.
    #[error(
        "no request ever has this path: dot segments are resolved and slashes merged before matching"
    )]
    NeverCanonical,
    /// The glob compiler refused it.
    #[error("{0}")]
    Glob(String),
    /// A brace without its partner.
    #[error("a `{{` or `}}` has no partner")]
    Brace,
}

impl PathPattern {
    /// Reads a pattern as it is written in TOML.
    pub fn parse(written: &str) -> Result<Self, PatternError> {
        if !written.starts_with('/') {
            return Err(PatternError::NotAbsolute);
        }
        if written.contains(['(', ')']) || written.contains("/:") {
            return Err(PatternError::Clerk(written.to_owned()));
        }
        if written.contains(['?', '#']) {
            return Err(PatternError::Query);
        }
        if let Some(special) = written
            .chars()
            .find(|c| matches!(c, '[' | ']' | '\\' | '!'))
        {
            return Err(PatternError::Special(special));
        }
        if written
            .split('/')
            .any(|segment| segment.contains("**") && segment != "**")
        {
            return Err(PatternError::DoubleStar);
        }
        let canonical = canonical(written)?;
        let pattern = Self {
            written: written.to_owned(),
            canonical,
        };
        for glob in pattern.globs() {
            compile(&glob).map_err(|error| match error.kind() {
                ErrorKind::UnopenedAlternates
                | ErrorKind::UnclosedAlternates
                | ErrorKind::NestedAlternates => PatternError::Brace,
                other => PatternError::Glob(other.to_string()),
            })?;
        }
        Ok(pattern)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The pattern with its literal text as canonical paths spell it.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Whether it matches every path.
    pub fn is_catch_all(&self) -> bool {
        self.canonical == "/**"
    }

    /// Whether its last segment names a file extension (`/docs/*.css`, `/favicon.ico`).
    pub fn names_extension(&self) -> bool {
        let last = self.canonical.rsplit('/').next().unwrap_or_default();
        last.rsplit_once('.')
            .is_some_and(|(_, extension)| !extension.is_empty() && !extension.contains(['*', '}']))
            || last.contains(".{")
    }

    /// The literal text before the first wildcard.
    pub fn literal_prefix(&self) -> &str {
        let end = self
            .canonical
            .find(['*', '{'])
            .unwrap_or(self.canonical.len());
        self.canonical.get(..end).unwrap_or_default()
    }

    /// A glob to write instead of a pattern of Clerk's route matcher.
    pub fn suggestion_for(clerk: &str) -> String {
        let mut text = clerk.replace("/(.*)", "/**").replace("(.*)", "/**");
        while let Some(at) = text.find("/:") {
            let rest = text.get(at + 2..).unwrap_or_default();
            let name = rest
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
                .count();
            let modifier = rest.get(name..name + 1).unwrap_or_default();
            let (with, skip) = if matches!(modifier, "*" | "+") {
                ("/**", 1)
            } else {
                ("/*", 0)
            };
            text = format!(
                "{}{with}{}",
                text.get(..at).unwrap_or_default(),
                rest.get(name + skip..).unwrap_or_default()
            );
        }
        text
    }

    fn globs(&self) -> Vec<String> {
        with_parent(&self.canonical)
    }

    /// The globs for folded paths: the pattern in each spelling a lenient server would accept.
    fn folded_globs(&self) -> Vec<String> {
        let folded: Vec<String> = self.canonical.split('/').map(fold_segment).collect();
        let folded = folded.join("/");
        let trimmed = folded
            .strip_suffix('/')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(&folded);
        with_parent(trimmed)
    }
}

/// `X/**` matches `X` too: both are compiled.
fn with_parent(glob: &str) -> Vec<String> {
    match glob.strip_suffix("/**") {
        Some("") => vec!["/**".to_owned(), "/".to_owned()],
        Some(parent) => vec![glob.to_owned(), parent.to_owned()],
        None => vec![glob.to_owned()],
    }
}

/// Folds the literal parts of a segment by the very rule that folds paths.
fn fold_segment(segment: &str) -> String {
    let mut out = String::new();
    let mut literal = String::new();
    let flush = |out: &mut String, literal: &mut String, end: bool| {
        if literal.is_empty() {
            return;
        }
        // Guards keep a dot or a space that a wildcard stands beside.
        let (before, after) = (!out.is_empty(), !end);
        let guard = |is: bool| if is { "x" } else { "" };
        let folded = readings::fold(&format!("/{}{literal}{}", guard(before), guard(after)));
        let folded = folded.strip_prefix('/').unwrap_or(&folded);
        let folded = folded.strip_prefix(guard(before)).unwrap_or(folded);
        out.push_str(folded.strip_suffix(guard(after)).unwrap_or(folded));
        literal.clear();
    };
    for c in segment.chars() {
        if matches!(c, '*' | '{' | '}' | ',') {
            flush(&mut out, &mut literal, false);
            out.push(c);
        } else {
            literal.push(c);
        }
    }
    flush(&mut out, &mut literal, true);
    out
}

/// Writes the literal text of a pattern as a canonical path writes it.
fn canonical(written: &str) -> Result<String, PatternError> {
    let mut out = String::with_capacity(written.len());
    let mut literal = String::new();
    let flush = |out: &mut String, literal: &mut String| -> Result<(), PatternError> {
        if !literal.is_empty() {
            // Guards on both sides keep dots and slashes where they are.
            let guarded = format!("/x{literal}x");
            let path = CanonicalPath::parse(&guarded).map_err(|_| PatternError::NeverCanonical)?;
            let text = path.as_str();
            let inner = text
                .strip_prefix("/x")
                .and_then(|rest| rest.strip_suffix('x'));
            out.push_str(inner.ok_or(PatternError::NeverCanonical)?);
            literal.clear();
        }
        Ok(())
    };
    for c in written.chars() {
        if matches!(c, '*' | '{' | '}' | ',' | '/') {
            flush(&mut out, &mut literal)?;
            out.push(c);
        } else {
            literal.push(c);
        }
    }
    flush(&mut out, &mut literal)?;
    let dotted = out.split('/').any(|segment| matches!(segment, "." | ".."));
    if dotted || out.contains("//") {
        return Err(PatternError::NeverCanonical);
    }
    Ok(out)
}

fn compile(glob: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(glob)
        .literal_separator(true)
        .empty_alternates(true)
        .backslash_escape(false)
        .build()
}

/// The patterns of many owners, matched in one pass.
#[derive(Clone, Debug)]
pub struct PatternSet {
    exact: GlobSet,
    folded: GlobSet,
    /// Owner and pattern of each glob, in the order of the sets.
    exact_owners: Vec<PatternRef>,
    folded_owners: Vec<PatternRef>,
}

/// Which pattern of which owner matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternRef {
    /// The index of the owner.
    pub owner: usize,
    /// The index of the pattern among the owner's.
    pub pattern: usize,
}

/// Room to match in, for one path after another.
#[derive(Debug, Default)]
pub struct Scratch(Vec<usize>);

/// Which set of globs a path is matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Canonical paths and structural readings.
    Exact,
    /// Spelling readings.
    Folded,
}

impl PatternSet {
    /// Compiles the patterns of each owner, in order.
    ///
    /// Fails only if the whole is too large for the matcher, since each pattern was compiled when
    /// it was parsed.
    pub fn compile<'p>(
        owners: impl IntoIterator<Item = &'p [PathPattern]>,
    ) -> Result<Self, PatternError> {
        let mut exact = GlobSetBuilder::new();
        let mut folded = GlobSetBuilder::new();
        let (mut exact_owners, mut folded_owners) = (Vec::new(), Vec::new());
        let broken = |error: globset::Error| PatternError::Glob(error.to_string());
        for (owner, patterns) in owners.into_iter().enumerate() {
            for (pattern, text) in patterns.iter().enumerate() {
                let at = PatternRef { owner, pattern };
                for glob in text.globs() {
                    exact.add(compile(&glob).map_err(broken)?);
                    exact_owners.push(at);
                }
                for glob in text.folded_globs() {
                    folded.add(compile(&glob).map_err(broken)?);
                    folded_owners.push(at);
                }
            }
        }
        Ok(Self {
            exact: exact.build().map_err(broken)?,
            folded: folded.build().map_err(broken)?,
            exact_owners,
            folded_owners,
        })
    }

    /// The first pattern, in the order of the owners, that matches and that `accepts` takes.
    pub fn first(
        &self,
        path: &str,
        spelling: Spelling,
        scratch: &mut Scratch,
        accepts: impl Fn(PatternRef) -> bool,
    ) -> Option<PatternRef> {
        let (set, owners) = match spelling {
            Spelling::Exact => (&self.exact, &self.exact_owners),
            Spelling::Folded => (&self.folded, &self.folded_owners),
        };
        set.matches_candidate_into(&Candidate::new(path), &mut scratch.0);
        scratch
            .0
            .iter()
            .filter_map(|at| owners.get(*at).copied())
            .find(|at| accepts(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str, spelling: Spelling) -> bool {
        let pattern = [PathPattern::parse(pattern).unwrap()];
        let set = PatternSet::compile([&pattern[..]]).unwrap();
        set.first(path, spelling, &mut Scratch::default(), |_| true)
            .is_some()
    }

    #[test]
    fn wildcards_respect_the_slash() {
        for (pattern, yes, no) in [
            ("/admin/**", "/admin", "/administrator"),
            ("/admin/**", "/admin/", "/x/admin"),
            ("/admin/**", "/admin/a/b", "/Admin"),
            ("/a/*", "/a/b", "/a/b/c"),
            ("/a/*", "/a/", "/a"),
            ("/**", "/", "x"),
            ("/**", "/a/b", ""),
            ("/**/*.css", "/a/b/c.css", "/a/b/c.js"),
            ("/**/*.css", "/c.css", "/ccss"),
            ("/{a,b}/x", "/b/x", "/c/x"),
            ("/café", "/caf%C3%A9", "/cafe"),
            ("/a b", "/a%20b", "/ab"),
            ("/*/edit", "/1/edit", "/1/2/edit"),
        ] {
            assert!(
                matches(pattern, yes, Spelling::Exact),
                "{pattern} should match {yes}"
            );
            assert!(
                !matches(pattern, no, Spelling::Exact),
                "{pattern} should not match {no}"
            );
        }
    }

    #[test]
    fn folded_patterns_match_folded_paths() {
        for (pattern, path) in [
            ("/Admin/**", "/admin/x"),
            ("/Admin/**", "/admin"),
            ("/admin/", "/admin"),
            ("/docs/*.CSS", "/docs/a.css"),
            ("/É", "/%C3%A9"),
        ] {
            assert!(
                matches(pattern, path, Spelling::Folded),
                "{pattern} should match {path}"
            );
        }
    }

    #[test]
    fn refused_patterns_come_with_what_to_write() {
        for pattern in [
            "/admin(.*)",
            "/a/:id",
            "admin",
            "/a**",
            "/a?b",
            "/[ab]",
            "/a/../b",
            "/a//b",
            "/a%zz",
            "/a\\b",
        ] {
            assert!(PathPattern::parse(pattern).is_err(), "{pattern}");
        }
        assert_eq!(PathPattern::suggestion_for("/admin(.*)"), "/admin/**");
        assert_eq!(
            PathPattern::suggestion_for("/dashboard/:path*"),
            "/dashboard/**"
        );
        assert_eq!(
            PathPattern::suggestion_for("/orgs/:slug/(.*)"),
            "/orgs/*/**"
        );
    }

    #[test]
    fn patterns_know_when_they_name_an_extension() {
        for (pattern, names) in [
            ("/docs/*.css", true),
            ("/favicon.ico", true),
            ("/a/**", false),
            ("/v1.2/**", false),
            ("/a.*", false),
        ] {
            assert_eq!(
                PathPattern::parse(pattern).unwrap().names_extension(),
                names,
                "{pattern}"
            );
        }
    }
}
