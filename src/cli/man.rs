//! `clerk-gate man`: the manual, made of what `--help` says.

use clap::{Args, Command, CommandFactory as _};

use super::{Arguments, Ending, complain, hand_out};

/// Prints a page of the manual.
#[derive(Args, Debug)]
pub(super) struct Man {
    /// The command whose page it is, instead of the program's
    command: Option<String>,
}

/// Prints the page on standard output.
pub(super) fn man(man: &Man) -> Ending {
    let mut program = Arguments::command();
    // Gives each command its whole name, such as `clerk-gate-run`.
    program.build();
    let named = man.command.as_deref();
    let Some(command) = named.map_or(Some(&program), |name| program.find_subcommand(name)) else {
        complain(
            &format!("there is no command `{}`", named.unwrap_or_default()),
            Some(&format!("there are {}", names(&program))),
        );
        return Ending::Misused;
    };
    let version = program.get_version().unwrap_or_default();
    let page = clap_mangen::Man::new(command.clone())
        .source(format!("{} {version}", program.get_name()))
        .manual(program.get_name());
    let mut written = Vec::new();
    match page.render(&mut written) {
        Ok(()) => hand_out(&written),
        Err(error) => {
            complain(&format!("the page cannot be written: {error}"), None);
            Ending::Failed
        }
    }
}

/// The commands, as they are listed in a sentence.
fn names(program: &Command) -> String {
    let commands = program.get_subcommands();
    let names: Vec<String> = commands
        .map(|command| format!("`{}`", command.get_name()))
        .collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
