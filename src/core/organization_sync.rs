//! Addresses that belong to an organisation or to the personal account: the SDK's
//! `organizationSyncOptions` (protocol reference, section 3.11).
//!
//! The patterns are Clerk's own, as `path-to-regexp` reads them (section 7.8), without regular
//! expressions of the author's: text, `/:name` and `/:name?` for a whole segment, and one `(.*)`. So a
//! path is matched in a time that grows with its length and no faster.

use thiserror::Error;

/// Which addresses ask for which organisation to be active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationSync {
    /// Addresses of organisations, with `:id` or `:slug` in them.
    pub organizations: Vec<SyncPattern>,
    /// Addresses of the personal account. An empty list is every address, as in the SDK; the
    /// configuration refuses one.
    pub personal: Option<Vec<SyncPattern>>,
}

/// What should be active at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The organisation with this id.
    Id(String),
    /// The organisation with this slug.
    Slug(String),
    /// None: the personal account.
    Personal,
}

impl Target {
    /// The value of `organization_id` in a handshake: an id, a slug, or nothing for the personal
    /// account.
    pub fn parameter(&self) -> &str {
        match self {
            Self::Id(name) | Self::Slug(name) => name,
            Self::Personal => "",
        }
    }

    /// Whether this is what is active.
    pub fn is_active(&self, id: Option<&str>, slug: Option<&str>) -> bool {
        match self {
            Self::Id(wanted) => id == Some(wanted),
            Self::Slug(wanted) => slug == Some(wanted),
            Self::Personal => id.is_none(),
        }
    }
}

impl OrganizationSync {
    /// What should be active at this path. `None` if the path says nothing.
    pub fn target(&self, path: &str) -> Option<Target> {
        let captured = self
            .organizations
            .iter()
            .find_map(|pattern| pattern.captures(path));
        if let Some(captured) = captured {
            let named = |name: &str| {
                captured
                    .iter()
                    .find(|(known, value)| known == name && !value.is_empty())
                    .map(|(_, value)| value.clone())
            };
            if let Some(id) = named("id") {
                return Some(Target::Id(id));
            }
            if let Some(slug) = named("slug") {
                return Some(Target::Slug(slug));
            }
        }
        let personal = self.personal.as_ref()?;
        let matched = personal
            .iter()
            .any(|pattern| pattern.captures(path).is_some());
        (matched || personal.is_empty()).then_some(Target::Personal)
    }
}

/// A pattern of Clerk's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPattern {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Text, whatever its case.
    Text(String),
    /// `/:name`: a slash and a whole segment.
    Name { name: String, optional: bool },
    /// `(.*)` with the slash before it: anything at all.
    Anything { prefix: &'static str },
}

/// Why a pattern is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SyncPatternError {
    /// A regular expression, a group or a modifier that we do not read.
    #[error("`{0}` is not read here: a pattern is text, `/:name`, `/:name?` and one `(.*)`")]
    Unsupported(char),
    /// A name that is only a part of a segment.
    #[error("`:{0}` is not a whole segment: write `/:{0}`, and a slash behind it if more follows")]
    PartOfSegment(String),
    /// `:` without a name.
    #[error("a name follows `:`")]
    NameMissing,
}

impl SyncPattern {
    /// Reads a pattern such as `/orgs/:slug/(.*)`.
    pub fn parse(text: &str) -> Result<Self, SyncPatternError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("(.*)") {
                if pieces
                    .iter()
                    .any(|piece| matches!(piece, Piece::Anything { .. }))
                {
                    return Err(SyncPatternError::Unsupported('('));
                }
                let prefix = take_prefix(&mut literal, &mut pieces);
                pieces.push(Piece::Anything { prefix });
                rest = after;
            } else if let Some(after) = rest.strip_prefix(':') {
                let end = after
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                if name.is_empty() {
                    return Err(SyncPatternError::NameMissing);
                }
                let shortened = after.strip_prefix('?');
                rest = shortened.unwrap_or(after);
                let whole = literal.ends_with('/') && (rest.is_empty() || rest.starts_with('/'));
                if !whole {
                    return Err(SyncPatternError::PartOfSegment(name.to_owned()));
                }
                take_prefix(&mut literal, &mut pieces);
                pieces.push(Piece::Name {
                    name: name.to_owned(),
                    optional: shortened.is_some(),
                });
            } else if matches!(c, '(' | ')' | '{' | '}' | '*' | '+' | '?' | '\\') {
                return Err(SyncPatternError::Unsupported(c));
            } else {
                literal.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }

