//! `[upstream]` and `[upstreams.NAME]`: where requests go, whom the gate takes for it, and how long it
//! may take.

use std::time::Duration;

use super::address;
use super::clerk::ReadFile;
use super::group;
use super::model::{HostHeader, UpstreamConfig};
use super::report::{Place, Problem, Problems};
use super::routes;
use super::section::{Placed, Section, wrong_kind};
use super::shape::Shape;
use super::signed_assertion;
use super::tree::Value;
use super::trust::Trust;
use crate::core::origin::Host;
use crate::core::policy::PathReading;
use crate::upstream::address::ServerAddress;
use crate::upstream::{Protocol, Reuse};

/// The name of `[upstream]`.
const FIRST: &str = "upstream";

/// What the others are called in messages.
pub(super) const NAMED: &str = "[upstreams.NAME]";

/// The upstreams of a configuration; the first is `[upstream]`.
#[derive(Clone)]
pub(super) struct Upstreams {
    all: Vec<UpstreamConfig>,
    named: Vec<Named>,
    /// Keys that say something of TLS, by the name of their upstream, and where they stand.
    tls_keys: Vec<(String, &'static str, Place)>,
}

/// A `[upstreams.NAME]`.
#[derive(Clone)]
struct Named {
    name: String,
    place: Place,
    /// Its number; `None` if it cannot be used, which has been reported.
    at: Option<usize>,
    used: bool,
}

impl Upstreams {
    /// The number of the upstream that a route names, by its name or by an address that shares
    /// everything else with `[upstream]`.
    pub(super) fn of_route(&mut self, section: &mut Section<'_>) -> usize {
        let problems = section.problems();
        let Some(text) = section.text("upstream") else {
            return 0;
        };
        if routes::route_name(&text.value).is_ok() && !text.value.contains(':') {
            return self.of_name(&text, problems);
        }
        match address::server(&text.value) {
            Ok(url) => self.of_address(url),
            Err(why) => {
                problems.add(
                    Problem::error(&text.place, format!("`upstream` cannot be used: {why}"))
                        .hint("or it is the name of a table such as `[upstreams.invoices]`"),
                );
                0
            }
        }
    }

    fn of_name(&mut self, name: &Placed<String>, problems: &Problems) -> usize {
        if let Some(named) = self.named.iter_mut().find(|known| known.name == name.value) {
            named.used = true;
            return named.at.unwrap_or(0);
        }
        if name.value == FIRST {
            return 0;
        }
        let near = self
            .named
            .iter()
            .map(|known| (strsim::jaro_winkler(&known.name, &name.value), &known.name))
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .filter(|(nearness, _)| *nearness > 0.8);
        problems.add(
            Problem::error(
                &name.place,
                format!("there is no upstream `{}`", name.value),
            )
            .hint(match near {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!(
                    "add `[upstreams.{}]`, or write an address such as `http://127.0.0.1:3001`",
                    name.value
                ),
            }),
        );
        0
    }

    fn of_address(&mut self, url: ServerAddress) -> usize {
        let same = |known: &UpstreamConfig| known.further.is_empty() && known.url == url;
        let numbered = self.all.iter().enumerate();
        let mut unnamed =
            numbered.filter(|(at, _)| !self.named.iter().any(|named| named.at == Some(*at)));
        if let Some((at, _)) = unnamed.find(|(_, known)| same(known)) {
            return at;
        }
        if let Some(first) = self.all.first().cloned() {
            self.all.push(UpstreamConfig {
                name: url.to_string(),
                url,
                further: Vec::new(),
                // SECURITY: what is said to one server must be worth nothing at another.
                assertion_audience: None,
                ..first
            });
        }
        self.all.len().saturating_sub(1)
    }

