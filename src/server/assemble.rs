//! From a checked configuration to what requests are judged by.

use std::fs;
use std::sync::Arc;

use anyhow::Context as _;
use http::uri::{Authority, Scheme};
use rustls::ClientConfig;
use secrecy::SecretString;
use url::Url;

use crate::clerk::backend::BackendApi;
use crate::clerk::client::ClerkClient;
use crate::clerk::jwks::{KeyStore, KeyTimes};
use crate::clerk::keys::KeySet;
use crate::clerk::machines::MachineApi;
use crate::clock::SharedClock;
use crate::config::{self, Config, HostHeader, KeySource, UpstreamConfig};
use crate::core::identity_headers::HeaderPlan;
use crate::core::origin::Origin;
use crate::gate::Snapshot;
use crate::gate::machines::Machines;
use crate::tls::{self, ExtraRoots};
use crate::upstream::head::{ClerkCookies, HeaderRules, HostRule};
use crate::upstream::relay::FrontendApi;
use crate::upstream::{Upstream, UpstreamTimes};

/// Makes the snapshot that `config` describes. Reads certificate files; connects to nothing.
pub(super) fn snapshot(config: &Config, clock: &SharedClock) -> anyhow::Result<Snapshot> {
    let client = |base: Url, key: Option<SecretString>| {
        let tls = tls_for(base.scheme() == "https", &ExtraRoots::default())
            .context("the certificates that are trusted")?;
        Ok::<_, anyhow::Error>(ClerkClient::new(base, key, &tls)?)
    };
    let backend = match &config.secret_key {
        Some(key) => Some(client(config.api_url.clone(), Some(key.clone()))?),
        None => None,
    };
    let times = KeyTimes {
        max_stale: config.jwks_max_stale,
        ..KeyTimes::default()
    };
    let keys = match (&config.keys, &backend) {
        (KeySource::Pem(pem), _) => KeyStore::fixed(KeySet::from_pem(pem)?, Arc::clone(clock)),
        (KeySource::BackendApi, Some(backend)) => {
            KeyStore::remote(backend.clone(), "/v1/jwks", times, Arc::clone(clock))
        }
        (KeySource::FrontendApi { url }, _) => {
            let base = Url::parse(url).context("the address of the Frontend API")?;
            KeyStore::remote(
                client(base, None)?,
                "/.well-known/jwks.json",
                times,
                Arc::clone(clock),
            )
        }
        (KeySource::BackendApi, None) => {
            anyhow::bail!("keys come from the Backend API, but there is no secret key")
        }
    };
    let headers = HeaderPlan::new(config.identity.headers.clone());
    let cookies = match config.identity.clerk_cookies {
        config::ClerkCookies::Strip => ClerkCookies::Strip,
        config::ClerkCookies::Keep => ClerkCookies::Keep,
    };
    let rules = Arc::new(HeaderRules::new(&headers, cookies));
    let upstreams = config
        .upstreams
        .iter()
        .map(|upstream| self::upstream(upstream, config, &rules))
        .collect::<anyhow::Result<_>>()?;
    let frontend_api = match &config.frontend_api_proxy {
        Some(origin) => Some(self::frontend_api(origin, config, &rules)?),
        None => None,
    };
    Ok(Snapshot {
        instance: config.instance.clone(),
        policy: config.policy.clone(),
        edge: config.edge.clone(),
        headers,
        pages_prefix: config.pages_prefix.clone(),
        debug_headers: config.debug_headers,
        keys,
        machines: Machines::new(
            MachineApi {
                instance: backend.clone(),
                machine: match &config.machine_secret_key {
                    Some(key) => Some(client(config.api_url.clone(), Some(key.clone()))?),
                    None => None,
                },
            },
            config.machine_token_cache,
        ),
        backend: backend.map(BackendApi::new),
        upstreams,
        frontend_api,
        max_body: config.limits.body_bytes,
    })
}

/// The TLS of a connection: an address in plain text needs no certificates.
fn tls_for(secure: bool, extra: &ExtraRoots) -> std::io::Result<Arc<ClientConfig>> {
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
) -> anyhow::Result<Upstream> {
    let roots = match &upstream.ca_file {
        Some(path) => {
            ExtraRoots(fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?)
        }
        None => ExtraRoots::default(),
    };
    let secure = upstream.url.scheme() == crate::core::origin::Scheme::Https;
    let tls =
        tls_for(secure, &roots).context("the certificates that the upstream is checked with")?;
    let scheme = match upstream.url.scheme() {
        crate::core::origin::Scheme::Http => Scheme::HTTP,
        crate::core::origin::Scheme::Https => Scheme::HTTPS,
    };
    let authority: Authority = upstream
        .url
        .host()
        .to_string()
        .parse()
        .context("the address of the upstream")?;
    let host = match upstream.host {
        HostHeader::Preserve => HostRule::Preserve,
        HostHeader::Upstream => HostRule::Upstream(upstream.url.host().clone()),
    };
    Ok(Upstream::new(
        scheme,
        authority,
        host,
        times(upstream, config),
        Arc::clone(rules),
        tls,
    ))
}

fn times(upstream: &UpstreamConfig, config: &Config) -> UpstreamTimes {
    UpstreamTimes {
        connect: upstream.connect_timeout,
        response: upstream.response_timeout,
        idle: upstream.idle_timeout,
        body_idle: config.limits.body_timeout,
    }
}

/// Clerk's Frontend API behind the gate; the times of `[upstream]` hold for it.
fn frontend_api(
    origin: &Origin,
    config: &Config,
    rules: &Arc<HeaderRules>,
) -> anyhow::Result<FrontendApi> {
    let secret_key = config.secret_key.clone();
    let secret_key = secret_key.context("the Frontend API proxy needs the secret key")?;
    let times = config.upstreams.first().map(|first| times(first, config));
    let times = times.context("there is no upstream")?;
    let secure = origin.scheme() == crate::core::origin::Scheme::Https;
    let tls =
        tls_for(secure, &ExtraRoots::default()).context("the certificates that are trusted")?;
    FrontendApi::new(origin, secret_key, times, Arc::clone(rules), tls)
        .context("the secret key cannot stand in a header")
}
