//! The page of metrics: what was counted, and how things stand at the moment.
//!
//! `docs/reference/metrics.md` has the same, and a test holds the two together.

mod described;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::accept::Service;
use super::tls::{Shown, Terminator};
use crate::gate::Site;
use crate::gate::meters::Meters;
use crate::rewrite::Outcome;
use crate::telemetry::exposition::{Exposition, Sheet, Values};
use crate::telemetry::meters::{Lookups, Times, TimesRead};
use crate::telemetry::requests::{NO_ROUTE, OWN_PAGES, RouteMeter, UNREAD};
use crate::upstream::standing::ServerName;
use described::{
    ACCEPTED, BUDGET, BUILD, CACHES, CALL_TIMES, CALLS, CERTIFICATES, CONNECTIONS, DECISIONS,
    EVER_SPOKEN, GENERATION, INJECTIONS, KEY_AGE, KEYS, LIMITS, LIVE, LIVE_OWNERS,
    MOST_CONNECTIONS, REFRESHES, REJECTED, RELAY, REQUESTS, RIDES, SERVER_CHECKS, SERVER_EJECTIONS,
    SERVER_IN_FLIGHT, SERVER_OPEN, SERVER_REQUESTS, SERVER_TIMES, SHADOW, SPANS, SPOKEN, TUNNELS,
    UPSTREAM, VERDICTS,
};

/// The page of a gate that serves like this.
pub(super) fn page(service: &Arc<Service>) -> Exposition {
    Exposition::of(Readings(Arc::clone(service)))
}

/// Everything that can be read of a gate.
#[derive(Debug)]
struct Readings(Arc<Service>);

impl Collector for Readings {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet::new(encoder);
        self.configuration(&mut sheet)?;
        requests(&self.0.gate.meters, &mut sheet)?;
        self.servers(&mut sheet)?;
        shadow(&self.0.gate.meters, &mut sheet)?;
        calls(&self.0.gate.meters, &mut sheet)?;
        self.sites(&mut sheet)?;
        spending(&self.0.gate.meters, &mut sheet)?;
        self.connections(&mut sheet)?;
        let spans = self.0.gate.meters.spans.outcomes();
        let spans = spans.map(|(outcome, total)| ([outcome.into()], total));
        sheet.counters(&SPANS, spans)?;
        let tally = &self.0.gate.injections;
        let pages = Outcome::ALL.map(|outcome| ([outcome.name().into()], tally.of(outcome)));
        sheet.counters(&INJECTIONS, pages)
    }
}

impl Readings {
    fn configuration(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        sheet.gauges(&BUILD, [([version.into()], 1.0)])?;
        let generation = self.0.snapshot.load().meters.generation;
        sheet.gauges(&GENERATION, [([], number(generation))])?;
        let rejected = &self.0.gate.meters.rejected_configurations;
        sheet.counters(&REJECTED, [([], rejected.total())])
    }

    /// What was counted of every server that was ever named, and how those stand that are in use.
    fn servers(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let ever = self.0.gate.meters.servers.all();
        let outcomes = ever.iter().flat_map(|(name, standing)| {
            let outcomes = standing.meter.outcomes().filter(|(_, total)| *total > 0);
            outcomes.map(|(outcome, total)| {
                let [upstream, server] = server(name);
                ([upstream, server, outcome.into()], total)
            })
        });
        sheet.counters(&SERVER_REQUESTS, outcomes)?;
        let times = ever
            .iter()
            .filter_map(|(name, standing)| Some((server(name), standing.meter.answers.read()?)));
        sheet.histograms(&SERVER_TIMES, times)?;
        let ejections = ever
            .iter()
            .map(|(name, standing)| (server(name), standing.meter.ejections.total()));
        sheet.counters(&SERVER_EJECTIONS, ejections)?;
        let checks = ever.iter().flat_map(|(name, standing)| {
            let checks = &standing.meter.checks;
            [("passed", &checks.passed), ("failed", &checks.failed)].map(|(outcome, count)| {
                let [upstream, server] = server(name);
                ([upstream, server, outcome.into()], count.total())
            })
        });
        sheet.counters(&SERVER_CHECKS, checks)?;
        let snapshot = self.0.snapshot.load();
        let used = || {
            let upstreams = snapshot.upstreams.iter();
            upstreams.flat_map(|upstream| upstream.servers().iter().map(move |s| (upstream, s)))
        };
        let in_flight = used().map(|(_, used)| {
            let count = used.standing().in_flight();
            (server(used.name()), number(count as u64))
        });
        sheet.gauges(&SERVER_IN_FLIGHT, in_flight)?;
        let open = used().map(|(upstream, used)| {
            let open = upstream.is_open(used);
            (server(used.name()), if open { 1.0 } else { 0.0 })
        });
        sheet.gauges(&SERVER_OPEN, open)
    }

