//! What an OAuth client has to know before it can ask for a token: the description of a protected
//! resource (RFC 9728), and where it stands.
//!
//! A client that is refused is told the address of the description, reads there which authorisation
//! server to go to, and comes back with a token: that is how MCP clients find their way.

use http::Method;

use super::facts::RequestFacts;
use super::instance::Instance;
use super::machine::TokenType;
use super::path::CanonicalPath;
use super::policy::{Disclosure, Policy, Route, RouteMatch};

/// Where descriptions stand; the path of the resource follows (RFC 9728, section 3.1).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The description of a resource that takes OAuth tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedResource {
    /// The resource itself: an address below the public origin.
    pub resource: String,
    /// Who hands out tokens for it: Clerk's Frontend API.
    pub authorization_server: String,
    /// Scopes that are asked for somewhere in it.
    pub scopes: Vec<String>,
}

/// The description that a request asks for. `None` if it asks for something else, or if nothing
/// that takes OAuth tokens is there: then the address is the application's.
pub fn described(
    facts: &RequestFacts<'_>,
    policy: &Policy,
    instance: &Instance,
) -> Option<ProtectedResource> {
    let rest = facts.path.as_str().strip_prefix(WELL_KNOWN)?;
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(facts.method);
    if !reads || !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let path = CanonicalPath::parse(rest).ok().filter(|_| rest != "/");
    let routes: Vec<&Route> = match &path {
        Some(path) => found(facts, policy, path).into_iter().collect(),
        // All of the application is one resource too.
        None => policy
            .routes_of(facts.host.name())
            .filter(|route| takes_oauth(route))
            .collect(),
    };
    if routes.is_empty() {
        return None;
    }
    let mut scopes: Vec<String> = Vec::new();
    for scope in routes.iter().flat_map(|route| route.requirement.scopes()) {
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    let path = path.as_ref().map(CanonicalPath::as_str).unwrap_or_default();
    Some(ProtectedResource {
        resource: format!("{}{path}", facts.origin),
        authorization_server: instance.authorization_server.clone(),
        scopes,
    })
}

/// The address of the description of what was asked for, if its route takes OAuth tokens.
pub fn description(
    facts: &RequestFacts<'_>,
    policy: &Policy,
    matched: &RouteMatch,
) -> Option<String> {
    let route = policy.route(matched.route);
    if !takes_oauth(route) {
        return None;
    }
    // The root of the route is the resource, if it leads back to the route; else the very path is.
    let root = root(route, &facts.path)
        .and_then(|root| CanonicalPath::parse(root).ok())
        .filter(|root| found(facts, policy, root).is_some_and(|found| std::ptr::eq(found, route)));
    let path = root.as_ref().unwrap_or(&facts.path).as_str();
    let path = if path == "/" { "" } else { path };
    Some(format!("{}{WELL_KNOWN}{path}", facts.origin))
}

/// Whether a route takes OAuth tokens, and may be told of.
fn takes_oauth(route: &Route) -> bool {
    route.disclosure == Disclosure::Open
        && route.requirement.token_types().contains(TokenType::OAuth)
}

/// The route that takes OAuth tokens at a path, whatever the method.
fn found<'p>(
    facts: &RequestFacts<'_>,
    policy: &'p Policy,
    path: &CanonicalPath,
) -> Option<&'p Route> {
    [Method::GET, Method::POST, Method::PUT, Method::DELETE]
        .iter()
        .map(|method| policy.first(method, facts.host.name(), path))
        .find(|route| takes_oauth(route))
}

/// The longest path that a pattern of the route spells out and that leads to `path`.
fn root<'p>(route: &'p Route, path: &CanonicalPath) -> Option<&'p str> {
    let spelt_out = route.paths.iter().map(|pattern| {
        let literal = pattern.literal_prefix();
        // What a wildcard breaks off is no whole segment.
        let whole = literal == pattern.canonical();
        let end = literal
            .rfind('/')
            .filter(|_| !whole)
            .unwrap_or(literal.len());
        literal.get(..end).unwrap_or_default()
    });
    spelt_out
        .filter(|root| {
            path.as_str()
                .strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .max_by_key(|root| root.len())
        .map(|root| if root.is_empty() { "/" } else { root })
}