    /// What the names stand for in a path, if the pattern matches it.
    fn captures(&self, path: &str) -> Option<Vec<(String, String)>> {
        let mut captured = Vec::new();
        matches(&self.pieces, path, &mut captured).then_some(captured)
    }
}

/// A slash or a dot right before a parameter belongs to it.
fn take_prefix(literal: &mut String, pieces: &mut Vec<Piece>) -> &'static str {
    let prefix = if literal.ends_with('/') {
        "/"
    } else if literal.ends_with('.') {
        "."
    } else {
        ""
    };
    literal.truncate(literal.len() - prefix.len());
    if !literal.is_empty() {
        pieces.push(Piece::Text(std::mem::take(literal)));
    }
    prefix
}

/// Matches the pieces against the whole of `path`, but for one `/` at its end.
fn matches(pieces: &[Piece], path: &str, captured: &mut Vec<(String, String)>) -> bool {
    let Some((piece, rest)) = pieces.split_first() else {
        return matches!(path, "" | "/");
    };
    match piece {
        Piece::Text(text) => match path.split_at_checked(text.len()) {
            Some((head, tail)) if head.eq_ignore_ascii_case(text) => matches(rest, tail, captured),
            _ => false,
        },
        Piece::Name { name, optional } => {
            if let Some(after) = path.strip_prefix('/') {
                let end = after.find(['/', '#', '?']).unwrap_or(after.len());
                let (value, tail) = after.split_at(end);
                let known = captured.len();
                captured.push((name.clone(), value.to_owned()));
                if !value.is_empty() && matches(rest, tail, captured) {
                    return true;
                }
                captured.truncate(known);
            }
            *optional && matches(rest, path, captured)
        }
        Piece::Anything { prefix } => {
            let Some(after) = path.strip_prefix(prefix) else {
                return false;
            };
            // The longest that lets the rest match.
            let ends = after.char_indices().map(|(at, _)| at);
            let ends: Vec<usize> = ends.chain([after.len()]).collect();
            ends.into_iter()
                .rev()
                .any(|at| matches(rest, after.split_at(at).1, captured))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
        SyncPattern::parse(pattern).unwrap().captures(path)
    }

    /// The vectors of section 7.8, as far as these patterns go.
    #[test]
    fn patterns_match_as_in_the_sdk() {
        for (pattern, path, expected) in [
            ("/sign-in(.*)", "/sign-in", true),
            ("/sign-in(.*)", "/sign-infoo", true),
            ("/sign-in(.*)", "/SIGN-IN/x", true),
            ("/sign-in(.*)", "/x/sign-in", false),
            ("/dashboard", "/dashboard/", true),
            ("/dashboard", "/dashboard/x", false),
            ("/orgs/:slug", "/orgs/a.b/", true),
            ("/orgs/:slug", "/orgs/a%20b", true),
            ("/orgs/:slug", "/orgs/", false),
            ("/orgs/:slug", "/orgs/a/b", false),
            ("/orgs/:slug?", "/orgs", true),
            ("/orgs/:slug/(.*)", "/orgs/a/", true),
            ("/orgs/:slug/(.*)", "/orgs/a", false),
            ("/a.b", "/axb", false),
            ("/(.*)", "/", true),
        ] {
            assert_eq!(
                captured(pattern, path).is_some(),
                expected,
                "{pattern} {path}"
            );
        }
        assert_eq!(
            captured("/z/:id/:slug", "/z/a/b/"),
            Some(vec![("id".into(), "a".into()), ("slug".into(), "b".into())])
        );
    }

    #[test]
    fn what_is_not_read_is_refused() {
        for pattern in [
            "/a(\\d+)",
            "/*",
            "/:",
            "/{x}",
            "/a?",
            "/(.*)/(.*)",
            "/:a-:b",
            "/x:a",
        ] {
            assert!(SyncPattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
