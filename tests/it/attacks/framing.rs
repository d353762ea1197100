//! Framings that end somewhere else for the next reader: the request behind them is never hidden.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Case, assert_none, replace, table};
use crate::support::World;
use crate::support::upstream::Received;

/// Sends bytes, and reads what comes until the gate closes or has nothing more to say.
async fn talk(world: &World, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(world.gate).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut heard = Vec::new();
    let send = async {
        // The gate may close before it has read everything.
        let _ = writer.write_all(bytes).await;
        writer
    };
    let (mut writer, first) = tokio::join!(send, listen(&mut reader, &mut heard, 250));
    if !first {
        // It waits for more: there is no more.
        let _ = writer.shutdown().await;
        let closed = listen(&mut reader, &mut heard, 5_000).await;
        assert!(closed, "a connection that nobody closes");
    }
    heard
}

/// Whether the other end closes before it has said nothing for so many milliseconds.
async fn listen(
    reader: &mut tokio::net::tcp::ReadHalf<'_>,
    heard: &mut Vec<u8>,
    patience: u64,
) -> bool {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let reading = reader.read(&mut chunk);
        match tokio::time::timeout(Duration::from_millis(patience), reading).await {
            Err(_) => return false,
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(count)) => heard.extend_from_slice(&chunk[..count]),
        }
    }
}

/// The statuses of the answers, which must follow each other without a byte between them, and
/// whether each is the answer to the request behind.
fn statuses(received: &[u8]) -> Result<Vec<(u16, bool)>, String> {
    let mut rest = String::from_utf8_lossy(received).into_owned();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let torn = || format!("no answer: {rest}");
        let (head, behind) = rest.split_once("\r\n\r\n").ok_or_else(torn)?;
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .or(head.strip_prefix("HTTP/1.0 "))
            .and_then(|line| line.get(..3)?.parse::<u16>().ok())
            .ok_or_else(torn)?;
        let length = head
            .to_ascii_lowercase()
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        let behind = behind.get(length..).ok_or_else(torn)?;
        if status != 100 {
            found.push((status, head.contains("x-request-id: behind")));
        }
        rest = behind.to_owned();
    }
    Ok(found)
}

/// What is wrong with how the gate takes a case, if anything is.
async fn fault(world: &World, case: &Case, lines: &str, refused: u16) -> Option<String> {
    let port = world.gate.port();
    let mut bytes = case.at(world);
    if !lines.is_empty() {
        // The person signs every request that can be signed at all.
        let host = format!("host: localhost:{port}\r\n");
        let signed = format!("{host}{lines}");
        bytes = replace(&bytes, host.as_bytes(), signed.as_bytes());
    }
    let next = format!(
        "GET /admin/smuggled HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}x-request-id: behind\r\nconnection: close\r\n\r\n"
    );
    bytes.extend_from_slice(next.as_bytes());
    let heard = talk(world, &bytes).await;
    let received = world.upstream.take_received();
    let statuses = match statuses(&heard) {
        Ok(statuses) => statuses,
        Err(torn) => return Some(case.fault(torn)),
    };
    // What breaks off is no request, and may be noted late.
    let whole = |request: &&Received| request.body != "(broken off)";
    let mut bodies = received.iter().filter(whole);
    let mut seen: Vec<String> = Vec::new();
    for (status, behind) in statuses {
        seen.push(match (status, behind) {
            (status, true) if status == refused => "next".to_owned(),
            (200, false) => {
                let body = bodies.next().map(|request| &*request.body);
                let body = String::from_utf8_lossy(body.unwrap_or(b"?"));
                format!("200:{}", body.replace("\r\n", "|"))
            }
            (status, false) if status == refused => "no".to_owned(),
            (status, _) => status.to_string(),
        });
    }
    if let Some(more) = bodies.next() {
        seen.push(format!("and {} {}", more.method, more.target));
    }
    if let Some(hidden) = received
        .iter()
        .find(|request| request.target.contains("smuggled"))
    {
        return Some(case.fault(format!("the upstream sees {hidden:?}")));
    }
    let seen = seen.join(" ");
    (seen != case.expected).then(|| case.fault(seen))
}

async fn walk(lines: &str, refused: u16, world: &World) -> Vec<String> {
    let mut faults = Vec::new();
    for case in table("framing.txt", 250) {
        faults.extend(fault(world, &case, lines, refused).await);
    }
    faults
}

#[tokio::test]
async fn no_framing_hides_a_request_of_nobody() {
    let world = World::start().await;
    assert_none(&walk("", 401, &world).await);
}

#[tokio::test]
async fn no_framing_hides_a_request_of_a_member() {
    let world = World::start().await;
    let token = world.clerk.sign_in("mel", None).token;
    let lines = format!("authorization: Bearer {token}\r\n");
    let mut faults = walk(&lines, 403, &world).await;
    // What a member may, a member gets.
    faults.retain(|fault| !fault.contains("/members"));
    assert_none(&faults);
}
