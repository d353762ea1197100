//! What became of requests, counted by route, decision and reason, and by mode and status.
//!
//! Every label is from a closed set: names of the configuration, codes of the source, statuses. Nothing
//! that a request says is ever one, so that nobody can make series up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::access::Action;
use super::meters::{ANSWER_TIMES, Count, OWN_TIMES, Times};
use crate::core::door::Dialect;
use crate::core::reason::{Reason, RefreshFailure};

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To be forwarded.
    Proxy,
    /// `auth_request` of nginx asked about it.
    Nginx,
    /// `forwardAuth` of Traefik did.
    Traefik,
    /// `forward_auth` of Caddy did.
    Caddy,
    /// A Lua action of HAProxy did.
    Haproxy,
    /// `ext_authz` of Envoy did, over HTTP.
    Envoy,
    /// It did, over gRPC.
    ExtAuthz,
    /// In plain text, to be made again over TLS.
    HttpsRedirect,
}

impl Mode {
    /// Every mode, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Proxy,
        Self::Nginx,
        Self::Traefik,
        Self::Caddy,
        Self::Haproxy,
        Self::Envoy,
        Self::ExtAuthz,
        Self::HttpsRedirect,
    ];

    /// The name among the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Nginx => "nginx",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::ExtAuthz => "ext-authz",
            Self::HttpsRedirect => "redirect",
        }
    }
}

impl From<Dialect> for Mode {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Nginx => Self::Nginx,
            Dialect::Traefik => Self::Traefik,
            Dialect::Caddy => Self::Caddy,
            Dialect::Haproxy => Self::Haproxy,
            Dialect::Envoy => Self::Envoy,
        }
    }
}

/// The statuses that are counted each by itself; all others are counted together.
const STATUSES: std::ops::Range<u16> = 100..600;

/// What is counted of the requests of a mode.
#[derive(Debug)]
struct ModeMeter {
    /// One more than there are statuses: all others.
    statuses: Box<[Count]>,
    verdicts: Times,
}

impl ModeMeter {
    fn new() -> Self {
        Self {
            statuses: (0..=STATUSES.len()).map(|_| Count::default()).collect(),
            verdicts: Times::new(OWN_TIMES),
        }
    }

    fn note(&self, status: u16) {
        let place = if STATUSES.contains(&status) {
            usize::from(status - STATUSES.start)
        } else {
            STATUSES.len()
        };
        if let Some(count) = self.statuses.get(place) {
            count.add();
        }
    }
}

/// No reason, and every reason.
const REASONS: usize = Reason::ALL.len() + 1;

/// What is counted of the requests of a route.
#[derive(Debug)]
pub struct RouteMeter {
    decisions: Box<[Count]>,
    upstream: Times,
    /// Requests of sessions that rode through an outage of Clerk's.
    pub rides: Count,
}

impl RouteMeter {
    fn new() -> Self {
        let places = Action::ALL.len() * REASONS;
        Self {
            decisions: (0..places).map(|_| Count::default()).collect(),
            upstream: Times::new(ANSWER_TIMES),
            rides: Count::default(),
        }
    }

    /// Counts a request that fell like this.
    pub fn note(&self, action: Action, reason: Option<Reason>) {
        let reason = reason.map_or(0, |reason| reason as usize + 1);
        if let Some(count) = self.decisions.get(action as usize * REASONS + reason) {
            count.add();
        }
    }

    /// Counts how long the application took to begin its answer.
    pub fn note_upstream(&self, took: Duration) {
        self.upstream.note(took);
    }

    /// How requests fell until now.
    pub fn decisions(&self) -> impl Iterator<Item = (Action, Option<Reason>, u64)> {
        let kinds = Action::ALL.into_iter().flat_map(|action| {
            let reasons = Reason::ALL.iter().map(|reason| Some(*reason));
            std::iter::once(None)
                .chain(reasons)
                .map(move |reason| (action, reason))
        });
        let fallen = kinds.zip(&self.decisions);
        fallen
            .map(|((action, reason), count)| (action, reason, count.total()))
            .filter(|(_, _, total)| *total > 0)
    }

    /// How long the application took until now.
    pub fn upstream(&self) -> &Times {
        &self.upstream
    }
}

/// Names and what is counted under each, for as long as the process lives: what a new configuration
/// has kept goes on. There are as many as configurations have ever named.
#[derive(Debug)]
pub struct Named<T>(Mutex<BTreeMap<Arc<str>, Arc<T>>>);

impl<T> Named<T> {
    /// What is counted under this name.
    pub fn get(&self, name: &Arc<str>, new: impl FnOnce() -> T) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let meter = known
            .entry(Arc::clone(name))
            .or_insert_with(|| Arc::new(new()));
        Arc::clone(meter)
    }

    /// All of it, by name.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<T>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known.iter();
        all.map(|(name, meter)| (Arc::clone(name), Arc::clone(meter)))
            .collect()
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The name under which requests for the gate's own pages are counted. No route is called like it, nor
/// like the next two.
pub const OWN_PAGES: &str = "(own pages)";
/// That of requests that no route was looked for.
pub const NO_ROUTE: &str = "(no route)";
/// That of requests that could not be read.
pub const UNREAD: &str = "(unread)";

