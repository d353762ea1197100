//! Ordinary paths lose nothing by the strictest reading: none is refused, and none needs more than
//! its own route asks.
//!
//! `tests/cases/paths/ordinary.txt` holds paths as applications have them: assets with hashes,
//! uploads with names in many scripts, pages, ids, dates, versions. What it does not hold are
//! `;parameters` and encoded slashes, which a policy decides about.

use clerk_gate::core::authorization::Asked;
use clerk_gate::core::path::CanonicalPath;
use clerk_gate::core::policy::{CredentialUse, PathReading, Policy, Route};
use clerk_gate::core::requirement::Requirement;
use http::Method;

use crate::support::route;

const PATHS: &str = include_str!("../cases/paths/ordinary.txt");

fn admins(paths: &[&str]) -> Route {
    let role = Some("org:admin".to_owned());
    let asked = Asked {
        role,
        ..Asked::default()
    };
    route("admin", paths, Requirement::Has(asked))
}

/// The routes of an application, up to its last line.
fn routes() -> Vec<Route> {
    let files = Route {
        credentials: CredentialUse::Ignore,
        ..route(
            "static",
            &[
                "/favicon.ico",
                "/robots.txt",
                "/sitemap*",
                "/.well-known/**",
                "/{assets,static,build,dist,js,css,img,fonts,_nuxt,_app}/**",
                "/_next/**",
                "/packs/**",
                "/docs/*.css",
            ],
            Requirement::Public,
        )
    };
    let uploads = route(
        "uploads",
        &[
            "/{files,uploads,media,documents,download}/**",
            "/storage/v1/object/public/**",
        ],
        Requirement::Public,
    );
    let home = route(
        "home",
        &[
            "/",
            "/sign-in/**",
            "/sign-up/**",
            "/blog/**",
            "/docs/**",
            "/wiki/**",
        ],
        Requirement::Public,
    );
    let reading = Route {
        methods: vec![Method::GET],
        ..route("api-read", &["/api/**"], Requirement::SignedIn)
    };
    let writing = Route {
        methods: vec![Method::POST, Method::PUT, Method::PATCH, Method::DELETE],
        ..admins(&["/api/admins/**", "/api/internal/**"])
    };
    vec![
        files,
        uploads,
        home,
        admins(&["/admin/**", "/*/settings/**"]),
        writing,
        reading,
        route("api", &["/api/**"], Requirement::SignedIn),
        route("app", &["/app/**"], Requirement::SignedIn),
    ]
}

/// How much a requirement asks.
fn rank(requirement: &Requirement) -> u8 {
    match requirement {
        Requirement::Public => 0,
        Requirement::SignedIn => 1,
        _ => 2,
    }
}

/// What a policy makes of a path that it should take as it is.
fn complaint(policy: &Policy, method: &Method, path: &str) -> Option<String> {
    let canonical = match CanonicalPath::parse(path) {
        Ok(canonical) => canonical,
        Err(error) => return Some(format!("{path}: refused, {error:?}")),
    };
    if canonical.has_encoded_slash() {
        return Some(format!("{path}: has an encoded slash"));
    }
    let found = policy.find(method, "app.example.com", &canonical);
    let own = policy.route(found.route);
    let stricter = found
        .stricter
        .iter()
        .find(|other| rank(&policy.route(other.route).requirement) > rank(&own.requirement))?;
    Some(format!(
        "{method} {path}: a matter of `{}`, and of `{}` as `{}` ({} reading)",
        own.name,
        policy.route(stricter.route).name,
        stricter.reading.path,
        stricter.reading.kind.name()
    ))
}

#[test]
fn ordinary_paths_need_what_their_own_route_asks() {
    let paths: Vec<&str> = PATHS.lines().collect();
    assert!(paths.len() >= 5000, "{} paths", paths.len());
    let everything = route("rest", &["/**"], Requirement::Public);
    let mut complaints = Vec::new();
    for last in [None, Some(everything)] {
        let routes = routes().into_iter().chain(last).collect();
        let policy = Policy::compile(routes, PathReading::Leniently).unwrap();
        for path in &paths {
            let methods = [Method::GET, Method::POST];
            complaints.extend(
                methods
                    .iter()
                    .find_map(|method| complaint(&policy, method, path)),
            );
        }
    }
    assert!(
        complaints.is_empty(),
        "{} complaints\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

#[test]
fn what_is_not_ordinary_is_noticed() {
    let policy = Policy::compile(routes(), PathReading::Leniently).unwrap();
    for path in [
        "/files/..;/admin",
        "/wiki/%252e%252e/Admin",
        "/docs/..%255cx",
        "/a%00",
    ] {
        assert!(complaint(&policy, &Method::GET, path).is_some(), "{path}");
    }
}
