//! Build, bind, serve, drain: the life of the process.
//!
//! [`build`] makes everything and opens every port; only then is anything served. [`Bound::run`]
//! serves until it is told to stop, finishes what is in flight, and returns.

pub mod accept;
mod assemble;
mod grpc;
pub mod hand_over;
mod hinted;
mod http2;
pub mod inherited;
mod listen;
mod metrics;
pub mod proxy_protocol;
pub mod reload;
mod seat;
mod sites;
mod stream;
pub mod tls;
pub mod visitors;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::{self, Readiness, Views};
use crate::clock::SharedClock;
use crate::config::{Config, ListenAddress, Shutdown};
use crate::core::door::HeadLimits;
use crate::gate::meters::Meters;
use crate::gate::{Gate, Snapshot};
use crate::modes::ext_authz::Door;
use crate::modes::forward_auth::Admission;
use crate::telemetry::traces::Exporter;
use crate::upstream::Tunnels;
use crate::upstream::health::Checks;
use accept::{ConnectionLimits, Entrance, Mode, Service};
use hand_over::{HandOverError, Offer, Predecessor};
use inherited::Inherited;
use listen::{Listener, Opener};
use proxy_protocol::ProxyPeers;
use reload::Reloader;
use tls::Terminator;
use visitors::Visitors;

/// A gate that is bound to its addresses and serves nobody yet.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<Listener>,
    https_redirects: Vec<Listener>,
    admin: Option<Listener>,
    doors: Option<(Listener, Arc<Admission>)>,
    check: Option<(Listener, Arc<Door>)>,
    service: Arc<Service>,
    reloader: Arc<Reloader>,
    exporter: Option<Exporter>,
    shutdown: Shutdown,
    offer: Option<Offer>,
    stages: watch::Sender<Stage>,
}

/// Where a gate is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its sockets are open, and nobody is served.
    Starting,
    /// Requests are served.
    Ready,
    /// It was told to stop.
    Stopping,
    /// Another process serves instead.
    HandedOver,
}

/// Makes everything that `config` asks for and opens the ports.
pub async fn build(config: &Config, clock: SharedClock) -> anyhow::Result<Bound> {
    build_with(config, clock, Inherited::default()).await
}

/// The same, with sockets that are open already.
pub async fn build_with(
    config: &Config,
    clock: SharedClock,
    inherited: Inherited,
) -> anyhow::Result<Bound> {
    let gate = Gate::counting_in(assemble::store(config)?, Arc::clone(&clock));
    let (traces, exporter) = assemble::traces(config, &gate.meters)?;
    let gate = gate.traced_by(traces);
    gate.decisions.keep_at_most(config.decisions);
    let snapshot = assemble::snapshot(config, &clock, None, &gate.meters)?;
    let mut opener = Opener::new(inherited, config.listen.unix_mode);
    let listeners = opener.open_all(&config.listen.addresses).await?;
    let https_redirects = opener.open_all(&config.redirect_listen).await;
    let https_redirects = https_redirects.context("the way to TLS (`[tls] redirect-listen`)")?;
    let admin = match &config.admin_listen {
        Some(address) => Some(
            opener
                .open_one(address)
                .await
                .context("the admin listener (`[admin] listen`)")?,
        ),
        None => None,
    };
    let doors = match &config.forward_auth {
        Some(doors) => {
            let listener = opener
                .open_one(&doors.listen)
                .await
                .context("the doors of gateways (`[forward-auth] listen`)")?;
            let admission = Admission::new(doors.peers.clone(), doors.secret.clone());
            Some((listener, Arc::new(admission)))
        }
        None => None,
    };
    let limits = ConnectionLimits::of(config);
    let check = match &config.ext_authz {
        Some(doors) => {
            let listener = opener
                .open_one(&doors.listen)
                .await
                .context("the authorization service of Envoy (`[ext-authz] listen`)")?;
            let admission = Admission::new(doors.peers.clone(), doors.secret.clone());
            let head = HeadLimits {
                bytes: limits.head_bytes,
                count: limits.head_count,
            };
            let door = Door::new(admission, head, limits.head_timeout).await;
            Some((listener, Arc::new(door)))
        }
        None => None,
    };
    let offer = match &config.listen.hand_over {
        Some(path) => {
            let at = opener.open_private(path).await;
            let at = at.context("the socket of the next process (`[hand-over] socket`)")?;
            let others = [
                admin.as_ref(),
                doors.as_ref().map(|(listener, _)| listener),
                check.as_ref().map(|(listener, _)| listener),
            ];
            let all = listeners.iter().chain(&https_redirects);
            let all = all.chain(others.into_iter().flatten());
            Some(Offer::new(at, all.cloned().collect())?)
        }
        None => None,
    };
    gate.join_others(&snapshot).await;
    let service = Arc::new(Service {
        gate,
        snapshot: ArcSwap::from_pointee(snapshot),
        tunnels: Tunnels::new(limits.write_timeout),
        visitors: Visitors::default(),
        tls: Terminator::of(config)?,
        proxies: ProxyPeers::new(config.listen.proxy_peers.clone(), limits.head_timeout),
        checks: Checks::default(),
        limits,
    });
    let reloader = Reloader::new(Arc::clone(&service), clock, config.clone());
    Ok(Bound {
        listeners,
        https_redirects,
        admin,
        doors,
        check,
        service,
        reloader: Arc::new(reloader),
        exporter,
        shutdown: config.shutdown,
        offer,
        stages: watch::Sender::new(Stage::Starting),
    })
}

