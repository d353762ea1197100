//! Requests for Clerk's Frontend API: they go on without a look at who sends them.

use super::{Decision, Judge, RefusalKind, Standing, Verdict};
use crate::core::facts::Upgrade;
use crate::core::question::Progress;
use crate::core::reason::Reason;

/// Methods whose answer repeats the request.
const REPEATING: [&str; 2] = ["TRACE", "TRACK"];

/// Leave to reach Clerk's Frontend API with one request. Only [`decide`](super::decide) makes one.
#[derive(Clone, Debug)]
pub struct FapiPermit {
    path: String,
    proxy_url: String,
}

impl FapiPermit {
    /// The path at the Frontend API; begins with a slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The public address of the proxy, which the Frontend API is told and redirects are
    /// rewritten to; without a slash at its end.
    pub fn proxy_url(&self) -> &str {
        &self.proxy_url
    }
}

impl<'r> Judge<'_, 'r> {
    /// The verdict on a request below the proxy path; `None` for all others.
    pub(super) fn relay(&self, progress: &Progress<'r>) -> Option<Verdict> {
        let facts = self.0.facts;
        let proxy = self.0.instance.frontend_api_proxy.as_ref()?;
        let path = proxy.rest(&facts.path)?;
        let refusal = if facts.path.has_encoded_slash() {
            // No route is there to say which reading is meant.
            Some(Reason::PathEncodedSlash)
        } else if REPEATING
            .iter()
            .any(|method| facts.method.as_str().eq_ignore_ascii_case(method))
        {
            // SECURITY: an answer to TRACE, or to what some server takes for it, repeats the request,
            // with the secret key in it.
            Some(Reason::TargetUnsupported)
        } else if facts.upgrade == Upgrade::WebSocket {
            Some(Reason::UpgradeUnsupported)
        } else {
            None
        };
        if let Some(reason) = refusal {
            return Some(self.refuse(RefusalKind::Request, reason.into(), Vec::new(), progress));
        }
        Some(Verdict {
            decision: Decision::Relay(FapiPermit {
                path: path.to_owned(),
                proxy_url: format!("{}{proxy}", facts.origin),
            }),
            cause: None,
            standing: Standing::Unasked,
            who: None,
            set_cookies: Vec::new(),
            keepsakes: Vec::new(),
            route: None,
        })
    }
}
