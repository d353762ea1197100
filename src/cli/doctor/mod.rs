//! `clerk-gate doctor`: whether a setup works, not only its file.
//!
//! What a check sees is handed to a function that judges it; the judging knows no network. Each check
//! says what is so and, if that is not well, what to do. No check tells a secret, changes anything at
//! Clerk, or sends the application more than a connection.

mod certificates;
mod clerk;
mod files;
mod finding;
mod local;
mod public;
mod store;
mod upstream;
mod web;

use std::time::Duration;

use clap::Args;

use self::finding::{Check, Finding, Verdict};
use self::web::Web;
use super::settings::{Found, Settings};
use super::{Ending, colour, complain, hand_out};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{ClerkConfig, Environment};
use crate::core::edge::PublicAddress;

/// How long all of it may take. Each call and each connection has less.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Ask nobody: look at the configuration and its files alone
    #[arg(long)]
    offline: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// A site, as it is looked at.
struct SiteView<'f> {
    /// What it is called, where there are several.
    name: Option<String>,
    clerk: &'f ClerkConfig,
    public: &'f PublicAddress,
}

/// Looks at everything and tells it on standard output. Ends with a failure if there is a problem.
pub(super) async fn doctor(doctor: &Doctor, environment: &Environment) -> Ending {
    let found = match doctor.settings.load(environment) {
        Ok(found) => found,
        Err(ending) => return ending,
    };
    if !found.warnings.is_empty() {
        eprintln!("{}\n", found.warnings.render(colour(environment)));
    }
    let mut findings = local::all(&found, &sites(&found));
    findings.extend(certificates::all(&found.config, SystemClock.now_ms()));
    findings.extend(files::all(&found));
    if doctor.offline {
        let asked = [
            Check::KeySet,
            Check::SecretKey,
            Check::Issuer,
            Check::Clock,
            Check::PublicUrl,
            Check::Upstream,
            Check::AroundTheGate,
            Check::Store,
        ];
        findings.extend(asked.map(|check| Finding::skipped(check, "not asked: `--offline`")));
    } else {
        match tokio::time::timeout(PATIENCE, asked(&found)).await {
            Ok(Ok(more)) => findings.extend(more),
            Ok(Err(why)) => {
                complain(&format!("nobody can be asked: {why}"), None);
                return Ending::Failed;
            }
            Err(_) => {
                let waited = PATIENCE.as_secs();
                complain(
                    &format!("the checks were not over within {waited}s"),
                    Some("`--offline` asks nobody"),
                );
                return Ending::Failed;
            }
        }
    }
    let text = if doctor.json {
        format!("{:#}\n", finding::json(&found.name, &findings))
    } else {
        finding::text(&found.name, &findings)
    };
    match (
        hand_out(text.as_bytes()),
        finding::count(&findings, Verdict::Problem),
    ) {
        (Ending::Well, 0) => Ending::Well,
        (Ending::Well, _) => Ending::Failed,
        (ending, _) => ending,
    }
}

fn sites(found: &Found) -> Vec<SiteView<'_>> {
    let config = &found.config;
    let edge = &config.edge;
    let addresses = std::iter::once(&edge.public).chain(edge.sites.iter().map(|site| &site.public));
    let clerks = std::iter::once(&config.clerk).chain(&config.sites);
    addresses
        .zip(clerks)
        .zip(0..)
        .map(|((public, clerk), number)| SiteView {
            name: edge.site_name(number),
            clerk,
            public,
        })
        .collect()
}

/// What has to be asked of others, all at once.
async fn asked(found: &Found) -> Result<Vec<Finding>, String> {
    let web = Web::new()?;
    let sites = sites(found);
    let of_clerk = futures_util::future::join_all(
        clerk_sites(&sites)
            .into_iter()
            .map(|site| clerk::all(&web, site, &SystemClock)),
    );
    let of_public = futures_util::future::join_all(
        sites
            .iter()
            .map(|site| public::all(&web, site, &found.config)),
    );
    let (of_clerk, of_public, of_upstreams, of_store) = tokio::join!(
        of_clerk,
        of_public,
        upstream::all(&found.config),
        store::all(&found.config),
    );
    let mut findings: Vec<Finding> = of_clerk.into_iter().flatten().collect();
    findings.extend(of_public.into_iter().flatten());
    findings.extend(of_upstreams);
    findings.extend(of_store);
    Ok(findings)
}

/// A site of each instance: what is true of one is true of its others.
fn clerk_sites<'s, 'f>(sites: &'s [SiteView<'f>]) -> Vec<&'s SiteView<'f>> {
    let mut of_each: Vec<&SiteView<'_>> = Vec::new();
    for site in sites {
        let key = |site: &SiteView<'_>| site.clerk.instance.key.as_str().to_owned();
        if !of_each.iter().any(|known| key(known) == key(site)) {
            of_each.push(site);
        }
    }
    of_each
}
