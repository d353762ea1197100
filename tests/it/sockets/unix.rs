//! Sockets in the file system.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use clerk_gate::clock::ManualClock;
use clerk_gate::config::{Config, ListenAddress};
use clerk_gate::core::peers::ON_UNIX_SOCKET;
use clerk_gate::server;
use http::StatusCode;
use ipnet::IpNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{Folder, ask, get};
use crate::support::wire::WireUpstream;
use crate::support::{START_MS, World, WorldBuilder, cookies, doors, usual_routes};

fn unix(path: &Path) -> ListenAddress {
    ListenAddress::Unix(path.to_owned())
}

fn listening(path: &Path) -> WorldBuilder {
    let address = unix(path);
    World::with(usual_routes()).configure(move |config| config.listen.addresses.push(address))
}

#[tokio::test]
async fn a_socket_in_the_file_system_is_as_good_as_a_port() {
    let folder = Folder::new();
    let path = folder.join("gate.sock");
    let world = listening(&path).start().await;
    let session = world.clerk.sign_in("ada", None);

    let refused = ask(&path, &get("/private", "")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    world.upstream.assert_untouched();

    let lines = format!("cookie: {}\r\n", cookies(&session));
    assert_eq!(ask(&path, &get("/private", &lines)).await.status, 200);
    assert_eq!(world.get("/public/a").send().await.status, 200);
    let received = world.upstream.take_received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].headers["x-user-id"], session.user_id.as_str());
}

/// What a request over the socket leaves of forwarded headers, where these peers are trusted.
async fn forwarded(trusted: &[IpNet]) -> [Option<String>; 2] {
    let folder = Folder::new();
    let path = folder.join("gate.sock");
    let trusted = trusted.to_vec();
    let world = listening(&path)
        .configure(|config| config.edge.trusted_proxies = trusted)
        .start()
        .await;
    let lines = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n";
    assert_eq!(ask(&path, &get("/public/a", lines)).await.status, 200);
    let received = world.upstream.take_received();
    assert_eq!(received.len(), 1);
    ["x-forwarded-for", "x-forwarded-proto"].map(|name| {
        let value = received[0].headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    })
}

#[tokio::test]
async fn nobody_at_a_socket_is_trusted_by_accident() {
    let none = [None, Some("http".to_owned())];
    assert_eq!(forwarded(&[]).await, none);
    let everybody = ["0.0.0.0/0", "::/0", "::/64", "127.0.0.0/8", "::1/128"];
    let everybody = everybody.map(|net| net.parse().unwrap());
    assert_eq!(forwarded(&everybody).await, none);

    let named = forwarded(&[IpNet::from(ON_UNIX_SOCKET)]).await;
    let told = ["203.0.113.9", "https"].map(|text| Some(text.to_owned()));
    assert_eq!(named, told);
}

#[tokio::test]
async fn no_machine_can_claim_to_be_at_a_socket() {
    let world = World::with(usual_routes())
        .configure(|config| config.edge.trusted_proxies = vec![IpNet::from(ON_UNIX_SOCKET)])
        .start()
        .await;
    for claimed in ["::", "0.0.0.0", "203.0.113.9, ::"] {
        let call = world.get("/public/a").header("x-forwarded-for", claimed);
        assert_eq!(call.send().await.status, 200);
        let received = world.upstream.take_received();
        assert_eq!(received[0].headers["x-forwarded-for"], "127.0.0.1");
    }
}

#[tokio::test]
async fn verdicts_are_given_at_a_socket_to_whom_the_list_names_it() {
    for (peers, status) in [("127.0.0.0/8", 403), ("::/0", 403), ("unix", 200)] {
        let folder = Folder::new();
        let path = folder.join("doors.sock");
        let address = unix(&path);
        let world = World::with(usual_routes())
            .configure(move |config| {
                let mut at = doors(&["127.0.0.1"], None);
                at.peers = match peers {
                    "unix" => vec![IpNet::from(ON_UNIX_SOCKET)],
                    net => vec![net.parse().unwrap()],
                };
                at.listen = address;
                config.forward_auth = Some(at);
            })
            .start()
            .await;
        assert_eq!(world.doors, None);
        let lines = "x-original-method: GET\r\nx-original-uri: /public/a\r\nx-original-host: localhost\r\nx-original-proto: http\r\nx-original-client: 203.0.113.9\r\n";
        let answer = ask(&path, &get("/auth/nginx", lines)).await;
        assert_eq!(answer.status, status, "{peers}: {}", answer.body);
        if peers == "unix" {
            let lines = lines.replace("203.0.113.9", "::");
            let answer = ask(&path, &get("/auth/nginx", &lines)).await;
            assert_eq!(answer.header("x-clerk-auth-reason"), Some("door-metadata"));
        }
    }
}

