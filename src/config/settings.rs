//! Everything that is neither Clerk, nor a route, nor an upstream: addresses, limits, headers, logs.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::address;
use super::clerk::ReadFile;
use super::listen::{self, ListenAddress};
use super::model::{
    ClerkCookies, IdentityConfig, Limits, Listening, LogConfig, LogFormat, LogLevel, Shutdown,
    TracesConfig,
};
use super::report::{Place, Problem, Problems};
use super::requirement::{claim_path, claim_shape};
use super::section::{Placed, Section};
use super::shape::Shape;
use super::traces;
use super::tree::{Node, Table, Value};
use crate::core::identity_headers::{IDENTITY_HEADERS, MappedHeader};
use crate::core::origin::{Origin, Scheme};
use crate::core::peers;
use crate::core::ride_through::RIDE_THROUGH_HEADER;
use crate::core::signed_assertion::ASSERTION_HEADER;

/// What stands at the top level.
pub(super) struct Top {
    pub(super) listen: Listening,
    pub(super) public_url: Option<Placed<Origin>>,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) debug_headers: bool,
}

/// The version of the configuration that this program reads.
const VERSION: i64 = 1;

/// The top level. `None` if the file is written for another program, of which nothing else is then
/// worth saying.
pub(super) fn root(table: Table, problems: &Problems) -> Option<Section<'_>> {
    let mut section = Section::new(table, "", Place::Nowhere, problems);
    let before = problems.count();
    let Some(written) = section.whole_number("config-version", VERSION..=VERSION) else {
        return (problems.count() == before).then_some(section);
    };
    if written.value == VERSION {
        return Some(section);
    }
    problems.add(
        Problem::error(
            &written.place,
            format!("this file is for version {} of the configuration, and this program reads version {VERSION}", written.value),
        )
        .hint("use a clerk-gate that is made for it, or take the key out and see what `check` says"),
    );
    None
}

/// Reads the keys of the top level.
pub(super) fn top(section: &mut Section<'_>) -> Top {
    let problems = section.problems();
    let listen = listen::read(section);
    let public_url = public_url(section);
    let trusted = section.texts("trusted-proxies").unwrap_or_default();
    let everybody = Everybody {
        may: "everybody is a trusted proxy",
        hint: "whoever reaches the gate can then say who they are to the rate limits and the log; name the proxies",
    };
    let trusted_proxies = networks(trusted, Some(&everybody), problems);
    let debug = section.flag("debug-headers");
    Top {
        listen,
        public_url,
        trusted_proxies,
        debug_headers: debug.is_some_and(|flag| flag.value),
    }
}

/// Reads `public-url`.
pub(super) fn public_url(section: &mut Section<'_>) -> Option<Placed<Origin>> {
    let url = section.parsed("public-url", address::origin)?;
    if url.value.scheme() == Scheme::Http && !url.value.host().is_loopback() {
        section.problems().add(
            Problem::warning(
                &url.place,
                "`public-url` is plain `http`: cookies travel where everybody can read them",
            )
            .hint("write the `https` address that browsers use"),
        );
    }
    Some(url)
}

/// What is warned of where a list of peers has everybody in it.
pub(super) struct Everybody {
    pub(super) may: &'static str,
    pub(super) hint: &'static str,
}

/// A list of peers. What is none is reported, and so is everybody, where somebody minds.
pub(super) fn networks(
    texts: Vec<Placed<String>>,
    everybody: Option<&Everybody>,
    problems: &Problems,
) -> Vec<IpNet> {
    let read = |text: Placed<String>| {
        let Some(net) = network(&text.value) else {
            let peer = &text.value;
            problems.add(Problem::error(
                &text.place,
                format!("`{peer}` is no address, no network such as `10.0.0.0/8`, and not `unix`"),
            ));
            return None;
        };
        if let Some(everybody) = everybody
            && net.prefix_len() == 0
        {
            problems.add(Problem::warning(&text.place, everybody.may).hint(everybody.hint));
        }
        Some(net)
    };
    texts.into_iter().filter_map(read).collect()
}

/// Peers: an address, a network, or `unix`.
pub(super) fn network(text: &str) -> Option<IpNet> {
    if text == "unix" {
        return Some(IpNet::from(peers::ON_UNIX_SOCKET));
    }
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
        .map(|net| net.trunc())
        // SECURITY: what stands for those without an address is no other way to name them.
        .filter(|net| net.prefix_len() < net.max_prefix_len() || peers::has_address(net.addr()))
}

