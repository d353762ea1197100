//! `clerk-gate recipe`: the configuration of a gateway that asks this gate.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use askama::Template;
use clap::{Args, ValueEnum};
use http::HeaderName;

use super::settings::Settings;
use super::{Ending, complain, hand_out};
use crate::config::{Config, DoorConfig, Environment, ListenAddress};
use crate::core::continuity::{SEAL_COOKIE, STATE_COOKIE};
use crate::core::door;
use crate::core::edge::PublicAddress;
use crate::core::identity_headers::HeaderPlan;
use crate::core::origin::Scheme;

/// Prints the configuration of a gateway.
#[derive(Args, Debug)]
pub(super) struct Recipe {
    /// The gateway
    server: Server,
    /// Where the gateway accepts requests
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:80")]
    gateway: SocketAddr,
    #[command(flatten)]
    settings: Settings,
}

/// A gateway there is a recipe for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Server {
    /// nginx, with `auth_request`
    Nginx,
    /// Traefik, with `forwardAuth`
    Traefik,
    /// Caddy, with what `forward_auth` stands for
    Caddy,
    /// HAProxy, with a Lua action
    Haproxy,
    /// The Lua action of HAProxy
    HaproxyLua,
    /// Envoy, with `ext_authz` over HTTP
    Envoy,
    /// Envoy, with `ext_authz` over gRPC
    EnvoyGrpc,
    /// Kubernetes, with the gate as a sidecar
    Kubernetes,
}

/// Headers that the gate of the proxy takes from every request, as far as their names are known.
const FORGED: [&str; 36] = [
    "CF-Connecting-IP",
    "Clerk-Proxy-Url",
    "Clerk-Secret-Key",
    "Forwarded",
    "True-Client-IP",
    "X-Clerk-Auth-Message",
    "X-Clerk-Auth-Reason",
    "X-Clerk-Auth-Signature",
    "X-Clerk-Auth-Status",
    "X-Clerk-Auth-Token",
    "X-Clerk-Clerk-Url",
    "X-Clerk-Gate-Status",
    "X-Clerk-Gate-Secret",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Forwarded-Method",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Middleware-Subrequest",
    "X-Original-Client",
    "X-Original-Host",
    "X-Original-Method",
    "X-Original-Proto",
    "X-Original-URI",
    "X-Original-URL",
    "X-Real-IP",
    "X-Rewrite-URL",
];

/// The statuses that a refusal can have, besides 307.
const STATUSES: [u16; 13] = [
    400, 403, 404, 405, 408, 413, 421, 429, 431, 500, 502, 503, 504,
];

/// The name of a header that the gate sets.
struct Header(String);

impl Header {
    /// As people write it: `X-User-Id`.
    fn title(&self) -> String {
        let words: Vec<String> = self
            .0
            .split('-')
            .map(|word| {
                let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
                first.to_ascii_uppercase() + rest
            })
            .collect();
        words.join("-")
    }

    /// As part of the name of a variable: `x_user_id`.
    fn variable(&self) -> String {
        self.0.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    }
}

/// What every recipe says.
struct Facts {
    gate: SocketAddr,
    door: SocketAddr,
    /// The same by name.
    clusters: [(&'static str, SocketAddr); 2],
    listen: SocketAddr,
    server_name: String,
    public_https: bool,
    upstream: String,
    upstream_name: String,
    upstream_port: u16,
    upstream_scheme: &'static str,
    own_paths: Vec<String>,
    /// What only the gate may say.
    identity: Vec<Header>,
    /// What the gate says on some routes, and the client on all others.
    templates: Vec<Header>,
    cookies: Vec<String>,
    forged: &'static [&'static str],
    /// Those of them with which the gate is not even asked.
    overrides: Vec<&'static str>,
    statuses: &'static [u16],
    secret: bool,
    /// Where probes ask, if anywhere.
    admin: Option<SocketAddr>,
    /// For how many seconds it goes on after the order to stop.
    drain: u64,
}

macro_rules! recipes {
    ($($name:ident => $path:literal;)+) => {
        $(
            #[derive(Template)]
            #[template(path = $path, escape = "none")]
            struct $name<'f>(&'f Facts);

            impl std::ops::Deref for $name<'_> {
                type Target = Facts;

                fn deref(&self) -> &Facts {
                    self.0
                }
            }
        )+
    };
}

