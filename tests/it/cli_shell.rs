//! What the program hands to shells and to the manual.

use std::process::Command;

use crate::support::program::{file, program, run};

/// Every command, as `--help` lists them.
fn commands() -> Vec<String> {
    let (_, help, _) = run(program().arg("--help"));
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let commands: Vec<String> = lines
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert!(commands.len() >= 9, "{commands:?}");
    commands
}

#[test]
fn there_are_completions_for_every_shell_with_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, err) = run(program().args(["completions", shell]));
        assert_eq!((code, err.as_str()), (0, ""), "{shell}");
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
    }
}

#[test]
fn bash_takes_its_completions_and_completes_with_them() {
    let (_, script, _) = run(program().args(["completions", "bash"]));
    let path = file("completions.bash", &script);
    let (code, out, err) = run(Command::new("bash").arg("-n").arg(&path));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    for (line, expected) in [
        ("clerk-gate re", "recipe"),
        ("clerk-gate init --pu", "--publishable-key --public-url"),
        ("clerk-gate help rec", "recipe"),
        ("clerk-gate completions z", "zsh"),
    ] {
        let ask = "source \"$1\"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _clerk__gate clerk-gate \"${COMP_WORDS[-1]}\" \"${COMP_WORDS[-2]}\"; echo \"${COMPREPLY[*]}\"";
        let (code, out, err) = run(Command::new("bash")
            .args(["--norc", "-c", ask, "bash"])
            .arg(&path)
            .arg(line));
        assert_eq!((code, out.trim()), (0, expected), "{line}: {err}");
    }
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let (code, page, err) = run(program().arg("man"));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_well_formed(&page, "clerk-gate");
    for command in commands() {
        let entry = format!("clerk\\-gate\\-{command}(1)\n");
        assert!(page.contains(&entry), "{entry}");
        let (code, page, err) = run(program().args(["man", &command]));
        assert_eq!((code, err.as_str()), (0, ""), "{command}");
        assert_well_formed(&page, &format!("clerk-gate-{command}"));
    }
}

#[test]
fn pages_of_the_manual_tell_options_and_variables_and_no_values() {
    let (_, page, _) = run(program()
        .args(["man", "run"])
        .env("CLERK_GATE_CONFIG", "/hidden/gate.toml"));
    for told in ["\\-\\-publishable\\-key", "CLERK_GATE_CONFIG"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(!page.contains("hidden"), "{page}");
}

/// A page has its title first, the sections that each page has, and no request that is none of `man`'s.
fn assert_well_formed(page: &str, title: &str) {
    const REQUESTS: [&str; 9] = [
        ".TH", ".SH", ".TP", ".PP", ".RS", ".RE", ".IP", ".br", ".sp",
    ];
    // What comes before it sets how apostrophes are written.
    let mut lines = page
        .lines()
        .skip_while(|line| line.starts_with(".ie ") || line.starts_with(".el "));
    let heading = format!(
        ".TH {title} 1  \"clerk-gate {}\" clerk-gate",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(lines.next().unwrap().trim_end(), heading);
    let mut sections = Vec::new();
    for line in lines {
        if line.starts_with('.') || line.starts_with('\'') {
            let request = line.split_whitespace().next().unwrap();
            assert!(REQUESTS.contains(&request), "{title}: {line}");
        }
        sections.extend(line.strip_prefix(".SH "));
    }
    assert!(
        sections.starts_with(&["NAME", "SYNOPSIS", "DESCRIPTION"]),
        "{title}: {sections:?}"
    );
    let name = format!("\n{} \\- ", title.replace('-', "\\-"));
    assert!(page.contains(&name), "{title}: {page}");
}
