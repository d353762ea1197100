//! The sites of a gate. What is the same for several of them is made once and shared: keys that come
//! from one place, and the Backend API behind one secret key.

use std::sync::Arc;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::assemble::{self, tls_for};
use super::reload::Before;
use crate::clerk::backend::BackendApi;
use crate::clerk::browsers::BrowserApi;
use crate::clerk::budget::Budget;
use crate::clerk::calls::Calls;
use crate::clerk::client::ClerkClient;
use crate::clerk::jwks::{KeyStore, KeyTimes};
use crate::clerk::keys::KeySet;
use crate::clerk::machines::MachineApi;
use crate::clock::SharedClock;
use crate::config::{ClerkConfig, Config, KeySource};
use crate::core::instance::Continuity;
use crate::gate::Site;
use crate::gate::live::LiveRules;
use crate::gate::machines::Machines;
use crate::gate::meters::Meters;
use crate::gate::seals::Seals;
use crate::store::outcomes::OutcomeKeys;
use crate::tls::ExtraRoots;
use crate::upstream::head::HeaderRules;
use crate::upstream::relay::FrontendApi;

/// What a site was made of and with.
struct Made<'c> {
    clerk: &'c ClerkConfig,
    backend: Option<ClerkClient>,
    machines: Arc<Machines>,
    frontend_api: Option<Arc<FrontendApi>>,
    browsers: Option<BrowserApi>,
    keys: KeyStore,
    seals: Arc<Seals>,
}

/// Makes every site, in the order of their addresses, with what of `before` is the same. Connects to
/// nothing.
pub(super) fn make(
    config: &Config,
    clock: &SharedClock,
    rules: &Arc<HeaderRules>,
    before: Option<&Before<'_>>,
    meters: &Meters,
) -> anyhow::Result<Vec<Site>> {
    // SECURITY: a site that were taken for its neighbour would take the neighbour's tokens.
    anyhow::ensure!(
        config.sites.len() == config.edge.sites.len(),
        "there are {} further sites and {} addresses",
        config.sites.len(),
        config.edge.sites.len()
    );
    let known = before.map(known).unwrap_or_default();
    let mut made: Vec<Made<'_>> = Vec::new();
    for clerk in each_clerk(config) {
        let alike = || known.iter().chain(&made);
        let backend = match alike().find(|other| has_same_backend(other.clerk, clerk)) {
            Some(other) => other.backend.clone(),
            None => backend(clerk, &meters.calls)?,
        };
        let keys = match alike().find(|other| has_same_keys(other.clerk, clerk)) {
            Some(other) => other.keys.clone(),
            None => keys(clerk, backend.as_ref(), clock, &meters.calls)?,
        };
        let machines = match alike().find(|other| has_same_machines(other.clerk, clerk)) {
            Some(other) => Arc::clone(&other.machines),
            None => Arc::new(machines(clerk, backend.clone(), meters)?),
        };
        let frontend_api = match made
            .iter()
            .find(|other| has_same_frontend_api(other.clerk, clerk))
        {
            Some(other) => other.frontend_api.clone(),
            None => frontend_api(clerk, config, rules)?,
        };
        // What is sealed is bound to its site, so one set of keys is enough.
        let seals = match alike().find(|other| has_same_seal_keys(other.clerk, clerk)) {
            Some(other) => Arc::clone(&other.seals),
            None => Arc::new(Seals::new(&clerk.seal_keys)?),
        };
        made.push(Made {
            clerk,
            backend,
            machines,
            frontend_api,
            browsers: browsers(clerk, &meters.calls)?,
            keys,
            seals,
        });
    }
    let outcomes = |clerk: &ClerkConfig| {
        let secret = clerk.secret_key.as_ref();
        secret.map(|key| Arc::new(OutcomeKeys::of(key)))
    };
    let sites = made.into_iter().map(|site| Site {
        outcomes: outcomes(site.clerk),
        instance: site.clerk.instance.clone(),
        keys: site.keys,
        backend: site.backend.map(BackendApi::new),
        machines: site.machines,
        seals: site.seals,
        frontend_api: site.frontend_api,
        live: live(site.clerk),
        browsers: site.browsers,
    });
    Ok(sites.collect())
}

/// Each site's part of a configuration, in the order of their numbers.
fn each_clerk(config: &Config) -> impl Iterator<Item = &ClerkConfig> {
    std::iter::once(&config.clerk).chain(&config.sites)
}

/// What sites have been made of so far. What they have of the proxy of the Frontend API depends on
/// upstreams and headers too, and is made anew.
fn known<'a>(before: &Before<'a>) -> Vec<Made<'a>> {
    let clerks = each_clerk(before.config);
    let known = clerks
        .zip(&before.snapshot.sites)
        .map(|(clerk, site)| Made {
            clerk,
            backend: site.backend.as_ref().map(BackendApi::client).cloned(),
            machines: Arc::clone(&site.machines),
            frontend_api: None,
            browsers: None,
            keys: site.keys.clone(),
            seals: Arc::clone(&site.seals),
        });
    known.collect()
}

/// How long live connections may last; `faithful` asks nothing that the SDK does not ask.
fn live(clerk: &ClerkConfig) -> LiveRules {
    let check = match clerk.instance.continuity {
        Continuity::Full => clerk.live.check,
        Continuity::Faithful => None,
    };
    LiveRules {
        check,
        ..clerk.live
    }
}

fn has_same_backend(one: &ClerkConfig, other: &ClerkConfig) -> bool {
    one.api_url == other.api_url
        && one.api_budget == other.api_budget
        && is_same(one.secret_key.as_ref(), other.secret_key.as_ref())
}

