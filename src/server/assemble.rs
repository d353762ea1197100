//! From a checked configuration to what requests are judged by.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use http::header::AUTHORIZATION;
use rustls::ClientConfig;

use super::reload::Before;
use super::sites;
use crate::clock::SharedClock;
use crate::config::{self, ClerkConfig, Config, HostHeader, UpstreamConfig};
use crate::core::edge::PublicAddress;
use crate::core::identity_headers::HeaderPlan;
use crate::core::origin::Origin;
use crate::core::signed_assertion::AssertionPlan;
use crate::gate::Snapshot;
use crate::gate::meters::Meters;
use crate::gate::shadow::Shadow;
use crate::store::{Memory, Redis, Store};
use crate::telemetry::traces::{Exporter, Traces};
use crate::tls::{self, ClientIdentity, ExtraRoots};
use crate::upstream::address::ServerAddress;
use crate::upstream::group::Server;
use crate::upstream::head::{ClerkCookies, HeaderRules, HostRule};
use crate::upstream::relay::FrontendApi;
use crate::upstream::standing::{ServerName, Standings};
use crate::upstream::{Tls, Upstream, UpstreamTimes};

/// Makes the snapshot that `config` describes, with what of `before` has not changed, and counted in
/// `meters`. Reads certificate files; connects to nothing.
pub(super) fn snapshot(
    config: &Config,
    clock: &SharedClock,
    before: Option<&Before<'_>>,
    meters: &Meters,
) -> anyhow::Result<Snapshot> {
    let headers = HeaderPlan::new(config.identity.headers.clone()).reserving(
        config
            .policy
            .templates()
            .iter()
            .map(|template| template.header.clone())
            // A client may use this one where no route has it set.
            .filter(|name| *name != AUTHORIZATION)
            .collect(),
    );
    let headers = if config.policy.rides() {
        headers.telling_of_rides()
    } else {
        headers
    };
    let headers = match assertion_plan(config) {
        Some(plan) => headers.asserting(Arc::new(plan)),
        None => headers,
    };
    let cookies = match config.identity.clerk_cookies {
        config::ClerkCookies::Strip => ClerkCookies::Strip,
        config::ClerkCookies::Keep => ClerkCookies::Keep,
    };
    let reserved = Arc::new(headers.reserved());
    let rules = Arc::new(HeaderRules::new(Arc::clone(&reserved), cookies));
    let upstreams = config
        .upstreams
        .iter()
        .map(|upstream| self::upstream(upstream, config, &rules, &meters.servers))
        .collect::<anyhow::Result<_>>()?;
    Ok(Snapshot {
        sites: sites::make(config, clock, &rules, before, meters)?,
        meters: meters.of(&config.policy),
        policy: config.policy.clone(),
        shadow: (config.shadow.as_ref()).map(|shadow| Shadow::new(shadow.policy.clone())),
        edge: config.edge.clone(),
        headers,
        reserved,
        pages_prefix: config.pages_prefix.clone(),
        debug_headers: config.debug_headers,
        upstreams,
        max_body: config.limits.body_bytes,
        body_timeout: config.limits.body_timeout,
        webhooks: config.webhooks.clone(),
    })
}

/// Where counts are kept. Begins to connect to what is elsewhere, and waits for nothing.
pub(super) fn store(config: &Config) -> anyhow::Result<Store> {
    let Some(redis) = &config.store else {
        return Ok(Store::Memory(Memory::new()));
    };
    let made = Redis::new(&redis.addresses, redis.timeout, redis.on_error);
    let redis = made.map_err(anyhow::Error::msg)?;
    redis.connect();
    Ok(Store::Redis(Box::new(redis)))
}

/// What writes requests down, and what sends that away, if anything is to be. Connects to nothing yet.
pub(super) fn traces(
    config: &Config,
    meters: &Meters,
) -> anyhow::Result<(Traces, Option<Exporter>)> {
    let Some(traces) = &config.traces else {
        return Ok((Traces::default(), None));
    };
    let made = Traces::to(&traces.destination, traces.share, &meters.spans);
    let (traces, exporter) = made.context("traces (`[traces]`)")?;
    Ok((traces, Some(exporter)))
}

