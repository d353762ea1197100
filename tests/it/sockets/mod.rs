//! Where the gate listens, and who is there at the other end.

mod hand_over;
mod process;
mod proxy_protocol;
mod unix;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::support::site::Site;
use crate::support::{Answer, program, read_answer};

/// A folder with a short name, for sockets, which goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gate-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file of a gate that listens there. `/open/**` is open to everybody.
fn file(site: &Site, name: &str, listen: &str, more: &str) -> PathBuf {
    let name = format!("sockets-{name}.toml");
    program::file(&name, &site.text(listen, "public", more))
}

/// Sends a request over a socket in the file system, and reads its answer.
async fn ask(socket: &Path, request: &str) -> Answer {
    let answer = async {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut stream, false, &mut Vec::new()).await
    };
    tokio::time::timeout(Duration::from_secs(10), answer)
        .await
        .expect("the gate answers in time")
}

/// A request of a page load, with further lines.
fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n")
}