// SECURITY: what Clerk has said about a token is its word to whoever asked.
fn has_same_machines(one: &ClerkConfig, other: &ClerkConfig) -> bool {
    let keys = [one, other].map(|clerk| clerk.machine_secret_key.as_ref());
    has_same_backend(one, other)
        && is_same(keys[0], keys[1])
        && one.machine_token_cache == other.machine_token_cache
}

fn has_same_frontend_api(one: &ClerkConfig, other: &ClerkConfig) -> bool {
    one.frontend_api_proxy == other.frontend_api_proxy
        && is_same(one.secret_key.as_ref(), other.secret_key.as_ref())
}

fn has_same_seal_keys(one: &ClerkConfig, other: &ClerkConfig) -> bool {
    let keys = |clerk: &ClerkConfig| -> Vec<String> {
        let keys = clerk.seal_keys.iter();
        keys.map(|key| key.expose_secret().to_owned()).collect()
    };
    keys(one) == keys(other)
}

fn is_same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(SecretString::expose_secret) == other.map(SecretString::expose_secret)
}

fn has_same_keys(one: &ClerkConfig, other: &ClerkConfig) -> bool {
    one.keys == other.keys
        && one.jwks_max_stale == other.jwks_max_stale
        && (one.keys != KeySource::BackendApi || has_same_backend(one, other))
}

fn client(
    base: Url,
    key: Option<SecretString>,
    budget: &Arc<Budget>,
    calls: &Arc<Calls>,
) -> anyhow::Result<ClerkClient> {
    let tls = tls_for(base.scheme() == "https", &ExtraRoots::default())
        .context("the certificates that are trusted")?;
    let client = ClerkClient::new(base, key, Arc::clone(budget), &tls)?;
    Ok(client.counted_in(calls))
}

fn backend(clerk: &ClerkConfig, calls: &Arc<Calls>) -> anyhow::Result<Option<ClerkClient>> {
    match &clerk.secret_key {
        Some(key) => {
            let budget = Arc::new(Budget::new(clerk.api_budget));
            let key = Some(key.clone());
            Ok(Some(client(clerk.api_url.clone(), key, &budget, calls)?))
        }
        None => Ok(None),
    }
}

fn machines(
    clerk: &ClerkConfig,
    instance: Option<ClerkClient>,
    meters: &Meters,
) -> anyhow::Result<Machines> {
    let machine = match &clerk.machine_secret_key {
        Some(key) => {
            // Clerk counts the calls of an instance, whichever of its keys they come with.
            let budget = match &instance {
                Some(instance) => Arc::clone(instance.budget()),
                None => Arc::new(Budget::new(clerk.api_budget)),
            };
            let (url, key) = (clerk.api_url.clone(), Some(key.clone()));
            Some(client(url, key, &budget, &meters.calls)?)
        }
        None => None,
    };
    let api = MachineApi { instance, machine };
    let machines = Machines::new(api, clerk.machine_token_cache);
    Ok(machines.counted_in(&meters.machines))
}

fn frontend_api(
    clerk: &ClerkConfig,
    config: &Config,
    rules: &Arc<HeaderRules>,
) -> anyhow::Result<Option<Arc<FrontendApi>>> {
    match &clerk.frontend_api_proxy {
        Some(origin) => Ok(Some(Arc::new(assemble::frontend_api(
            origin, clerk, config, rules,
        )?))),
        None => Ok(None),
    }
}

/// The Frontend API for calls in a browser's name: as its proxy, or in development by the browser's
/// token.
fn browsers(clerk: &ClerkConfig, calls: &Arc<Calls>) -> anyhow::Result<Option<BrowserApi>> {
    let instance = &clerk.instance;
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https");
    let (base, secret_key) = match &clerk.frontend_api_proxy {
        Some(origin) => (Url::parse(&origin.to_string()), clerk.secret_key.clone()),
        None if instance.is_development() => {
            // Behind somebody else's proxy, whose address may be a path, the API itself is asked.
            let own = Url::parse(&instance.frontend_api).ok().filter(is_web);
            let base = own.map_or_else(|| Url::parse(&instance.authorization_server), Ok);
            (base, None)
        }
        None => return Ok(None),
    };
    let base = base.context("the address of the Frontend API")?;
    let budget = Arc::new(Budget::new(clerk.api_budget));
    Ok(Some(BrowserApi::new(
        client(base, None, &budget, calls)?,
        secret_key,
    )))
}

fn keys(
    clerk: &ClerkConfig,
    backend: Option<&ClerkClient>,
    clock: &SharedClock,
    calls: &Arc<Calls>,
) -> anyhow::Result<KeyStore> {
    let clock = Arc::clone(clock);
    let times = KeyTimes {
        max_stale: clerk.jwks_max_stale,
        ..KeyTimes::default()
    };
    Ok(match (&clerk.keys, backend) {
        (KeySource::Pem(pem), _) => KeyStore::fixed(KeySet::from_pem(pem)?, clock),
        (KeySource::BackendApi, Some(backend)) => {
            KeyStore::remote(backend.clone(), "/v1/jwks", times, clock)
        }
        (KeySource::FrontendApi { url }, _) => {
            let base = Url::parse(url).context("the address of the Frontend API")?;
            let budget = Arc::new(Budget::new(clerk.api_budget));
            let client = client(base, None, &budget, calls)?;
            KeyStore::remote(client, "/.well-known/jwks.json", times, clock)
        }
        (KeySource::BackendApi, None) => {
            anyhow::bail!("keys come from the Backend API, but there is no secret key")
        }
    })
}