    fn sites(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot.load();
        let sites = || snapshot.sites.iter().enumerate();
        sheet.gauges(
            &BUDGET,
            sites().filter_map(|(n, site)| {
                let left = site.backend.as_ref()?.client().budget().left();
                Some((named(n), f64::from(left)))
            }),
        )?;
        let keys = |site: &Site| site.keys.age();
        sheet.gauges(
            &KEYS,
            sites().map(|(n, site)| {
                let count = keys(site).map_or(0, |age| age.keys);
                (named(n), number(count as u64))
            }),
        )?;
        let fetched = sites().filter(|(_, site)| !site.keys.is_fixed());
        sheet.gauges(
            &KEY_AGE,
            fetched.filter_map(|(n, site)| {
                let age_ms = keys(site)?.age_ms;
                Some((named(n), number(age_ms) / 1000.0))
            }),
        )
    }

    fn connections(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let service = &self.0;
        let listeners = || service.visitors.by_listener();
        let open = listeners().map(|(name, open)| ([name.into()], number(open.now())));
        sheet.gauges(&CONNECTIONS, open)?;
        let ever = listeners().map(|(name, open)| ([name.into()], open.ever()));
        sheet.counters(&ACCEPTED, ever)?;
        let protocols = || service.visitors.by_protocol();
        let labels = |names: [&'static str; 2]| names.map(Cow::from);
        let open = protocols().map(|(names, open)| (labels(names), number(open.now())));
        sheet.gauges(&SPOKEN, open)?;
        let ever = protocols().map(|(names, open)| (labels(names), open.ever()));
        sheet.counters(&EVER_SPOKEN, ever)?;
        let shown = service.tls.as_ref().map(Terminator::shown);
        let shown = shown.iter().flatten().enumerate();
        let expiries = shown.filter_map(|(at, shown)| {
            let Shown { name, until_s } = shown.as_ref()?;
            let labels = [at.to_string().into(), name.as_str().into()];
            Some((labels, number(*until_s)))
        });
        sheet.gauges(&CERTIFICATES, expiries)?;
        let gauge = |sheet: &mut Sheet<'_>, metric, count: usize| {
            sheet.gauges(metric, [([], number(count as u64))])
        };
        let (live, owners) = service.gate.live().open();
        gauge(sheet, &MOST_CONNECTIONS, service.limits.connections)?;
        gauge(sheet, &TUNNELS, service.tunnels.open())?;
        gauge(sheet, &LIVE, live)?;
        gauge(sheet, &LIVE_OWNERS, owners)
    }
}

