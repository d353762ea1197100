//! A Redis of a test's own. It ends with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use redis::{Commands as _, Connection};

use crate::DEADLINE;

/// What Sentinels call the server.
pub const MASTER: &str = "mymaster";

pub struct Server {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    scheme: &'static str,
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    /// A server on a port of its own that answers.
    pub fn start() -> Self {
        Self::with(|_| Vec::new())
    }

    /// The same, with what else it is to be told; it is given a folder of its own.
    pub fn with(arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let mut server = Self::new();
        server.arguments = arguments(&server.folder);
        server.start_again();
        server
    }

    /// A server that speaks TLS, with this certificate, and nothing else.
    pub fn encrypted(certificate: &str, key: &str) -> Self {
        let mut server = Self::new();
        let file = |name: &str, text: &str| {
            let path = server.folder.join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (certificate, key) = (file("cert.pem", certificate), file("key.pem", key));
        let tls = ["--tls-port", &server.port.to_string(), "--port", "0"].map(str::to_owned);
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
        let lenient = [
            "--tls-auth-clients",
            "no",
            "--tls-ca-cert-file",
            &certificate,
        ];
        let more = files.into_iter().chain(lenient).map(str::to_owned);
        server.arguments = tls.into_iter().chain(more).collect();
        server.scheme = "rediss";
        server.start_again();
        server
    }

    /// A Sentinel that watches this server, alone.
    pub fn sentinel(of: &Self) -> Self {
        let mut server = Self::new();
        let path = server.folder.join("sentinel.conf");
        let lines = [
            format!("sentinel monitor {MASTER} 127.0.0.1 {} 1", of.port),
            format!("sentinel down-after-milliseconds {MASTER} 300"),
            format!("sentinel failover-timeout {MASTER} 2000"),
        ];
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        server.arguments = vec![path.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        server.start_again();
        server
    }

    fn new() -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("clerk-gate-redis-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            child: None,
            port,
            folder,
            arguments: Vec::new(),
            scheme: "redis",
        }
    }

    /// Starts it again, where it was.
    pub fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        // The file of a Sentinel comes first.
        let (files, options) = self.arguments.split_at(self.arguments.len().min(2));
        let is_sentinel = options.is_empty() && files.iter().any(|a| a == "--sentinel");
        if is_sentinel {
            command.args(files);
        }
        if self.scheme == "redis" {
            command.args(["--port", &self.port.to_string()]);
        }
        command
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(&self.folder);
        if !is_sentinel {
            command.args(["--save", "", "--appendonly", "no"]);
            command.args(&self.arguments);
        }
        let child = command
            .stdout(Stdio::null())
            .spawn()
            .expect("`redis-server` is there: `tests/deps.sh redis` installs it");
        self.child = Some(child);
        let began = tokio::time::Instant::now();
        while !self.listens() {
            assert!(began.elapsed() < DEADLINE, "redis-server does not answer");
            std::thread::yield_now();
        }
    }

    fn listens(&self) -> bool {
        match self.scheme {
            "redis" => self.try_connection().is_some(),
            _ => std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Asks it something, and has an answer.
    pub fn ask<T: redis::FromRedisValue>(&self, words: &str) -> T {
        let mut words = words.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            asked.arg(word);
        });
        asked.query(&mut self.connection()).unwrap()
    }

    fn try_connection(&self) -> Option<Connection> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().ok()?;
        connection.ping::<String>().ok()?;
        Some(connection)
    }

    pub fn connection(&self) -> Connection {
        self.try_connection().unwrap()
    }

    /// How many counts it holds.
    pub fn counts(&self) -> usize {
        let names: Vec<String> = self.connection().keys("clerk-gate:{door:*").unwrap();
        names.len()
    }

    /// Has it forget everything.
    pub fn flush(&self) {
        redis::cmd("FLUSHALL").exec(&mut self.connection()).unwrap();
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Has it do nothing at all, although it still listens.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Has it go on.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Lets it take nothing more, or again as much as there is room for.
    pub fn fill(&self, full: bool) {
        let most = if full { "1" } else { "0" };
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(most);
        set.exec(&mut self.connection()).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
