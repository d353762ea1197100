//! What is written well for one site and still means something else there than its author thinks: how the
//! policy looks to each of them.

use http::Method;

use super::clerk::Clerk;
use super::report::{Problem, Problems};
use super::routes::WrittenRoute;
use super::section::Placed;
use super::sites::WrittenSite;
use super::templates::WrittenTemplate;
use crate::core::machine::TokenType;
use crate::core::path::CanonicalPath;
use crate::core::policy::{HostPattern, IMPLIED_ROUTE, Policy, Route};
use crate::core::proxy_path::ProxyPath;
use crate::core::requirement::Requirement;

/// Looks at what depends on the site, for each of them.
pub(super) fn lints(
    views: &[SiteView<'_>],
    written: &[WrittenRoute],
    made: &[WrittenTemplate],
    policy: &Policy,
    pages_prefix: &str,
    problems: &Problems,
) {
    for view in views {
        tokens(written, view, problems);
        templates(made, view, problems);
        pages(written, policy, view, pages_prefix, problems);
        frontend_api_proxy(written, view, views, pages_prefix, problems);
    }
}

/// The table of the first site's instance.
const FIRST: &str = "[clerk]";

/// A site as the policy is looked at for it.
pub(super) struct SiteView<'s> {
    clerk: &'s Clerk,
    /// The name of one of its hosts.
    host: &'s str,
    /// Its hosts, where there are other sites.
    hosts: Vec<HostPattern>,
    /// The table that its instance is written in.
    table: &'static str,
}

impl<'s> SiteView<'s> {
    /// The first site, on the host of this name, and the others.
    pub(super) fn all(first: &'s Clerk, host: &'s str, sites: &'s [WrittenSite]) -> Vec<Self> {
        let own = match host {
            _ if sites.is_empty() => Vec::new(),
            "localhost" => vec![
                HostPattern::Exact(host.to_owned()),
                HostPattern::Below(host.to_owned()),
            ],
            _ => vec![HostPattern::Exact(host.to_owned())],
        };
        let first = Self {
            clerk: first,
            host,
            hosts: own,
            table: FIRST,
        };
        let further = sites.iter().map(|site| Self {
            clerk: &site.clerk,
            host: site.usual_name(),
            hosts: site.hosts.iter().map(|host| host.value.clone()).collect(),
            table: "[site.clerk]",
        });
        std::iter::once(first).chain(further).collect()
    }

    fn proxy(&self) -> Option<&Placed<ProxyPath>> {
        self.clerk.frontend_api_proxy.as_ref()
    }

    /// Whether requests of this site can come to a route.
    fn has(&self, route: &Route) -> bool {
        let of_both = |host: &HostPattern| self.hosts.iter().any(|own| own.meets(host));
        route.hosts.is_empty() || self.hosts.is_empty() || route.hosts.iter().any(of_both)
    }
}

/// Routes that ask for tokens which nobody can have, or which nobody here can check.
fn tokens(written: &[WrittenRoute], view: &SiteView<'_>, problems: &Problems) {
    let clerk = &view.clerk.config;
    let of_instance = clerk.secret_key.is_some();
    let of_machine = clerk.machine_secret_key.is_some();
    for route in written.iter().filter(|route| view.has(&route.route)) {
        let (name, types) = (&route.route.name, route.route.requirement.token_types());
        let error = |title: String| Problem::error(&route.requirement, title);
        if types.is_empty() {
            let title = format!("no token can meet what route `{name}` requires");
            let hint = if route.route.requirement.scopes().is_empty() {
                "its parts name kinds of token that exclude each other"
            } else {
                "only machine tokens have a scope: say which with `token`, such as `{ token = \"oauth_token\", scope = \"read\" }`"
            };
            problems.add(error(title).hint(hint));
        }
        let unchecked = types.iter().find(|kind| match kind {
            TokenType::Session => false,
            TokenType::ApiKey | TokenType::OAuth => !of_instance,
            TokenType::M2m => !of_instance && !of_machine,
        });
        if let Some(kind) = unchecked {
            let title =
                format!("route `{name}` takes `{kind}`, and there is no key to check one with");
            let hint = match kind {
                TokenType::M2m => format!(
                    "add `secret-key-file` or `machine-secret-key-file` to `{}`",
                    view.table
                ),
                _ if view.table == FIRST => {
                    format!("add `secret-key-file` to `{FIRST}`, or set `CLERK_SECRET_KEY`")
                }
                _ => format!("add `secret-key-file` to `{}`", view.table),
            };
            problems.add(error(title).hint(hint));
        }
    }
}

