//! `clerk-gate completions`: what has a shell complete commands and options.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Arguments, Ending, hand_out};

/// Prints a script for a shell.
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Prints the script on standard output.
pub(super) fn completions(completions: &Completions) -> Ending {
    let mut program = Arguments::command();
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut program, &name, &mut script);
    let script = String::from_utf8_lossy(&script);
    // The generator for bash spells a name with a hyphen in two ways, and then no command has options.
    let (looked_for, kept_at) = (name.replace('-', "__"), name.replace('-', "__subcmd__"));
    hand_out(script.replace(&kept_at, &looked_for).as_bytes())
}
