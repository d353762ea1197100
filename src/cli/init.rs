//! `clerk-gate init`: a first configuration file, with what to do next.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use askama::Template;
use clap::Args;

use super::settings::summary;
use super::{Ending, colour, complain, hand_out};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Environment, Report, Source, Surroundings};
use crate::core::key::{InstanceKind, PublishableKey};
use crate::core::origin::{Origin, Scheme};

/// Writes a first configuration file.
#[derive(Args, Debug)]
pub(super) struct Init {
    /// The publishable key, from Clerk's dashboard under API keys
    #[arg(long, value_name = "KEY")]
    publishable_key: Option<String>,
    /// The address of the application
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The address that browsers use; a live key needs it
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The file to write, or `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "clerk-gate.toml")]
    output: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

/// What the file is made of.
struct Given {
    key: PublishableKey,
    upstream: Origin,
    public_url: Option<Origin>,
}

/// The file. Values are written as in TOML, quotes included.
#[derive(Template)]
#[template(path = "init.toml", escape = "none")]
struct File<'e> {
    publishable_key: String,
    live: bool,
    /// What a secret key of this instance begins with.
    secret_prefix: &'static str,
    upstream: String,
    public_url: Option<String>,
    /// The origin whose tokens alone are taken.
    parties: Option<String>,
    /// The names of variables that count more than the file.
    variables: Vec<&'e str>,
}

/// Something that is missing or wrong, and what to do about it.
struct Fault {
    what: String,
    hint: &'static str,
}

/// Writes the file, or prints it.
pub(super) fn init(init: &Init, environment: &Environment) -> Ending {
    let given = match init.given() {
        Ok(given) => given,
        Err(faults) => {
            for fault in faults {
                complain(&fault.what, Some(fault.hint));
            }
            return Ending::Misused;
        }
    };
    let text = match File::new(&given, environment).render() {
        Ok(text) => text + "\n",
        Err(error) => {
            complain(&format!("the file cannot be made: {error}"), None);
            return Ending::Failed;
        }
    };
    let printed = init.output.as_os_str() == "-";
    let name = if printed {
        "(standard output)".to_owned()
    } else {
        init.output.display().to_string()
    };
    match checked(&name, &text) {
        Ok(warnings) if warnings.is_empty() => {}
        Ok(warnings) => eprintln!("{}\n", warnings.render(colour(environment))),
        Err(report) => {
            eprintln!("{}\n", report.render(colour(environment)));
            eprintln!("{name}: {}, so it is not written", summary(&report));
            return Ending::Misused;
        }
    }
    if printed {
        return hand_out(text.as_bytes());
    }
    match written(&init.output, &text, init.force) {
        Ok(()) => {
            eprintln!("`{name}` is written: it says what is left to do");
            eprintln!(
                "hint: `clerk-gate check -c {name}` looks it over, and `clerk-gate run -c {name}` serves"
            );
            Ending::Well
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            complain(
                &format!("`{name}` is there already, and is left as it is"),
                Some(
                    "name another file with `-o FILE`, print with `-o -`, or write over it with `--force`",
                ),
            );
            Ending::Misused
        }
        Err(error) => {
            complain(&format!("cannot write `{name}`: {error}"), None);
            Ending::Failed
        }
    }
}

impl Init {
    /// What was given, or all that is wrong with it. What was typed is not repeated: it may be a
    /// secret in the wrong place.
    fn given(&self) -> Result<Given, Vec<Fault>> {
        let mut faults = Vec::new();
        let key = keep(self.key(), &mut faults);
        let upstream = match &self.upstream {
            Some(text) => keep(
                origin(
                    "--upstream",
                    text,
                    "write it such as `http://127.0.0.1:3000`",
                ),
                &mut faults,
            ),
            None => keep(
                Err(Fault {
                    what: "there is no upstream".to_owned(),
                    hint: "say where the application is, such as `--upstream http://127.0.0.1:3000`",
                }),
                &mut faults,
            ),
        };
        let public_url = self.public_url.as_deref().and_then(|text| {
            let hint = "write it such as `https://app.example.com`";
            keep(origin("--public-url", text, hint), &mut faults)
        });
        let live = key.as_ref().is_some_and(is_live);
        if live && self.public_url.is_none() {
            faults.push(Fault {
                what: "a live key needs the address that browsers use".to_owned(),
                hint: "add it, such as `--public-url https://app.example.com`",
            });
        }
        match (key, upstream) {
            (Some(key), Some(upstream)) if faults.is_empty() => Ok(Given {
                key,
                upstream,
                public_url,
            }),
            _ => Err(faults),
        }
    }

    fn key(&self) -> Result<PublishableKey, Fault> {
        let Some(text) = &self.publishable_key else {
            return Err(Fault {
                what: "there is no publishable key".to_owned(),
                hint: "add it, such as `--publishable-key pk_test_…`; it stands in Clerk's dashboard under API keys",
            });
        };
        PublishableKey::parse(text).map_err(|error| Fault {
            what: format!("`--publishable-key` is none: {error}"),
            hint: if text.starts_with("sk_") {
                "this looks like the secret key, which belongs into a file of its own and on no command line"
            } else {
                "copy it from Clerk's dashboard, under API keys"
            },
        })
    }
}

impl<'e> File<'e> {
    fn new(given: &Given, environment: &'e Environment) -> Self {
        let live = is_live(&given.key);
        let public_url = given.public_url.as_ref();
        // Tokens of page loads name no party. They are taken by the gate's seal, which browsers keep
        // for `https` alone.
        let sealed = |url: &&Origin| live && url.scheme() == Scheme::Https;
        Self {
            publishable_key: quoted(given.key.as_str()),
            live,
            secret_prefix: if live { "sk_live_" } else { "sk_test_" },
            upstream: quoted(&given.upstream.to_string()),
            public_url: public_url.map(|url| quoted(&url.to_string())),
            parties: public_url
                .filter(sealed)
                .map(|url| quoted(&url.to_string())),
            variables: config::names_in(environment),
        }
    }
}

fn is_live(key: &PublishableKey) -> bool {
    key.kind() == InstanceKind::Production
}

fn origin(flag: &str, text: &str, hint: &'static str) -> Result<Origin, Fault> {
    Origin::parse(text).ok_or_else(|| Fault {
        what: format!(
            "`{flag}` is no address: it has a scheme, a host and perhaps a port, and nothing else"
        ),
        hint,
    })
}

/// What came of it; what is wrong with it is put beside the rest.
fn keep<T>(read: Result<T, Fault>, faults: &mut Vec<Fault>) -> Option<T> {
    read.map_err(|fault| faults.push(fault)).ok()
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Reads the text as `check` does where no variable is set. It names no file.
fn checked(name: &str, text: &str) -> Result<Report, Report> {
    let surroundings = Surroundings {
        environment: &Vec::new(),
        flags: &[],
        files: &|_| Err(io::ErrorKind::NotFound.into()),
        now_ms: SystemClock.now_ms(),
    };
    let loaded = config::load(&Source::new(name, text), &surroundings)?;
    Ok(loaded.warnings)
}

/// Writes a file that must not be there yet, unless `force` says otherwise.
fn written(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        // One step, so that nobody's file is lost that comes in between.
        options.create_new(true);
    }
    options.open(path)?.write_all(text.as_bytes())
}
