//! Where a page load comes from: this site, Clerk, or elsewhere (protocol reference, section 3.5).

use http::Method;
use http::header::REFERER;
use url::Url;

use super::auth::Desk;
use super::credentials::Credentials;

/// Section 3.5, step 14: a page load that comes from another site.
pub(super) fn arrives_from_elsewhere(desk: &Desk<'_, '_>, credentials: &Credentials<'_>) -> bool {
    let facts = desk.facts;
    let document = *facts.method == Method::GET && facts.fetch_destination() == "document";
    let first = credentials.redirect_count == 0.0;
    if desk.instance.satellite.is_some() || !document || !first {
        return false;
    }
    let Some(referrer) = facts
        .header(REFERER)
        .and_then(|text| Url::parse(&text).ok())
    else {
        return false;
    };
    let Some(own) = facts.url() else {
        return false;
    };
    referrer.origin() != own.origin() && !is_known_referrer(desk, &referrer)
}

fn is_known_referrer(desk: &Desk<'_, '_>, referrer: &Url) -> bool {
    let Some(host) = referrer.host_str() else {
        return false;
    };
    let frontend_api = desk.instance.frontend_api_at(&desk.facts.origin);
    let frontend_api = Url::parse(&frontend_api).ok();
    if frontend_api.as_ref().and_then(Url::host_str) == Some(host) {
        return true;
    }
    if desk.instance.is_development() && is_development_portal(host) {
        return true;
    }
    let portal = Url::parse(desk.instance.key.account_portal());
    portal.is_ok_and(|portal| portal.origin() == referrer.origin())
}

/// Hosts of Clerk's development Account Portals (section 1.3).
fn is_development_portal(host: &str) -> bool {
    const LEGACY: [&str; 3] = [".lcl.dev", ".lclstage.dev", ".lclclerk.com"];
    const CURRENT: [&str; 3] = [
        ".accounts.dev",
        ".accountsstage.dev",
        ".accounts.lclclerk.com",
    ];
    let below = |suffix: &str| host.strip_suffix(suffix).is_some();
    let legacy = host.starts_with("accounts.") && LEGACY.iter().any(|suffix| below(suffix));
    let current = CURRENT.iter().any(|suffix| {
        host.strip_suffix(suffix)
            .is_some_and(|rest| rest.rsplit('.').next() != Some("clerk"))
    });
    legacy || current
}