fn requests(meters: &Meters, sheet: &mut Sheet<'_>) -> fmt::Result {
    let requests = &meters.requests;
    let routes = requests.routes();
    let routes = || {
        let named: [(&str, &RouteMeter); 3] = [
            (OWN_PAGES, &requests.own_pages),
            (NO_ROUTE, &requests.no_route),
            (UNREAD, &requests.unread),
        ];
        let listed = routes.iter().map(|(name, meter)| (&**name, &**meter));
        listed.chain(named)
    };
    let decisions = routes().flat_map(|(route, meter)| {
        let decisions = meter.decisions();
        decisions.map(move |(action, reason, total)| {
            let reason = reason.map_or("none", |reason| reason.code());
            ([route.into(), action.name().into(), reason.into()], total)
        })
    });
    sheet.counters(&DECISIONS, decisions)?;
    let answers = requests.answers().map(|(mode, status, total)| {
        let status = status.map_or("other".into(), |status| Cow::from(status.to_string()));
        ([mode.name().into(), status], total)
    });
    sheet.counters(&REQUESTS, answers)?;
    let verdicts = requests.verdicts();
    sheet.histograms(
        &VERDICTS,
        verdicts.filter_map(|(mode, took)| read(mode.name(), took)),
    )?;
    let upstream = routes().filter_map(|(route, meter)| read(route, meter.upstream()));
    sheet.histograms(&UPSTREAM, upstream)?;
    sheet.histograms(&RELAY, requests.relay.read().map(|read| ([], read)))?;
    let failed = requests.failed_refreshes();
    sheet.counters(
        &REFRESHES,
        failed.map(|(detail, total)| ([detail.into()], total)),
    )?;
    let rides = requests.routes();
    let rides = rides.iter();
    sheet.counters(
        &RIDES,
        rides.map(|(route, meter)| ([(&**route).into()], meter.rides.total())),
    )
}

/// Where both say the same is there from the start.
fn shadow(meters: &Meters, sheet: &mut Sheet<'_>) -> fmt::Result {
    let totals = meters.shadow.totals();
    let shown = totals.filter(|(enforced, shadow, total)| *total > 0 || *shadow == Some(*enforced));
    let values = shown.map(|(enforced, shadow, total)| {
        let shadow = shadow.map_or("unknown", |shadow| shadow.as_str());
        ([enforced.as_str().into(), shadow.into()], total)
    });
    sheet.counters(&SHADOW, values)
}

fn calls(meters: &Meters, sheet: &mut Sheet<'_>) -> fmt::Result {
    let outcomes = meters
        .calls
        .outcomes()
        .map(|(purpose, outcome, total)| ([purpose.name().into(), outcome.name().into()], total));
    sheet.counters(&CALLS, outcomes)?;
    let times = meters.calls.times();
    sheet.histograms(
        &CALL_TIMES,
        times.filter_map(|(purpose, took)| read(purpose.name(), took)),
    )?;
    let caches: [(&str, &Lookups); 3] = [
        ("verified-tokens", &meters.tokens),
        ("machine-tokens", &meters.machines),
        ("template-tokens", &meters.templates),
    ];
    let lookups = caches.into_iter().flat_map(|(cache, lookups)| {
        [
            ([cache.into(), "hit".into()], lookups.hits.total()),
            ([cache.into(), "miss".into()], lookups.misses.total()),
        ]
    });
    sheet.counters(&CACHES, lookups)
}

fn spending(meters: &Meters, sheet: &mut Sheet<'_>) -> fmt::Result {
    let limits = meters.limits();
    let charges = limits.iter().flat_map(|(name, meter)| {
        [
            ("allowed", &meter.allowed),
            ("refused", &meter.refused),
            ("dry-run", &meter.dry_run),
        ]
        .map(|(outcome, count)| ([(&**name).into(), outcome.into()], count.total()))
    });
    sheet.counters(&LIMITS, charges)
}

/// A server by its upstream and its address.
fn server(name: &ServerName) -> Values<'_, 2> {
    [(&*name.upstream).into(), (&*name.server).into()]
}

/// A site by its number: 0 is the top level of the configuration.
fn named(site: usize) -> Values<'static, 1> {
    [site.to_string().into()]
}

fn read<'v>(name: &'v str, took: &Times) -> Option<(Values<'v, 1>, TimesRead)> {
    Some(([name.into()], took.read()?))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no count of what is open comes near 2^53, and no age in milliseconds"
)]
fn number(count: u64) -> f64 {
    count as f64
}
