//! The servers of an upstream, and which of them gets a request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderValue, Request, Response};
use tracing::warn;

use super::address::ServerAddress;
use super::body::ClientBody;
use super::connector::{Connector, Protocol, Tls};
use super::head::HostRule;
use super::health::{HealthCheck, Patient};
use super::pool::{Pool, SendError, UpstreamBody};
use super::reuse::{ClientLine, Reuse};
use super::standing::{Outcome, Place, ServerName, Standing};
use super::streams::Streams;
use super::{UpstreamError, UpstreamTimes};

/// The most servers that a request is tried at.
pub(super) const MOST_TRIES: usize = 3;

/// How the servers of an upstream share its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRules {
    /// Which of them gets a request.
    pub balance: Balance,
    /// How many requests each has at once; `None` for any number.
    pub max_in_flight: Option<usize>,
    /// When one is left out for its failures; `None` for never.
    pub ejection: Option<Ejection>,
    /// How it is found out whether one is well; `None` where nobody asks.
    pub health: Option<HealthCheck>,
}

impl Default for GroupRules {
    fn default() -> Self {
        Self {
            balance: Balance::RoundRobin,
            max_in_flight: None,
            ejection: Some(Ejection::default()),
            health: None,
        }
    }
}

/// Which of several servers gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one that has the fewest at the moment.
    LeastRequests,
}

/// When a server is left out for its failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// How many requests in a row have to fail.
    pub failures: u32,
    /// For how long it is left out.
    pub time: Duration,
    /// Statuses that are failures too.
    pub statuses: Vec<u16>,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 5,
            time: Duration::from_secs(10),
            statuses: Vec::new(),
        }
    }
}

/// A server.
pub struct Server {
    name: ServerName,
    pub(super) host: HostRule,
    /// Opens connections as most requests have them.
    connector: Connector,
    /// Connections that carry one request at a time.
    pool: Pool,
    /// Those that carry several, where it speaks HTTP/2.
    streams: Option<Streams>,
    standing: Arc<Standing>,
}

impl Server {
    /// The server at `address`, over TLS where `tls` says how.
    pub fn new(
        (name, standing): (ServerName, Arc<Standing>),
        (address, tls): (ServerAddress, Option<Tls>),
        protocol: Protocol,
        host: HostRule,
        times: UpstreamTimes,
        reuse: Reuse,
    ) -> Self {
        let any = Connector::new(address, tls, times.connect);
        let (connector, by_one, streams) = match protocol {
            Protocol::Http1 => (any.clone(), any, None),
            Protocol::Http2 => {
                let several = any.clone().choosing(b"h2");
                let streams = Streams::new(several.clone(), times.idle);
                (several, any.choosing(b"http/1.1"), Some(streams))
            }
        };
        Self {
            name,
            host,
            connector,
            pool: Pool::new(by_one, times.idle, reuse),
            streams,
            standing,
        }
    }

    /// Opens a connection to it as requests do, and closes it.
    pub async fn reach(&self) -> io::Result<()> {
        self.connector.connect().await.map(drop)
    }

    /// Whether it is spoken to in HTTP/2.
    pub(super) fn speaks_http2(&self) -> bool {
        self.streams.is_some()
    }

    /// Sends a request of `client` on a connection that fits it.
    pub(super) async fn send(
        &self,
        request: Request<ClientBody>,
        client: ClientLine,
    ) -> Result<Response<UpstreamBody>, SendError> {
        match &self.streams {
            Some(streams) if !request.headers().contains_key(UPGRADE) => {
                streams.send(request).await
            }
            _ => self.pool.send(request, client).await,
        }
    }

    /// What it goes by.
    pub fn name(&self) -> &ServerName {
        &self.name
    }

    /// What a check has to know of it.
    pub(super) fn patient(&self) -> Patient {
        let host = self.connector.host().map(|host| host.to_string());
        let host = host.and_then(|host| HeaderValue::try_from(host).ok());
        Patient {
            connector: self.connector.clone(),
            protocol: match self.streams {
                Some(_) => Protocol::Http2,
                None => Protocol::Http1,
            },
            host: host.unwrap_or_else(|| HeaderValue::from_static("localhost")),
            name: self.name.clone(),
            standing: Arc::clone(&self.standing),
        }
    }

