//! Connections that cost without asking for much: silent, half-said, and slow.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Kept, figure, healthy, in_time, many_files, process, resident, soak};
use crate::support::site::clerk;
use crate::support::upstream::RecordingUpstream;
use crate::support::{World, cookies, usual_routes};

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_client_is_served_beside_hundreds_that_are_not_and_those_are_cut_off() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.limits.connections = 10_000;
            config.limits.head_timeout = Duration::from_secs(2);
            config.limits.body_timeout = Duration::from_secs(2);
            config.limits.write_timeout = Duration::from_secs(2);
        })
        .start()
        .await;
    let host = format!("host: localhost:{}\r\n", world.gate.port());
    let mut abusers = Vec::new();
    for n in 0..400 * soak().min(10) {
        let bytes = match n % 4 {
            // Says nothing at all.
            0 => String::new(),
            // A head that never ends.
            1 => format!("GET /public/x HTTP/1.1\r\n{host}x-half: "),
            // A body that never comes.
            2 => format!("POST /public/x HTTP/1.1\r\n{host}content-length: 1000\r\n\r\nhalf"),
            // A head of many lines that never ends.
            _ => format!(
                "GET /public/x HTTP/1.1\r\n{host}{}",
                "x-own: y\r\n".repeat(150)
            ),
        };
        let mut stream = TcpStream::connect(world.gate).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        abusers.push(stream);
    }
    let session = world.clerk.sign_in("mel", None);
    for n in 0..50 {
        let page = world
            .get(&format!("/members/{n}"))
            .cookie(&cookies(&session));
        assert_eq!(in_time(page.send()).await.status, StatusCode::OK);
    }
    for mut abuser in abusers {
        let mut received = Vec::new();
        let _ = in_time(abuser.read_to_end(&mut received)).await;
        let received = String::from_utf8_lossy(&received);
        assert!(!received.contains(" 200 "), "{received}");
    }
}

/// How many files a process has open, connections among them.
fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .count()
}

