//! The page of metrics: what it counts, that nobody can make it longer, and that it tells nothing it must
//! not.

#![expect(
    clippy::float_cmp,
    reason = "whole numbers, and parts of a second that are written as they are meant"
)]

mod flood;
mod page;
mod protocols;
mod readings;
mod reference;
mod requests;

use std::collections::{BTreeMap, BTreeSet};

use clerk_gate::core::door::Dialect;
use clerk_gate::standin::{Endpoint, Fault, MachineGrant, MachineKind};
use http::{Method, StatusCode};

use crate::budgets::world_of;
use crate::ext_authz::Ask;
use crate::support::{World, WorldBuilder, cookies, refreshable};

/// A route of each kind that is counted in its own way.
const ROUTES: &str = r#"
[[route]]
name    = "open"
path    = "/open/**"
require = "public"

[[route]]
name    = "few"
path    = "/few/**"
require = "public"
limit   = { requests = 1, window = "10s" }

[[route]]
name    = "rehearsed"
path    = "/rehearsed/**"
require = "public"
limit   = { requests = 1, window = "10s", dry-run = true }

[[route]]
name    = "keys"
path    = "/keys/**"
require = { token = "api_key" }

[[route]]
name    = "members"
path    = "/members/**"
require = "signed-in"
"#;

/// A gate with these routes and doors, that relays to the Frontend API.
fn builder() -> WorldBuilder {
    world_of(ROUTES).with_doors().with_ext_authz().relaying()
}

/// What the page says, as Prometheus takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// By the name, as its samples have it: the type and what it says.
    described: BTreeMap<String, (String, String)>,
    /// By name and labels.
    samples: BTreeMap<String, f64>,
}

impl Page {
    /// The page at the moment.
    pub async fn of(world: &World) -> Self {
        let answer = world.window("/metrics").send().await;
        assert_eq!(answer.status, StatusCode::OK);
        Self::read(&answer.body)
    }

    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut helps = BTreeMap::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                let twice = helps.insert(name.to_owned(), help.to_owned());
                assert_eq!(twice, None, "{name}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                let described = (kind.to_owned(), helps[name].clone());
                let twice = page.described.insert(name.to_owned(), described);
                assert_eq!(twice, None, "{name}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value = value.parse().unwrap();
                let twice = page.samples.insert(series.to_owned(), value);
                assert_eq!(twice, None, "{series}");
            }
        }
        assert_eq!(helps.len(), page.described.len());
        page
    }

    /// The value of a series; 0 for one that is not there.
    pub fn value(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or_default()
    }

    /// The samples of a metric that are not 0, each with what stands in braces.
    fn of_metric(&self, name: &str) -> Vec<(String, f64)> {
        let samples = self.samples.iter().filter(|(_, value)| **value > 0.0);
        samples
            .filter_map(|(series, value)| {
                let rest = series.strip_prefix(name)?;
                let labels = rest.strip_prefix('{')?.strip_suffix('}')?;
                Some((labels.to_owned(), *value))
            })
            .collect()
    }

    /// Every series that there is, whatever its value.
    fn series(&self) -> BTreeSet<&str> {
        self.samples.keys().map(String::as_str).collect()
    }

    /// The values that a label of a metric has.
    fn values(&self, metric: &str, label: &str) -> BTreeSet<String> {
        let start = format!("{metric}{{");
        let labels = self
            .samples
            .keys()
            .filter_map(|key| key.strip_prefix(&start));
        let named = format!("{label}=\"");
        labels
            .filter_map(|labels| {
                let mut labels = labels.trim_end_matches("\"}").split("\",");
                labels.find_map(|label| label.strip_prefix(&named))
            })
            .map(str::to_owned)
            .collect()
    }

    /// The names of the labels that each metric has, but for the bound of a bucket.
    fn labels(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for series in self.samples.keys() {
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let described = |name: &str| self.described.contains_key(name);
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix).filter(|name| described(name)))
                .unwrap_or(name);
            assert!(described(name), "{series}");
            let names = labels.strip_suffix('}').unwrap().split("\",");
            let names = names.filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()));
            let known = found.entry(name.to_owned()).or_default();
            known.extend(names.filter(|name| name != "le"));
        }
        found
    }
}

/// A gate that every kind of request has come to, so that every metric has a sample.
async fn busy() -> World {
    let world = builder().start().await;
    busy_with(&world, "usual").await;
    world
}

/// Sends one request of every kind. What a stranger can make up is made of `made_up`.
async fn busy_with(world: &World, made_up: &str) {
    let ada = world.clerk.sign_in("ada", None);
    let grant = MachineGrant::new(MachineKind::ApiKey, "user_2Ada00000000000000000000001", &[]);
    let key = world.clerk.machine_token(grant);
    let path = |route: &str| format!("/{route}/{made_up}?{made_up}={made_up}");
    let mut calls = vec![
        world.get(&path("open")),
        world.get(&path("few")),
        world.get(&path("few")),
        world.get(&path("rehearsed")),
        world.get(&path("rehearsed")),
        world.get(&path("members")).bearer(&ada.token),
        world.get(&path("members")).bearer(&ada.token),
        world.get(&path("members")).cookie(&cookies(&ada)),
        world.get(&path("members")).bearer(made_up),
        world.visit(&path("members")),
        world.get(&path("keys")).bearer(&key.secret),
        world.get(&path("keys")).bearer(&key.secret),
        world.get(&path("keys")).bearer(&format!("ak_{made_up}")),
        world.get(&path(made_up)),
        world.get(&format!("/_gate/{made_up}")),
        world.get("/_gate/me").cookie(&cookies(&ada)),
        world.get(&format!("/{made_up}%zz")),
        world
            .get("/open/x")
            .header("host", &format!("{made_up}.example")),
        world.get(&format!("/__clerk/v1/{made_up}")),
    ];
    for dialect in Dialect::ALL {
        calls.push(crate::doors::ask(world, dialect, "GET", &path("open")));
        calls.push(crate::doors::ask(world, dialect, "GET", "/%zz"));
    }
    for method in [made_up, "POST"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        calls.push(world.request(method, &path("open")));
    }
    for call in calls {
        call.send().await;
    }
    for asked in [path("open"), "/%zz".to_owned()] {
        Ask::at(world, "GET", &asked).send(world).await;
    }
    let mel = world.clerk.sign_in("mel", None);
    world.clock.advance_ms(70_000);
    world.clerk.misbehave(Endpoint::Refresh, Fault::Status(422));
    let refused = world
        .get(&path("members"))
        .cookie(&refreshable(world, &mel));
    assert_eq!(refused.send().await.status, StatusCode::UNAUTHORIZED);
    world.clerk.behave();
}
