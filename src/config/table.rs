//! The routes as the gate understands them, for people.

use std::fmt::Write as _;

use http::Method;

use super::model::Config;
use crate::core::edge::PublicAddress;
use crate::core::instance::Instance;
use crate::core::policy::{CredentialUse, Disclosure, IMPLIED_ROUTE, OnSignedOut, Route};
use crate::core::requirement::Requirement;

/// The sites if there are several, and the route table, a line for each route, the implied last line
/// included; and that of the shadow policy.
pub fn route_table(config: &Config) -> String {
    let enforced = table(config);
    let Some(shadow) = &config.shadow else {
        return enforced;
    };
    let name = &shadow.name;
    let shadow = Config {
        policy: shadow.policy.clone(),
        sites: config.sites.clone(),
        shadow: None,
        ..config.clone()
    };
    let rows = routes(&shadow);
    format!(
        "{enforced}\n`{name}`, judged beside it and not enforced:\n\n{}",
        aligned(&rows)
    )
}

fn table(config: &Config) -> String {
    let rows = routes(config);
    if config.sites.is_empty() {
        return aligned(&rows);
    }
    format!("{}\n{}", aligned(&sites(config)), aligned(&rows))
}

fn routes(config: &Config) -> Vec<[String; 4]> {
    let mut rows = vec![["route", "methods", "paths", "requires"].map(str::to_owned)];
    let clerks = std::iter::once(&config.clerk).chain(&config.sites);
    for (clerk, site) in clerks.zip(0..) {
        let (Some(path), Some(url)) = (
            &clerk.instance.frontend_api_proxy,
            &clerk.frontend_api_proxy,
        ) else {
            continue;
        };
        let on = config.edge.site_name(site);
        rows.push([
            "(frontend api)".to_owned(),
            "any".to_owned(),
            on.map_or(format!("{path}/**"), |site| format!("{path}/** on {site}")),
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
        implied(config),
    ]);
    rows
}

/// What the implied last line asks, which every `[[limit]]` holds for too.
fn implied(config: &Config) -> String {
    let mut requires = Requirement::SignedIn.to_string();
    for budget in &config.policy.route(None).budgets {
        let _ = write!(requires, ", at most {budget}");
    }
    requires
}

/// Lines with a column below the other; the last one may be as wide as it is.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "  {cell:width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn sites(config: &Config) -> Vec<[String; 3]> {
    let mut rows = vec![["site", "public address", "instance"].map(str::to_owned)];
    let edge = &config.edge;
    let addresses = std::iter::once(&edge.public).chain(edge.sites.iter().map(|site| &site.public));
    let clerks = std::iter::once(&config.clerk).chain(&config.sites);
    rows.extend(
        addresses
            .zip(clerks)
            .zip(0..)
            .map(|((address, clerk), number)| {
                [
                    edge.site_name(number).unwrap_or_default(),
                    public(address),
                    instance(&clerk.instance),
                ]
            }),
    );
    rows
}

fn public(address: &PublicAddress) -> String {
    match address {
        PublicAddress::Fixed(origin) => origin.to_string(),
        PublicAddress::Loopback => "as asked for, on this machine".to_owned(),
    }
}

fn instance(instance: &Instance) -> String {
    let of = instance.key.frontend_api();
    match (&instance.satellite, instance.is_development()) {
        (None, false) => of.to_owned(),
        (None, true) => format!("{of}, development"),
        (Some(_), false) => format!("{of}, satellite"),
        (Some(_), true) => format!("{of}, development, satellite"),
    }
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
        let hosts: Vec<String> = route.hosts.iter().map(ToString::to_string).collect();
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
    if let Some(template) = &route.template {
        let _ = write!(requires, ", token of {}", template.name);
    }
    if let Some(most) = route.ride_through {
        let most = humantime::format_duration(most);
        let _ = write!(requires, ", riding through for {most}");
    }
    for budget in &route.budgets {
        let _ = write!(requires, ", at most {budget}");
    }
    if let Some(other) = config
        .upstreams
        .get(route.upstream)
        .filter(|_| route.upstream > 0)
    {
        let _ = write!(requires, ", to {}", other.name);
    }
    if let Some(prefixes) = &route.prefixes {
        if let Some(prefix) = prefixes.stripped() {
            let _ = write!(requires, ", without {}", prefix.as_str());
        }
        if let Some(prefix) = prefixes.added() {
            let _ = write!(requires, ", below {}", prefix.as_str());
        }
    }
    [route.name.to_string(), methods, paths.join(" "), requires]
}
