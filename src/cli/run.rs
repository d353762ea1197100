//! `clerk-gate run`.

use std::path::PathBuf;
use std::sync::Arc;

use listenfd::ListenFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::notify::Notifier;
use super::settings::Settings;
use super::watch::{Seen, Watched};
use super::{Ending, colour, complain, open_files};
use crate::clock::SystemClock;
use crate::config::{Colour, Config, Environment, LogFormat, Report};
use crate::server::hand_over;
use crate::server::inherited::Inherited;
use crate::server::reload::Reloader;
use crate::server::{self, Bound};
use crate::telemetry::{self, Format, Ink};

/// Serves until the process is told to stop.
pub(super) async fn run(settings: &Settings, environment: &Environment, given: ListenFd) -> Ending {
    let found = match settings.load(environment) {
        Ok(found) => found,
        Err(ending) => return ending,
    };
    start_logging(&found.config, environment);
    open_files::raise(&found.config);
    if !found.warnings.is_empty() {
        match found.config.log.format {
            // What reads the log of a process reads lines of JSON.
            LogFormat::Json => warn_of(&found.warnings),
            LogFormat::Human => {
                eprintln!("{}\n", found.warnings.render(colour(environment)));
            }
        }
    }
    // Before it serves: a SIGHUP that nobody listens for ends a process.
    let hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return deaf(&error),
    };
    let mut notifier = Notifier::of(environment);
    let inherited = Inherited::of_systemd(given, variable(environment, "LISTEN_FDNAMES"));
    let bound = match succeed(&found.config, inherited, &mut notifier).await {
        Ok(bound) => bound,
        Err(ending) => return ending,
    };
    let notifying = tokio::spawn(notifier.clone().follow(bound.stages()));
    let again = Again {
        settings: settings.clone(),
        environment: environment.clone(),
        path: found.path,
        reloader: bound.reloader(),
        notifier,
    };
    let reading = again.whenever_told(hangup, found.config.watch, found.files);
    let reading = tokio::spawn(reading);
    let ending = serve(bound).await;
    reading.abort();
    // It ends with the gate, once it has said so.
    let _ = notifying.await;
    ending
}

pub(super) fn variable<'e>(environment: &'e Environment, name: &str) -> Option<&'e str> {
    let mut found = environment.iter().filter(|(known, _)| known == name);
    found.next().map(|(_, value)| value.as_str())
}

/// Makes the gate, in the place of the one that serves, if one does. What failed has been said, and then
/// that one serves on.
async fn succeed(
    config: &Config,
    inherited: Inherited,
    notifier: &mut Notifier,
) -> Result<Bound, Ending> {
    let Some(path) = &config.listen.hand_over else {
        return bind_with(config, inherited).await;
    };
    let failed = |error| {
        complain(
            &format!("cannot take over at `{}`: {error}", path.display()),
            None,
        );
        Ending::Failed
    };
    match hand_over::ask(path).await.map_err(failed)? {
        None => bind_with(config, inherited).await,
        Some((predecessor, theirs)) => {
            info!("taking over from the process that serves");
            let bound = bind_with(config, inherited.and(theirs)).await?;
            bound.succeed(predecessor).await.map_err(failed)?;
            notifier.takes_over();
            Ok(bound)
        }
    }
}

/// Says in the log what ought to be looked at.
fn warn_of(warnings: &Report) {
    let warnings = warnings.render(Colour::Plain);
    warn!(%warnings, "there are warnings of the configuration");
}

fn deaf(error: &std::io::Error) -> Ending {
    complain(&format!("cannot listen for signals: {error}"), None);
    Ending::Failed
}

/// Reads the configuration again.
struct Again {
    settings: Settings,
    environment: Environment,
    // SECURITY: the one that was found at the start. Were another one looked for, a file that is gone for
    // a moment would take the whole policy with it.
    path: Option<PathBuf>,
    reloader: Arc<Reloader>,
    notifier: Notifier,
}

impl Again {
    /// Reads it on each SIGHUP and, if it is watched, whenever its files have changed, for ever. Files that
    /// cannot be had at once keep nobody else waiting.
    async fn whenever_told(self, mut hangup: Signal, watch: bool, files: Vec<Seen>) {
        let again = Arc::new(self);
        let mut watched = Watched::new(files);
        loop {
            tokio::select! {
                _ = hangup.recv() => info!(signal = "SIGHUP", "asked to read the configuration again"),
                () = watched.changed(), if watch => info!("the files of the configuration have changed"),
            }
            let again = Arc::clone(&again);
            let notifier = again.notifier.clone();
            let reading = tokio::task::spawn_blocking(move || again.read());
            let Ok(files) = notifier.reloading(reading).await else {
                return;
            };
            watched = Watched::new(files);
        }
    }

    /// Reads it, and goes by it if all is well. What else happens is said in the log. Tells which files it
    /// is in.
    fn read(&self) -> Vec<Seen> {
        let kept = "the configuration stays as it was";
        let path = self.path.as_deref();
        match self.settings.load_quietly(&self.environment, path) {
            Ok(found) => {
                if !found.warnings.is_empty() {
                    warn_of(&found.warnings);
                }
                if let Err(error) = self.reloader.change_to(found.config) {
                    warn!(cause = format!("{error:#}"), "{kept}");
                }
                found.files
            }
            Err((trouble, files)) => {
                warn!(cause = %trouble, "{kept}");
                self.reloader.stay();
                files
            }
        }
    }
}

/// Starts the log that the configuration asks for.
pub(super) fn start_logging(config: &Config, environment: &Environment) {
    let ink = match colour(environment) {
        Colour::Ansi => Ink::Colour,
        Colour::Plain => Ink::Black,
    };
    let format = match config.log.format {
        LogFormat::Json => Format::Json,
        LogFormat::Human => Format::Human,
    };
    telemetry::start(format, ink, config.log.level.as_str());
}

/// Makes the gate and opens its ports. What failed has been said.
#[cfg(feature = "dev")]
pub(super) async fn bind(config: &Config) -> Result<Bound, Ending> {
    bind_with(config, Inherited::default()).await
}

async fn bind_with(config: &Config, inherited: Inherited) -> Result<Bound, Ending> {
    server::build_with(config, Arc::new(SystemClock), inherited)
        .await
        .map_err(|error| {
            let taken = error
                .root_cause()
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
            let hint = taken.then_some(
                "another program listens there: stop it, or choose another address with `--listen` (`[admin] listen` for the operator's)",
            );
            complain(&format!("{error:#}"), hint);
            Ending::Failed
        })
}

/// Serves until SIGTERM or SIGINT, then drains; a second signal cuts that short.
pub(super) async fn serve(bound: Bound) -> Ending {
    let (mut terminate, mut interrupt) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return deaf(&error),
    };
    let stop = CancellationToken::new();
    let serving = bound.run(stop.clone());
    let mut serving = std::pin::pin!(serving);
    loop {
        let name = tokio::select! {
            ended = &mut serving => {
                return match ended {
                    Ok(()) => Ending::Well,
                    Err(error) => {
                        complain(&format!("{error:#}"), None);
                        Ending::Failed
                    }
                };
            }
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        if stop.is_cancelled() {
            complain(
                &format!("{name} again: requests in flight are cut off"),
                None,
            );
            return Ending::Failed;
        }
        info!(signal = name, "asked to stop");
        stop.cancel();
    }
}
