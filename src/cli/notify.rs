//! Telling systemd how the service is: when it is ready, reads its configuration again or stops, and
//! that it is alive. Where nobody wants to know, nobody is told.

use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tracing::warn;

use crate::config::Environment;
use crate::server::Stage;

/// Whoever wants to know, and how often it wants to hear that we are alive.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifier {
    manager: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
    /// Whether it has to hear of a process that it did not start.
    successor: bool,
}

impl Notifier {
    /// Whom the variables of the process name.
    pub(super) fn of(environment: &Environment) -> Self {
        let variable = |name| super::run::variable(environment, name);
        let manager = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let manager = manager.and_then(|name| match manager_at(name) {
            Ok(manager) => Some(Arc::new(manager)),
            Err(error) => {
                warn!(cause = %error, "systemd cannot be told how the service is");
                None
            }
        });
        let own = std::process::id().to_string();
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == own);
        let watchdog = variable("WATCHDOG_USEC").filter(|_| ours);
        let watchdog = watchdog.and_then(|text| text.parse().ok());
        Self {
            manager,
            watchdog: watchdog.filter(|span| *span > 0).map(Duration::from_micros),
            successor: false,
        }
    }

    /// Says from now on that this process is the service, in the place of the one before it.
    pub(super) fn takes_over(&mut self) {
        self.successor = true;
    }

    /// Says `state`. A manager that does not listen changes nothing.
    fn say(&self, state: &str) {
        if let Some((socket, address)) = self.manager.as_deref()
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            warn!(cause = %error, "systemd cannot be told how the service is");
        }
    }

    /// Says that requests are served, by this process from now on.
    fn ready(&self) {
        if self.successor {
            self.say(&format!("MAINPID={}\nREADY=1", std::process::id()));
        } else {
            self.say("READY=1");
        }
    }

    /// Says that the configuration is read again, and once `reading` is done that requests are served.
    pub(super) async fn reloading<T>(&self, reading: impl Future<Output = T>) -> T {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        let read = reading.await;
        self.say("READY=1");
        read
    }

    /// Follows the gate through its life, and says at each turn what there is to say.
    pub(super) async fn follow(self, mut stages: watch::Receiver<Stage>) {
        // Twice as often as asked, so that one that is late is not too late.
        let beat = self.watchdog.map(|span| span / 2);
        loop {
            let stage = *stages.borrow_and_update();
            match stage {
                Stage::Starting | Stage::HandedOver => {}
                Stage::Ready => self.ready(),
                Stage::Stopping => self.say("STOPPING=1"),
            }
            loop {
                let beat = async {
                    match beat {
                        Some(beat) => tokio::time::sleep(beat).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = stages.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = beat => self.say("WATCHDOG=1"),
                }
            }
        }
    }
}

fn manager_at(name: &str) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(hidden) => without_file(hidden)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that is busy holds nobody up.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// The address of a socket that is in no file system, which Linux alone has, and systemd with it.
#[cfg(target_os = "linux")]
fn without_file(name: &str) -> std::io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn without_file(_: &str) -> std::io::Result<SocketAddr> {
    Err(std::io::ErrorKind::Unsupported.into())
}
