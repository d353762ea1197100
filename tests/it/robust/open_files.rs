//! How many files the process may have open.

use std::process::Command;

use crate::support::program::{Running, file, program};

const CONFIG: &str = "listen = \"127.0.0.1:0\"\nadmin.listen = \"off\"\nreload.watch = false\n\
    upstream.url = \"http://127.0.0.1:9\"\nlog.format = \"json\"\n\
    clerk.publishable-key = \"pk_test_Y2xlcmsuZXhhbXBsZS5jb20k\"\n";

/// The program by way of a shell that sets these limits first.
fn limited(limits: &str, config: &std::path::Path) -> Command {
    let direct = program();
    let mut command = Command::new("/bin/sh");
    command.env_clear().stdin(std::process::Stdio::null());
    command
        .args(["-c", &format!("{limits} exec \"$0\" run -c \"$1\"")])
        .arg(direct.get_program())
        .arg(config);
    command
}

/// The limits of open files of a process: the one in force, and the highest that it may ask for.
fn of(id: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = line.unwrap().split_whitespace().skip(3).map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn a_gate_takes_as_many_as_it_may_and_says_if_they_are_too_few() {
    let config = file("open-files.toml", CONFIG);
    for (hard, connections, warned) in [(2_000, 900, false), (2_000, 1_000, true)] {
        let text = format!("{CONFIG}limits.connections = {connections}\n");
        std::fs::write(&config, text).unwrap();
        let limits = format!("ulimit -Sn 64; ulimit -Hn {hard};");
        let (running, said) = Running::start_saying(&mut limited(&limits, &config));
        assert_eq!(of(running.id()), (hard.to_string(), hard.to_string()));
        let warning = said.iter().find(|line| line["needed"].is_number());
        assert_eq!(warning.is_some(), warned, "{said:?}");
        if let Some(line) = warning {
            assert_eq!(
                (line["open_files"].as_u64(), line["needed"].as_u64()),
                (Some(2_000), Some(2_100))
            );
        }
    }
}
