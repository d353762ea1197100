//! A satellite and its primary: whether the one has to sync, and how the other answers (protocol
//! reference, section 3.5).

use http::Method;
use url::Url;

use super::auth::Desk;
use super::credentials::{CookieFamily, Credentials};
use super::handshake::set_parameter;
use super::instance::Continuity;
use super::origin::Origin;

/// Whether a satellite has to sync with its primary.
pub(super) enum Sync {
    NotNeeded,
    SignedOut,
    Needed,
}

/// Section 3.5, step 2.
pub(super) fn sync(desk: &Desk<'_, '_>, has_cookies: bool, synced: Option<&str>) -> Sync {
    let Some(satellite) = &desk.instance.satellite else {
        return Sync::NotNeeded;
    };
    let document =
        *desk.facts.method == Method::GET && desk.facts.fetch_destination() == "document";
    if !document || synced == Some("true") {
        return Sync::NotNeeded;
    }
    let asked = synced == Some("false");
    if !satellite.auto_sync && !has_cookies && !asked {
        Sync::SignedOut
    } else if !has_cookies || asked {
        Sync::Needed
    } else {
        Sync::NotNeeded
    }
}

/// Section 3.5, step 3: a development primary sends the browser back to the satellite.
pub(super) fn answer(
    desk: &Desk<'_, '_>,
    credentials: &Credentials<'_>,
    family: CookieFamily,
    target: &str,
) -> Option<String> {
    let mut url = Url::parse(target).ok()?;
    // SECURITY: the SDK sends the dev browser token to any address. Only satellites that are
    // configured are answered, and this machine.
    let origin = Origin::parse(&url.origin().ascii_serialization());
    let known = origin.is_some_and(|origin| {
        let satellites = &desk.instance.satellites;
        origin.host().is_loopback() || satellites.iter().any(|satellite| satellite.has(&origin))
    });
    let plain = url.username().is_empty() && url.password().is_none();
    if desk.instance.continuity == Continuity::Full && !(known && plain) {
        return None;
    }
    if let Some(browser) = credentials.dev_browser(family) {
        url.query_pairs_mut().append_pair("__clerk_db_jwt", browser);
    }
    set_parameter(&mut url, "__clerk_synced", "true");
    Some(url.into())
}
