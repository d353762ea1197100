//! The search for the route of a request, and for those that other readings of its path lead to.

use std::borrow::Cow;

use http::Method;

use super::{Forwarded, PathReading, Policy, Stricter};
use crate::core::path::CanonicalPath;
use crate::core::pattern::{PathPattern, PatternRef, Scratch, Spelling};
use crate::core::prefix::{Prefixes, Target};
use crate::core::readings::{self, Extent, Reading, ReadingKind, SuffixReading};

/// What has been found for a request.
pub(super) struct Search<'a> {
    policy: &'a Policy,
    method: &'a Method,
    host: &'a str,
    scratch: Scratch,
    /// What the path itself matches.
    canonical: Option<PatternRef>,
    /// Its route; `None` for the implied last line.
    pub(super) route: Option<usize>,
    /// Routes of other readings that ask something.
    pub(super) stricter: Vec<Stricter>,
}

impl<'a> Search<'a> {
    /// Looks for the route of a path.
    pub(super) fn begin(
        policy: &'a Policy,
        method: &'a Method,
        host: &'a str,
        path: &CanonicalPath,
    ) -> Self {
        let mut search = Self {
            policy,
            method,
            host,
            scratch: Scratch::default(),
            canonical: None,
            route: None,
            stricter: Vec::new(),
        };
        search.canonical = search.owner(path.as_str(), Spelling::Exact);
        search.route = search.canonical.map(|at| at.owner);
        search
    }

    fn owner(&mut self, text: &str, spelling: Spelling) -> Option<PatternRef> {
        let (method, host, routes) = (self.method, self.host, &self.policy.routes);
        let accepts = |at: PatternRef| {
            routes
                .get(at.owner)
                .is_some_and(|route| route.takes(method, host))
        };
        let patterns = &self.policy.patterns;
        patterns.first(text, spelling, &mut self.scratch, accepts)
    }

    fn add(&mut self, found: Option<usize>, kind: ReadingKind, path: &str) {
        // What asks nothing adds nothing.
        let asks = !self.policy.route(found).requirement.is_open();
        let is_known = self.stricter.iter().any(|known| known.route == found);
        if asks && found != self.route && !is_known {
            let path = path.to_owned();
            self.stricter.push(Stricter {
                route: found,
                reading: Reading { kind, path },
            });
        }
    }

    /// Reads a path in every way, and looks for the route of each as it is asked for from outside: with
    /// `outside` before it.
    pub(super) fn read(&mut self, path: &CanonicalPath, outside: &str) {
        let readings = readings::structural(path);
        let found = || readings.found.iter();
        for reading in found().filter(|reading| reading.kind.is_structural()) {
            let path = below(outside, &reading.path);
            let found = self.owner(&path, Spelling::Exact);
            self.add(found.map(|at| at.owner), reading.kind, &path);
        }
        if self.policy.reading == PathReading::Leniently {
            let folded = match outside {
                "" => String::new(),
                outside => readings::fold(outside),
            };
            let texts = found().map(|reading| reading.path.as_str());
            for text in std::iter::once(path.as_str()).chain(texts) {
                // Ordinary paths fold to themselves: what was matched is not matched again.
                let written = if outside.is_empty() && text == path.as_str() {
                    self.canonical
                } else {
                    self.owner(&below(outside, text), Spelling::Exact)
                };
                self.spell(text, written, outside, &folded);
            }
        }
        if readings.extent == Extent::TooMany {
            // SECURITY: a path that cannot be followed to the end needs what every route needs.
            let path = below(outside, path.as_str());
            for at in (0..self.policy.routes.len()).map(Some).chain([None]) {
                self.add(at, ReadingKind::Decoded, &path);
            }
        }
    }