/// What `[admin]` says.
pub(super) struct Admin {
    /// Where it is; `None` if it is off.
    pub(super) listen: Option<ListenAddress>,
    /// How many decisions are kept for it.
    pub(super) decisions: usize,
}

/// How many decisions are kept where nothing is said.
const USUAL_DECISIONS: usize = 1000;

/// Reads `[admin]`.
pub(super) fn admin(mut section: Section<'_>) -> Admin {
    let listen = section.parsed("listen", |text| match text {
        "off" => Ok(None),
        text => text.parse().map(Some),
    });
    let decisions = section.integer("decisions", 0..=100_000);
    section.finish();
    let usual = Some(ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 9901))));
    let listen = listen.map_or(usual, |read| read.value);
    let decisions = decisions.and_then(|number| usize::try_from(number).ok());
    // SECURITY: who asked for what is for whoever is on this machine, unless somebody says that it is for
    // others too.
    let usual = match &listen {
        Some(ListenAddress::Tcp(address)) if !address.ip().is_loopback() => 0,
        _ => USUAL_DECISIONS,
    };
    Admin {
        // Where nobody can look, there is nothing to keep.
        decisions: listen.as_ref().map_or(0, |_| decisions.unwrap_or(usual)),
        listen,
    }
}

/// What `[pages]` says.
pub(super) struct Pages {
    /// The prefix of the gate's own pages, with a slash at both ends.
    pub(super) prefix: String,
    /// The claims that a page may be told, each by the names that lead to it.
    pub(super) me_claims: Vec<Vec<String>>,
}

/// Reads `[pages]`.
pub(super) fn pages(mut section: Section<'_>) -> Pages {
    let prefix = section.parsed("prefix", |text| {
        let inner = text.trim_matches('/');
        let plain = text.starts_with('/')
            && !inner.is_empty()
            && inner.split('/').all(|segment| {
                !matches!(segment, "" | "." | "..")
                    && segment
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            });
        if plain {
            Ok(format!("/{inner}/"))
        } else {
            Err("it is a path such as `/_gate/`".to_owned())
        }
    });
    let me_claims = me_claims(&mut section);
    section.finish();
    Pages {
        prefix: prefix.map_or("/_gate/".to_owned(), |read| read.value),
        me_claims,
    }
}

/// Reads `me-claims`: each claim as in `[identity.headers]`.
fn me_claims(section: &mut Section<'_>) -> Vec<Vec<String>> {
    let problems = section.problems();
    let Some(node) = section.node("me-claims", Shape::Text.or(claim_shape().list())) else {
        return Vec::new();
    };
    let nodes = match (node.value, node.place) {
        (Value::List(items), _) => items,
        (Value::Text(line), place @ (Place::Variable(_) | Place::Flag(_))) => line
            .split(',')
            .map(|claim| Node {
                place: place.clone(),
                value: Value::Text(claim.trim().to_owned()),
            })
            .collect(),
        (value, place) => vec![Node { place, value }],
    };
    let claims = nodes.into_iter();
    claims
        .filter_map(|node| claim_path(node, problems))
        .collect()
}

/// Reads `[limits]`.
pub(super) fn limits(mut section: Section<'_>) -> Limits {
    let time = Duration::from_millis(100)..=Duration::from_hours(1);
    let head_bytes = section.size("head-size", 8 * 1024..=16 * 1024 * 1024);
    let head_count = section.integer("head-count", 10..=10_000);
    let head_timeout = section.duration("head-timeout", time.clone());
    let body_bytes = section.size("body-size", 0..=u64::MAX / 2);
    let body_timeout = section.duration("body-timeout", time.clone());
    let write_timeout = section.duration("write-timeout", time);
    let connections = section.integer("connections", 1..=1_000_000);
    section.finish();
    let count = |number: Option<i64>, default: usize| {
        number
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(default)
    };
    Limits {
        head_bytes: head_bytes.unwrap_or(64 * 1024),
        head_count: count(head_count, 100),
        head_timeout: head_timeout.unwrap_or(Duration::from_secs(30)),
        body_bytes,
        body_timeout: body_timeout.unwrap_or(Duration::from_secs(30)),
        write_timeout: write_timeout.unwrap_or(Duration::from_secs(30)),
        connections: count(connections, 10_000),
    }
}

