//! The header of the PROXY protocol: whom it is taken from, and what of it.

use std::net::IpAddr;
use std::time::Duration;

use clerk_gate::config::ListenAddress;
use clerk_gate::core::peers::ON_UNIX_SOCKET;
use clerk_gate::server::proxy_protocol::{Told, read};
use futures_util::FutureExt as _;
use ipnet::IpNet;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::{Folder, get};
use crate::support::wire::Wire;
use crate::support::{World, WorldBuilder, log, read_answer, usual_routes};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 that says it is as long as it is.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    v2_saying(command, family, u16::try_from(rest.len()).unwrap(), rest)
}

/// The same, whatever it says of its length.
fn v2_saying(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(length.to_be_bytes());
    header.extend(rest);
    header
}

/// Two addresses and two ports.
fn between(from: &str, to: &str) -> Vec<u8> {
    let mut rest = Vec::new();
    for address in [from, to] {
        match address.parse().unwrap() {
            IpAddr::V4(address) => rest.extend(address.octets()),
            IpAddr::V6(address) => rest.extend(address.octets()),
        }
    }
    rest.extend([0x1f, 0x90, 0x00, 0x50]);
    rest
}

/// Headers, and what they say.
fn good() -> Vec<(Vec<u8>, Told)> {
    let four = || between("203.0.113.9", "10.0.0.1");
    let six = || between("2001:db8::9", "2001:db8::1");
    let told = |address: &str| Told::Client(address.parse().unwrap());
    let with = |mut rest: Vec<u8>, more: &[u8]| {
        rest.extend(more);
        rest
    };
    let lines = [
        (
            "PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n",
            told("203.0.113.9"),
        ),
        ("PROXY TCP4 0.0.0.1 0.0.0.0 0 0\r\n", told("0.0.0.1")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            told("255.255.255.255"),
        ),
        (
            "PROXY TCP6 2001:db8::9 2001:db8::1 1 2\r\n",
            told("2001:db8::9"),
        ),
        (
            "PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n",
            told("203.0.113.9"),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            told("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ),
        ("PROXY UNKNOWN\r\n", Told::Somebody),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Told::Somebody,
        ),
    ];
    let mut all: Vec<_> = lines.map(|(line, told)| (line.into(), told)).into();
    all.extend([
        (v2(0x21, 0x11, &four()), told("203.0.113.9")),
        (
            v2(0x21, 0x11, &with(four(), b"\x04\0\x01x")),
            told("203.0.113.9"),
        ),
        (
            v2(0x21, 0x11, &with(four(), &[0; 4084])),
            told("203.0.113.9"),
        ),
        (v2(0x21, 0x21, &six()), told("2001:db8::9")),
        (
            v2(0x21, 0x21, &with(six(), b"\x20\0\x03abc")),
            told("2001:db8::9"),
        ),
        (
            v2(0x21, 0x21, &between("::ffff:203.0.113.9", "::1")),
            told("203.0.113.9"),
        ),
        (v2(0x21, 0x31, &[b'/'; 216]), Told::Somebody),
        (v2(0x21, 0x00, b""), Told::Somebody),
        (v2(0x21, 0x00, &[0xff; 40]), Told::Somebody),
        (v2(0x20, 0x00, b""), Told::Own),
        (v2(0x20, 0x11, &four()), Told::Own),
        (v2(0x20, 0xff, b"whatever"), Told::Own),
    ]);
    all
}

/// What is no header, or none that says one thing.
#[rustfmt::skip]
fn malformed() -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = vec![
        b"PROXY\r\n", b"PROXY \r\n", b"PROXY  \r\n", b"PROXY\r\n\r\n",
        b"PROXY TCP4\r\n", b"PROXY TCP4 203.0.113.9\r\n", b"PROXY TCP4 203.0.113.9 10.0.0.1\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 1\r\n", b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2 3\r\n",
        b"PROXY TCP4  203.0.113.9 10.0.0.1 1 2\r\n", b"PROXY  TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2 \r\n", b" PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
        b"PROXY\tTCP4\t203.0.113.9\t10.0.0.1\t1\t2\r\n", b"\r\nPROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
        b"proxy TCP4 203.0.113.9 10.0.0.1 1 2\r\n", b"PROXY tcp4 203.0.113.9 10.0.0.1 1 2\r\n",
        b"PROXY TCP5 203.0.113.9 10.0.0.1 1 2\r\n", b"PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n",
        b"PROXY TCP 203.0.113.9 10.0.0.1 1 2\r\n", b"PROXY TCP46 203.0.113.9 10.0.0.1 1 2\r\n",
        // Of another family than they say.
        b"PROXY TCP6 203.0.113.9 10.0.0.1 1 2\r\n", b"PROXY TCP4 2001:db8::9 2001:db8::1 1 2\r\n",
        b"PROXY TCP4 203.0.113.9 2001:db8::1 1 2\r\n", b"PROXY TCP6 2001:db8::9 10.0.0.1 1 2\r\n",
        // No addresses.
        b"PROXY TCP4 203.0.113.256 10.0.0.1 1 2\r\n", b"PROXY TCP4 203.0.113 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.09 10.0.0.1 1 2\r\n", b"PROXY TCP4 0x7f.0.0.1 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 2130706433 10.0.0.1 1 2\r\n", b"PROXY TCP4 203.0.113.9/32 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.9:80 10.0.0.1 1 2\r\n", b"PROXY TCP4 localhost 10.0.0.1 1 2\r\n",
        b"PROXY TCP6 [2001:db8::9] 2001:db8::1 1 2\r\n", b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n",
        b"PROXY TCP6 2001:db8:::9 2001:db8::1 1 2\r\n", b"PROXY TCP4 203.0.113.9, 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.9 nowhere 1 2\r\n",
        // What stands for those who have none.
        b"PROXY TCP4 0.0.0.0 10.0.0.1 1 2\r\n", b"PROXY TCP6 :: 2001:db8::1 1 2\r\n",
        b"PROXY TCP6 ::ffff:0.0.0.0 2001:db8::1 1 2\r\n", b"PROXY TCP4 unix 10.0.0.1 1 2\r\n",
        // No ports.
        b"PROXY TCP4 203.0.113.9 10.0.0.1 65536 2\r\n", b"PROXY TCP4 203.0.113.9 10.0.0.1 1 65536\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 -1 2\r\n", b"PROXY TCP4 203.0.113.9 10.0.0.1 +1 2\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 01 2\r\n", b"PROXY TCP4 203.0.113.9 10.0.0.1 0x1 2\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 1e3 2\r\n", b"PROXY TCP4 203.0.113.9 10.0.0.1 http 2\r\n",
        // Ends of lines that are none, and signs that no line has.
        b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\n", b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\r\n", b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\n\r\n",
        b"PROXY TCP4 203.0.113.9\0 10.0.0.1 1 2\r\n", b"PROXY TCP4 203.0.113.9\xff 10.0.0.1 1 2\r\n",
        b"PROXY UNKNOWN\n", b"PROXY UNKNOWNX\r\n", b"PROXY unknown\r\n", b"PROXY UNKNOWN \xff\r\n",
        b"PROXY UNKNOWN x\ny\r\n", b"PROXY TCP4",
        // Other protocols.
        b"", b"GET /public/early HTTP/1.1\r\nhost: localhost\r\n\r\n", b"HELO gate\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let mut all: Vec<Vec<u8>> = lines.into_iter().map(<[u8]>::to_vec).collect();
    let long = |count: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(count)).into_bytes();
    assert_eq!(long(91).len(), 107);
    all.extend([long(92), long(1000), vec![b'P'; 4096]]);
    let four = between("203.0.113.9", "10.0.0.1");
    // Versions and commands that there are not.
    for command in [0x00, 0x01, 0x10, 0x11, 0x22, 0x2f, 0x31, 0xf1] {
        all.push(v2(command, 0x11, &four));
    }
    // Families that are none, or not of connections.
    for family in [0x01, 0x02, 0x10, 0x12, 0x13, 0x20, 0x22, 0x30, 0x32, 0x41, 0xff] {
        all.push(v2(0x21, family, &[1; 216]));
    }
    // Lengths without room for the addresses, and lengths that nobody needs.
    for (family, length) in [(0x11, 0), (0x11, 4), (0x11, 11), (0x21, 12), (0x21, 35), (0x31, 12), (0x31, 215)] {
        all.push(v2(0x21, family, &vec![1; length]));
    }
    for length in [4097, u16::MAX] {
        all.push(v2_saying(0x21, 0x11, length, &four));
        all.push(v2_saying(0x20, 0x00, length, &four));
    }
    for source in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
        let (family, to) = if source == "0.0.0.0" { (0x11, "10.0.0.1") } else { (0x21, "::1") };
        all.push(v2(0x21, family, &between(source, to)));
    }
    // A beginning that is not quite right.
    for at in [0, 4, 6, 11] {
        let mut header = v2(0x21, 0x11, &four);
        header[at] ^= 1;
        all.push(header);
    }
    all
}

