//! One process after the other, with the same sockets.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::{Folder, ask, file, get};
use crate::support::Call;
use crate::support::program::{Running, program, run};
use crate::support::site::Site;

const SERVES_ON: &str = "nobody has taken over: this process serves on";

/// Lines of a configuration whose gate offers its sockets here.
fn offering(folder: &Folder) -> String {
    let socket = folder.join("next.sock");
    format!("[hand-over]\nsocket = \"{}\"\n", socket.display())
}

async fn start(path: &Path) -> (Running, SocketAddr) {
    let path = path.to_owned();
    let start = move || Running::start(program().arg("run").arg("-c").arg(path));
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// How a process ends that another one has taken over from.
async fn ends_well(running: Running) {
    let (code, rest) = tokio::task::spawn_blocking(move || running.end())
        .await
        .unwrap();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("another process has taken over"), "{rest}");
    assert!(!rest.contains("the deadline has passed"), "{rest}");
}

async fn is_open(gate: SocketAddr) {
    let answer = Call::new(gate, Method::GET, "/open/a").send().await;
    assert_eq!(answer.status, StatusCode::OK);
}

/// Asks over connections of its own; each is answered, whoever has accepted it.
async fn ask_anew(
    gate: SocketAddr,
    client: usize,
    go_on: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) {
    for n in 0.. {
        if !go_on.load(Ordering::SeqCst) {
            return;
        }
        let call = Call::new(gate, Method::GET, &format!("/open/{client}/{n}"));
        let answer = call.try_send().await.expect("an answer");
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (StatusCode::OK, "upstream")
        );
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// Asks over one connection for as long as it is kept, and then over another one. A connection that is
/// closed before a byte of an answer has brought nobody a request: it is asked again.
async fn ask_on(
    gate: SocketAddr,
    client: usize,
    go_on: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) {
    let mut n = 0;
    while go_on.load(Ordering::SeqCst) {
        let mut stream = TcpStream::connect(gate).await.expect("somebody listens");
        while go_on.load(Ordering::SeqCst) {
            let request = format!(
                "POST /open/{client}/{n} HTTP/1.1\r\nhost: localhost:{}\r\ncontent-length: 5\r\n\r\nhello",
                gate.port()
            );
            let mut received = Vec::new();
            if stream.write_all(request.as_bytes()).await.is_ok() {
                while !received.ends_with(b"\r\n\r\nupstream") {
                    if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
            }
            if received.is_empty() {
                break;
            }
            let answer = String::from_utf8(received).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("upstream"),
                "{answer:?}"
            );
            answered.fetch_add(1, Ordering::SeqCst);
            n += 1;
            if answer.contains("\r\nconnection: close\r\n") {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_after_each_other_lose_no_request() {
    let folder = Folder::new();
    let site = Site::new("sockets-hand-over").await;
    let path = file(&site, "hand-over", "\"127.0.0.1:0\"", &offering(&folder));
    let (mut running, gate) = start(&path).await;
    let (go_on, answered) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let (go_on, answered) = (Arc::clone(&go_on), Arc::clone(&answered));
            if client % 2 == 0 {
                tokio::spawn(ask_anew(gate, client, go_on, answered))
            } else {
                tokio::spawn(ask_on(gate, client, go_on, answered))
            }
        })
        .collect();
    let reaches = |count: usize| {
        let answered = Arc::clone(&answered);
        async move {
            let enough = async {
                while answered.load(Ordering::SeqCst) < count {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let enough = tokio::time::timeout(Duration::from_mins(2), enough).await;
            enough.expect("requests are answered");
        }
    };
    let mut count = 0;
    for _ in 0..3 {
        count += 600;
        reaches(count).await;
        running.discard_log();
        let (next, address) = start(&path).await;
        assert_eq!(address, gate);
        let before = std::mem::replace(&mut running, next);
        let (code, _) = tokio::task::spawn_blocking(move || before.end())
            .await
            .unwrap();
        assert_eq!(code, Some(0));
        count = answered.load(Ordering::SeqCst);
    }
    reaches(count + 600).await;
    go_on.store(false, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let answered = answered.load(Ordering::SeqCst);
    assert!(answered >= 2400, "{answered}");
    assert_eq!(site.upstream.received().len(), answered);
    println!("{answered} requests through three hand-overs, all answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_start_leaves_the_old_one_serving() {
    let folder = Folder::new();
    let site = Site::new("sockets-hand-over-fails").await;
    let path = file(
        &site,
        "hand-over-fails",
        "\"127.0.0.1:0\"",
        &offering(&folder),
    );
    let (mut running, gate) = start(&path).await;

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = format!("[\"127.0.0.1:0\", \"{}\"]", taken.local_addr().unwrap());
    let other = file(&site, "hand-over-fails-2", &other, &offering(&folder));
    let failing = move || run(program().arg("run").arg("-c").arg(other));
    let (code, _, err) = tokio::task::spawn_blocking(failing).await.unwrap();
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("cannot listen on"), "{err}");
    running.until(SERVES_ON);
    is_open(gate).await;

    // Nor does one whose file is wrong: it asks for nothing.
    let wrong = file(&site, "hand-over-fails-3", "7", &offering(&folder));
    let failing = move || run(program().arg("run").arg("-c").arg(wrong));
    let (code, _, err) = tokio::task::spawn_blocking(failing).await.unwrap();
    assert_eq!(code, 2, "{err}");
    is_open(gate).await;

    let (next, address) = start(&path).await;
    assert_eq!(address, gate);
    ends_well(running).await;
    is_open(gate).await;
    drop(next);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_and_says_nothing_sensible_gets_nobody_to_stop() {
    let folder = Folder::new();
    let site = Site::new("sockets-hand-over-odd").await;
    let path = file(
        &site,
        "hand-over-odd",
        "\"127.0.0.1:0\"",
        &offering(&folder),
    );
    let (mut running, gate) = start(&path).await;
    let socket = folder.join("next.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for words in [
        "",
        "\n\n",
        "ready",
        "steady\n\n",
        "ready\n\n",
        "ready\n\nyours\n\n",
        "\u{ff}\n\n",
    ] {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        assert!(heard.starts_with(b"clerk-gate hand-over 1\n"), "{words:?}");
        running.until(SERVES_ON);
        is_open(gate).await;
    }
    running.signal("TERM");
    let (code, _) = tokio::task::spawn_blocking(move || running.end())
        .await
        .unwrap();
    assert_eq!(code, Some(0));
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_speaks_in_another_way_is_asked_in_vain() {
    let folder = Folder::new();
    let site = Site::new("sockets-hand-over-other").await;
    let path = file(
        &site,
        "hand-over-other",
        "\"127.0.0.1:0\"",
        &offering(&folder),
    );
    let other = tokio::net::UnixListener::bind(folder.join("next.sock")).unwrap();
    let starting = path.clone();
    let starting =
        tokio::task::spawn_blocking(move || run(program().arg("run").arg("-c").arg(starting)));
    let (mut stream, _) = other.accept().await.unwrap();
    stream
        .write_all(b"clerk-gate hand-over 2\n\n")
        .await
        .unwrap();
    let (code, _, err) = starting.await.unwrap();
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("the process at the other end speaks in another way"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_taken_closed_and_opened_as_the_new_configuration_says() {
    let folder = Folder::new();
    let site = Site::new("sockets-hand-over-changed").await;
    let [kept, left, new] = ["kept.sock", "left.sock", "new.sock"].map(|name| folder.join(name));
    let listen = |others: [&PathBuf; 2]| {
        let [one, other] = others.map(|path| path.display().to_string());
        format!("[\"127.0.0.1:0\", \"unix:{one}\", \"unix:{other}\"]")
    };
    let before = file(
        &site,
        "hand-over-changed",
        &listen([&kept, &left]),
        &offering(&folder),
    );
    let after = file(
        &site,
        "hand-over-changed-2",
        &listen([&kept, &new]),
        &offering(&folder),
    );
    let (running, gate) = start(&before).await;
    assert!(left.exists() && !new.exists());
    let (next, address) = start(&after).await;
    assert_eq!(address, gate);
    ends_well(running).await;
    assert!(kept.exists() && !left.exists() && new.exists());
    for path in [&kept, &new] {
        assert_eq!(ask(path, &get("/open/a", "")).await.status, StatusCode::OK);
    }
    is_open(gate).await;
    next.signal("TERM");
    let (code, rest) = tokio::task::spawn_blocking(move || next.end())
        .await
        .unwrap();
    assert_eq!(code, Some(0), "{rest}");
    assert!(!kept.exists() && !new.exists() && !folder.join("next.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_ends_at_the_process_that_it_began_at() {
    let folder = Folder::new();
    let site = Site::new("sockets-hand-over-flight").await;
    let path = file(
        &site,
        "hand-over-flight",
        "\"127.0.0.1:0\"",
        &offering(&folder),
    );
    let (running, gate) = start(&path).await;
    let mut slow = TcpStream::connect(gate).await.unwrap();
    let head = format!(
        "POST /open/slow HTTP/1.1\r\nhost: localhost:{}\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhello",
        gate.port()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // Answered there and then, so the head before it has been read by that time.
    is_open(gate).await;
    let (next, _) = start(&path).await;
    is_open(gate).await;
    slow.write_all(b"world").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    ends_well(running).await;
    let received = site.upstream.received();
    let slow = received
        .iter()
        .find(|request| request.target == "/open/slow")
        .unwrap();
    assert_eq!(&slow.body[..], b"helloworld");
    drop(next);
}
