//! The route policy: which route a request belongs to, and what else must hold because a lenient
//! server might take the path for another one.

mod host_pattern;
mod route;
mod search;

use std::sync::Arc;

use http::Method;

use super::budget::Budget;
use super::path::CanonicalPath;
use super::pattern::{PathPattern, PatternError, PatternRef, PatternSet, Scratch, Spelling};
use super::prefix::Target;
use super::readings::Reading;
use super::reason::Reason;
use super::requirement::Requirement;
use super::template::Template;
pub use host_pattern::HostPattern;
pub use route::{CredentialUse, Disclosure, EncodedSlash, OnSignedOut, Pages, Preflight, Route};
use search::Search;

/// The name of the implied last line, for messages and logs.
pub const IMPLIED_ROUTE: &str = "(everything else)";

/// How the upstream is assumed to read paths (`[upstream] reads-paths`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathReading {
    /// In every lenient way we know.
    Leniently,
    /// Case and suffixes count: no spelling readings. Structural ones stay.
    Exactly,
}

/// All routes, compiled.
#[derive(Clone, Debug)]
pub struct Policy {
    routes: Vec<Route>,
    implied: Route,
    patterns: PatternSet,
    reading: PathReading,
    templates: Vec<Arc<Template>>,
    me_claims: Vec<Vec<String>>,
}

/// The route of a request, and what its other readings add.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// The index of the route; `None` for the implied last line.
    pub route: Option<usize>,
    /// Routes that other readings lead to and that ask something, in the order they were found.
    pub stricter: Vec<Stricter>,
    /// Which path the application gets.
    pub moved: Moved,
}

/// Which path the application gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The one that was asked for.
    Not,
    /// Another one.
    To(Arc<Target>),
    /// None, for this reason: some server could read the other one as a path that is not below what was put
    /// in front, or it would be too long.
    Nowhere(Reason),
}

/// A route that another reading of the path leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Stricter {
    /// The index of the route; `None` for the implied last line.
    pub route: Option<usize>,
    /// The reading.
    pub reading: Reading,
}

impl RouteMatch {
    /// The path that the application gets, if it is another one.
    pub fn target(&self) -> Option<&Arc<Target>> {
        match &self.moved {
            Moved::To(target) => Some(target),
            Moved::Not | Moved::Nowhere(_) => None,
        }
    }
}

impl Policy {
    /// Compiles `routes` in the order they are written.
    pub fn compile(routes: Vec<Route>, reading: PathReading) -> Result<Self, PatternError> {
        let patterns = PatternSet::compile(routes.iter().map(|route| route.paths.as_slice()))?;
        let everything = PathPattern::parse("/**")?;
        Ok(Self {
            patterns,
            implied: Route::new(IMPLIED_ROUTE, vec![everything], Requirement::SignedIn),
            routes,
            reading,
            templates: Vec::new(),
            me_claims: Vec::new(),
        })
    }

    /// The same policy with these templates.
    #[must_use]
    pub fn with_templates(self, templates: Vec<Arc<Template>>) -> Self {
        Self { templates, ..self }
    }

    /// The same policy, where a page may be told these claims, each by the names that lead to it.
    #[must_use]
    pub fn telling(self, me_claims: Vec<Vec<String>>) -> Self {
        Self { me_claims, ..self }
    }

    /// The templates whose tokens a page can ask for.
    pub fn templates(&self) -> &[Arc<Template>] {
        &self.templates
    }

    /// The claims that a page may be told.
    pub fn me_claims(&self) -> &[Vec<String>] {
        &self.me_claims
    }

    /// The same policy, in which every route, the implied last line included, is charged to these
    /// budgets before its own.
    #[must_use]
    pub fn limited_by(mut self, budgets: &[Arc<Budget>]) -> Self {
        for route in self.routes.iter_mut().chain([&mut self.implied]) {
            route.budgets.splice(0..0, budgets.iter().cloned());
        }
        self
    }

    /// How long a session may ride through an outage of Clerk's on a request, in milliseconds.
    // SECURITY: only where every route that the path could be taken for lets it.
    pub fn ride_ms(&self, found: &RouteMatch) -> Option<u64> {
        let others = found.stricter.iter().map(|other| other.route);
        let routes = std::iter::once(found.route).chain(others);
        let each: Option<Vec<u64>> = routes.map(|index| self.route(index).ride_ms()).collect();
        each?.into_iter().min()
    }

    /// Whether there is a route on which sessions ride through an outage of Clerk's.
    pub fn rides(&self) -> bool {
        self.routes.iter().any(|route| route.ride_through.is_some())
    }

