//! Where `run` and `check` find their configuration.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use clap::Args;

use super::watch::Seen;
use super::{Ending, colour, complain};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{
    self, Colour, Config, Environment, FlagValue, Loaded, Report, Severity, Source, Surroundings,
};

/// Looked for where no file is named.
const USUAL_PLACES: [&str; 2] = ["clerk-gate.toml", "/etc/clerk-gate/clerk-gate.toml"];

/// The variable that names the file.
const FILE_VARIABLE: &str = "CLERK_GATE_CONFIG";

#[derive(Args, Clone, Debug)]
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
    /// The file, if it is in one.
    pub(super) path: Option<PathBuf>,
    pub(super) config: Config,
    pub(super) warnings: Report,
    /// What it was read from.
    pub(super) files: Vec<Seen>,
}

/// Why there is no configuration.
pub(super) enum Trouble {
    /// The file cannot be read.
    Unreadable { path: PathBuf, cause: io::Error },
    /// There are problems in it.
    Wrong { name: String, report: Report },
}

impl Settings {
    /// Finds and checks the configuration. What is wrong with it has been said when this fails.
    pub(super) fn load(&self, environment: &Environment) -> Result<Found, Ending> {
        let loaded = self.load_quietly(environment, self.path().as_deref());
        loaded.map_err(|(trouble, _)| {
            match &*trouble {
                Trouble::Unreadable { .. } => {
                    let hint = Some("name another file with `-c FILE`");
                    complain(&trouble.to_string(), hint);
                }
                Trouble::Wrong { name, report } => {
                    eprintln!("{}\n", report.render(colour(environment)));
                    eprintln!("{name}: {}", summary(report));
                }
            }
            Ending::Misused
        })
    }

    /// Checks the configuration in this file, or without any. The files that it was to be read from come
    /// with what is wrong.
    pub(super) fn load_quietly(
        &self,
        environment: &Environment,
        path: Option<&Path>,
    ) -> Result<Found, (Box<Trouble>, Vec<Seen>)> {
        let files = RefCell::new(Vec::new());
        let loaded = self.load_noting(environment, path, &files);
        let mut files = files.into_inner();
        match loaded {
            Ok(Loaded { config, warnings }) => {
                let upstreams = config.upstreams.iter();
                files.extend(
                    upstreams
                        .flat_map(config::UpstreamConfig::files)
                        .map(|path| Seen::now(path)),
                );
                Ok(Found {
                    name: name(path),
                    path: path.map(Path::to_owned),
                    config,
                    warnings,
                    files,
                })
            }
            Err(trouble) => Err((trouble, files)),
        }
    }

    fn load_noting(
        &self,
        environment: &Environment,
        path: Option<&Path>,
        files: &RefCell<Vec<Seen>>,
    ) -> Result<Loaded, Box<Trouble>> {
        let read = |path: &Path| {
            let bytes = std::fs::read(path);
            let seen = Seen::reading(path, bytes.as_deref());
            files.borrow_mut().push(seen);
            bytes
        };
        let source = match path {
            Some(path) => read(path)
                .and_then(|bytes| Source::of_bytes(path, bytes))
                .map_err(|cause| Trouble::Unreadable {
                    path: path.to_owned(),
                    cause,
                })
                .map_err(Box::new)?,
            None => Source::none(),
        };
        let flags = self.flags();
        let surroundings = Surroundings {
            environment,
            flags: &flags,
            files: &read,
            now_ms: SystemClock.now_ms(),
        };
        config::load(&source, &surroundings).map_err(|report| {
            Box::new(Trouble::Wrong {
                name: source.name().to_owned(),
                report,
            })
        })
    }

    /// The file, if there is one.
    fn path(&self) -> Option<PathBuf> {
        let usual = || USUAL_PLACES.map(PathBuf::from).into_iter();
        let named = self.config.clone();
        named.or_else(|| usual().find(|path| path.exists()))
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

/// What a file is called.
fn name(path: Option<&Path>) -> String {
    let path = path.map(|path| path.display().to_string());
    path.unwrap_or_else(|| Source::none().name().to_owned())
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, cause } => {
                write!(f, "cannot read `{}`: {cause}", path.display())
            }
            Self::Wrong { report, .. } => f.write_str(&report.render(Colour::Plain)),
        }
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
