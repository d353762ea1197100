//! The program itself, run as somebody would run it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The program, in surroundings of its own.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clerk-gate"));
    command
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    command
}

/// A file of this test.
pub fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

pub fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// A running program that is stopped when it is dropped.
pub struct Running {
    child: Child,
    lines: Option<BufReader<std::process::ChildStderr>>,
}

impl Running {
    /// Starts it, and reads its log until it is ready. Gives the address it serves.
    pub fn start(command: &mut Command) -> (Self, std::net::SocketAddr) {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = child.stderr.take().map(BufReader::new);
        let mut running = Self { child, lines };
        loop {
            let line = running.line();
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if line["message"] == "ready" {
                let address = line["address"].as_str().unwrap().parse().unwrap();
                return (running, address);
            }
        }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let lines = self.lines.as_mut().expect("the log is read");
        lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the program has ended");
        line
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads the log from now on and forgets it, so that the program never waits for a reader.
    pub fn discard_log(&mut self) {
        let mut lines = self.lines.take().expect("the log is read");
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    }

    /// Sends a signal, such as `TERM`, by the shell's own `kill`.
    pub fn signal(&self, name: &str) {
        let order = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &order]).status().unwrap();
        assert!(sent.success());
    }

    /// The next line of the log about a request.
    pub fn request_line(&mut self) -> String {
        loop {
            let line = self.line();
            if line.contains("\"clerk_gate::access\"") {
                return line;
            }
        }
    }

    /// Waits for the end, and gives its code and the rest of the log.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        if let Some(mut lines) = self.lines.take() {
            lines.read_to_string(&mut rest).unwrap();
        }
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
