//! A Redis of a test's own. It ends with the test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use redis::{Commands as _, Connection};

use crate::DEADLINE;

pub struct Server {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
}

impl Server {
    /// A server on a port of its own that answers.
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = std::env::temp_dir().join(format!("clerk-gate-redis-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut server = Self {
            child: None,
            port,
            folder,
        };
        server.start_again();
        server
    }

    /// Starts it again, where it was.
    pub fn start_again(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("`redis-server` is there: `tests/deps.sh redis` installs it");
        self.child = Some(child);
        let began = tokio::time::Instant::now();
        while self.try_connection().is_none() {
            assert!(began.elapsed() < DEADLINE, "redis-server does not answer");
            std::thread::yield_now();
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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