    /// How it stands.
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }
}

/// The servers of an upstream: one, or several that are as good as each other.
pub(super) struct Group {
    // INVARIANT: never empty; `new` sees to it.
    servers: Vec<Server>,
    rules: GroupRules,
    turn: AtomicUsize,
}

/// A server that has a place for a request.
pub(super) struct Picked<'g> {
    pub(super) server: &'g Server,
    pub(super) place: Place,
}

impl Group {
    /// These servers; `None` without any.
    pub(super) fn new(servers: Vec<Server>, rules: GroupRules) -> Option<Self> {
        (!servers.is_empty()).then(|| Self {
            servers,
            rules,
            turn: AtomicUsize::new(0),
        })
    }

    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server that gets a request which those in `tried` have not taken.
    pub(super) fn pick(&self, tried: &[&ServerName]) -> Result<Picked<'_>, UpstreamError> {
        if let [only] = self.servers.as_slice()
            && tried.is_empty()
        {
            if !self.is_well(only) {
                return Err(UpstreamError::Unhealthy);
            }
            return self.seat(only).ok_or(UpstreamError::Full);
        }
        let mut candidates = self.open();
        if candidates.is_empty() {
            return Err(UpstreamError::Unhealthy);
        }
        candidates.retain(|server| !tried.contains(&&server.name));
        if candidates.is_empty() {
            return Err(UpstreamError::Unreachable);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % candidates.len();
        candidates.rotate_left(turn);
        if self.rules.balance == Balance::LeastRequests {
            // Stable: among equals it is still one after the other.
            candidates.sort_by_key(|server| server.standing.in_flight());
        }
        let seated = candidates.into_iter().find_map(|server| self.seat(server));
        seated.ok_or(UpstreamError::Full)
    }

    /// The servers that are given requests: those that are well. Where each of these has been left out
    /// for its failures, all of them are: a server that may fail is worth more than none.
    fn open(&self) -> Vec<&Server> {
        let well = || self.servers.iter().filter(|server| self.is_well(server));
        let open: Vec<&Server> = well().filter(|server| !self.is_ejected(server)).collect();
        if open.is_empty() {
            return well().collect();
        }
        open
    }

    /// How its servers are asked whether they are well, if they are.
    pub(super) fn health(&self) -> Option<&HealthCheck> {
        self.rules.health.as_ref()
    }

    /// Whether a server is well, as far as anybody asks.
    pub(super) fn is_well(&self, server: &Server) -> bool {
        self.rules.health.is_none() || server.standing.is_well()
    }

    /// Whether a server is left out for its failures.
    pub(super) fn is_ejected(&self, server: &Server) -> bool {
        self.rules.ejection.is_some() && server.standing.is_ejected()
    }

    fn seat<'g>(&self, server: &'g Server) -> Option<Picked<'g>> {
        let place = server.standing.place(self.rules.max_in_flight)?;
        Some(Picked { server, place })
    }

    /// Notes what came of a request at `server`.
    pub(super) fn note(&self, server: &Server, outcome: Outcome, took: Duration) {
        let standing = &server.standing;
        standing.meter.note(outcome, took);
        let Some(rule) = &self.rules.ejection else {
            return;
        };
        let failed = match outcome {
            Outcome::Answered(status) => rule.statuses.contains(&status),
            Outcome::Failed(error) => match error {
                UpstreamError::Unreachable
                | UpstreamError::Timeout
                | UpstreamError::Protocol
                | UpstreamError::Malformed => true,
                // Nobody can tell what the server would have answered.
                UpstreamError::Client(_)
                | UpstreamError::Ended(_)
                | UpstreamError::Full
                | UpstreamError::Unhealthy => return,
            },
        };
        if !failed {
            standing.succeeded();
        } else if standing.failed() >= rule.failures
            // The last one stays: whoever makes one server after the other fail must not take all of
            // them away from everybody.
            && self.open().iter().any(|other| other.name != server.name)
            && standing.eject(rule.time)
        {
            let ServerName { upstream, server } = &server.name;
            warn!(%upstream, %server, "a server is left out for its failures");
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.servers.iter().map(|server| &server.name.server);
        f.debug_list().entries(names).finish()
    }
}