/// What signed assertions say, by site and by upstream, in the order in which requests number them.
fn assertion_plan(config: &Config) -> Option<AssertionPlan> {
    let assertion = config.assertion.as_ref()?;
    assertion.signer.warm_up();
    let further = config.edge.sites.iter().map(|site| &site.public);
    let issuers = std::iter::once(&config.edge.public)
        .chain(further)
        .map(|public| match (&assertion.issuer, public) {
            (Some(issuer), _) => Some(issuer.clone()),
            (None, PublicAddress::Fixed(origin)) => Some(origin.to_string()),
            (None, PublicAddress::Loopback) => None,
        })
        .collect();
    let audience = |upstream: &UpstreamConfig| {
        let written = upstream.assertion_audience.clone();
        written.unwrap_or_else(|| upstream.url.to_string())
    };
    Some(AssertionPlan {
        issuers,
        audiences: config.upstreams.iter().map(audience).collect(),
        lifetime_s: assertion.lifetime.as_secs(),
        keys: Arc::clone(assertion.signer.keys()),
    })
}

/// The TLS of a connection: an address in plain text needs no certificates.
pub(super) fn tls_for(secure: bool, extra: &ExtraRoots) -> std::io::Result<Arc<ClientConfig>> {
    if secure {
        tls::client_config(extra)
    } else {
        tls::client_config_without_roots()
    }
}

fn upstream(
    upstream: &UpstreamConfig,
    config: &Config,
    rules: &Arc<HeaderRules>,
    standings: &Standings,
) -> anyhow::Result<Upstream> {
    let times = times(upstream, config);
    let tls = upstream
        .servers()
        .any(ServerAddress::is_secure)
        .then(|| upstream_tls(upstream))
        .transpose()?;
    let servers = upstream.servers().map(|address| {
        let host = match &upstream.host {
            HostHeader::Preserve => HostRule::Preserve,
            HostHeader::Upstream => {
                HostRule::Fixed(address.host().context("the address of the upstream")?)
            }
            HostHeader::Named(host) => HostRule::Fixed(host.clone()),
        };
        let name = ServerName {
            upstream: upstream.name.as_str().into(),
            server: address.to_string().into(),
        };
        let known = (name.clone(), standings.of(&name));
        let tls = tls.clone().filter(|_| address.is_secure());
        let at = (address.clone(), tls);
        let (protocol, reuse) = (upstream.protocol, upstream.reuse);
        Ok(Server::new(known, at, protocol, host, times, reuse))
    });
    let servers = servers.collect::<anyhow::Result<_>>()?;
    let signer = config.assertion.as_ref();
    let signer = signer.map(|assertion| Arc::clone(&assertion.signer));
    Upstream::new(servers, upstream.group.clone(), times, Arc::clone(rules))
        .map(|made| {
            made.signing_with(signer)
                .passing_hints(upstream.early_hints)
        })
        .context("an upstream without a server")
}

/// How servers are spoken to over TLS. Reads the files, each time.
fn upstream_tls(upstream: &UpstreamConfig) -> anyhow::Result<Tls> {
    let read = |path: &PathBuf| {
        fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let roots = upstream.ca_file.as_ref().map(read).transpose()?;
    let roots = ExtraRoots(roots.unwrap_or_default());
    let config = match &upstream.client_certificate {
        None => tls::client_config(&roots),
        Some(certificate) => {
            let identity = ClientIdentity {
                chain: read(&certificate.cert_file)?,
                key: read(&certificate.key_file)?,
            };
            tls::client_config_as(&identity, &roots)
        }
    };
    Ok(Tls {
        config: config.context("the certificates for the upstream")?,
        name: upstream.server_name.clone(),
    })
}

fn times(upstream: &UpstreamConfig, config: &Config) -> UpstreamTimes {
    UpstreamTimes {
        connect: upstream.connect_timeout,
        response: upstream.response_timeout,
        idle: upstream.idle_timeout,
        body_idle: config.limits.body_timeout,
    }
}

/// Clerk's Frontend API behind the gate; the times of `[upstream]` hold for it, and its `reuse`.
pub(super) fn frontend_api(
    origin: &Origin,
    clerk: &ClerkConfig,
    config: &Config,
    rules: &Arc<HeaderRules>,
) -> anyhow::Result<FrontendApi> {
    let secret_key = clerk.secret_key.clone();
    let secret_key = secret_key.context("the Frontend API proxy needs the secret key")?;
    let first = config.upstreams.first().context("there is no upstream")?;
    let secure = origin.scheme() == crate::core::origin::Scheme::Https;
    let tls = secure
        .then(|| tls::client_config(&ExtraRoots::default()))
        .transpose()
        .context("the certificates that are trusted")?;
    let tls = tls.map(|config| Tls { config, name: None });
    FrontendApi::new(
        origin,
        secret_key,
        times(first, config),
        first.reuse,
        Arc::clone(rules),
        tls,
    )
    .context("the secret key cannot stand in a header")
}