/// What is counted of all requests.
#[derive(Debug)]
pub struct Requests {
    modes: [ModeMeter; Mode::ALL.len()],
    routes: Named<RouteMeter>,
    /// Those for the gate's own pages.
    pub own_pages: RouteMeter,
    /// Those that no route was looked for.
    pub no_route: RouteMeter,
    /// Those that could not be read.
    pub unread: RouteMeter,
    /// How long Clerk's Frontend API took to begin its answers to browsers.
    pub relay: Times,
    /// One more than there are details of ours: Clerk's.
    failed_refreshes: [Count; RefreshFailure::OURS.len() + 1],
}

impl Requests {
    /// Counts an answer of this status.
    pub fn note(&self, mode: Mode, status: u16) {
        if let Some(meter) = self.modes.get(mode as usize) {
            meter.note(status);
        }
    }

    /// Counts how long a verdict took.
    pub fn note_verdict(&self, mode: Mode, took: Duration) {
        if let Some(meter) = self.modes.get(mode as usize) {
            meter.verdicts.note(took);
        }
    }

    /// Counts a session that was not refreshed.
    pub fn note_failed_refresh(&self, failure: &RefreshFailure) {
        let ours = RefreshFailure::OURS.iter();
        let place = ours
            .take_while(|ours| ours.code() != failure.code())
            .count();
        if let Some(count) = self.failed_refreshes.get(place) {
            count.add();
        }
    }

    /// What is counted of the requests of a route of this name.
    pub fn route(&self, name: &Arc<str>) -> Arc<RouteMeter> {
        self.routes.get(name, RouteMeter::new)
    }

    /// Every route that there is or was.
    pub fn routes(&self) -> Vec<(Arc<str>, Arc<RouteMeter>)> {
        self.routes.all()
    }

    /// How many answers there were, by mode and status; `None` for a status that is none.
    pub fn answers(&self) -> impl Iterator<Item = (Mode, Option<u16>, u64)> {
        let modes = Mode::ALL.into_iter().zip(&self.modes);
        let answers = modes.flat_map(|(mode, meter)| {
            let statuses = STATUSES.map(Some).chain([None]);
            statuses
                .zip(&meter.statuses)
                .map(move |(status, count)| (mode, status, count.total()))
        });
        answers.filter(|(_, _, total)| *total > 0)
    }

    /// How long verdicts took, by mode.
    pub fn verdicts(&self) -> impl Iterator<Item = (Mode, &Times)> {
        let meters = self.modes.iter().map(|meter| &meter.verdicts);
        Mode::ALL.into_iter().zip(meters)
    }

    /// How many sessions were not refreshed, by the detail of the reason; `clerk` for those that Clerk
    /// has a code of its own for.
    pub fn failed_refreshes(&self) -> impl Iterator<Item = (&str, u64)> {
        let ours = RefreshFailure::OURS.iter().map(RefreshFailure::code);
        let all = ours.chain(["clerk"]).zip(&self.failed_refreshes);
        all.map(|(detail, count)| (detail, count.total()))
            .filter(|(_, total)| *total > 0)
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            modes: std::array::from_fn(|_| ModeMeter::new()),
            routes: Named::default(),
            own_pages: RouteMeter::new(),
            no_route: RouteMeter::new(),
            unread: RouteMeter::new(),
            relay: Times::new(ANSWER_TIMES),
            failed_refreshes: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_actions_and_reasons_are_listed_in_the_order_of_their_numbers() {
        for (number, mode) in Mode::ALL.into_iter().enumerate() {
            assert_eq!(mode as usize, number);
        }
        for (number, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, number);
        }
        for (number, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, number);
        }
    }

    #[test]
    fn a_request_is_counted_under_what_became_of_it_and_nothing_else() {
        let meter = RouteMeter::new();
        for action in Action::ALL {
            for reason in [
                None,
                Reason::ALL.first().copied(),
                Reason::ALL.last().copied(),
            ] {
                meter.note(action, reason);
                let counted: Vec<_> = meter.decisions().collect();
                assert!(counted.contains(&(action, reason, 1)), "{counted:?}");
            }
        }
        assert_eq!(meter.decisions().count(), 15);
    }

    #[test]
    fn every_status_that_is_one_is_counted_by_itself() {
        let requests = Requests::default();
        for status in [0, 99, 100, 599, 600, 999, u16::MAX] {
            requests.note(Mode::Envoy, status);
        }
        let counted: Vec<_> = requests.answers().collect();
        let of = |status, total| (Mode::Envoy, status, total);
        assert_eq!(counted, [of(Some(100), 1), of(Some(599), 1), of(None, 5)]);
    }

    #[test]
    fn what_clerk_calls_a_failure_is_one_detail_whatever_it_says() {
        let requests = Requests::default();
        for code in ["expired", "made-up", "session-ended-or-so"] {
            requests.note_failed_refresh(&RefreshFailure::from_code(code));
        }
        requests.note_failed_refresh(&RefreshFailure::Ended);
        let counted: Vec<_> = requests.failed_refreshes().collect();
        assert_eq!(counted, [("session-ended", 1), ("clerk", 3)]);
    }

    #[test]
    fn what_is_counted_under_a_name_goes_on_under_it() {
        let requests = Requests::default();
        let name = || Arc::from("members");
        requests.route(&name()).note(Action::Page, None);
        requests.route(&name()).note(Action::Page, None);
        let counted: Vec<_> = requests.route(&name()).decisions().collect();
        assert_eq!(counted, [(Action::Page, None, 2)]);
        assert_eq!(requests.routes().len(), 1);
    }
}