/// Reads `[identity]`.
pub(super) fn identity(mut section: Section<'_>) -> IdentityConfig {
    let problems = section.problems();
    let cookies = section.choice(
        "clerk-cookies",
        &[("strip", ClerkCookies::Strip), ("keep", ClerkCookies::Keep)],
    );
    let mut headers: Vec<(MappedHeader, Place)> = Vec::new();
    for entry in section.section("headers").into_entries(claim_shape()) {
        let name = match header_name(&entry.key) {
            Ok(name) => name,
            Err(why) => {
                problems.add(Problem::error(
                    &entry.key_place,
                    format!("`{}` cannot carry a claim: {why}", entry.key),
                ));
                continue;
            }
        };
        if headers
            .iter()
            .any(|(known, _)| squashed(known.name.as_str()) == squashed(name.as_str()))
        {
            problems.add(Problem::error(
                &entry.key_place,
                format!(
                    "`{}` is set twice: servers take the two spellings for one",
                    entry.key
                ),
            ));
            continue;
        }
        if let Some(claim) = claim_path(entry.node, problems) {
            headers.push((MappedHeader { name, claim }, entry.key_place));
        }
    }
    section.finish();
    IdentityConfig {
        headers: headers.into_iter().map(|(header, _)| header).collect(),
        clerk_cookies: cookies.map_or(ClerkCookies::Strip, |read| read.value),
    }
}

/// Names of persons among those that begin like `X-Forwarded-For`: what applications read that stood behind
/// oauth2-proxy and its kin.
const OF_PERSONS: [&str; 4] = [
    "xforwardeduser",
    "xforwardedemail",
    "xforwardedgroups",
    "xforwardedpreferredusername",
];

/// A header that a claim may stand in.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    const OTHERS: [&str; 18] = [
        "authorization",
        "connection",
        "contentlength",
        "contenttype",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keepalive",
        "setcookie",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transferencoding",
        "upgrade",
        "via",
        "xrequestid",
    ];
    let name = HeaderName::try_from(text).map_err(|_| "it is no header name".to_owned())?;
    let squashed = squashed(name.as_str());
    let taken = IDENTITY_HEADERS
        .iter()
        .chain([&ASSERTION_HEADER, &RIDE_THROUGH_HEADER])
        .any(|known| self::squashed(known.as_str()) == squashed);
    if taken {
        return Err("the gate sets it already".to_owned());
    }
    let of_a_person = OF_PERSONS.contains(&squashed.as_str());
    if OTHERS.contains(&squashed.as_str())
        || (squashed.starts_with("xforwarded") && !of_a_person)
        || squashed.starts_with("proxy")
    {
        return Err("it has a meaning of its own in HTTP".to_owned());
    }
    Ok(name)
}

/// A name without what servers read as the same character.
pub(super) fn squashed(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// What is said of the process itself.
pub(super) struct Process {
    pub(super) traces: Option<Box<TracesConfig>>,
    pub(super) log: LogConfig,
    pub(super) shutdown: Shutdown,
    pub(super) watch: bool,
}

/// Reads `[traces]`, `[log]`, `[shutdown]` and `[reload]`.
pub(super) fn process(root: &mut Section<'_>, files: ReadFile<'_>) -> Process {
    Process {
        traces: traces::read(root.section("traces"), files).map(Box::new),
        log: log(root.section("log")),
        shutdown: shutdown(root.section("shutdown")),
        watch: watch(root.section("reload")),
    }
}

/// Whether files are watched.
fn watch(mut section: Section<'_>) -> bool {
    let watch = section.flag("watch");
    section.finish();
    watch.is_none_or(|read| read.value)
}

fn log(mut section: Section<'_>) -> LogConfig {
    let format = section.choice(
        "format",
        &[("json", LogFormat::Json), ("human", LogFormat::Human)],
    );
    let level = section.choice(
        "level",
        &[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ],
    );
    section.finish();
    LogConfig {
        format: format.map_or(LogFormat::Json, |read| read.value),
        level: level.map_or(LogLevel::Info, |read| read.value),
    }
}

/// How the gate stops.
fn shutdown(mut section: Section<'_>) -> Shutdown {
    let range = Duration::ZERO..=Duration::from_hours(1);
    let announce = section.duration("announce", range.clone());
    let drain = section.duration("drain", range);
    section.finish();
    Shutdown {
        announce: announce.unwrap_or(Duration::ZERO),
        drain: drain.unwrap_or(Duration::from_secs(30)),
    }
}
