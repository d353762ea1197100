//! Keys that come from the environment and from flags.

use super::load;
use super::report::Problems;
use super::shape::Shape;
use super::survey::Tables;
use super::traces;
use super::tree::{Node, Table};

/// The variables of the process, handed in.
pub type Environment = Vec<(String, String)>;

/// A key that a flag sets.
#[derive(Clone)]
pub struct FlagValue {
    /// The keys that lead to it, such as `["upstream", "url"]`.
    pub path: &'static [&'static str],
    /// The flag, such as `--upstream`.
    pub flag: &'static str,
    /// Its value.
    pub value: String,
}

/// Names that Clerk's own SDKs and those of OpenTelemetry read, and the keys they stand for. Of two for one
/// key, the later counts.
const OTHER_NAMES: [(&str, &str); 18] = [
    ("CLERK_PUBLISHABLE_KEY", "clerk.publishable-key"),
    ("CLERK_SECRET_KEY", "clerk.secret-key"),
    ("CLERK_MACHINE_SECRET_KEY", "clerk.machine-secret-key"),
    ("CLERK_JWT_KEY", "clerk.jwt-key"),
    ("CLERK_API_URL", "clerk.api-url"),
    ("CLERK_PROXY_URL", "clerk.proxy-url"),
    ("CLERK_FAPI_URL", "clerk.frontend-api-proxy.url"),
    ("CLERK_DOMAIN", "clerk.domain"),
    ("CLERK_IS_SATELLITE", "clerk.is-satellite"),
    ("CLERK_SATELLITE_AUTO_SYNC", "clerk.satellite-auto-sync"),
    ("CLERK_SIGN_IN_URL", "clerk.sign-in-url"),
    ("CLERK_SIGN_UP_URL", "clerk.sign-up-url"),
    ("CLERK_AUTHORIZED_PARTIES", "clerk.authorized-parties"),
    ("CLERK_WEBHOOK_SIGNING_SECRET", "webhooks.secret"),
    (traces::COLLECTOR, "traces.endpoint"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "traces.endpoint"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "traces.headers"),
    ("OTEL_SERVICE_NAME", "traces.service-name"),
];

/// Every key has a variable of its own below this name.
const PREFIX: &str = "CLERK_GATE_";

/// Puts variables over the file and flags over both. Names of others count less than ours, and an
/// empty variable is none.
pub(super) fn overlay(
    table: &mut Table,
    environment: &Environment,
    flags: &[FlagValue],
    problems: &Problems,
) {
    let mut variables: Vec<_> = environment
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    variables.sort();
    for (variable, key) in OTHER_NAMES {
        if let Some((name, value)) = variables.iter().find(|(name, _)| name == variable) {
            let keys = key.split('.').map(str::to_owned);
            let path: Vec<String> = keys.collect();
            if let Some(node) = Node::of_variable(name, value, problems) {
                table.put(&path, node);
            }
        }
    }
    for (name, value) in variables {
        if let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| is_ours(rest)) {
            let path: Vec<String> = rest
                .split("__")
                .map(|part| part.to_ascii_lowercase().replace('_', "-"))
                .collect();
            if let Some(node) = Node::of_variable(name, value, problems) {
                table.put(&path, node);
            }
        }
    }
    for flag in flags {
        let path: Vec<String> = flag.path.iter().map(|&part| part.to_owned()).collect();
        table.put(&path, Node::of_flag(flag.flag, &flag.value));
    }
}

/// The names of the variables that set a key, in order; never their values. A name with odd signs is
/// left out, so that these can be written anywhere.
pub fn names_in(environment: &Environment) -> Vec<&str> {
    let names = environment
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, _)| name.as_str());
    let mut names: Vec<&str> = names
        .filter(|name| {
            let ours = name.strip_prefix(PREFIX).is_some_and(is_ours);
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            (ours && name.bytes().all(plain)) || OTHER_NAMES.iter().any(|(known, _)| known == name)
        })
        .collect();
    names.sort_unstable();
    names
}

/// The variable of a key, by the names that lead to it.
pub(super) fn variable(path: &[&str]) -> String {
    let path = path.join("__").to_ascii_uppercase().replace('-', "_");
    format!("{PREFIX}{path}")
}

/// The variable that was probably meant, if this one sets no key. `None` too for one that does: what is
/// wrong is then in its value.
pub(super) fn nearest(name: &str) -> Option<String> {
    let (known, free) = variables();
    // Below a table whose keys are free, what is wrong is told by its own keys.
    let below = |table: &String| name.starts_with(table.as_str());
    if known.iter().any(|known| known == name) || free.iter().any(below) {
        return None;
    }
    // Tables and words are told apart by one sign, which is easily forgotten.
    let plain = |name: &str| {
        let rest = name.strip_prefix(PREFIX).unwrap_or(name);
        rest.replace("__", "_")
    };
    let written = plain(name);
    let nearness = |known: &String| strsim::jaro_winkler(&plain(known), &written);
    known
        .into_iter()
        .map(|known| (nearness(&known), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(nearness, _)| *nearness > 0.9)
        .map(|(_, known)| known)
}

/// Every variable that sets a key, and what those begin with that are below a table whose keys are free.
fn variables() -> (Vec<String>, Vec<String>) {
    type Found = (Vec<String>, Vec<String>);
    fn below(table: &str, path: &[&str], tables: &Tables, found: &mut Found) {
        let Some(asked) = tables.get(table) else {
            return;
        };
        if asked.free.is_some() {
            found.1.push(variable(path) + "__");
        }
        if let Some(other) = &asked.same_as {
            return below(other, path, tables, found);
        }
        for (key, shapes) in &asked.keys {
            let path: Vec<&str> = path.iter().copied().chain([*key]).collect();
            found.0.push(variable(&path));
            for shape in shapes {
                if let Shape::Table(inner) = shape {
                    below(inner, &path, tables, found);
                }
            }
        }
    }
    let mut found = Found::default();
    below("", &[], &load::survey(), &mut found);
    found
}

/// Not the name of the file itself, and not what Kubernetes sets for a service called `clerk-gate`.
fn is_ours(rest: &str) -> bool {
    rest != "CONFIG"
        && rest != "PORT"
        && !rest.starts_with("PORT_")
        && !rest.starts_with("SERVICE_")
}
