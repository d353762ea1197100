//! The commands that the documents tell people to type are ones, and do what they should.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::blocks::blocks;
use super::{ROOT, documents, file_of_an_example, help, options, read};
use crate::support::program::{program, run};

/// What commands are asked with where no configuration stands above them.
const USUAL: &str = r#"
clerk.publishable-key = "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k"
upstream.url = "http://127.0.0.1:3000"

[forward-auth]
listen = "127.0.0.1:8081"
peers  = ["127.0.0.1"]
"#;

/// A command that a document has people type.
struct Command {
    /// Where it stands.
    at: String,
    line: String,
    /// Whether its block says that it cannot run here.
    external: bool,
    /// The configuration that stands above it.
    configuration: String,
}

/// Every line after a prompt, with what stands above it.
fn commands() -> Vec<Command> {
    let mut found = Vec::new();
    let mut above = (String::new(), USUAL.to_owned());
    for block in blocks() {
        if block.document != above.0 {
            above = (block.document.clone(), USUAL.to_owned());
        }
        match block.language.as_str() {
            "toml" => above.1 = block.text,
            "console" => {
                let whole = block.text.replace("\\\n", " ");
                for line in whole.lines() {
                    let Some(line) = line.trim().strip_prefix("$ ") else {
                        continue;
                    };
                    for part in line.split(" && ") {
                        found.push(Command {
                            at: format!("{}:{}", block.document, block.line),
                            line: part.trim().to_owned(),
                            external: block.external,
                            configuration: above.1.clone(),
                        });
                    }
                }
            }
            _ => {}
        }
    }
    assert!(found.len() >= 25, "{} commands", found.len());
    found
}

/// What our program is asked in a line of a shell; `None` if the line asks another one.
fn asked(line: &str) -> Option<Vec<String>> {
    let own = line.split([' ', '\t']).collect::<Vec<_>>();
    let rest = match own.as_slice() {
        ["clerk-gate", rest @ ..] => rest,
        ["cargo", "run", rest @ ..] => rest.split(|word| *word == "--").nth(1)?,
        _ => return None,
    };
    let words = rest
        .iter()
        .filter(|word| !word.is_empty())
        .take_while(|word| !matches!(**word, ">" | "|" | "#" | "&"))
        .map(|word| {
            word.trim_matches(['\'', '"'])
                .replace("pk_test_…", "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k")
                .replace("pk_live_…", "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k")
        })
        .collect();
    Some(words)
}