/// Makes what requests are judged by, without opening anything.
pub fn snapshot(config: &Config, clock: &SharedClock) -> anyhow::Result<Snapshot> {
    assemble::snapshot(config, clock, None, &Meters::default())
}

/// What the operator's window shows of this.
fn views(service: &Arc<Service>, ready: &Readiness) -> Views {
    Views {
        ready: ready.clone(),
        injections: Arc::clone(&service.gate.injections),
        metrics: metrics::page(service),
        decisions: Arc::clone(&service.gate.decisions),
        in_force: Arc::clone(service) as _,
    }
}

/// How long what is left is closed for, where the deadline has passed.
const CLOSING: Duration = Duration::from_secs(1);

/// How long tunnels may take to take their leave: a second to finish a frame, and one to hear the answer.
const FAREWELL: Duration = Duration::from_secs(2);

impl Bound {
    /// The first address and port where requests are accepted: the real port where 0 was asked for.
    /// `None` if all of them are sockets of another kind.
    pub fn address(&self) -> Option<SocketAddr> {
        let mut addresses = self.listeners.iter().map(Listener::address);
        addresses.find_map(ListenAddress::tcp)
    }

    /// The first address and port where requests in plain text are sent to TLS.
    pub fn redirect_address(&self) -> Option<SocketAddr> {
        let mut addresses = self.https_redirects.iter().map(Listener::address);
        addresses.find_map(ListenAddress::tcp)
    }

