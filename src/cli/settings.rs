//! Where `run` and `check` find their configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Ending, colour, complain};
use crate::config::{self, Config, Environment, FlagValue, Report, Severity, Source, Surroundings};

/// Looked for where no file is named.
const USUAL_PLACES: [&str; 2] = ["clerk-gate.toml", "/etc/clerk-gate/clerk-gate.toml"];

/// The variable that names the file.
const FILE_VARIABLE: &str = "CLERK_GATE_CONFIG";

#[derive(Args, Debug)]
pub(super) struct Settings {
    /// The configuration file [default: clerk-gate.toml here, then in /etc/clerk-gate]
    #[arg(short, long, value_name = "FILE", env = FILE_VARIABLE)]
    config: Option<PathBuf>,
    /// The publishable key, instead of the one in the file
    #[arg(long, value_name = "KEY")]
    publishable_key: Option<String>,
    /// The address of the application, instead of the one in the file
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where to accept requests, instead of what the file says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// A configuration that was found and read, and the name of its file.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) warnings: Report,
}

impl Settings {
    /// Finds and checks the configuration. What is wrong with it has been said when this fails.
    pub(super) fn load(&self, environment: &Environment) -> Result<Found, Ending> {
        let source = self.source()?;
        let flags = self.flags();
        let loaded = config::load(
            &source,
            &Surroundings {
                environment,
                flags: &flags,
                files: &|path| std::fs::read(path),
            },
        );
        match loaded {
            Ok(loaded) => Ok(Found {
                name: source.name().to_owned(),
                config: loaded.config,
                warnings: loaded.warnings,
            }),
            Err(report) => {
                eprintln!("{}\n", report.render(colour(environment)));
                eprintln!("{}: {}", source.name(), summary(&report));
                Err(Ending::Misused)
            }
        }
    }

    fn source(&self) -> Result<Source, Ending> {
        let path = match &self.config {
            Some(path) => path.as_path(),
            None => match USUAL_PLACES
                .iter()
                .map(Path::new)
                .find(|path| path.exists())
            {
                Some(path) => path,
                None => return Ok(Source::none()),
            },
        };
        Source::read(path).map_err(|error| {
            complain(
                &format!("cannot read `{}`: {error}", path.display()),
                Some("name another file with `-c FILE`"),
            );
            Ending::Misused
        })
    }

    fn flags(&self) -> Vec<FlagValue> {
        let flags: [(&Option<String>, &str, &'static [&'static str]); 3] = [
            (
                &self.publishable_key,
                "--publishable-key",
                &["clerk", "publishable-key"],
            ),
            (&self.upstream, "--upstream", &["upstream", "url"]),
            (&self.listen, "--listen", &["listen"]),
        ];
        flags
            .into_iter()
            .filter_map(|(value, flag, path)| {
                let value = value.clone()?;
                Some(FlagValue { path, flag, value })
            })
            .collect()
    }
}

/// `2 errors and one warning`.
pub(super) fn summary(report: &Report) -> String {
    let counted = |count: usize, noun: &str| match count {
        0 => None,
        1 => Some(format!("one {noun}")),
        many => Some(format!("{many} {noun}s")),
    };
    let parts: Vec<String> = [
        counted(report.count(Severity::Error), "error"),
        counted(report.count(Severity::Warning), "warning"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        "no problem found".to_owned()
    } else {
        parts.join(" and ")
    }
}