/// A folder of its own, with a configuration and the files that it names.
fn surroundings(name: &str, configuration: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("documents-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let mut text = configuration.to_owned();
    for place in ["/run/secrets/", "/etc/clerk-gate/"] {
        for piece in configuration.split(&format!("\"{place}")).skip(1) {
            let file = piece.split('"').next().unwrap();
            let path = format!("{place}{file}");
            let written = folder.join(file.replace('/', "-"));
            fs::write(
                &written,
                file_of_an_example(configuration, Path::new(&path)).unwrap(),
            )
            .unwrap();
            text = text.replace(
                &format!("\"{path}\""),
                &format!("\"{}\"", written.display()),
            );
        }
    }
    for file in ["gate.toml", "clerk-gate.toml"] {
        fs::write(folder.join(file), &text).unwrap();
    }
    folder
}

/// Asks the program as the command line does. What would open ports or ask others is only read.
fn try_out(name: &str, words: &[String], configuration: &str) -> (i32, String) {
    let folder = surroundings(name, configuration);
    let mut command = program();
    command.current_dir(&folder).args(words);
    match words.first().map(String::as_str) {
        // It takes what `check` takes, and refuses to start where that finds a problem.
        Some("run") => {
            command = program();
            command.current_dir(&folder).arg("check").args(&words[1..]);
        }
        // It asks a gate that runs.
        Some("explain") if words.iter().any(|word| word == "--request-id") => {
            command.arg("--help");
        }
        // Options are read before help is given.
        Some("dev" | "health") => {
            command.arg("--help");
        }
        // It asks Clerk and the application otherwise.
        Some("doctor") => {
            command.arg("--offline");
        }
        Some("init") => {
            for file in ["gate.toml", "clerk-gate.toml"] {
                fs::remove_file(folder.join(file)).unwrap();
            }
        }
        _ => {}
    }
    let (code, _, err) = run(&mut command);
    fs::remove_dir_all(&folder).unwrap();
    (code, err)
}

#[test]
fn every_command_line_of_the_documents_does_what_it_should() {
    let mut count = 0;
    for command in commands() {
        let Some(words) = asked(&command.line) else {
            continue;
        };
        let (code, err) = try_out("run", &words, &command.configuration);
        assert_eq!(code, 0, "{}: {}\n{err}", command.at, command.line);
        count += 1;
    }
    assert!(count >= 20, "{count} command lines");
}

#[test]
fn a_command_line_that_is_none_would_be_noticed() {
    for line in [
        "clerk-gate run -c gate.toml --colour",
        "clerk-gate run --listen somewhere",
        "clerk-gate health --quickly",
        "clerk-gate chek",
        "clerk-gate check -c other.toml",
        "clerk-gate recipe apache",
        "cargo run --release -- dev --upstreams http://127.0.0.1:3000",
    ] {
        let words = asked(line).unwrap();
        let (code, _) = try_out("wrong", &words, USUAL);
        assert_eq!(code, 2, "{line}");
    }
    let misspelled = USUAL.replace("peers", "pears");
    assert_eq!(
        try_out("wrong", &asked("clerk-gate check").unwrap(), &misspelled).0,
        2
    );
}

/// Programs of this machine that a document may ask for outside of `external` blocks.
const KNOWN: [&str; 5] = ["cargo", "clerk-gate", "export", "make", "openssl"];

#[test]
fn a_command_of_another_program_says_that_it_cannot_run_here() {
    for Command {
        at, line, external, ..
    } in commands()
    {
        let program = line.split(' ').next().unwrap();
        assert!(
            external || KNOWN.contains(&program),
            "{at}: `{line}` is run by no test: tag its block `external`"
        );
    }
}

/// Every span of code in the documents, outside of blocks.
fn spans() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in documents() {
        let text = read(&path);
        let document = path.strip_prefix(ROOT).unwrap().display().to_string();
        let prose: String = text.split("```").step_by(2).collect();
        for span in prose.split('`').skip(1).step_by(2) {
            found.push((document.clone(), span.replace('\n', " ")));
        }
    }
    assert!(found.len() > 1000, "{} spans", found.len());
    found
}

#[test]
fn every_command_and_option_that_the_prose_names_is_one() {
    let help = help();
    let mut count = 0;
    for (document, span) in spans() {
        let Some(words) = asked(&span) else { continue };
        let Some(command) = words
            .first()
            .filter(|word| word.starts_with(char::is_alphabetic))
        else {
            continue;
        };
        if command == "help" {
            continue;
        }
        let of_command = help.iter().find(|(asked, _)| asked == command);
        let Some((_, said)) = of_command else {
            panic!("{document}: there is no command `{command}`: `{span}`");
        };
        let known = options(said);
        for word in words.iter().filter(|word| word.starts_with("--")) {
            assert!(
                known.contains(word) || word == "--help",
                "{document}: `{span}`: `{word}`"
            );
        }
        count += 1;
    }
    assert!(count >= 15, "{count} spans");
}

#[test]
fn every_make_target_that_is_named_is_one() {
    let targets: BTreeSet<String> = read("Makefile")
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0.to_owned()))
        .collect();
    let lines = commands()
        .into_iter()
        .map(|command| (command.at, command.line));
    let mut count = 0;
    for (at, line) in lines.chain(spans()) {
        let Some((_, asked)) = line.split_once("make ") else {
            continue;
        };
        if line.starts_with("cargo") {
            continue;
        }
        let target = asked.split([' ', '`']).next().unwrap();
        assert!(targets.contains(target), "{at}: `make {target}`");
        count += 1;
    }
    assert!(count >= 10, "{count} targets");
}
