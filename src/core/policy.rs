//! The route policy: which route a request belongs to, and what else must hold because a lenient
//! server might take the path for another one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::budget::Budget;
use super::path::CanonicalPath;
use super::pattern::{PathPattern, PatternError, PatternRef, PatternSet, Scratch, Spelling};
use super::readings::{self, Extent, Reading, ReadingKind, SuffixReading};
use super::requirement::Requirement;
use super::template::Template;

/// The name of the implied last line, for messages and logs.
pub const IMPLIED_ROUTE: &str = "(everything else)";

/// One `[[route]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// The name in logs, metrics and messages.
    pub name: Arc<str>,
    /// Paths; never empty.
    pub paths: Vec<PathPattern>,
    /// Hosts it is for; empty for all.
    pub hosts: Vec<HostPattern>,
    /// Methods it is for; empty for all. GET includes HEAD.
    pub methods: Vec<Method>,
    /// What it asks.
    pub requirement: Requirement,
    /// Whether credentials are looked at.
    pub credentials: CredentialUse,
    /// What somebody who is signed out gets.
    pub on_signed_out: OnSignedOut,
    /// Where somebody who may not is sent, instead of a 403.
    pub on_forbidden: Option<String>,
    /// Whether refusals look like a page that is not there.
    pub disclosure: Disclosure,
    /// Whether `%2F` may stand in the path.
    pub encoded_slash: EncodedSlash,
    /// What becomes of a CORS preflight.
    pub preflight: Preflight,
    /// The largest request body in bytes; `None` for no limit.
    pub max_body: Option<u64>,
    /// How long the upstream may take to begin its answer.
    pub response_timeout: Option<Duration>,
    /// Which of the configured upstreams it goes to; 0 is `[upstream]`.
    pub upstream: usize,
    /// Whom signed assertions are for; `None` for the upstream as such.
    pub assertion_audience: Option<String>,
    /// The template whose token the upstream gets in the place of the session's.
    pub template: Option<Arc<Template>>,
    /// Whether clerk-js is put into its pages.
    pub pages: Pages,
    /// What its requests are charged to, in the order of the configuration.
    pub budgets: Vec<Arc<Budget>>,
    /// How much each of them is charged.
    pub cost: u32,
}

/// Whether a route looks at credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialUse {
    /// Cookies and tokens are read.
    Look,
    /// Nothing is read (`authenticate = false`).
    Ignore,
}

/// What somebody who is signed out gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnSignedOut {
    /// A navigation goes to the sign-in page, anything else gets a 401.
    Redirect,
    /// Everybody gets a 401.
    Unauthorized,
    /// A navigation goes to this address.
    Address(String),
}

/// Whether a refusal says that there is something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disclosure {
    /// 401 and 403.
    Open,
    /// 404, as Clerk's `protect` (`hide = true`).
    Hidden,
}

/// Whether `%2F` may stand in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedSlash {
    /// 400.
    Refuse,
    /// Kept; the decoded reading must pass as well.
    Keep,
}

/// What becomes of the pages that the upstream answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// They go on as they are.
    AsTheyAre,
    /// clerk-js is put into them.
    WithClerkJs,
}

/// What becomes of a CORS preflight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// Judged like any request.
    Judge,
    /// Forwarded without identity and without body.
    Forward,
}

/// A host, or `*.` and the domain whose subdomains are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This very host name.
    Exact(String),
    /// Any name below this domain, the domain itself not included.
    Below(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl HostPattern {
    /// Whether `name`, in lower case and without a port, is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(host) => host == name,
            Self::Below(domain) => name
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }

    /// Whether some name is meant by both.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Exact(name), Self::Below(_)) => other.matches(name),
            (Self::Below(one), Self::Below(two)) => {
                one == two || self.matches(two) || other.matches(one)
            }
        }
    }

    /// How much of a matching name is written down: what is exact counts most, then the longest.
    pub fn exactness(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(domain) => domain.len(),
        }
    }
}