/// Prints the recipe on standard output.
pub(super) fn recipe(recipe: &Recipe, environment: &Environment) -> Ending {
    let found = match recipe.settings.load(environment) {
        Ok(found) => found,
        Err(ending) => return ending,
    };
    let doors = match recipe.server.doors(&found.config) {
        Doors::Unused => None,
        Doors::Open(doors) => Some(doors),
        Doors::Missing(table, example) => {
            complain(
                &format!("gateways cannot ask: there is no `[{table}]`"),
                Some(&format!(
                    "add `[{table}]` with `listen = \"{example}\"` and `peers = [\"127.0.0.1\"]`"
                )),
            );
            return Ending::Misused;
        }
    };
    let Some(facts) = facts(&found.config, doors, recipe.gateway) else {
        complain(
            "recipes have ports alone, and `[upstream] url` or where the gate listens is a Unix socket",
            Some(
                "give each of them a port of this machine, and put the sockets into what is printed",
            ),
        );
        return Ending::Misused;
    };
    match recipe.server.written(&facts) {
        Ok(text) => hand_out(text.as_bytes()),
        Err(error) => {
            complain(&format!("the recipe cannot be written: {error}"), None);
            Ending::Failed
        }
    }
}

recipes! {
    Nginx => "recipes/nginx.conf";
    Traefik => "recipes/traefik.yml";
    Caddy => "recipes/Caddyfile";
    Haproxy => "recipes/haproxy.cfg";
    HaproxyLua => "recipes/clerk-gate.lua";
    Envoy => "recipes/envoy.yaml";
    EnvoyGrpc => "recipes/envoy-grpc.yaml";
    Kubernetes => "recipes/kubernetes.yaml";
}

/// Where a gateway asks.
enum Doors<'c> {
    /// It asks nobody: the gate stands in its place.
    Unused,
    Open(&'c DoorConfig),
    /// Nowhere: the table that is missing, and an address that it could have.
    Missing(&'static str, &'static str),
}

impl Server {
    /// Where this gateway asks.
    fn doors(self, config: &Config) -> Doors<'_> {
        let (table, doors, example) = match self {
            Self::Kubernetes => return Doors::Unused,
            Self::EnvoyGrpc => ("ext-authz", config.ext_authz.as_ref(), "127.0.0.1:8082"),
            Self::Nginx
            | Self::Traefik
            | Self::Caddy
            | Self::Haproxy
            | Self::HaproxyLua
            | Self::Envoy => (
                "forward-auth",
                config.forward_auth.as_ref(),
                "127.0.0.1:8081",
            ),
        };
        doors.map_or(Doors::Missing(table, example), Doors::Open)
    }

    fn written(self, facts: &Facts) -> Result<String, askama::Error> {
        let text = match self {
            Self::Nginx => Nginx(facts).render(),
            Self::Traefik => Traefik(facts).render(),
            Self::Caddy => Caddy(facts).render(),
            Self::Haproxy => Haproxy(facts).render(),
            Self::HaproxyLua => HaproxyLua(facts).render(),
            Self::Envoy => Envoy(facts).render(),
            Self::EnvoyGrpc => EnvoyGrpc(facts).render(),
            Self::Kubernetes => Kubernetes(facts).render(),
        }?;
        Ok(text.trim_end().to_owned() + "\n")
    }
}

