//! `[clerk]` and `[session]`: the instance, its keys and its secrets.

use std::io;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::address::{self, ClerkTransport};
use super::frontend_api_proxy::{self, FrontendApiProxy};
use super::keys::{jwt_key, machine_secret_key, publishable_key, secret_key, value_or_file};
use super::model::{ClerkConfig, KeySource};
use super::report::{Place, Problem, Problems};
use super::section::{Placed, Section};
use super::{organization_sync, satellite, session};
use crate::core::instance::{
    BackendApi, Continuity, Instance, IssuerRule, PendingSessions, Satellite,
};
use crate::core::key::{InstanceKind, PublishableKey};
use crate::core::organization_sync::OrganizationSync;
use crate::core::origin::Origin;
use crate::core::proxy_path::ProxyPath;

/// Reads a file that the configuration names.
pub(super) type ReadFile<'f> = &'f dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Everything that `[clerk]` and `[session]` say.
pub(super) struct Clerk {
    pub(super) config: ClerkConfig,
    /// The path of the Frontend API proxy that the gate is, for the lints.
    pub(super) frontend_api_proxy: Option<Placed<ProxyPath>>,
    /// Pages that people are sent to, for the lints.
    pub(super) sign_in_url: Option<Placed<String>>,
    pub(super) sign_up_url: Option<Placed<String>>,
    pub(super) after_sign_out_url: Option<Placed<String>>,
}

/// Where the keys come from when they come from Clerk.
#[derive(Clone, Copy)]
enum JwksFrom {
    FrontendApi,
    BackendApi,
}

/// The tables as written, each value readable by itself.
struct Written {
    key: Option<Placed<PublishableKey>>,
    secret_key: Option<String>,
    machine_secret_key: Option<String>,
    machine_token_cache: Option<Duration>,
    pem: Option<Placed<String>>,
    jwks_from: Option<Placed<JwksFrom>>,
    api_url: Option<Placed<Url>>,
    frontend_api: Option<Placed<Url>>,
    frontend_api_proxy: Option<FrontendApiProxy>,
    proxy_url: Option<String>,
    issuer: Option<IssuerRule>,
    parties: Option<Placed<Vec<String>>>,
    audience: Vec<String>,
    clock_skew: Option<Duration>,
    max_stale: Option<Duration>,
    sign_in_url: Option<Placed<String>>,
    sign_up_url: Option<Placed<String>>,
    after_sign_out_url: Option<Placed<String>>,
    pending: PendingSessions,
    organization_sync: OrganizationSync,
    satellite: Option<(Satellite, Option<String>)>,
    session: session::Session,
    api_budget: Option<u32>,
}

/// Reads both tables. `None` where there is no publishable key to go on from.
pub(super) fn read(
    section: Section<'_>,
    session: Section<'_>,
    public_url: Option<&Origin>,
    files: ReadFile<'_>,
) -> Option<Clerk> {
    let problems = section.problems();
    let written = written(section, session, public_url, files);
    azp_of_page_loads(&written, problems);
    let keys = key_source(&written, problems);
    let instance = instance(&written)?;
    let proxy = written.frontend_api_proxy.as_ref();
    let kind = instance.key.kind();
    Some(Clerk {
        config: ClerkConfig {
            instance,
            keys,
            jwks_max_stale: written.max_stale.unwrap_or(Duration::from_hours(24)),
            frontend_api_proxy: proxy.map(|proxy| proxy.url.clone()),
            secret_key: written.secret_key.map(SecretString::from),
            machine_secret_key: written.machine_secret_key.map(SecretString::from),
            machine_token_cache: written
                .machine_token_cache
                .unwrap_or(Duration::from_secs(30)),
            api_budget: written
                .api_budget
                .unwrap_or_else(|| ClerkConfig::usual_budget(kind)),
            seal_keys: written.session.seal_keys,
            api_url: written.api_url.map_or_else(default_api, |url| url.value),
            live: written.session.live,
        },
        frontend_api_proxy: proxy.map(|proxy| proxy.path.clone()),
        sign_in_url: written.sign_in_url,
        sign_up_url: written.sign_up_url,
        after_sign_out_url: written.after_sign_out_url,
    })
}