/// How many connections are open at once, if the system allows it.
fn connections() -> usize {
    let most = many_files().saturating_sub(1_500);
    assert!(most >= 5_000, "the system allows {most} connections only");
    most.min(5_000 * soak())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_cost_little_and_keep_nobody_waiting() {
    let count = connections();
    let clerk = clerk().await;
    let upstream = RecordingUpstream::start().await;
    let limits = format!(
        "[limits]\nconnections = {}\nhead-timeout = \"10m\"",
        count + 100
    );
    let (running, gate) = process(&clerk, upstream.address, "idle", &limits).await;
    let mel = clerk.sign_in("mel", None);
    healthy(gate, &mel, 50).await;
    let before = resident(running.id());
    let signed = format!("cookie: {}\r\n", cookies(&mel));
    let mut idle = Vec::with_capacity(count);
    for n in 0..count {
        let mut kept = Kept::open(gate).await;
        match n % 3 {
            // Says nothing at all.
            0 => {}
            // Half a head.
            1 => assert!(kept.say(b"GET /members HTTP/1.1\r\nx-half: ").await),
            // Was answered, and says nothing more.
            _ => assert_eq!(kept.get("/members/x", &signed).await.status, StatusCode::OK),
        }
        idle.push(kept);
    }
    let longest = healthy(gate, &mel, 100).await;
    let grown = resident(running.id()).saturating_sub(before);
    let each = grown / u64::try_from(count).unwrap();
    figure("idle connections", count);
    figure("bytes of memory for each", each);
    figure("longest answer beside them", format!("{longest:?}"));
    assert!(each < 32 << 10, "{each} bytes for each connection");
    // None of them was thrown out to make room.
    for kept in idle.iter_mut().skip(2).step_by(300) {
        assert_eq!(kept.get("/members/x", &signed).await.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_take_nothing_of_large_answers_cost_little_and_are_cut_off() {
    let clerk = clerk().await;
    let upstream = RecordingUpstream::start().await;
    let large = Bytes::from(vec![b'x'; 64 << 20]);
    let size = large.len();
    upstream.answers(move |received| {
        Response::new(if received.target.starts_with("/large") {
            large.clone()
        } else {
            Bytes::from_static(b"upstream")
        })
    });
    let limits = "[limits]\nwrite-timeout = \"3s\"";
    let (running, gate) = process(&clerk, upstream.address, "slow", limits).await;
    let mel = clerk.sign_in("mel", None);
    healthy(gate, &mel, 50).await;
    let before = resident(running.id());
    // Each has a connection to the gate, and one from there to the application.
    let count = 100 * soak().min(3);
    let mut slow = Vec::with_capacity(count);
    for n in 0..count {
        let mut kept = Kept::narrow(gate).await;
        let request = format!(
            "GET /large/{n} HTTP/1.1\r\nhost: localhost:{}\r\ncookie: {}\r\n\r\n",
            gate.port(),
            cookies(&mel)
        );
        assert!(kept.say(request.as_bytes()).await);
        slow.push(kept);
    }
    let longest = healthy(gate, &mel, 50).await;
    let grown = resident(running.id()).saturating_sub(before);
    let each = grown / u64::try_from(count).unwrap();
    figure("readers of 64 MiB that read nothing", count);
    figure("bytes of memory for each", each);
    figure("longest answer beside them", format!("{longest:?}"));
    assert!(each < 512 << 10, "{each} bytes for each slow reader");
    // Nobody has to read for the gate to let go of them.
    in_time(async {
        while open_files(running.id()) > count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for mut kept in slow {
        let mut received = Vec::new();
        let _ = in_time(kept.stream.read_to_end(&mut received)).await;
        assert!(received.len() < size, "{} bytes", received.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_header_lines_are_cut_off_and_cost_no_memory() {
    let clerk = clerk().await;
    let upstream = RecordingUpstream::start().await;
    let (running, gate) = process(&clerk, upstream.address, "heads", "").await;
    let mel = clerk.sign_in("mel", None);
    healthy(gate, &mel, 50).await;
    let rounds = 4 * soak();
    let mut resident_after = Vec::new();
    for round in 0..rounds {
        let floods: Vec<_> = (0..64)
            .map(|n| {
                tokio::spawn(async move {
                    let mut kept = Kept::open(gate).await;
                    kept.say(b"GET /flood HTTP/1.1\r\nhost: localhost\r\n")
                        .await;
                    let line = match n % 3 {
                        // Many lines, few long ones, and one that never ends.
                        0 => format!("x-{round}-{n}: 1\r\n"),
                        1 => format!("x-{n}: {}\r\n", "y".repeat(30_000)),
                        _ => "z".repeat(30_000),
                    };
                    let mut sent = 0;
                    while sent < 16 << 20 && kept.say(line.as_bytes()).await {
                        sent += line.len();
                    }
                    let mut received = Vec::new();
                    let _ = in_time(kept.stream.read_to_end(&mut received)).await;
                    (sent, String::from_utf8_lossy(&received).into_owned())
                })
            })
            .collect();
        let beside = healthy(gate, &mel, 20).await;
        for flood in floods {
            let (sent, received) = in_time(flood).await.unwrap();
            assert!(sent < 16 << 20, "{sent} bytes of a head are taken");
            // A reset may swallow it.
            let refused = received.is_empty() || received.starts_with("HTTP/1.1 431 ");
            assert!(refused, "{received}");
        }
        resident_after.push(resident(running.id()));
        if round + 1 == rounds {
            figure(
                "longest answer beside floods of header lines",
                format!("{beside:?}"),
            );
        }
    }
    let grown = resident_after[rounds - 1].saturating_sub(resident_after[0]);
    figure(
        "KiB more after all floods than after the first",
        grown >> 10,
    );
    assert!(grown < 16 << 20, "{} KiB more", grown >> 10);
    let flooded = upstream.received();
    assert!(
        flooded
            .iter()
            .all(|received| received.target.starts_with("/members/"))
    );
}