    /// All of them; what is written and can have no effect is reported.
    pub(super) fn into_all(self, problems: &Problems) -> Vec<UpstreamConfig> {
        for (name, key, place) in &self.tls_keys {
            let mut sharing = self.all.iter().filter(|upstream| match name.as_str() {
                FIRST => !self.named.iter().any(|named| named.name == upstream.name),
                name => upstream.name == name,
            });
            if !sharing.any(|upstream| upstream.servers().any(ServerAddress::is_secure)) {
                let title = format!("`{key}` does nothing: no upstream is at an `https` address");
                problems.add(Problem::warning(place, title));
            }
        }
        for named in self.named.iter().filter(|named| !named.used) {
            problems.add(
                Problem::warning(
                    &named.place,
                    format!("no route goes to the upstream `{}`", named.name),
                )
                .hint(format!(
                    "write `upstream = \"{}\"` into a route",
                    named.name
                )),
            );
        }
        self.all
    }
}

/// What `[upstream]` and `[upstreams]` say.
pub(super) struct UpstreamSection {
    pub(super) upstreams: Upstreams,
    pub(super) reading: PathReading,
    /// The addresses as written.
    pub(super) urls: Vec<Placed<ServerAddress>>,
    /// Where `assertion-audience` is written.
    pub(super) assertion_audiences: Vec<Place>,
}

/// Reads `[upstream]` and `[upstreams]`.
pub(super) fn read(root: &mut Section<'_>, files: ReadFile<'_>) -> UpstreamSection {
    let problems = root.problems();
    let mut first = root.section("upstream");
    if !first.has("url") {
        problems
            .add(Problem::error(first.place(), "there is no upstream").hint(
                "add `url = \"http://127.0.0.1:3000\"` to `[upstream]`, or use `--upstream`",
            ));
    }
    let reading = first.choice(
        "reads-paths",
        &[
            ("leniently", PathReading::Leniently),
            ("exactly", PathReading::Exactly),
        ],
    );
    let mut found = Found::default();
    let first = upstream(FIRST, first, &mut found, files);
    let mut upstreams = Upstreams {
        all: first.into_iter().collect(),
        named: Vec::new(),
        tls_keys: Vec::new(),
    };
    let named = Shape::table(NAMED);
    for entry in root.section("upstreams").into_entries(named) {
        let (name, place) = (entry.key, entry.key_place);
        let Value::Table(table) = entry.node.value else {
            wrong_kind(&name, &entry.node, "a table", problems);
            continue;
        };
        let section = Section::new(table, NAMED, place.clone(), problems);
        let unusable = routes::route_name(&name)
            .err()
            .or_else(|| (name == FIRST).then(|| "`[upstream]` itself is called that".to_owned()));
        let used = unusable.is_some();
        if let Some(why) = unusable {
            problems.add(Problem::error(
                &place,
                format!("`{name}` cannot be the name of an upstream: {why}"),
            ));
        }
        if !section.has("url") {
            problems.add(
                Problem::error(&place, format!("the upstream `{name}` has no `url`"))
                    .hint("add a line such as `url = \"http://127.0.0.1:3001\"`"),
            );
        }
        let config = upstream(&name, section, &mut found, files);
        let at = config.is_some().then_some(upstreams.all.len());
        upstreams.all.extend(config);
        upstreams.named.push(Named {
            name,
            place,
            at,
            // One that no route can name has been told of already.
            used,
        });
    }
    upstreams.tls_keys = found.tls_keys;
    UpstreamSection {
        upstreams,
        reading: reading.map_or(PathReading::Leniently, |reading| reading.value),
        urls: found.urls,
        assertion_audiences: found.audiences,
    }
}

/// What is looked at once all upstreams are known.
#[derive(Default)]
struct Found {
    urls: Vec<Placed<ServerAddress>>,
    audiences: Vec<Place>,
    tls_keys: Vec<(String, &'static str, Place)>,
}

/// Reads one upstream; `None` if it has no address that can be used.
fn upstream(
    name: &str,
    mut section: Section<'_>,
    found: &mut Found,
    files: ReadFile<'_>,
) -> Option<UpstreamConfig> {
    let urls = urls(&mut section);
    let short = Duration::from_millis(10)..=Duration::from_mins(5);
    let long = Duration::from_millis(100)..=Duration::from_hours(24);
    let connect = section.duration("connect-timeout", short.clone());
    let response = section.duration("response-timeout", long);
    let idle = section.duration("idle-timeout", short);
    let reuse = section.choice("reuse", &[("safe", Reuse::Safe), ("always", Reuse::Always)]);
    let protocol = section.choice(
        "protocol",
        &[("http1", Protocol::Http1), ("http2", Protocol::Http2)],
    );
    let host = section.parsed("host", host_header);
    let early_hints = section.flag("early-hints");
    let (trust, tls_keys) = Trust::read(&mut section, files);
    let tls_keys = tls_keys.into_iter();
    (found.tls_keys).extend(tls_keys.map(|(key, place)| (name.to_owned(), key, place)));
    let audience = section.parsed("assertion-audience", signed_assertion::audience);
    let group = group::read(&mut section);
    section.finish();
    let addresses: Vec<ServerAddress> = urls.iter().map(|url| url.value.clone()).collect();
    found.urls.extend(urls);
    let (audience, place) = audience.map(|read| (read.value, read.place)).unzip();
    found.audiences.extend(place);
    let mut addresses = addresses.into_iter();
    Some(UpstreamConfig {
        name: name.to_owned(),
        url: addresses.next()?,
        further: addresses.collect(),
        group,
        connect_timeout: connect.unwrap_or(Duration::from_secs(5)),
        response_timeout: response.unwrap_or(Duration::from_mins(1)),
        idle_timeout: idle.unwrap_or(Duration::from_secs(4)),
        protocol: protocol.map_or(Protocol::Http1, |protocol| protocol.value),
        reuse: reuse.map_or(Reuse::Safe, |reuse| reuse.value),
        host: host.map_or(HostHeader::Preserve, |host| host.value),
        early_hints: early_hints.is_some_and(|flag| flag.value),
        ca_file: trust.ca_file,
        server_name: trust.server_name,
        client_certificate: trust.client_certificate,
        assertion_audience: audience,
    })
}

/// Which `Host` an upstream sees.
fn host_header(text: &str) -> Result<HostHeader, String> {
    let is_name = text.contains(['.', ':']) || text == "localhost";
    match text {
        "preserve" => Ok(HostHeader::Preserve),
        "upstream" => Ok(HostHeader::Upstream),
        // A word alone is more likely one of these two, misspelt.
        name => Host::parse(name)
            .filter(|_| is_name)
            .map(HostHeader::Named)
            .ok_or_else(|| {
                "it is `preserve`, `upstream` or a host such as `app.internal` or `app.internal:8080`"
                    .to_owned()
            }),
    }
}

/// Where the servers are: one address, or several.
fn urls(section: &mut Section<'_>) -> Vec<Placed<ServerAddress>> {
    let (problems, place) = (section.problems(), section.place().clone());
    let Some(texts) = section.texts("url") else {
        return Vec::new();
    };
    if texts.is_empty() {
        problems.add(Problem::error(&place, "`url` has no address in it"));
    }
    let mut urls: Vec<Placed<ServerAddress>> = Vec::new();
    for text in texts {
        match address::server(&text.value) {
            Ok(url) if urls.iter().any(|known| known.value == url) => problems.add(
                Problem::error(&text.place, format!("`{url}` is written twice"))
                    .hint("each server gets its share once"),
            ),
            Ok(url) => urls.push(Placed::new(url, text.place)),
            Err(why) => problems.add(Problem::error(
                &text.place,
                format!("`url` cannot be used: {why}"),
            )),
        }
    }
    urls
}