    /// Looks for the routes of the spellings of a text, which matches `written` as it stands; `folded` is
    /// `outside` in its folded form.
    fn spell(&mut self, text: &str, written: Option<PatternRef>, outside: &str, folded: &str) {
        let named = self.policy.pattern(written);
        let suffix = if named.is_some_and(PathPattern::names_extension) {
            SuffixReading::Skip
        } else {
            SuffixReading::Look
        };
        for reading in readings::spellings(text, suffix) {
            // A pattern in capitals may hide one that means the very spelling.
            for (spelling, outside) in [(Spelling::Folded, folded), (Spelling::Exact, outside)] {
                let path = below(outside, &reading.path);
                let found = if spelling == Spelling::Exact && reading.path == text {
                    written
                } else {
                    self.owner(&path, spelling)
                };
                // A written catch-all counts as the implied line, which spellings leave alone.
                let pattern = self.policy.pattern(found);
                if let Some(at) = found
                    && !pattern.is_some_and(PathPattern::is_catch_all)
                {
                    self.add(Some(at.owner), reading.kind, &path);
                }
            }
        }
    }

    /// The path that the application gets, which is read in every way as well.
    pub(super) fn read_inside(&mut self, path: &CanonicalPath, prefixes: &Prefixes) -> Forwarded {
        let Some(rest) = prefixes.rest(path) else {
            return Forwarded::Nowhere;
        };
        let outside = prefixes.outside();
        if !outside.is_empty() {
            // The application cannot tell `/app` from `/app/`.
            let same = below(outside, rest.as_str());
            if same != path.as_str() {
                let found = self.owner(&same, Spelling::Exact);
                self.add(found.map(|at| at.owner), ReadingKind::Prefix, &same);
            }
            self.read(&rest, outside);
        }
        match prefixes.inside(&rest) {
            Some(inside) if is_kept_below(&inside, prefixes) => Forwarded::Changed(Target {
                path: inside,
                stripped: prefixes.stripped().cloned(),
            }),
            _ => Forwarded::Nowhere,
        }
    }
}

/// Whether every server reads a path as one that is below what was put in front.
// SECURITY: `/base/x/..;/..;/admin` is `/admin` to some. Whoever puts `/base` in front of what strangers
// say means to open nothing else.
fn is_kept_below(inside: &CanonicalPath, prefixes: &Prefixes) -> bool {
    let Some(added) = prefixes.added() else {
        return true;
    };
    let readings = readings::structural(inside);
    let mut read = readings.found.iter();
    readings.extent == Extent::All && read.all(|reading| added.is_of(&reading.path))
}

/// A path with `outside` in front.
fn below<'p>(outside: &str, path: &'p str) -> Cow<'p, str> {
    match outside {
        "" => Cow::Borrowed(path),
        outside => Cow::Owned([outside, path].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Route;
    use super::*;
    use crate::core::prefix::Prefix;
    use crate::core::requirement::Requirement;

    fn forwarded(path: &str) -> Forwarded {
        let pattern = PathPattern::parse("/public/**").unwrap();
        let mut route = Route::new("public", vec![pattern], Requirement::Public);
        route.prefixes = Prefixes::new(None, Some(Prefix::parse("/base").unwrap()));
        let policy = Policy::compile(vec![route], PathReading::Leniently).unwrap();
        let path = CanonicalPath::parse(path).unwrap();
        policy.find(&Method::GET, "localhost", &path).forwarded
    }

    #[test]
    fn nothing_leads_out_of_what_was_put_in_front() {
        for path in [
            "/public/..;/..;/admin",
            "/public/x/..;/..;/..;/admin",
            "/public/..;x/..;x/basement",
            "/public/%252e%252e/%252e%252e/admin",
            "/public/..%252f..%252fadmin",
            "/public/..%2F..%2Fadmin",
            "/public/..%20/..%20/admin",
            "/public/%EF%BC%8E%EF%BC%8E/%EF%BC%8E%EF%BC%8E/admin",
        ] {
            assert_eq!(forwarded(path), Forwarded::Nowhere, "{path}");
        }
        for path in [
            "/public/x;y=1",
            "/public/a%20b",
            "/public/..;/x",
            "/public/%252e%252e/x",
        ] {
            let inside = format!("/base{path}");
            match forwarded(path) {
                Forwarded::Changed(target) => assert_eq!(target.path.as_str(), inside),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_path_that_is_too_long_for_the_application_goes_nowhere() {
        let path = |length: usize| format!("/public/{}", "x".repeat(length - "/public/".len()));
        let longest = 8 * 1024 - "/base".len();
        assert!(matches!(forwarded(&path(longest)), Forwarded::Changed(_)));
        assert_eq!(forwarded(&path(longest + 1)), Forwarded::Nowhere);
    }
}