fn behind(peers: &[&str]) -> WorldBuilder {
    let peers: Vec<IpNet> = peers.iter().map(|net| net.parse().unwrap()).collect();
    World::with(usual_routes()).configure(|config| config.listen.proxy_peers = peers)
}

/// What a client does when it has sent everything.
#[derive(PartialEq)]
enum End {
    Open,
    Closed,
}

/// Sends bytes, and gives what comes until the gate closes.
async fn exchange(world: &World, bytes: &[u8]) -> Vec<u8> {
    sent(world, bytes, End::Open).await
}

/// The same, with nothing more to come.
async fn cut_off(world: &World, bytes: &[u8]) -> Vec<u8> {
    sent(world, bytes, End::Closed).await
}

async fn sent(world: &World, bytes: &[u8], end: End) -> Vec<u8> {
    let mut stream = TcpStream::connect(world.gate).await.unwrap();
    // The gate may have closed before it has taken everything.
    let _ = stream.write_all(bytes).await;
    if end == End::Closed {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
    let _ = read.expect("the gate closes in time");
    answer
}

fn with_request(header: &[u8], lines: &str) -> Vec<u8> {
    [header, get("/public/a", lines).as_bytes()].concat()
}

#[tokio::test]
async fn a_header_says_whose_a_connection_is() {
    let world = behind(&["127.0.0.0/8"]).start().await;
    let mut count = 0;
    for (header, told) in good() {
        let answer = exchange(&world, &with_request(&header, "")).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{told:?}");
        let received = world.upstream.take_received();
        let wanted = match told {
            Told::Own => Some("127.0.0.1".to_owned()),
            Told::Client(address) => Some(address.to_string()),
            Told::Somebody => None,
        };
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].header("x-forwarded-for"), wanted);
        count += 1;
    }
    assert_eq!(count, 20);
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_is_taken_and_nothing_behind_it() {
    for (header, told) in good() {
        let (mut proxy, mut gate) = tokio::io::duplex(1);
        let sent = [&header[..], b"\r\nGET"].concat();
        let sending = tokio::spawn(async move { proxy.write_all(&sent).await });
        assert_eq!(read(&mut gate).await.unwrap(), told);
        let mut rest = Vec::new();
        gate.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"\r\nGET");
        sending.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_connection_without_a_header_is_closed_and_the_log_says_why() {
    let (log, _logging) = log::listen();
    let world = behind(&["127.0.0.0/8"]).start().await;
    let all = malformed();
    assert!(all.len() >= 100, "{} cases", all.len());
    for header in &all {
        let answer = cut_off(&world, &with_request(header, "")).await;
        let shown = String::from_utf8_lossy(header);
        assert_eq!(String::from_utf8_lossy(&answer), "", "{shown:?}");
    }
    world.upstream.assert_untouched();
    let said = "WARN clerk_gate::server::proxy_protocol: a connection without the header of its proxy is closed peer=127.0.0.1 cause=";
    assert_eq!(log.text().matches(said).count(), all.len());
    // Nothing is left of it all.
    let header = b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n";
    let answer = exchange(&world, &with_request(header, "")).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_header_that_breaks_off_is_none() {
    let (log, _logging) = log::listen();
    let world = behind(&["127.0.0.0/8"]).start().await;
    let mut count = 0;
    for header in [
        b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n".to_vec(),
        v2(0x21, 0x11, &between("203.0.113.9", "10.0.0.1")),
    ] {
        for end in 1..header.len() {
            assert_eq!(cut_off(&world, &header[..end]).await, b"", "{end}");
            count += 1;
        }
    }
    assert_eq!(count, 69);
    world.upstream.assert_untouched();
    assert_eq!(
        log.text()
            .matches("the connection ended within the header")
            .count(),
        count
    );
    // Somebody who only looks whether anybody listens is worth no warning.
    assert_eq!(cut_off(&world, b"").await, b"");
    assert_eq!(log.text().matches("WARN").count(), count);
}

#[tokio::test]
async fn a_header_that_takes_too_long_is_none() {
    let (log, _logging) = log::listen();
    let world = behind(&["127.0.0.0/8"])
        .configure(|config| config.limits.head_timeout = Duration::from_millis(200))
        .start()
        .await;
    for header in [&b""[..], b"PROXY TCP4 203.", SIGNATURE] {
        let mut wire = Wire::connect(world.gate).await;
        wire.send(header).await;
        assert_eq!(wire.rest().await, "");
    }
    world.upstream.assert_untouched();
    assert_eq!(
        log.text()
            .matches("the header did not arrive in time")
            .count(),
        3
    );
}

#[tokio::test]
async fn a_header_of_somebody_else_is_a_malformed_request() {
    for peers in [&[][..], &["10.0.0.0/8"], &["::/128", "::1/128"]] {
        let world = behind(peers).start().await;
        for (header, told) in good() {
            let answer = exchange(&world, &with_request(&header, "")).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{told:?}: {answer:?}");
        }
        world.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn a_second_header_is_a_malformed_request() {
    let world = behind(&["127.0.0.0/8"]).start().await;
    let line = b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n".to_vec();
    let binary = v2(0x21, 0x11, &between("203.0.113.9", "10.0.0.1"));
    for first in [&line, &binary] {
        for second in [&line, &binary] {
            let twice = [first.as_slice(), second].concat();
            let answer = exchange(&world, &with_request(&twice, "")).await;
            assert!(answer.starts_with(b"HTTP/1.1 400 "));
        }
    }
    world.upstream.assert_untouched();
}

/// What a request leaves of forwarded headers behind this header, where these peers are trusted.
async fn forwarded(trusted: &[&str], header: &[u8]) -> (Option<String>, Option<String>) {
    let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
    let world = behind(&["127.0.0.0/8"])
        .configure(|config| config.edge.trusted_proxies = trusted)
        .start()
        .await;
    let lines = "x-forwarded-for: 198.51.100.7\r\nx-forwarded-proto: https\r\n";
    let answer = exchange(&world, &with_request(header, lines)).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    let received = world.upstream.only();
    (
        received.header("x-forwarded-for"),
        received.header("x-forwarded-proto"),
    )
}

#[tokio::test]
async fn the_address_that_is_told_is_the_one_that_is_trusted_or_not() {
    let said = |chain: &str, scheme: &str| (Some(chain.to_owned()), Some(scheme.to_owned()));
    let client = b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n";
    // The proxy that passes it on is trusted, and its client is not.
    assert_eq!(
        forwarded(&["127.0.0.0/8"], client).await,
        said("203.0.113.9", "http")
    );
    let client = b"PROXY TCP4 10.0.0.7 10.0.0.1 1 2\r\n";
    assert_eq!(
        forwarded(&["10.0.0.0/8"], client).await,
        said("198.51.100.7, 10.0.0.7", "https")
    );
    // Its own connection is its own.
    let own = v2(0x20, 0, b"");
    assert_eq!(
        forwarded(&["127.0.0.0/8"], &own).await,
        said("198.51.100.7, 127.0.0.1", "https")
    );
    assert_eq!(
        forwarded(&["10.0.0.0/8"], &own).await,
        said("127.0.0.1", "http")
    );
}

#[tokio::test]
async fn whoever_is_not_told_is_trusted_by_nobody() {
    let everybody = ["0.0.0.0/0", "::/0", "127.0.0.0/8", "::/128"];
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 127.0.0.1 127.0.0.1 1 2\r\n".to_vec(),
        v2(0x21, 0x00, &[0; 12]),
        v2(0x21, 0x31, &[b'/'; 216]),
    ] {
        let left = forwarded(&everybody, &header).await;
        assert_eq!(left, (None, Some("http".to_owned())));
    }
}

#[tokio::test]
async fn a_proxy_at_a_socket_says_whose_a_connection_is_where_it_is_named() {
    let folder = Folder::new();
    let path = folder.join("gate.sock");
    let address = ListenAddress::Unix(path.clone());
    let world = World::with(usual_routes())
        .configure(move |config| {
            config.listen.addresses.push(address);
            config.listen.proxy_peers = vec![IpNet::from(ON_UNIX_SOCKET)];
        })
        .start()
        .await;
    let header = v2(0x21, 0x21, &between("2001:db8::9", "2001:db8::1"));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(&with_request(&header, "")).await.unwrap();
    let answer = read_answer(&mut stream, false, &mut Vec::new()).await;
    assert_eq!(answer.status, 200);
    let received = world.upstream.take_received();
    assert_eq!(
        received[0].header("x-forwarded-for").as_deref(),
        Some("2001:db8::9")
    );
    // Whoever has an address writes none.
    let answer = exchange(&world, &with_request(&header, "")).await;
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
    world.upstream.assert_untouched();
}

proptest! {
    #[test]
    fn whatever_a_proxy_sends_no_more_than_a_header_is_taken(
        begins in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let sent = [begins, &rest].concat();
        let mut left = sent.as_slice();
        let told = read(&mut left).now_or_never().expect("all of it is there");
        let taken = &sent[..sent.len() - left.len()];
        if told.is_ok() && taken.starts_with(b"PROXY ") {
            prop_assert!(taken.len() <= 107);
            prop_assert_eq!(taken.windows(2).position(|end| end == b"\r\n"), Some(taken.len() - 2));
        } else if told.is_ok() {
            let length = u16::from_be_bytes([taken[14], taken[15]]);
            prop_assert_eq!(taken.len(), 16 + usize::from(length));
        }
    }
}