fn facts(config: &Config, doors: Option<&DoorConfig>, listen: SocketAddr) -> Option<Facts> {
    let upstream = config.upstreams.first()?.url.origin()?;
    let host = upstream.host();
    let port = host
        .port()
        .unwrap_or_else(|| upstream.scheme().default_port());
    let (server_name, public_https) = match &config.edge.public {
        PublicAddress::Fixed(origin) => {
            let https = origin.scheme() == Scheme::Https;
            (origin.host().name().to_owned(), https)
        }
        PublicAddress::Loopback => ("_".to_owned(), false),
    };
    let instances = || std::iter::once(&config.clerk).chain(&config.sites);
    let mut own_paths = vec![config.pages_prefix.clone()];
    for path in instances().filter_map(|clerk| clerk.instance.frontend_api_proxy.as_ref()) {
        own_paths.push(format!("{}/", path.as_str()));
    }
    own_paths.push("/.well-known/oauth-protected-resource".to_owned());
    own_paths.dedup();
    let plan = HeaderPlan::new(config.identity.headers.clone());
    let plan = if config.policy.rides() {
        plan.telling_of_rides()
    } else {
        plan
    };
    let gate = config
        .listen
        .addresses
        .iter()
        .find_map(ListenAddress::tcp)?;
    let gate = reachable(gate);
    let door = match doors {
        Some(doors) => reachable(doors.listen.tcp()?),
        None => gate,
    };
    Some(Facts {
        gate,
        door,
        clusters: [("clerk_gate", gate), ("clerk_gate_door", door)],
        listen,
        server_name,
        public_https,
        upstream_name: host.name().to_owned(),
        upstream_port: port,
        upstream: format!("{}:{port}", host.name()),
        upstream_scheme: upstream.scheme().as_str(),
        own_paths,
        identity: plan.names().map(|name| Header(name.to_string())).collect(),
        templates: templates(config),
        cookies: instances()
            .flat_map(|clerk| cookies(clerk.instance.key.cookie_suffix()))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        forged: &FORGED,
        overrides: overrides().collect(),
        statuses: &STATUSES,
        secret: doors.is_some_and(|doors| doors.secret.is_some()),
        admin: config
            .admin_listen
            .as_ref()
            .and_then(ListenAddress::tcp)
            .map(reachable),
        drain: (config.shutdown.announce + config.shutdown.drain).as_secs(),
    })
}

/// What a door refuses whatever it says: what asks it can say no by itself.
fn overrides() -> impl Iterator<Item = &'static str> {
    let is_refused =
        |name: &str| HeaderName::try_from(name).is_ok_and(|name| door::is_refused(&name));
    FORGED.into_iter().filter(move |name| is_refused(name))
}

fn templates(config: &Config) -> Vec<Header> {
    let routes = config.policy.routes().iter();
    let names: BTreeSet<String> = routes
        .filter_map(|route| Some(route.template.as_ref()?.header.to_string()))
        .collect();
    names.into_iter().map(Header).collect()
}

/// The address to reach a listener at: one that listens everywhere is on this machine too.
fn reachable(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port())
    } else {
        listen
    }
}

/// The cookies that Clerk or the gate may set, of the instance with this suffix.
fn cookies(suffix: &str) -> Vec<String> {
    let suffixed = |name: &str| format!("{name}_{suffix}");
    let mut names: Vec<String> = [
        "__session",
        "__client_uat",
        "__refresh",
        "__clerk_db_jwt",
        "__clerk_redirect_count",
    ]
    .iter()
    .flat_map(|name| [(*name).to_owned(), suffixed(name)])
    .collect();
    names.push("__clerk_handshake".to_owned());
    names.push("clerk_active_context".to_owned());
    names.push(suffixed(SEAL_COOKIE));
    names.push(suffixed(STATE_COOKIE));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::reserved::{RESERVED, Reserved, with_letters};

    /// What gateways write themselves, in the place of whatever came.
    const THEIRS: [&str; 4] = [
        "xforwardedfor",
        "xforwardedhost",
        "xforwardedproto",
        "xrequestid",
    ];

    #[test]
    fn whatever_the_proxy_takes_from_a_request_the_recipes_take() {
        let spelled = |name: &&str| with_letters(name, str::to_owned);
        let forged: BTreeSet<String> = FORGED.iter().map(spelled).collect();
        for name in RESERVED.into_iter().filter(|name| !THEIRS.contains(name)) {
            assert!(forged.contains(name), "{name}");
        }
        let reserved = Reserved::of(std::iter::empty());
        let known = ["x-original-client", "x-original-method", "x-original-proto"];
        for name in FORGED {
            let name = HeaderName::try_from(name).unwrap();
            assert!(
                reserved.contains(&name) || known.contains(&name.as_str()),
                "{name}"
            );
        }
        assert_eq!(overrides().count(), 14);
    }
}
