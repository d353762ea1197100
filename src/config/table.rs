//! The routes as the gate understands them, for people.

use std::fmt::Write as _;

use http::Method;

use super::model::Config;
use crate::core::policy::{
    CredentialUse, Disclosure, HostPattern, IMPLIED_ROUTE, OnSignedOut, Route,
};
use crate::core::requirement::Requirement;

/// The route table, a line for each route, the implied last line included.
pub fn route_table(config: &Config) -> String {
    let mut rows = vec![["route", "methods", "paths", "requires"].map(str::to_owned)];
    if let (Some(path), Some(url)) = (
        &config.clerk.instance.frontend_api_proxy,
        &config.clerk.frontend_api_proxy,
    ) {
        rows.push([
            "(frontend api)".to_owned(),
            "any".to_owned(),
            format!("{path}/**"),
            format!("nothing, to {url}"),
        ]);
    }
    for route in config.policy.routes() {
        rows.push(row(route, config));
    }
    rows.push([
        IMPLIED_ROUTE.to_owned(),
        "any".to_owned(),
        "/**".to_owned(),
        Requirement::SignedIn.to_string(),
    ]);
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for [name, methods, paths, requires] in &rows {
        let [a, b, c, _] = widths;
        let _ = writeln!(text, "  {name:a$}  {methods:b$}  {paths:c$}  {requires}");
    }
    text
}

fn row(route: &Route, config: &Config) -> [String; 4] {
    let methods = if route.methods.is_empty() {
        "any".to_owned()
    } else {
        let names: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
        names.join(",")
    };
    let mut paths: Vec<String> = route.paths.iter().map(|p| p.as_str().to_owned()).collect();
    if !route.hosts.is_empty() {
        let hosts: Vec<String> = route.hosts.iter().map(host).collect();
        paths.push(format!("on {}", hosts.join(", ")));
    }
    let mut requires = route.requirement.to_string();
    if route.credentials == CredentialUse::Ignore {
        requires.push_str(", credentials ignored");
    }
    match &route.on_signed_out {
        OnSignedOut::Redirect => {}
        OnSignedOut::Unauthorized => requires.push_str(", signed out: 401"),
        OnSignedOut::Address(page) => {
            let _ = write!(requires, ", signed out: {page}");
        }
    }
    if let Some(page) = &route.on_forbidden {
        let _ = write!(requires, ", forbidden: {page}");
    }
    if route.disclosure == Disclosure::Hidden {
        requires.push_str(", hidden");
    }
    if let Some(other) = config
        .upstreams
        .get(route.upstream)
        .filter(|_| route.upstream > 0)
    {
        let _ = write!(requires, ", to {}", other.url);
    }
    [route.name.to_string(), methods, paths.join(" "), requires]
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Below(name) => format!("*.{name}"),
    }
}
