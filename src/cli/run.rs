//! `clerk-gate run`.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::settings::Settings;
use super::{Ending, colour, complain};
use crate::clock::SystemClock;
use crate::config::{Colour, Config, Environment, LogFormat};
use crate::server::{self, Bound};
use crate::telemetry::{self, Format, Ink};

/// Serves until the process is told to stop.
pub(super) async fn run(settings: &Settings, environment: &Environment) -> Ending {
    let found = match settings.load(environment) {
        Ok(found) => found,
        Err(ending) => return ending,
    };
    if !found.warnings.is_empty() {
        eprintln!("{}\n", found.warnings.render(colour(environment)));
    }
    start_logging(&found.config, environment);
    let bound = match bind(&found.config).await {
        Ok(bound) => bound,
        Err(ending) => return ending,
    };
    serve(bound).await
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
pub(super) async fn bind(config: &Config) -> Result<Bound, Ending> {
    server::build(config, std::sync::Arc::new(SystemClock))
        .await
        .map_err(|error| {
            let taken = error
                .root_cause()
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
            let hint = taken.then_some(
                "another program has this port: stop it, or choose another one with `--listen` (`[admin] listen` for the operator's)",
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
        (Err(error), _) | (_, Err(error)) => {
            complain(&format!("cannot listen for signals: {error}"), None);
            return Ending::Failed;
        }
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
