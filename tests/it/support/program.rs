//! The program itself, run as somebody would run it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

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

/// How long a program may say nothing that is waited for.
const DEADLINE: Duration = Duration::from_mins(1);

/// A running program that is stopped when it is dropped.
pub struct Running {
    child: Child,
    lines: Option<Receiver<String>>,
}

impl Running {
    /// Starts it, and reads its log until it is ready. Gives the first address it serves.
    pub fn start(command: &mut Command) -> (Self, std::net::SocketAddr) {
        let (running, lines) = Self::start_saying(command);
        let ready = lines.last().expect("it is ready");
        let addresses = ready["address"].as_str().unwrap();
        let address = addresses.split(", ").next().unwrap().parse().unwrap();
        (running, address)
    }

    /// Starts it, and gives its log until it is ready.
    pub fn start_saying(command: &mut Command) -> (Self, Vec<Value>) {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = child.stderr.take().map(received);
        let mut running = Self { child, lines };
        let mut said = Vec::new();
        loop {
            let line = running.line();
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            let is_ready = line["message"] == "ready";
            said.push(line);
            if is_ready {
                return (running, said);
            }
        }
    }

    pub fn line(&mut self) -> String {
        let lines = self.lines.as_mut().expect("the log is read");
        let line = lines.recv_timeout(DEADLINE);
        line.expect("the program says something more")
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads the log from now on and forgets it, so that the program never waits for a reader.
    pub fn discard_log(&mut self) {
        self.lines.take().expect("the log is read");
    }

    /// Sends a signal, such as `TERM`, by the shell's own `kill`.
    pub fn signal(&self, name: &str) {
        let order = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &order]).status().unwrap();
        assert!(sent.success());
    }

    /// The next line of the log about a request.
    pub fn request_line(&mut self) -> String {
        self.until("\"clerk_gate::access\"")
    }

    /// The next line of the log that has this in it.
    pub fn until(&mut self, message: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(message) {
                return line;
            }
        }
    }

    /// Waits for the end, and gives its code and the rest of the log.
    pub fn end(mut self) -> (Option<i32>, String) {
        let lines = self.lines.take();
        let rest = lines.map_or_else(String::new, |lines| lines.iter().collect());
        (self.child.wait().unwrap().code(), rest)
    }
}

/// Each line as it is written; they are read whether or not anybody wants them.
fn received(log: ChildStderr) -> Receiver<String> {
    let (to, from) = mpsc::channel();
    std::thread::spawn(move || {
        let mut log = BufReader::new(log);
        let mut line = String::new();
        while log.read_line(&mut line).is_ok_and(|read| read > 0) {
            let _ = to.send(std::mem::take(&mut line));
        }
    });
    from
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
