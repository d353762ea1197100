//! What is done with a request, in a word, and the line that each one gets.

use std::net::IpAddr;
use std::time::Duration;

use http::Version;
use tracing::info;

/// What was done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It went to the application, or was let go there.
    Forward,
    /// It went to Clerk's Frontend API.
    Relay,
    /// The browser was sent elsewhere.
    Redirect,
    /// It was refused.
    Refuse,
    /// A page of the gate's own answered it.
    Page,
}

impl Action {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Forward,
        Self::Relay,
        Self::Redirect,
        Self::Refuse,
        Self::Page,
    ];

    /// The word in the log and among the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Relay => "relay",
            Self::Redirect => "redirect",
            Self::Refuse => "refuse",
            Self::Page => "page",
        }
    }
}

/// A version of HTTP by the name that TLS has for it.
pub fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "h2",
        Version::HTTP_11 => "http/1.1",
        Version::HTTP_10 => "http/1.0",
        // Nothing else is served.
        _ => "other",
    }
}

/// What is known of a request when its answer begins.
#[derive(Debug)]
pub struct AccessLine<'a> {
    /// The id that the answer and the upstream have too.
    pub request_id: &'a str,
    /// The method.
    pub method: &'a str,
    /// The version of HTTP that it came in; `None` where somebody else has told of it.
    pub protocol: Option<&'static str>,
    /// The canonical path, without query; `None` if it cannot be read.
    pub path: Option<&'a str>,
    /// The host that was asked for.
    pub host: Option<&'a str>,
    /// The address of the client.
    pub client: IpAddr,
    /// The route that decided.
    pub route: Option<&'a str>,
    /// Another reading of the path that made it stricter.
    pub reading: Option<&'a str>,
    /// What was done.
    pub decision: Action,
    /// The reason code, with its detail.
    pub reason: Option<&'a str>,
    /// The user.
    pub user: Option<&'a str>,
    /// The session.
    pub session: Option<&'a str>,
    /// The organisation.
    pub org: Option<&'a str>,
    /// How long ago the token ended of a session that rode through an outage of Clerk's.
    pub rides: Option<Duration>,
    /// The status of the answer.
    pub status: u16,
    /// The status of the upstream, if it was asked.
    pub upstream_status: Option<u16>,
    /// How long the verdict took.
    pub verdict: Duration,
    /// How long the upstream took to begin its answer.
    pub upstream: Option<Duration>,
    /// The server that was asked.
    pub server: Option<&'a str>,
    /// The limit that refused it, or with `dry-run` would have.
    pub limit: Option<&'a str>,
}

impl AccessLine<'_> {
    /// Whether anybody reads these lines: what they say is put together only then.
    pub fn is_wanted() -> bool {
        tracing::enabled!(target: "clerk_gate::access", tracing::Level::INFO)
    }

    /// Writes the line.
    pub fn write(&self) {
        info!(
            target: "clerk_gate::access",
            request_id = self.request_id,
            method = self.method,
            protocol = self.protocol,
            path = self.path,
            host = self.host,
            client = %self.client,
            route = self.route,
            reading = self.reading,
            decision = self.decision.name(),
            reason = self.reason,
            user = self.user,
            session = self.session,
            org = self.org,
            limit = self.limit,
            ride_through_s = self.rides.map(|ago| ago.as_secs()),
            status = self.status,
            upstream_status = self.upstream_status,
            server = self.server,
            verdict_us = u64::try_from(self.verdict.as_micros()).unwrap_or(u64::MAX),
            upstream_us = self.upstream.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            "request"
        );
    }
}
