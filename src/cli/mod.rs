//! The command line: what can be asked of the program, and the codes it ends with.
//!
//! 0: all is well. 1: it could not be done. 2: what was asked cannot be, such as a bad file.

mod check;
mod completions;
#[cfg(feature = "dev")]
mod dev;
mod doctor;
mod explain;
mod health;
mod init;
mod man;
mod notify;
mod open_files;
mod recipe;
mod run;
mod schema;
mod settings;
mod watch;
mod window;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use listenfd::ListenFd;

use crate::config::{Colour, Environment};

/// An authenticating reverse proxy that gives any web application Clerk.
#[derive(Debug, Parser)]
#[command(name = "clerk-gate", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stand in front of an application and serve
    Run(settings::Settings),
    /// Try everything on this machine: a stand-in Clerk, a sample application and the gate
    #[cfg(feature = "dev")]
    Dev(dev::Dev),
    /// Write a first configuration file, with what to do next
    Init(init::Init),
    /// Report every problem of a configuration at once, and show its routes
    Check(settings::Settings),
    /// Check that a setup works: keys, clock, addresses, application, files
    Doctor(doctor::Doctor),
    /// Tell which rule decides about a request, and why
    Explain(Box<explain::Explain>),
    /// Print the configuration of a gateway that asks this gate
    Recipe(Box<recipe::Recipe>),
    /// Ask a running gate whether it is ready
    Health(health::Health),
    /// Print what has an editor complete and check a configuration: its JSON Schema
    Schema,
    /// Print what has a shell complete commands and options
    Completions(completions::Completions),
    /// Print a page of the manual
    Man(man::Man),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// All is well.
    Well,
    /// It could not be done.
    Failed,
    /// What was asked cannot be.
    Misused,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Well => Self::SUCCESS,
            Ending::Failed => Self::FAILURE,
            Ending::Misused => Self::from(2),
        }
    }
}

/// Does what the arguments of the process ask for.
///
/// `given` are the sockets that systemd has opened for it.
pub async fn main(environment: Environment, given: ListenFd) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and the version are no mistakes, and go to standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let ending = match arguments.command {
        Command::Run(settings) => run::run(&settings, &environment, given).await,
        #[cfg(feature = "dev")]
        Command::Dev(dev) => dev::dev(&dev, &environment).await,
        Command::Init(init) => init::init(&init, &environment),
        Command::Check(settings) => check::check(&settings, &environment),
        Command::Doctor(doctor) => doctor::doctor(&doctor, &environment).await,
        Command::Explain(explain) => explain::explain(&explain, &environment).await,
        Command::Recipe(recipe) => recipe::recipe(&recipe, &environment),
        Command::Health(health) => health::health(&health).await,
        Command::Schema => schema::schema(),
        Command::Completions(completions) => completions::completions(&completions),
        Command::Man(man) => man::man(&man),
    };
    ending.into()
}

/// Colour for a terminal, unless `NO_COLOR` asks for none.
fn colour(environment: &Environment) -> Colour {
    let unwanted = environment
        .iter()
        .any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    if unwanted || !std::io::stderr().is_terminal() {
        Colour::Plain
    } else {
        Colour::Ansi
    }
}

/// Says on standard error what went wrong, and what the reader can do.
fn complain(what: &str, hint: Option<&str>) {
    eprintln!("error: {what}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
}

/// Puts on standard output what was asked for. Whoever stops reading has had enough.
fn hand_out(text: &[u8]) -> Ending {
    let mut output = io::stdout().lock();
    match output.write_all(text).and_then(|()| output.flush()) {
        Ok(()) => Ending::Well,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ending::Well,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"), None);
            Ending::Failed
        }
    }
}
