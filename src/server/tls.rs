//! TLS of the listeners for visitors, which may change while the gate runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::http2::preface::Version;
use super::seat::Seated;
use crate::config::Config;
use crate::tls::server::{Certificate, Sessions, server_config};

/// What is offered to be spoken over TLS, best first.
const BOTH: [&[u8]; 2] = [HTTP2, b"http/1.1"];
const HTTP2: &[u8] = b"h2";

/// What connections are encrypted with.
#[derive(Debug)]
pub struct Terminator {
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    sessions: Sessions,
    shown: Vec<Option<Shown>>,
}

/// A certificate that clients are shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// The first name in it; empty if it has none.
    pub(super) name: String,
    /// When it expires, in seconds since the epoch.
    pub(super) until_s: u64,
}

/// What takes the place of the terms in force.
pub(super) struct Next(Arc<Current>);

impl Terminator {
    /// On the terms of a configuration; `None` if it has none.
    pub(super) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let current = current(config, Sessions::default())?;
        Ok(current.map(|current| Self {
            current: ArcSwap::new(current),
        }))
    }

    /// What a new configuration makes of it, to be gone by with [`Self::go_by`].
    pub(super) fn next(&self, before: &Config, config: &Config) -> anyhow::Result<Option<Next>> {
        let clients = |config: &Config| config.tls.as_ref().map(|terms| terms.clients.clone());
        // SECURITY: whoever takes up a session is not asked for a certificate again.
        let sessions = if clients(before) == clients(config) {
            self.current.load().sessions.clone()
        } else {
            Sessions::default()
        };
        Ok(current(config, sessions)?.map(Next))
    }

    /// Encrypts on these terms what is accepted from now on. What is open stays as it is.
    pub(super) fn go_by(&self, next: Next) {
        self.current.store(next.0);
    }

    /// The certificates that are shown, in the order of the configuration; `None` in the place of one that does
    /// not say when it expires.
    pub(super) fn shown(&self) -> Vec<Option<Shown>> {
        self.current.load().shown.clone()
    }

    /// Agrees with a client, if it does not take longer than `patience`.
    pub(super) async fn agree(
        &self,
        stream: Seated,
        patience: Duration,
    ) -> io::Result<TlsStream<Seated>> {
        let config = Arc::clone(&self.current.load().config);
        let agreeing = TlsAcceptor::from(config).accept(stream);
        tokio::time::timeout(patience, agreeing)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What both ends have agreed to speak: HTTP/1.1 where nothing was said.
pub(super) fn version(stream: &TlsStream<Seated>) -> Version {
    if stream.get_ref().1.alpn_protocol() == Some(HTTP2) {
        Version::Http2
    } else {
        Version::Http1
    }
}

fn current(config: &Config, sessions: Sessions) -> anyhow::Result<Option<Arc<Current>>> {
    let Some(terms) = &config.tls else {
        return Ok(None);
    };
    let protocols = if config.http2.enabled {
        &BOTH[..]
    } else {
        &BOTH[1..]
    };
    let made = server_config(terms, &sessions, protocols).context("the certificates of `[tls]`")?;
    Ok(Some(Arc::new(Current {
        config: made,
        sessions,
        shown: terms.certificates.iter().map(Shown::of).collect(),
    })))
}

impl Shown {
    fn of(certificate: &Certificate) -> Option<Self> {
        Some(Self {
            name: certificate.names().first().cloned().unwrap_or_default(),
            until_s: certificate.validity()?.until_s,
        })
    }
}