fn written(
    mut section: Section<'_>,
    session: Section<'_>,
    public_url: Option<&Origin>,
    files: ReadFile<'_>,
) -> Written {
    let key = publishable_key(&mut section);
    let kind = key.as_ref().map(|key| key.value.kind());
    let transport = match kind {
        Some(InstanceKind::Production) => ClerkTransport::Strict,
        Some(InstanceKind::Development) | None => ClerkTransport::Development,
    };
    let secret = value_or_file(&mut section, "secret-key", "secret-key-file", files);
    let has_secret = secret.is_some();
    let machine_secret = value_or_file(
        &mut section,
        "machine-secret-key",
        "machine-secret-key-file",
        files,
    );
    let pem = value_or_file(&mut section, "jwt-key", "jwt-key-file", files);
    let frontend_api_proxy = frontend_api_proxy::read(
        section.section("frontend-api-proxy"),
        key.as_ref().map(|key| &key.value),
        transport,
        secret.as_ref().map(|secret| &secret.place),
    );
    let proxy_url = proxy_url(&mut section, public_url, transport).or_else(|| {
        let proxy = frontend_api_proxy.as_ref()?;
        Some(proxy.public_address(&section, public_url, transport))
    });
    let sign_in_url = section.parsed("sign-in-url", address::page);
    let satellite = satellite::read(
        &mut section,
        sign_in_url.as_ref(),
        proxy_url.is_some(),
        public_url,
    );
    let audience = section.texts("audience").unwrap_or_default();
    let written = Written {
        key,
        secret_key: secret.and_then(|secret| secret_key(&section, secret, kind)),
        machine_secret_key: machine_secret.and_then(|secret| machine_secret_key(&section, secret)),
        machine_token_cache: section.duration(
            "machine-token-cache",
            Duration::ZERO..=Duration::from_mins(5),
        ),
        pem: pem.and_then(|pem| jwt_key(&section, pem)),
        jwks_from: section.choice(
            "jwks-from",
            &[
                ("frontend-api", JwksFrom::FrontendApi),
                ("backend-api", JwksFrom::BackendApi),
            ],
        ),
        api_url: address::of_clerk(&mut section, "api-url", transport),
        frontend_api: address::of_clerk(&mut section, "frontend-api-url", transport),
        frontend_api_proxy,
        proxy_url,
        issuer: issuer(&mut section),
        parties: authorized_parties(&mut section),
        audience: audience.into_iter().map(|value| value.value).collect(),
        clock_skew: section.duration("clock-skew", Duration::ZERO..=Duration::from_mins(1)),
        max_stale: section.duration(
            "jwks-max-stale",
            Duration::from_mins(1)..=Duration::from_hours(24 * 7),
        ),
        sign_up_url: section.parsed("sign-up-url", address::page),
        after_sign_out_url: section.parsed("after-sign-out-url", address::page),
        sign_in_url,
        pending: match section.flag("treat-pending-as-signed-out") {
            Some(Placed { value: false, .. }) => PendingSessions::SignedIn,
            Some(Placed { value: true, .. }) | None => PendingSessions::SignedOut,
        },
        organization_sync: organization_sync::read(section.section("organization-sync")),
        satellite,
        session: session::read(session, has_secret, files),
        api_budget: api_budget(&mut section),
    };
    section.finish();
    written
}

/// How many calls to the Backend API there may be in ten seconds.
fn api_budget(section: &mut Section<'_>) -> Option<u32> {
    let calls = section.integer("api-budget", 10..=1_000_000)?;
    u32::try_from(calls).ok()
}

/// Tokens of page loads carry no `azp` (design, section 8, A1).
fn azp_of_page_loads(written: &Written, problems: &Problems) {
    let Some(parties) = &written.parties else {
        return;
    };
    if !parties.value.is_empty() && written.session.continuity == Continuity::Faithful {
        problems.add(
            Problem::warning(
                &parties.place,
                "`authorized-parties` with `continuity = \"faithful\"` refuses every page load that renews a session",
            )
            .hint("tokens of a handshake or refresh carry no `azp`; leave `authorized-parties` out, or set `continuity = \"full\"`"),
        );
    }
}

/// The instance with everything that is written about it.
fn instance(written: &Written) -> Option<Instance> {
    let key = written.key.as_ref()?.value.clone();
    let backend_api = match written.secret_key {
        Some(_) => BackendApi::Available,
        None => BackendApi::NoSecretKey,
    };
    let mut instance = Instance::of(key, backend_api);
    if let Some(url) = &written.frontend_api {
        instance.frontend_api = without_slash(url.value.as_str());
        instance
            .authorization_server
            .clone_from(&instance.frontend_api);
    }
    if let Some((satellite, domain)) = &written.satellite {
        if let Some(domain) = domain.as_ref().filter(|_| !instance.is_development()) {
            let host = format!("clerk.{domain}");
            instance.frontend_api = format!("https://{host}");
            if let IssuerRule::OneOf(issuers) = &mut instance.issuer {
                issuers.push(instance.frontend_api.clone());
            }
            instance.own_issuer_host = host;
        }
        instance.satellite = Some(satellite.clone());
    }
    if let Some(proxy) = &written.proxy_url {
        instance.frontend_api.clone_from(proxy);
    }
    instance.frontend_api_proxy = written
        .frontend_api_proxy
        .as_ref()
        .map(|proxy| proxy.path.value.clone());
    if let Some(issuer) = &written.issuer {
        instance.issuer.clone_from(issuer);
    }
    if let Some(parties) = &written.parties {
        instance.authorized_parties.clone_from(&parties.value);
    }
    instance
        .organization_sync
        .clone_from(&written.organization_sync);
    instance.audience.clone_from(&written.audience);
    if let Some(skew) = written.clock_skew {
        instance.clock_skew_ms = u64::try_from(skew.as_millis()).unwrap_or(u64::MAX);
    }
    instance.sign_in_url = written.sign_in_url.as_ref().map(|page| page.value.clone());
    instance.sign_up_url = written.sign_up_url.as_ref().map(|page| page.value.clone());
    let after = written.after_sign_out_url.as_ref();
    instance.after_sign_out_url = after.map(|page| page.value.clone());
    instance.continuity = written.session.continuity;
    instance.ways = written.session.ways;
    instance.seal_max_age_ms =
        u64::try_from(written.session.seal_max_age.as_millis()).unwrap_or(u64::MAX);
    instance
        .cookie_domain
        .clone_from(&written.session.cookie_domain);
    instance.pending = written.pending;
    instance
        .websocket_origins
        .clone_from(&written.session.websocket_origins);
    Some(instance)
}

