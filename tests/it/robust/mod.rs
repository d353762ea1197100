//! Many who behave badly at once, and somebody beside them who behaves well.
//!
//! Every test is short by default. `SOAK` multiplies how many there are of what is counted, and how
//! often what is repeated is repeated; `make soak` sets it and shows the figures.

mod connections;
mod keys;
mod memory;
mod open_files;
mod stopping;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use clerk_gate::standin::{StandIn, TestSession};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::support::program::{Running, file, program};
use crate::support::{Answer, Call, cookies, read_answer};

/// Longer than any answer takes here, and much shorter than a test run.
const PATIENCE: Duration = Duration::from_secs(20);

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    let patience = PATIENCE * u32::try_from(soak().min(6)).unwrap();
    tokio::time::timeout(patience, what)
        .await
        .expect("it ends in time")
}

/// How many times more than usual everything is.
#[expect(
    clippy::disallowed_methods,
    reason = "a test is told how long it may take by nobody else"
)]
fn soak() -> usize {
    let soak = std::env::var("SOAK").ok();
    soak.map_or(1, |soak| soak.parse().expect("`SOAK` is a number"))
}

/// Shows a figure of a long run; cargo keeps it to itself otherwise.
fn figure(what: &str, value: impl std::fmt::Display) {
    println!("soak {}: {what}: {value}", soak());
}

/// Resident memory of a process in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// A gate as a process of its own, between a stand-in and an upstream, with further lines in its file.
async fn process(
    clerk: &StandIn,
    upstream: SocketAddr,
    name: &str,
    more: &str,
) -> (Running, SocketAddr) {
    process_of(program(), clerk, upstream, name, more).await
}

/// The same, of a program in these surroundings.
async fn process_of(
    mut command: Command,
    clerk: &StandIn,
    upstream: SocketAddr,
    name: &str,
    more: &str,
) -> (Running, SocketAddr) {
    let secret = file(&format!("{name}.secret"), clerk.secret_key());
    let mut text = String::new();
    let url = clerk.url();
    writeln!(text, "listen = \"127.0.0.1:0\"\n[clerk]").unwrap();
    writeln!(text, "publishable-key = \"{}\"", clerk.publishable_key()).unwrap();
    writeln!(text, "secret-key-file = \"{}\"", secret.display()).unwrap();
    writeln!(text, "api-url = \"{url}\"\nfrontend-api-url = \"{url}\"").unwrap();
    writeln!(text, "sign-in-url = \"{url}/sign-in\"").unwrap();
    writeln!(text, "[upstream]\nurl = \"http://{upstream}\"").unwrap();
    writeln!(
        text,
        "[admin]\nlisten = \"off\"\n[shutdown]\ndrain = \"10s\"\n{more}"
    )
    .unwrap();
    let path = file(&format!("{name}.toml"), &text);
    let started =
        tokio::task::spawn_blocking(move || Running::start(command.arg("run").arg("-c").arg(path)));
    let (mut running, gate) = started.await.unwrap();
    running.discard_log();
    (running, gate)
}

/// Lets this process, and what it starts from now on, have as many files open as the system allows.
/// Gives their number.
fn many_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let most = line.split_whitespace().nth(4).unwrap().to_owned();
    let raised = Command::new("prlimit")
        .arg(format!("--pid={}", std::process::id()))
        .arg(format!("--nofile={most}:{most}"))
        .status()
        .unwrap();
    assert!(raised.success());
    most.parse().unwrap()
}

/// A connection that is kept, with what was received on it and not looked at yet.
struct Kept {
    stream: TcpStream,
    gate: SocketAddr,
    received: Vec<u8>,
}

impl Kept {
    async fn open(gate: SocketAddr) -> Self {
        Self::over(in_time(TcpStream::connect(gate)).await.unwrap(), gate)
    }

    /// A connection on which the system takes little for whoever does not read.
    async fn narrow(gate: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        Self::over(in_time(socket.connect(gate)).await.unwrap(), gate)
    }

    fn over(stream: TcpStream, gate: SocketAddr) -> Self {
        Self {
            stream,
            gate,
            received: Vec::new(),
        }
    }

    /// Whether the gate took these bytes.
    async fn say(&mut self, bytes: &[u8]) -> bool {
        in_time(self.stream.write_all(bytes)).await.is_ok()
    }

    /// Asks, with these lines, and hears the answer.
    async fn get(&mut self, target: &str, lines: &str) -> Answer {
        let port = self.gate.port();
        let request = format!("GET {target} HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}\r\n");
        assert!(self.say(request.as_bytes()).await);
        in_time(read_answer(&mut self.stream, false, &mut self.received)).await
    }

    /// The same, where the gate may be about to close: nothing if it did so without a byte of an
    /// answer. The body has to be `upstream`.
    async fn try_get(&mut self, target: &str, lines: &str) -> Option<String> {
        let port = self.gate.port();
        let request = format!("GET {target} HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}\r\n");
        if !self.say(request.as_bytes()).await {
            return None;
        }
        while !self.received.ends_with(b"\r\n\r\nupstream") {
            let reading = self.stream.read_buf(&mut self.received);
            if in_time(reading).await.unwrap_or(0) == 0 {
                let half = String::from_utf8_lossy(&self.received);
                assert_eq!(half, "", "an answer breaks off");
                return None;
            }
        }
        let answer = std::mem::take(&mut self.received);
        Some(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Asks as a member, over a connection of its own, so many times; each is answered. Gives the
/// longest that it took.
async fn healthy(gate: SocketAddr, session: &TestSession, times: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for n in 0..times {
        let call = Call::new(gate, Method::GET, &format!("/members/{n}"));
        let began = Instant::now();
        let answer = in_time(call.cookie(&cookies(session)).try_send()).await;
        let answer = answer.expect("an answer");
        longest = longest.max(began.elapsed());
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, "upstream");
    }
    longest
}
