//! A new configuration in a gate that runs: all of it at once, or none of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::ExposeSecret as _;
use tracing::info;

use super::accept::Service;
use super::assemble;
use crate::clock::SharedClock;
use crate::config::{ClerkConfig, Config, DoorConfig, RedisConfig, TracesConfig};
use crate::gate::Snapshot;
use crate::store::redis::Servers;

/// Has a running gate go by another configuration.
pub struct Reloader {
    service: Arc<Service>,
    clock: SharedClock,
    running: Mutex<Config>,
}

/// What the gate has gone by so far, from which a new snapshot takes over what did not change.
pub(super) struct Before<'a> {
    pub(super) config: &'a Config,
    pub(super) snapshot: &'a Snapshot,
}

impl Reloader {
    pub(super) fn new(service: Arc<Service>, clock: SharedClock, running: Config) -> Self {
        Self {
            service,
            clock,
            running: Mutex::new(running),
        }
    }

    /// Judges every request that begins from now on by `config`; those in flight, and what is open, end
    /// by what they began with. The keys of Clerk, the gate's own cookies and its budget of calls stay
    /// where they depend on nothing that has changed.
    ///
    /// Where this fails, nothing has changed: something counts from the start of the process on, and the
    /// error names it, or a certificate cannot be used.
    pub fn change_to(&self, config: Config) -> anyhow::Result<()> {
        let changed = self.change(config);
        if changed.is_err() {
            self.stay();
        }
        changed
    }

    /// Counts a configuration that was read and is not gone by.
    pub fn stay(&self) {
        self.service.gate.meters.rejected_configurations.add();
    }

    fn change(&self, config: Config) -> anyhow::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let fixed = FIXED.iter().filter(|(_, stays)| !stays(&running, &config));
        let fixed: Vec<&str> = fixed.map(|(name, _)| *name).collect();
        anyhow::ensure!(
            fixed.is_empty(),
            "{} cannot change while the gate runs: restart it",
            fixed.join(", ")
        );
        let before = self.service.snapshot.load_full();
        let before = Before {
            config: &running,
            snapshot: &before,
        };
        let meters = &self.service.gate.meters;
        let snapshot = assemble::snapshot(&config, &self.clock, Some(&before), meters)?;
        let tls = match &self.service.tls {
            Some(tls) => tls.next(&running, &config)?.map(|next| (tls, next)),
            None => None,
        };
        self.service.gate.follow(&snapshot);
        self.service.checks.follow(&snapshot.upstreams);
        self.service.snapshot.store(Arc::new(snapshot));
        self.service.gate.decisions.keep_at_most(config.decisions);
        if let Some((tls, next)) = tls {
            tls.go_by(next);
        }
        *running = config;
        info!("the configuration has been read again");
        Ok(())
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

/// Whether something is the same in two configurations.
type Stays = fn(&Config, &Config) -> bool;

/// What counts from the start of the process on, by the names of its keys.
const FIXED: &[(&str, Stays)] = &[
    ("`listen`", |a, b| a.listen.addresses == b.listen.addresses),
    ("`unix-mode`", |a, b| {
        a.listen.unix_mode == b.listen.unix_mode
    }),
    ("`[proxy-protocol]`", |a, b| {
        a.listen.proxy_peers == b.listen.proxy_peers
    }),
    ("`[hand-over]`", |a, b| {
        a.listen.hand_over == b.listen.hand_over
    }),
    ("`[admin] listen`", |a, b| a.admin_listen == b.admin_listen),
    ("`[forward-auth]`", |a, b| {
        doors(a.forward_auth.as_ref()) == doors(b.forward_auth.as_ref())
    }),
    ("`[ext-authz]`", |a, b| {
        doors(a.ext_authz.as_ref()) == doors(b.ext_authz.as_ref())
    }),
    ("`[store]`", |a, b| {
        store(a.store.as_ref()) == store(b.store.as_ref())
    }),
    ("`[limits] head-size`", |a, b| {
        a.limits.head_bytes == b.limits.head_bytes
    }),
    ("`[limits] head-count`", |a, b| {
        a.limits.head_count == b.limits.head_count
    }),
    ("`[limits] head-timeout`", |a, b| {
        a.limits.head_timeout == b.limits.head_timeout
    }),
    ("`[limits] write-timeout`", |a, b| {
        a.limits.write_timeout == b.limits.write_timeout
    }),
    ("`[limits] connections`", |a, b| {
        a.limits.connections == b.limits.connections
    }),
    ("`[traces]`", |a, b| {
        traces(a.traces.as_deref()) == traces(b.traces.as_deref())
    }),
    ("`[http2]`", |a, b| a.http2 == b.http2),
    ("whether there is `[tls]`", |a, b| {
        a.tls.is_some() == b.tls.is_some()
    }),
    ("`[tls] redirect-listen`", |a, b| {
        a.redirect_listen == b.redirect_listen
    }),
    ("`[log]`", |a, b| a.log == b.log),
    ("`[shutdown] announce`", |a, b| {
        a.shutdown.announce == b.shutdown.announce
    }),
    ("`[shutdown] drain`", |a, b| {
        a.shutdown.drain == b.shutdown.drain
    }),
    ("`[reload]`", |a, b| a.watch == b.watch),
    // What is remembered of sessions is known by the number of the site.
    ("which instances and sites there are", |a, b| {
        sites(a) == sites(b)
    }),
];

fn doors(doors: Option<&DoorConfig>) -> impl PartialEq {
    doors.map(|doors| {
        let secret = doors.secret.as_ref();
        let secret = secret.map(|secret| secret.expose_secret().to_owned());
        (doors.listen.clone(), doors.peers.clone(), secret)
    })
}

fn store(store: Option<&RedisConfig>) -> impl PartialEq {
    store.map(|redis| {
        let (way, urls) = match &redis.addresses.servers {
            Servers::One(url) => (0, vec![url]),
            Servers::Sentinel { sentinels, master } => {
                (1, sentinels.iter().chain([master]).collect())
            }
            Servers::Cluster(nodes) => (2, nodes.iter().collect()),
        };
        let urls = urls.into_iter().map(|url| url.expose_secret().to_owned());
        let urls: Vec<String> = urls.collect();
        let roots = redis.addresses.roots.clone();
        (way, urls, roots, redis.timeout, redis.on_error)
    })
}

fn traces(traces: Option<&TracesConfig>) -> impl PartialEq {
    traces.map(|TracesConfig { destination, share }| {
        let headers = destination.headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
        let headers: Vec<_> = headers.collect();
        let (endpoint, service) = (destination.endpoint.clone(), destination.service.clone());
        (endpoint, headers, service, *share)
    })
}

fn sites(config: &Config) -> impl PartialEq {
    let all = std::iter::once(&config.clerk).chain(&config.sites);
    let key = |clerk: &ClerkConfig| clerk.instance.key.as_str().to_owned();
    let keys: Vec<String> = all.map(key).collect();
    (keys, config.edge.sites.clone())
}