/// Where the keys come from: never from a proxy or a satellite's domain.
fn key_source(written: &Written, problems: &Problems) -> KeySource {
    match (&written.pem, &written.jwks_from) {
        (Some(pem), from) => {
            if let Some(from) = from {
                problems.add(
                    Problem::error(&from.place, "`jwks-from` has no meaning beside `jwt-key`")
                        .hint("leave one of them out: `jwt-key` needs no network"),
                );
            }
            KeySource::Pem(pem.value.clone())
        }
        (None, Some(from)) if matches!(from.value, JwksFrom::BackendApi) => {
            if written.secret_key.is_none() {
                problems.add(
                    Problem::error(
                        &from.place,
                        "`jwks-from = \"backend-api\"` needs the secret key",
                    )
                    .hint("add `secret-key-file`, or set `CLERK_SECRET_KEY`"),
                );
            }
            KeySource::BackendApi
        }
        (None, _) => {
            let host = written.key.as_ref().map(|key| key.value.frontend_api());
            let url = match &written.frontend_api {
                Some(url) => without_slash(url.value.as_str()),
                None => format!("https://{}", host.unwrap_or_default()),
            };
            KeySource::FrontendApi { url }
        }
    }
}

fn default_api() -> Url {
    #[expect(clippy::expect_used, reason = "a constant that a test parses")]
    Url::parse("https://api.clerk.com").expect("a valid address")
}

fn without_slash(address: &str) -> String {
    address.trim_end_matches('/').to_owned()
}

/// The address of a Frontend API proxy. A path is one of `public-url`, or without it of whichever
/// origin a request comes to.
fn proxy_url(
    section: &mut Section<'_>,
    public_url: Option<&Origin>,
    transport: ClerkTransport,
) -> Option<String> {
    let problems = section.problems();
    let read = section.parsed("proxy-url", |text| match text.strip_prefix('/') {
        Some(_) => address::page(text),
        None => address::absolute(text).map(|url| url.to_string()),
    })?;
    let url = match public_url {
        Some(origin) if read.value.starts_with('/') => format!("{origin}{}", read.value),
        None if read.value.starts_with('/') => {
            let path = without_slash(&read.value);
            if path.is_empty() {
                problems.add(
                    Problem::error(&read.place, "`proxy-url` is the application itself")
                        .hint("write the path of the proxy, such as `/__clerk`"),
                );
                return None;
            }
            return Some(path);
        }
        _ => read.value,
    };
    if transport == ClerkTransport::Strict && !url.starts_with("https://") {
        problems.add(Problem::error(
            &read.place,
            "`proxy-url` is an `https` address with a live key",
        ));
        return None;
    }
    Some(without_slash(&url))
}

fn issuer(section: &mut Section<'_>) -> Option<IssuerRule> {
    let problems = section.problems();
    let texts = section.texts("issuer")?;
    if texts.iter().any(|text| text.value == "any") {
        for text in &texts {
            problems.add(
                Problem::warning(
                    &text.place,
                    "tokens of every issuer are accepted if their signature fits",
                )
                .hint("leave `issuer` out: it follows from the publishable key"),
            );
        }
        return Some(IssuerRule::Any);
    }
    for text in &texts {
        if let Err(why) = address::absolute(&text.value) {
            problems.add(Problem::error(
                &text.place,
                format!("`issuer` cannot be used: {why}"),
            ));
        }
    }
    Some(IssuerRule::OneOf(
        texts.into_iter().map(|text| text.value).collect(),
    ))
}

/// The parties, and where the first of them stands.
fn authorized_parties(section: &mut Section<'_>) -> Option<Placed<Vec<String>>> {
    let problems = section.problems();
    let parties = section.texts("authorized-parties")?;
    let place = parties
        .first()
        .map_or(Place::Nowhere, |party| party.place.clone());
    for party in &parties {
        let exact = address::origin(&party.value)
            .ok()
            .map(|origin| origin.to_string());
        if exact.as_deref() != Some(party.value.as_str()) {
            let mut problem = Problem::error(
                &party.place,
                format!(
                    "`{}` is no origin as a browser writes it, and would never match",
                    party.value
                ),
            );
            if let Some(exact) = exact {
                problem = problem.hint(format!("write `{exact}`"));
            }
            problems.add(problem);
        }
    }
    let values = parties.into_iter().map(|party| party.value).collect();
    Some(Placed::new(values, place))
}