    /// Where the operator's window is.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.address().tcp()
    }

    /// What connections are served with: whoever runs the gate can look at it, and tell it of sessions
    /// that are over.
    pub fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    /// What has the gate go by another configuration while it runs.
    pub fn reloader(&self) -> Arc<Reloader> {
        Arc::clone(&self.reloader)
    }

    /// Where gateways ask for verdicts.
    pub fn doors_address(&self) -> Option<SocketAddr> {
        self.doors.as_ref()?.0.address().tcp()
    }

    /// Where Envoy asks for them.
    pub fn check_address(&self) -> Option<SocketAddr> {
        self.check.as_ref()?.0.address().tcp()
    }

    /// Where it is in its life, from now on.
    pub fn stages(&self) -> watch::Receiver<Stage> {
        self.stages.subscribe()
    }

    /// Has the process that has served so far let go of the sockets. Where this fails, it serves on.
    pub async fn succeed(&self, predecessor: Predecessor) -> Result<(), HandOverError> {
        if let Some(offer) = &self.offer {
            predecessor.release(offer.names()).await?;
            offer.keep_files();
        }
        Ok(())
    }

    /// Serves until `stop` is called off or another process has taken over, then drains.
    ///
    /// Told to stop, it says that it is not ready, and goes on for a while (`[shutdown] announce`). No new
    /// connection is accepted while draining; requests in flight finish, idle connections are closed,
    /// tunnels end. After the deadline (`[shutdown] drain`) the rest is cut off. What is left of traces is
    /// sent away in the time that is left, or in a second.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let ready = Readiness::default();
        let (drain, done) = (CancellationToken::new(), CancellationToken::new());
        let open = TaskTracker::new();
        let flush = CancellationToken::new();
        let exporter = self.exporter;
        let exporting = exporter.map(|exporter| tokio::spawn(exporter.run(flush.clone())));
        let service = self.service;
        let addresses = addresses(&self.listeners);
        let views = views(&service, &ready);
        let window = self.admin.map(|listener| {
            tokio::spawn(admin::serve(listener.connections(), views, done.clone()))
        });
        let places = || Arc::new(Semaphore::new(service.limits.connections));
        let mut accepting = Vec::new();
        let mut accept = |listener, entrance, places| {
            accepting.push(tokio::spawn(accept::accept(
                listener,
                entrance,
                places,
                Arc::clone(&service),
                drain.clone(),
                open.clone(),
            )));
        };
        let for_visitors = places();
        for listener in self.listeners {
            accept(
                listener,
                Entrance::Http(Mode::Proxy),
                Arc::clone(&for_visitors),
            );
        }
        let for_https_redirects = places();
        for listener in self.https_redirects {
            let entrance = Entrance::Http(Mode::HttpsRedirect);
            accept(listener, entrance, Arc::clone(&for_https_redirects));
        }
        if let Some((listener, admission)) = self.doors {
            let entrance = Entrance::Http(Mode::ForwardAuth(admission));
            accept(listener, entrance, places());
        }
        let door = self.check.as_ref().map(|(_, door)| Arc::clone(door));
        if let Some((listener, door)) = self.check {
            accept(listener, Entrance::Grpc(door), places());
        }
        if let Some(door) = &door {
            door.set_serving(true).await;
        }
        service.checks.follow(&service.snapshot.load().upstreams);
        ready.set(true);
        info!(address = addresses, "ready");
        self.stages.send_replace(Stage::Ready);

        let stage = told(stop, self.offer).await;
        self.stages.send_replace(stage);
        if stage == Stage::HandedOver {
            // Whoever asks the operator's window from now on asks the other process.
            done.cancel();
        } else {
            ready.set(false);
            if let Some(door) = &door {
                door.set_serving(false).await;
            }
            tokio::time::sleep(self.shutdown.announce).await;
        }
        info!(
            open = open.len(),
            tunnels = service.tunnels.open(),
            "draining"
        );
        drain.cancel();
        open.close();
        let end = Instant::now() + self.shutdown.drain;
        let finished = tokio::time::timeout(self.shutdown.drain, async {
            for accepting in accepting {
                let _ = accepting.await;
            }
            open.wait().await;
        });
        if finished.await.is_err() {
            warn!(
                open = open.len(),
                "the deadline has passed with requests in flight"
            );
        }
        let _ = tokio::time::timeout(FAREWELL, service.tunnels.close()).await;
        flush.cancel();
        if let Some(exporting) = exporting {
            let _ = tokio::time::timeout_at(end.max(Instant::now() + CLOSING), exporting).await;
        }
        done.cancel();
        if let Some(window) = window {
            let _ = window.await;
        }
        info!("stopped");
        Ok(())
    }
}

/// Where these are, as a list.
fn addresses(listeners: &[Listener]) -> String {
    let addresses = listeners.iter().map(Listener::address);
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    addresses.join(", ")
}

/// Waits for the end of serving: the order to stop, or another process that has taken the sockets.
async fn told(stop: CancellationToken, offer: Option<Offer>) -> Stage {
    let taken = CancellationToken::new();
    let handed = taken.clone();
    let offering = offer.map(|offer| {
        tokio::spawn(async move {
            offer.taken().await;
            handed.cancel();
        })
    });
    let stage = tokio::select! {
        () = stop.cancelled() => Stage::Stopping,
        () = taken.cancelled() => Stage::HandedOver,
    };
    // What it has of the sockets goes with it, so that they close once nobody accepts any more.
    if let Some(offering) = offering {
        offering.abort();
        let _ = offering.await;
    }
    if stage == Stage::HandedOver {
        info!("another process has taken over");
    }
    stage
}