    /// The routes as written.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route at `index`; the implied last line for `None`.
    pub fn route(&self, index: Option<usize>) -> &Route {
        index
            .and_then(|at| self.routes.get(at))
            .unwrap_or(&self.implied)
    }

    /// The routes that are for this host, whatever the path.
    pub fn routes_of(&self, host: &str) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| route.is_for(host))
    }

    /// The first route that matches the canonical path, its other readings left aside: to tell what
    /// is there, never to decide.
    pub fn first(&self, method: &Method, host: &str, path: &CanonicalPath) -> &Route {
        let accepts = |at: PatternRef| {
            self.routes
                .get(at.owner)
                .is_some_and(|route| route.takes(method, host))
        };
        let scratch = &mut Scratch::default();
        let found = (self.patterns).first(path.as_str(), Spelling::Exact, scratch, accepts);
        self.route(found.map(|at| at.owner))
    }

    /// The route of a request: the first that matches the canonical path, together with every
    /// route that some lenient reading of the path leads to (design, section 3).
    ///
    /// Where the application gets another path, it reads that one: what it could take for a path of its
    /// own counts as that path is asked for from outside.
    pub fn find(&self, method: &Method, host: &str, path: &CanonicalPath) -> RouteMatch {
        let mut search = Search::begin(self, method, host, path);
        search.read(path);
        let moved = match &self.route(search.route).prefixes {
            Some(prefixes) => search.read_inside(path, prefixes),
            None => Moved::Not,
        };
        RouteMatch {
            route: search.route,
            stricter: search.stricter,
            moved,
        }
    }

    fn pattern(&self, at: Option<PatternRef>) -> Option<&PathPattern> {
        let at = at?;
        self.routes.get(at.owner)?.paths.get(at.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let route = |name: &str, paths: &[&str], requirement| {
            Route::new(
                name,
                paths
                    .iter()
                    .map(|p| PathPattern::parse(p).unwrap())
                    .collect(),
                requirement,
            )
        };
        let mut api = route("api-read", &["/api/**"], Requirement::SignedIn);
        api.methods = vec![Method::GET];
        Policy::compile(
            vec![
                route(
                    "static",
                    &["/favicon.ico", "/assets/**", "/docs/*.css"],
                    Requirement::Public,
                ),
                route(
                    "home",
                    &["/", "/public/**", "/files/**"],
                    Requirement::Public,
                ),
                route("admin", &["/admin/**"], Requirement::SignedIn),
                api,
                route("api", &["/api/**"], Requirement::NotImpersonated),
            ],
            PathReading::Leniently,
        )
        .unwrap()
    }

    fn found(method: &Method, path: &str) -> (String, Vec<String>) {
        let policy = policy();
        let found = policy.find(method, "localhost", &CanonicalPath::parse(path).unwrap());
        let name = |index| policy.route(index).name.to_string();
        (
            name(found.route),
            found.stricter.iter().map(|s| name(s.route)).collect(),
        )
    }

    #[test]
    fn the_first_match_wins() {
        assert_eq!(found(&Method::GET, "/admin/x"), ("admin".into(), vec![]));
        assert_eq!(
            found(&Method::GET, "/unknown"),
            (IMPLIED_ROUTE.into(), vec![])
        );
        assert_eq!(found(&Method::HEAD, "/api/x").0, "api-read");
        assert_eq!(found(&Method::POST, "/api/x").0, "api");
    }

    #[test]
    fn every_reading_adds_its_route() {
        for path in [
            "/ADMIN",
            "/Admin/x",
            "/public/..;/admin",
            "/admin;x",
            "/admin.json",
            "/admin.",
            "/admin%20/x",
            "/index.php/admin",
            "/public/%252e%252e/admin",
            "/files/..;/ADMIN/x",
            "/%EF%BD%81dmin",
            "/public/..;/admin/x.json",
        ] {
            let (route, stricter) = found(&Method::GET, path);
            assert!(
                route == "admin" || stricter.contains(&"admin".to_owned()),
                "{path}: {route} {stricter:?}"
            );
        }
        assert_eq!(
            found(&Method::GET, "/public/..;/elsewhere").1,
            [IMPLIED_ROUTE]
        );
    }

    #[test]
    fn ordinary_paths_lose_nothing() {
        for path in [
            "/favicon.ico",
            "/files/Report.PDF",
            "/assets/App.min.JS",
            "/public/a%20b.txt",
            "/docs/admin.css",
            "/files/caf%C3%A9.html",
        ] {
            assert_eq!(found(&Method::GET, path).1, Vec::<String>::new(), "{path}");
        }
    }
}