/// Templates whose tokens nobody can ask for.
fn templates(templates: &[WrittenTemplate], view: &SiteView<'_>, problems: &Problems) {
    if view.clerk.config.secret_key.is_some() {
        return;
    }
    for written in templates {
        let name = &written.template.name;
        problems.add(
            Problem::error(
                &written.place,
                format!(
                    "tokens of template `{name}` are made by Clerk, which needs the secret key"
                ),
            )
            .hint(format!("add `secret-key-file` to `{}`", view.table)),
        );
    }
}

/// The path of the Frontend API proxy beside the pages of the gate, and routes that lie below it.
fn frontend_api_proxy(
    written: &[WrittenRoute],
    view: &SiteView<'_>,
    views: &[SiteView<'_>],
    pages_prefix: &str,
    problems: &Problems,
) {
    let Some(proxy) = view.proxy() else {
        return;
    };
    let path = &proxy.value;
    if path.meets(pages_prefix) {
        problems.add(
            Problem::error(
                &proxy.place,
                format!(
                    "the Frontend API proxy at `{path}` and the gate's own pages below `{pages_prefix}` are in each other's way"
                ),
            )
            .hint("move one of them: `path` in `[clerk.frontend-api-proxy]`, or `[pages] prefix`"),
        );
    }
    // On a site without a proxy the route is of use.
    let everywhere = |route: &&WrittenRoute| {
        let mut of_route = views.iter().filter(|view| view.has(&route.route));
        view.has(&route.route) && of_route.all(|view| view.proxy().is_some())
    };
    for route in written.iter().filter(everywhere) {
        for (pattern, place) in route.route.paths.iter().zip(&route.paths) {
            let rest = pattern.literal_prefix().strip_prefix(path.as_str());
            let below = rest
                .is_some_and(|rest| rest.starts_with('/') || pattern.canonical() == path.as_str());
            if below {
                problems.add(
                    Problem::warning(
                        place,
                        format!(
                            "`{}` never reaches the application: what is below `{path}` goes to Clerk's Frontend API",
                            pattern.as_str()
                        ),
                    )
                    .hint("`path` in `[clerk.frontend-api-proxy]` moves the proxy"),
                );
            }
        }
    }
}

/// Pages that people are sent to, and that the policy keeps from them: a redirect loop.
fn pages(
    written: &[WrittenRoute],
    policy: &Policy,
    view: &SiteView<'_>,
    pages_prefix: &str,
    problems: &Problems,
) {
    let &SiteView { clerk, host, .. } = view;
    let look = |key: &str, page: &Placed<String>, may_sign_in: bool| {
        let Some(path) = page.value.strip_prefix('/') else {
            return;
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        if format!("/{path}").starts_with(pages_prefix) {
            return;
        }
        let Ok(canonical) = CanonicalPath::parse(&format!("/{path}")) else {
            problems.add(Problem::error(
                &page.place,
                format!("`{key}`: the gate refuses the path `{}`", page.value),
            ));
            return;
        };
        let found = policy.find(&Method::GET, host, &canonical);
        let route = policy.route(found.route);
        let reachable = route.requirement.is_open()
            || (may_sign_in && route.requirement == Requirement::SignedIn);
        if !reachable {
            let whose = if &*route.name == IMPLIED_ROUTE {
                "the implied last line".to_owned()
            } else {
                format!("route `{}`", route.name)
            };
            problems.add(
                Problem::error(
                    &page.place,
                    format!(
                        "`{key}` sends people to `{}`, which {whose} keeps from them: they would go round in circles",
                        page.value
                    ),
                )
                .hint(format!("add a route above: path = \"{}\", require = \"public\"", canonical.as_str())),
            );
        }
    };
    for (key, page) in [
        ("sign-in-url", &clerk.sign_in_url),
        ("sign-up-url", &clerk.sign_up_url),
        ("after-sign-out-url", &clerk.after_sign_out_url),
    ] {
        if let Some(page) = page {
            look(key, page, false);
        }
    }
    let of_host = |route: &&WrittenRoute| {
        let hosts = &route.route.hosts;
        hosts.is_empty() || hosts.iter().any(|own| own.matches(host))
    };
    for route in written.iter().filter(of_host) {
        if let Some(page) = &route.on_signed_out {
            look("on-signed-out", page, false);
        }
        if let Some(page) = &route.on_forbidden {
            look("on-forbidden", page, true);
        }
    }
}
