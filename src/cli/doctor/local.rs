//! What the configuration alone tells.

use std::net::SocketAddr;

use super::SiteView;
use super::finding::{Check, Finding};
use crate::cli::settings::Found;
use crate::config::Config;
use crate::core::continuity::{Keepsake, Seal};
use crate::core::edge::PublicAddress;
use crate::core::instance::{Continuity, Instance};
use crate::core::key::InstanceKind;
use crate::core::origin::{Origin, Scheme};
use crate::gate::seals::Seals;

/// The largest cookie that every browser keeps: name, value and attributes (RFC 6265, section 6.1).
const LARGEST_COOKIE: usize = 4_096;

/// What a browser may send besides the session token, which comes under two names, and the seal.
const OTHER_HEADERS: u64 = 4_096;

/// Everything that is told without asking.
pub(super) fn all(found: &Found, sites: &[SiteView<'_>]) -> Vec<Finding> {
    let config = &found.config;
    let mut findings = Vec::new();
    for site in sites {
        let name = site.name.as_deref();
        findings.push(keys(&site.clerk.instance).on(name));
        findings.push(parties(&site.clerk.instance, site.public).on(name));
        findings.push(cookie_sizes(config, &site.clerk.instance, site.public).on(name));
    }
    findings.push(forwarded_headers(config, sites));
    findings.push(seal_key(config));
    findings.push(admin(config));
    findings
}

fn keys(instance: &Instance) -> Finding {
    let kind = match instance.key.kind() {
        InstanceKind::Production => "a production instance",
        InstanceKind::Development => "a development instance",
    };
    let said = format!("{kind}, `{}`", instance.key.frontend_api());
    Finding::well(Check::Keys, said)
}

/// Tokens that a page asks for name the page's origin.
fn parties(instance: &Instance, public: &PublicAddress) -> Finding {
    let check = Check::AuthorizedParties;
    let parties = &instance.authorized_parties;
    match public {
        _ if parties.is_empty() && instance.is_development() => {
            Finding::well(check, "every party is accepted, as a test key may")
        }
        _ if parties.is_empty() => Finding::warning(
            check,
            "tokens that other applications of this instance have asked for are accepted",
            "name this one's origin in `authorized-parties`",
        ),
        PublicAddress::Fixed(url) if !parties.contains(&url.to_string()) => Finding::problem(
            check,
            format!(
                "`public-url` is not among them: tokens that pages of `{url}` ask for are refused"
            ),
            format!("add `\"{url}\"` to `authorized-parties`"),
        ),
        PublicAddress::Fixed(_) | PublicAddress::Loopback => {
            let said = match parties.len() {
                1 => "one is accepted".to_owned(),
                many => format!("{many} are accepted"),
            };
            Finding::well(check, said)
        }
    }
}

/// Whether what the gate keeps in a browser fits, and what a browser sends back.
fn cookie_sizes(config: &Config, instance: &Instance, public: &PublicAddress) -> Finding {
    let check = Check::CookieSizes;
    let Some(seal) = seal_bytes(instance, public) else {
        return Finding::skipped(check, "the size of a seal is not known");
    };
    if seal > LARGEST_COOKIE {
        return Finding::problem(
            check,
            format!("a seal has {seal} bytes, and browsers keep {LARGEST_COOKIE}"),
            "nobody stays signed in by it; take `seal-key` out and make another one",
        );
    }
    let seal = u64::try_from(seal).unwrap_or(u64::MAX);
    let tokens = u64::try_from(LARGEST_COOKIE)
        .unwrap_or(u64::MAX)
        .saturating_mul(2);
    let most = tokens.saturating_add(seal).saturating_add(OTHER_HEADERS);
    if most > config.limits.head_bytes {
        return Finding::warning(
            check,
            format!(
                "requests with Clerk's cookies may have a head of {most} bytes, and `head-size` is {}",
                config.limits.head_bytes
            ),
            "raise `head-size` in `[limits]`, or keep few custom claims in session tokens",
        );
    }
    let said = format!(
        "a seal has {seal} bytes; with Clerk's cookies a request has {most} at most, which servers in front have to take too"
    );
    Finding::well(check, said)
}

/// How large a seal is, with everything that a browser counts.
fn seal_bytes(instance: &Instance, public: &PublicAddress) -> Option<usize> {
    let origin = match public {
        PublicAddress::Fixed(origin) => origin.clone(),
        PublicAddress::Loopback => Origin::parse("https://localhost")?,
    };
    // Ids of Clerk's have a prefix and 27 signs; these are longer.
    let id = "x".repeat(40);
    let seal = Seal {
        session: id.clone(),
        user: id,
        first_ms: 1_750_000_000_000,
        sealed_ms: 1_750_000_000_000,
    };
    let seals = Seals::new(&[]).ok()?;
    let cookie = seals.cookie(instance, &origin, &Keepsake::Seal(seal), 1_750_000_000_000)?;
    Some(cookie.len())
}

/// Where something in front speaks TLS, it has to be known.
fn forwarded_headers(config: &Config, sites: &[SiteView<'_>]) -> Finding {
    let check = Check::ForwardedHeaders;
    if config
        .edge
        .trusted_proxies
        .iter()
        .any(|net| net.prefix_len() == 0)
    {
        return Finding::problem(
            check,
            "everybody is a trusted proxy: a client says itself which address it has",
            "name the addresses of what stands in front in `trusted-proxies`",
        );
    }
    if !config.listen.proxy_peers.is_empty() {
        return Finding::well(check, "the PROXY protocol says whose a connection is");
    }
    // Where the gate speaks TLS itself, nothing has to stand in front of it.
    let speaks_tls = config.tls.is_some();
    let in_front = sites.iter().find_map(|site| match site.public {
        PublicAddress::Fixed(url) if url.scheme() == Scheme::Https => Some(url),
        PublicAddress::Fixed(_) | PublicAddress::Loopback => None,
    });
    match in_front {
        Some(url) if config.edge.trusted_proxies.is_empty() && !speaks_tls => Finding::warning(
            check,
            format!(
                "what speaks TLS for `{url}` is in no `trusted-proxies`: all clients have its address"
            ),
            "name it in `trusted-proxies`, or limits by address and the log see one client only",
        ),
        _ if config.edge.trusted_proxies.is_empty() => {
            Finding::well(check, "nobody's are believed")
        }
        _ => Finding::well(check, "those of `trusted-proxies` are believed"),
    }
}

fn seal_key(config: &Config) -> Finding {
    let check = Check::SealKey;
    let clerk = &config.clerk;
    if clerk.instance.continuity == Continuity::Faithful {
        return Finding::well(check, "none is needed with `continuity = \"faithful\"`");
    }
    if !clerk.seal_keys.is_empty() {
        return Finding::well(check, "seals outlive a restart");
    }
    let (said, hint) = (
        "there is none: with each restart everybody's seal is worth nothing",
        "make one with `openssl rand -base64 32`, and name its file in `seal-key-file`",
    );
    if clerk.instance.is_development() {
        return Finding::well(check, format!("{said}, as is usual while developing"));
    }
    Finding::warning(check, said, hint)
}

fn admin(config: &Config) -> Finding {
    let check = Check::Admin;
    let Some(listen) = &config.admin_listen else {
        return Finding::well(check, "the operator's listener is off");
    };
    let here = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    if listen.tcp().is_none_or(here) {
        return Finding::well(check, format!("`{listen}`, on this machine only"));
    }
    Finding::warning(
        check,
        format!("`{listen}` can be reached from other machines, without a password"),
        "keep it to those who scrape it by a firewall, or set `[admin] listen` to `127.0.0.1:9901`",
    )
}