impl Route {
    /// A route with every setting at its default.
    pub fn new(name: &str, paths: Vec<PathPattern>, requirement: Requirement) -> Self {
        Self {
            name: name.into(),
            paths,
            hosts: Vec::new(),
            methods: Vec::new(),
            requirement,
            credentials: CredentialUse::Look,
            on_signed_out: OnSignedOut::Redirect,
            on_forbidden: None,
            disclosure: Disclosure::Open,
            encoded_slash: EncodedSlash::Refuse,
            preflight: Preflight::Judge,
            max_body: None,
            response_timeout: None,
            upstream: 0,
            assertion_audience: None,
            template: None,
            pages: Pages::AsTheyAre,
            budgets: Vec::new(),
            cost: 1,
        }
    }

    fn takes(&self, method: &Method, host: &str) -> bool {
        let method_fits = self.methods.is_empty()
            || self
                .methods
                .iter()
                .any(|known| known == method || (known == Method::GET && method == Method::HEAD));
        method_fits && self.is_for(host)
    }

    fn is_for(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }
}

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
}

/// A route that another reading of the path leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Stricter {
    /// The index of the route; `None` for the implied last line.
    pub route: Option<usize>,
    /// The reading.
    pub reading: Reading,
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
    pub fn find(&self, method: &Method, host: &str, path: &CanonicalPath) -> RouteMatch {
        let accepts = |at: PatternRef| {
            self.routes
                .get(at.owner)
                .is_some_and(|route| route.takes(method, host))
        };
        let mut scratch = Scratch::default();
        let mut owner = |text: &str, spelling: Spelling| {
            self.patterns.first(text, spelling, &mut scratch, accepts)
        };
        let canonical = owner(path.as_str(), Spelling::Exact);
        let route = canonical.map(|at| at.owner);
        let mut stricter: Vec<Stricter> = Vec::new();
        let mut add = |found: Option<usize>, reading: &Reading| {
            // What asks nothing adds nothing.
            let asks = !self.route(found).requirement.is_open();
            if asks && found != route && stricter.iter().all(|known| known.route != found) {
                stricter.push(Stricter {
                    route: found,
                    reading: reading.clone(),
                });
            }
        };
        let readings = readings::structural(path);
        for reading in readings.found.iter().filter(|r| r.kind.is_structural()) {
            let found = owner(&reading.path, Spelling::Exact);
            add(found.map(|at| at.owner), reading);
        }
        if self.reading == PathReading::Leniently {
            let texts = readings.found.iter().map(|reading| reading.path.as_str());
            for text in std::iter::once(path.as_str()).chain(texts) {
                // Ordinary paths fold to themselves: what was matched is not matched again.
                let written = if text == path.as_str() {
                    canonical
                } else {
                    owner(text, Spelling::Exact)
                };
                let named = self.pattern(written);
                let suffix = if named.is_some_and(PathPattern::names_extension) {
                    SuffixReading::Skip
                } else {
                    SuffixReading::Look
                };
                for reading in readings::spellings(text, suffix) {
                    // A pattern in capitals may hide one that means the very spelling.
                    for spelling in [Spelling::Folded, Spelling::Exact] {
                        let found = if spelling == Spelling::Exact && reading.path == text {
                            written
                        } else {
                            owner(&reading.path, spelling)
                        };
                        // A written catch-all counts as the implied line, which spellings leave
                        // alone.
                        if let Some(at) = found
                            && !self.pattern(found).is_some_and(PathPattern::is_catch_all)
                        {
                            add(Some(at.owner), &reading);
                        }
                    }
                }
            }
        }
        if readings.extent == Extent::TooMany {
            // SECURITY: a path that cannot be followed to the end needs what every route needs.
            let everything = Reading {
                kind: ReadingKind::Decoded,
                path: path.as_str().to_owned(),
            };
            for at in (0..self.routes.len()).map(Some).chain([None]) {
                add(at, &everything);
            }
        }
        RouteMatch { route, stricter }
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
