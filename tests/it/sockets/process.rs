//! The program as systemd and its like start it, tell it to stop and hear from it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use http::{Method, StatusCode};

use super::{Folder, file};
use crate::support::program::{Running, file as written, program, run};
use crate::support::site::Site;
use crate::support::{Call, World, usual_routes};
use crate::tls::Authority;

/// The program with a socket, as systemd gives it: file descriptor 3, by this name.
fn activated(socket: TcpListener, name: &str, path: &Path) -> Command {
    let gate = program();
    let mut command = Command::new("/bin/sh");
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=\"$1\"; exec \"$2\" run -c \"$3\"";
    command
        .env_clear()
        .args(["-c", script, "sh", name])
        .arg(gate.get_program())
        .arg(path)
        .stdin(OwnedFd::from(socket));
    command
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_opens_the_socket_and_a_request_that_came_before_the_gate_is_answered() {
    let site = Site::new("sockets-activated").await;
    let path = file(&site, "activated", "\"systemd:web\"", "");
    let (socket, address) = listener();
    let held = socket.try_clone().unwrap();
    // Nobody accepts yet.
    let early = tokio::spawn(Call::new(address, Method::GET, "/open/early").send());
    let mut command = activated(socket, "web", &path);
    let (running, gate) = tokio::task::spawn_blocking(move || Running::start(&mut command))
        .await
        .unwrap();
    assert_eq!(gate, address);
    assert_eq!(early.await.unwrap().status, StatusCode::OK);
    let refused = Call::new(gate, Method::GET, "/private").send().await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(site.upstream.only().target, "/open/early");

    running.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || running.end());
    let (code, rest) = ended.await.unwrap();
    assert_eq!(code, Some(0), "{rest}");
    // The socket is systemd's: it goes on without the gate.
    std::net::TcpStream::connect(address).unwrap();
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_opens_the_socket_that_leads_to_tls() {
    let site = Site::new("sockets-activated-plain").await;
    let (chain, key) = Authority::new().signs(&["app.example"]);
    let (chain, key) = (written("plain-chain", &chain), written("plain-key", &key));
    let more = format!(
        "[tls]\nredirect-listen = \"systemd:plain\"\n[[tls.certificate]]\ncert-file = \"{}\"\nkey-file = \"{}\"\n",
        chain.display(),
        key.display()
    );
    let text = site.text("\"127.0.0.1:0\"", "public", &more);
    let text = format!("public-url = \"https://app.example\"\n{text}");
    let path = written("sockets-activated-plain.toml", &text);
    let (socket, address) = listener();
    let mut command = activated(socket, "plain", &path);
    let (running, _) = tokio::task::spawn_blocking(move || Running::start(&mut command))
        .await
        .unwrap();
    let answer = Call::new(address, Method::GET, "/open/a").send().await;
    assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(
        answer.header("location"),
        Some("https://app.example/open/a")
    );
    site.upstream.assert_untouched();
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_systemd_has_not_given_is_an_error() {
    let site = Site::new("sockets-unnamed").await;
    let path = file(&site, "unnamed", "[\"127.0.0.1:0\", \"systemd:web\"]", "");
    for name in ["api", "", "webs"] {
        let (socket, _) = listener();
        let mut command = activated(socket, name, &path);
        let (code, _, err) = tokio::task::spawn_blocking(move || run(&mut command))
            .await
            .unwrap();
        assert_eq!(code, 1, "{err}");
        assert!(
            err.contains(
                "cannot listen on `systemd:web`: systemd has given no listening socket of this name"
            ),
            "{err}"
        );
    }
}

/// What systemd is told next, without the beats of the heart.
fn told(manager: &UnixDatagram) -> String {
    loop {
        let mut text = [0; 1024];
        let count = manager.recv(&mut text).unwrap();
        let text = String::from_utf8(text[..count].to_vec()).unwrap();
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}

async fn is_told_each_turn(manager: UnixDatagram, name: &'static str, socket: String) {
    manager
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let site = Site::new(name).await;
    let path = file(&site, name, "\"127.0.0.1:0\"", "[reload]\nwatch = false\n");
    let work = move || {
        let mut command = program();
        command
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "200000");
        let (running, _) = Running::start(command.arg("run").arg("-c").arg(path));
        assert_eq!(told(&manager), "READY=1");
        let mut beat = [0; 64];
        let count = manager.recv(&mut beat).unwrap();
        assert_eq!(&beat[..count], b"WATCHDOG=1");
        running.signal("HUP");
        let reloading = told(&manager);
        let since = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(since.parse::<u64>().unwrap() > 0);
        assert_eq!(told(&manager), "READY=1");
        running.signal("TERM");
        assert_eq!(told(&manager), "STOPPING=1");
        let (code, rest) = running.end();
        assert_eq!(code, Some(0), "{rest}");
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_the_gate_is_ready_reads_again_and_stops() {
    let folder = Folder::new();
    let path = folder.join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    is_told_each_turn(manager, "notify", path.display().to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_without_a_file_is_told_too() {
    let name = format!("gate-notify-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    is_told_each_turn(manager, "notify-abstract", format!("@{name}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_not_there_changes_nothing() {
    let site = Site::new("sockets-notify-nobody").await;
    let path = file(&site, "notify-nobody", "\"127.0.0.1:0\"", "");
    for socket in ["/nowhere/notify.sock", "vsock:2:1234", "@", ""] {
        let mut command = program();
        command.env("NOTIFY_SOCKET", socket);
        let (running, gate) = Running::start(command.arg("run").arg("-c").arg(&path));
        let answer = Call::new(gate, Method::GET, "/open/a").send().await;
        assert_eq!(answer.status, StatusCode::OK);
        running.signal("TERM");
        assert_eq!(running.end().0, Some(0));
    }
}

#[tokio::test]
async fn a_gate_says_that_it_is_not_ready_before_it_stops_to_listen() {
    let world = World::with(usual_routes())
        .configure(|config| config.shutdown.announce = Duration::from_secs(3))
        .start()
        .await;
    let ready = async || world.window("/readyz").send().await.status == StatusCode::OK;
    assert!(ready().await);
    world.begin_to_stop();
    while ready().await {
        tokio::task::yield_now().await;
    }
    let answer = world.get("/public/late").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    let gate = world.gate;
    world.stop().await;
    assert!(tokio::net::TcpStream::connect(gate).await.is_err());
}
