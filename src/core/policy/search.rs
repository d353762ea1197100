//! The search for the route of a request, and for those that other readings of its path lead to.

use std::sync::Arc;

use http::Method;

use super::{Moved, PathReading, Policy, Stricter};
use crate::core::path::CanonicalPath;
use crate::core::pattern::{PathPattern, PatternRef, Scratch, Spelling};
use crate::core::prefix::{Prefixes, Target};
use crate::core::readings::{self, Extent, Reading, ReadingKind, SuffixReading};
use crate::core::reason::Reason;

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

    /// Notes that a reading leads to a route.
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

    /// The same of a spelling, which leaves the implied line alone, and a written catch-all like it.
    fn add_spelling(&mut self, found: Option<PatternRef>, kind: ReadingKind, path: &str) {
        let pattern = self.policy.pattern(found);
        if let Some(at) = found
            && !pattern.is_some_and(PathPattern::is_catch_all)
        {
            self.add(Some(at.owner), kind, path);
        }
    }

    /// Notes that a path needs what every route needs.
    // SECURITY: so does one that cannot be followed to the end.
    fn add_everything(&mut self, path: &str) {
        for at in (0..self.policy.routes.len()).map(Some).chain([None]) {
            self.add(at, ReadingKind::Decoded, path);
        }
    }

    /// Looks for the routes of every other reading of the path that was asked for.
    pub(super) fn read(&mut self, path: &CanonicalPath) {
        let readings = readings::structural(path);
        if readings.extent == Extent::TooMany {
            self.add_everything(path.as_str());
            return;
        }
        let found = || readings.found.iter();
        for reading in found().filter(|reading| reading.kind.is_structural()) {
            let found = self.owner(&reading.path, Spelling::Exact);
            self.add(found.map(|at| at.owner), reading.kind, &reading.path);
        }
        if self.policy.reading == PathReading::Exactly {
            return;
        }
        let texts = found().map(|reading| reading.path.as_str());
        for text in std::iter::once(path.as_str()).chain(texts) {
            // Ordinary paths fold to themselves: what was matched is not matched again.
            let written = if text == path.as_str() {
                self.canonical
            } else {
                self.owner(text, Spelling::Exact)
            };
            for reading in readings::spellings(text, self.suffixes(written)) {
                // A pattern in capitals may hide one that means the very spelling.
                for spelling in [Spelling::Folded, Spelling::Exact] {
                    let found = if spelling == Spelling::Exact && reading.path == text {
                        written
                    } else {
                        self.owner(&reading.path, spelling)
                    };
                    self.add_spelling(found, reading.kind, &reading.path);
                }
            }
        }
    }

    /// Whether suffixes are read of what matches this pattern.
    fn suffixes(&self, written: Option<PatternRef>) -> SuffixReading {
        let named = self.policy.pattern(written);
        if named.is_some_and(PathPattern::names_extension) {
            SuffixReading::Skip
        } else {
            SuffixReading::Look
        }
    }

    /// Looks for the routes of every reading of the path that the application gets, each as it would be
    /// asked for from outside.
    pub(super) fn read_inside(&mut self, path: &CanonicalPath, prefixes: &Prefixes) -> Moved {
        let inside = match prefixes.inside(path) {
            Ok(inside) => inside,
            Err(reason) => return Moved::Nowhere(reason),
        };
        let readings = readings::structural(&inside);
        let is_below = |text: &str| prefixes.added().is_none_or(|added| added.is_of(text));
        // SECURITY: `/base/x/..;/..;/admin` is `/admin` to some. Whoever puts `/base` in front of what
        // strangers say means to open nothing else.
        let all_below = readings.found.iter().all(|other| is_below(&other.path));
        if readings.extent == Extent::TooMany || !all_below {
            return Moved::Nowhere(Reason::PathAmbiguous);
        }
        let itself = (ReadingKind::Prefix, inside.as_str());
        let others = readings.found.iter();
        let others = others.map(|reading| (reading.kind, reading.path.as_str()));
        for (kind, text) in std::iter::once(itself).chain(others) {
            if kind.is_structural() {
                for asked in prefixes.counts_as(text, Spelling::Exact, Spelling::Exact) {
                    let found = self.owner(&asked, Spelling::Exact);
                    self.add(found.map(|at| at.owner), kind, &asked);
                }
            }
            if self.policy.reading == PathReading::Leniently {
                self.spell_inside(text, prefixes);
            }
        }
        Moved::To(Arc::new(Target {
            path: inside,
            stripped: prefixes.stripped().cloned(),
        }))
    }

    /// Looks for the routes of the spellings of what an application takes its path for.
    fn spell_inside(&mut self, text: &str, prefixes: &Prefixes) {
        let asked = prefixes.counts_as(text, Spelling::Exact, Spelling::Exact);
        let written = asked
            .first()
            .and_then(|asked| self.owner(asked, Spelling::Exact));
        for reading in readings::spellings(text, self.suffixes(written)) {
            for spelling in [Spelling::Folded, Spelling::Exact] {
                for asked in prefixes.counts_as(&reading.path, Spelling::Folded, spelling) {
                    let found = self.owner(&asked, spelling);
                    self.add_spelling(found, reading.kind, &asked);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Route, RouteMatch};
    use super::*;
    use crate::core::prefix::Prefix;
    use crate::core::requirement::Requirement;

    fn route(name: &str, path: &str, requirement: Requirement, strip: &str, add: &str) -> Route {
        let prefix = |text: &str| Prefix::parse(text).ok();
        Route {
            prefixes: Prefixes::new(prefix(strip), prefix(add)),
            ..Route::new(name, vec![PathPattern::parse(path).unwrap()], requirement)
        }
    }

    fn found(routes: Vec<Route>, reading: PathReading, path: &str) -> RouteMatch {
        let policy = Policy::compile(routes, reading).unwrap();
        let path = CanonicalPath::parse(path).unwrap();
        policy.find(&Method::GET, "localhost", &path)
    }

    fn moved(path: &str) -> Moved {
        let public = route("public", "/public/**", Requirement::Public, "", "/base");
        found(vec![public], PathReading::Leniently, path).moved
    }

    #[test]
    fn with_and_without_a_slash_it_is_one_page_of_the_application() {
        for (guarded, open) in [("/app", "/app/"), ("/app/", "/app")] {
            for reading in [PathReading::Leniently, PathReading::Exactly] {
                let routes = vec![
                    route("guarded", guarded, Requirement::SignedIn, "/app", ""),
                    route("open", open, Requirement::Public, "/app", ""),
                ];
                let found = found(routes, reading, open);
                let stricter: Vec<_> = found.stricter.iter().map(|other| other.route).collect();
                assert_eq!((found.route, stricter), (Some(1), vec![Some(0)]), "{open}");
            }
        }
        let routes = vec![
            route("guarded", "/app", Requirement::SignedIn, "/app", ""),
            route("open", "/app/**", Requirement::Public, "/app", ""),
        ];
        let found = found(routes, PathReading::Leniently, "/app/x/..%20/..%20/");
        assert!(found.stricter.iter().any(|other| other.route == Some(0)));
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
            assert_eq!(moved(path), Moved::Nowhere(Reason::PathAmbiguous), "{path}");
        }
        for path in [
            "/public/x;y=1",
            "/public/a%20b",
            "/public/..;/x",
            "/public/%252e%252e/x",
        ] {
            let inside = format!("/base{path}");
            match moved(path) {
                Moved::To(target) => assert_eq!(target.path.as_str(), inside),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_path_that_is_too_long_for_the_application_goes_nowhere() {
        let path = |length: usize| format!("/public/{}", "x".repeat(length - "/public/".len()));
        let longest = 8 * 1024 - "/base".len();
        assert!(matches!(moved(&path(longest)), Moved::To(_)));
        let too_long = Moved::Nowhere(Reason::HeadTooLarge);
        assert_eq!(moved(&path(longest + 1)), too_long);
    }
}
