//! Asking servers by the gate itself whether they are well.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::Upstream;
use super::connector::{Connector, Protocol};
use super::pool::READ_AHEAD;
use super::standing::{ServerName, Standing};

/// How it is found out whether a server is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for.
    pub path: PathAndQuery,
    /// The host that is asked for; `None` for the server's own.
    pub host: Option<HeaderValue>,
    /// How long it is left in peace between two checks.
    pub interval: Duration,
    /// How long a check may take, connecting included.
    pub timeout: Duration,
    /// The statuses that say that it is well.
    pub expect: Vec<u16>,
    /// How many checks in a row have to pass until it is given requests again.
    pub healthy: u32,
    /// How many have to fail until it is given none.
    pub unhealthy: u32,
}

/// A server that is asked now and then.
pub(super) struct Patient {
    pub(super) connector: Connector,
    pub(super) protocol: Protocol,
    pub(super) host: HeaderValue,
    pub(super) name: ServerName,
    pub(super) standing: Arc<Standing>,
}

/// The checks of one configuration, as long as that is in force.
#[derive(Debug, Default)]
pub struct Checks(Mutex<JoinSet<()>>);

impl Checks {
    /// Checks the servers of these upstreams from now on, and no others.
    pub fn follow(&self, upstreams: &[Upstream]) {
        let mut checks = JoinSet::new();
        for upstream in upstreams {
            let Some(rule) = upstream.group.health() else {
                continue;
            };
            for server in upstream.servers() {
                checks.spawn(attend(server.patient(), rule.clone()));
            }
        }
        // Those of before end with this.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = checks;
    }
}

/// Asks a server again and again.
async fn attend(patient: Patient, rule: HealthCheck) {
    let Patient { standing, name, .. } = &patient;
    let ServerName { upstream, server } = name;
    loop {
        let checked = tokio::time::timeout(rule.timeout, passes(&patient, &rule));
        let passed = checked.await.ok().flatten().is_some();
        match standing.checked(passed, &rule) {
            Some(true) => info!(%upstream, %server, "a server is well again"),
            Some(false) => warn!(%upstream, %server, "a server is not well, and is left out"),
            None => {}
        }
        tokio::time::sleep(rule.interval).await;
    }
}

/// Asks a server once, on a connection of its own; `None` unless it says that it is well.
async fn passes(patient: &Patient, rule: &HealthCheck) -> Option<()> {
    let stream = TokioIo::new(patient.connector.connect().await.ok()?);
    let mut request = Request::new(Empty::<Bytes>::new());
    let host = rule.host.as_ref().unwrap_or(&patient.host);
    let agent = HeaderValue::from_static(concat!("clerk-gate/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(USER_AGENT, agent);
    // A connection ends with its question: nobody reads the rest of the answer.
    let answer = match patient.protocol {
        Protocol::Http1 => {
            *request.uri_mut() = Uri::from(rule.path.clone());
            request.headers_mut().insert(HOST, host.clone());
            let mut builder = http1::Builder::new();
            let made = builder.max_buf_size(READ_AHEAD).handshake(stream).await;
            let (mut sender, connection) = made.ok()?;
            let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
            sender.send_request(request).await
        }
        Protocol::Http2 => {
            let secure = patient.connector.is_secure();
            *request.uri_mut() = Uri::builder()
                .scheme(if secure { "https" } else { "http" })
                .authority(host.as_bytes())
                .path_and_query(rule.path.clone())
                .build()
                .ok()?;
            let made = http2::handshake(TokioExecutor::new(), stream).await;
            let (mut sender, connection) = made.ok()?;
            let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
            sender.send_request(request).await
        }
    };
    let answer = answer.ok()?;
    rule.expect
        .contains(&answer.status().as_u16())
        .then_some(())
}
