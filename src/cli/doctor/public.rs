//! Whether browsers get to the gate at its public address.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::SiteView;
use super::finding::{Check, Finding};
use super::web::{Reply, Web};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::core::edge::PublicAddress;
use crate::core::key::InstanceKind;
use crate::core::origin::{Origin, Scheme};
use crate::core::reason::Reason;

/// How long a name may take to be resolved.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host that no gate serves.
const NOBODYS_HOST: &str = "clerk-gate-doctor.invalid";

/// Everything about the public address of a site.
pub(super) async fn all(web: &Web, site: &SiteView<'_>, config: &Config) -> Vec<Finding> {
    let findings = match site.public {
        PublicAddress::Fixed(url) => {
            let live = site.clerk.instance.key.kind() == InstanceKind::Production;
            at(web, url, live, &config.pages_prefix).await
        }
        PublicAddress::Loopback => vec![Finding::skipped(
            Check::PublicUrl,
            "there is none: a test key serves this machine",
        )],
    };
    let name = site.name.as_deref();
    findings.into_iter().map(|found| found.on(name)).collect()
}

async fn at(web: &Web, url: &Origin, live: bool, prefix: &str) -> Vec<Finding> {
    let check = Check::PublicUrl;
    if live && url.scheme() == Scheme::Http {
        return vec![Finding::problem(
            check,
            format!("`{url}` is plain `http`: cookies travel where everybody can read them"),
            "serve it over `https`, and write that address",
        )];
    }
    let addresses = match resolved(url).await {
        Ok(addresses) => addresses,
        Err(why) => {
            return vec![Finding::problem(
                check,
                format!("the name of `{url}` leads nowhere: {why}"),
                "add it to the DNS, or correct `public-url`",
            )];
        }
    };
    if live && addresses.iter().all(IpAddr::is_loopback) {
        return vec![Finding::warning(
            check,
            format!(
                "the name of `{url}` is this machine's own: browsers elsewhere do not get here"
            ),
            "look at the DNS from another machine; here, `/etc/hosts` may say otherwise",
        )];
    }
    let me = format!("{url}{prefix}me");
    let accept = ("accept", "application/json");
    let answer = match web.get(&me, None, &[accept], &SystemClock).await {
        Ok(answer) => answer,
        Err(why) => return vec![unreachable(url, &why)],
    };
    if !is_of_a_gate(&answer) {
        return vec![Finding::problem(
            check,
            format!(
                "`{url}` is answered, and by no gate: `{prefix}me` is {}",
                answer.status
            ),
            "have what stands in front send every path to the gate",
        )];
    }
    let mut findings = vec![Finding::well(check, format!("`{url}` leads to a gate"))];
    let forged = ("x-forwarded-host", NOBODYS_HOST);
    if let Ok(answer) = web.get(&me, None, &[accept, forged], &SystemClock).await {
        findings.push(judged_forgery(url, &answer));
    }
    findings
}

async fn resolved(url: &Origin) -> Result<Vec<IpAddr>, String> {
    let host = url.host();
    let port = host.port().unwrap_or(url.scheme().default_port());
    let name = host.name().trim_matches(['[', ']']);
    let asked = tokio::net::lookup_host((name, port));
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(error.to_string().to_lowercase()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn unreachable(url: &Origin, why: &str) -> Finding {
    if why.contains("certificate") {
        return Finding::problem(
            Check::PublicUrl,
            format!("the certificate of `{url}` is not accepted: {why}"),
            "browsers refuse it too, unless they know its authority: renew it, or correct its names",
        );
    }
    Finding::warning(
        Check::PublicUrl,
        format!("nothing answers at `{url}`: {why}"),
        "start the gate and what stands in front of it, and look again",
    )
}

/// A gate tells in its own words who is there, or that nobody is.
fn is_of_a_gate(answer: &Reply) -> bool {
    if code(answer).is_some() {
        return true;
    }
    let told: Option<Value> = serde_json::from_slice(&answer.body).ok();
    answer.status == 200 && told.is_some_and(|told| told.get("user_id").is_some())
}

/// The reason in a refusal of a gate's.
fn code(answer: &Reply) -> Option<String> {
    let told: Value = serde_json::from_slice(&answer.body).ok()?;
    let error = told.get("error")?;
    error.get("request_id")?.as_str()?;
    Some(error.get("code")?.as_str()?.to_owned())
}

/// What a client says of its host must not get past what stands in front.
fn judged_forgery(url: &Origin, answer: &Reply) -> Finding {
    let check = Check::ForwardedHeaders;
    if code(answer).as_deref() == Some(Reason::HostNotServed.code()) {
        return Finding::problem(
            check,
            format!(
                "what stands in front of `{url}` passes on the `x-forwarded-host` that a client writes, and the gate believes it"
            ),
            "have it set `x-forwarded-for`, `-proto` and `-host` itself, and drop those of clients",
        );
    }
    Finding::well(
        check,
        format!("an `x-forwarded-host` that a client writes is not believed at `{url}`"),
    )
}