#[tokio::test]
async fn a_tunnel_goes_through_a_socket() {
    let folder = Folder::new();
    let path = folder.join("gate.sock");
    let upstream = WireUpstream::start().await;
    let _world = listening(&path).before(upstream.address).start().await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let request = "GET /public/socket HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut wire = upstream.accept().await;
    assert!(
        wire.head()
            .await
            .starts_with("GET /public/socket HTTP/1.1\r\n")
    );
    wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    wire.send(b"\x81\x02hi").await;
    let mut frame = [0; 4];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x02hi");
    stream.write_all(&frame).await.unwrap();
    assert_eq!(wire.exactly(4).await, frame);
}

#[tokio::test]
async fn the_operators_window_opens_at_a_socket_too() {
    let folder = Folder::new();
    let path = folder.join("admin.sock");
    let address = unix(&path);
    let gate = folder.join("gate.sock");
    let bound = open(&gate, |config| config.admin_listen = Some(address)).await;
    let bound = bound.unwrap();
    assert_eq!(bound.admin_address(), None);
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(bound.run(stop.clone()));
    let answer = ask(&path, &get("/readyz", "")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (200, "ready\n")
    );
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn listeners_for_visitors_share_the_connections_that_there_may_be() {
    let folder = Folder::new();
    let path = folder.join("gate.sock");
    let world = listening(&path)
        .configure(|config| config.limits.connections = 1)
        .start()
        .await;
    let mut first = UnixStream::connect(&path).await.unwrap();
    first
        .write_all(
            get("/public/1", "")
                .replace("close", "keep-alive")
                .as_bytes(),
        )
        .await
        .unwrap();
    let mut kept = Vec::new();
    crate::support::read_answer(&mut first, false, &mut kept).await;
    // Accepted by the system, and not by the gate: the only place is taken.
    let waiting = world.get("/public/2").send();
    let mut waiting = std::pin::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.as_mut()).await;
    assert!(early.is_err());
    assert_eq!(world.upstream.received().len(), 1);
    drop(first);
    assert_eq!(waiting.await.status, 200);
}

async fn open(path: &Path, change: impl FnOnce(&mut Config)) -> Result<server::Bound, String> {
    // On the heap: both are large, and a test has little room.
    let world = Box::pin(World::start()).await;
    let mut config = world.config.clone();
    config.listen.addresses = vec![unix(path)];
    change(&mut config);
    let built = Box::pin(server::build(&config, ManualClock::at(START_MS))).await;
    built.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn the_socket_of_somebody_who_is_gone_is_replaced() {
    let folder = Folder::new();
    let path = folder.join("gate.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let bound = open(&path, |config| config.listen.unix_mode = 0o640)
        .await
        .unwrap();
    let found = fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o640);
    drop(bound);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_of_somebody_who_listens_is_left_alone() {
    let folder = Folder::new();
    let path = folder.join("gate.sock");
    let theirs = UnixListener::bind(&path).unwrap();
    let error = open(&path, |_| {}).await.unwrap_err();
    assert!(error.starts_with("cannot listen on `unix:"), "{error}");
    // The question whether somebody listens.
    let mut asked = String::new();
    let (mut stream, _) = theirs.accept().unwrap();
    stream.read_to_string(&mut asked).unwrap();
    assert_eq!(asked, "");
    theirs.set_nonblocking(true).unwrap();
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    theirs.accept().unwrap();
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let path = folder.join("gate.sock");
    fs::write(&path, "letters").unwrap();
    let error = open(&path, |_| {}).await.unwrap_err();
    assert!(error.contains("what is there is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "letters");
}

#[tokio::test]
async fn a_socket_that_somebody_else_has_put_there_is_not_taken_away() {
    let folder = Folder::new();
    let path = folder.join("gate.sock");
    let bound = open(&path, |_| {}).await.unwrap();
    fs::remove_file(&path).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
    drop(theirs);
}
