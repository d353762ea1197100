//! The header of a proxy that passes connections on, which is read before anything else is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use clerk_gate::server::proxy_protocol::{self, Told};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, ReadBuf};

use crate::engine::Outcome;
use crate::support::invariants::ensure;

/// What version 2 of a proxy's header begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The most bytes of a header, by version.
const LONGEST: [usize; 2] = [107, 16 + 4096];

/// A connection on which bytes arrive in pieces, and which then ends.
struct Line<'i> {
    left: &'i [u8],
    piece: usize,
}

impl AsyncRead for Line<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let count = self.piece.min(buf.remaining()).min(self.left.len());
        let (now, later) = self.left.split_at(count);
        buf.put_slice(now);
        self.left = later;
        Poll::Ready(Ok(()))
    }
}

/// What a header is understood as, and how many bytes were taken off the connection.
fn read(input: &[u8], piece: usize) -> (Result<Told, String>, usize) {
    let mut line = Line { left: input, piece };
    let told = proxy_protocol::read(&mut line).now_or_never();
    let told = told.expect("it waits for nothing that has arrived");
    let told = told.map_err(|error| format!("{error:?}"));
    (told, input.len() - line.left.len())
}

/// Everything that says the same, in each version that can say it.
fn written(told: Told) -> Vec<Vec<u8>> {
    let second = |command: u8, family: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    };
    match told {
        Told::Own => vec![second(0x20, 0, b"")],
        Told::Somebody => vec![
            b"PROXY UNKNOWN\r\n".to_vec(),
            second(0x21, 0, b""),
            second(0x21, 0x31, &[1; 216]),
        ],
        Told::Client(IpAddr::V4(from)) => vec![
            format!("PROXY TCP4 {from} 192.0.2.1 1 443\r\n").into_bytes(),
            second(0x21, 0x11, &[&from.octets()[..], &[9; 8]].concat()),
        ],
        Told::Client(IpAddr::V6(from)) => vec![
            format!("PROXY TCP6 {from} 2001:db8::1 1 443\r\n").into_bytes(),
            second(0x21, 0x21, &[&from.octets()[..], &[9; 20]].concat()),
        ],
    }
}

/// Some of each kind.
pub fn proxy_headers() -> Vec<Vec<u8>> {
    let clients = ["203.0.113.7", "2001:db8::7"].map(|text| Told::Client(text.parse().unwrap()));
    let all = clients.into_iter().chain([Told::Own, Told::Somebody]);
    let followed = |mut header: Vec<u8>| {
        header.extend_from_slice(b"GET / HTTP/1.1");
        header
    };
    all.flat_map(written).map(followed).collect()
}

pub fn proxy_header(input: &[u8]) -> Outcome {
    let (told, taken) = read(input, usize::MAX);
    for piece in [1, 7] {
        let again = read(input, piece);
        ensure(again == (told.clone(), taken), || {
            format!("{told:?} of {taken}, and by {piece} {again:?}")
        })?;
    }
    let header = &input[..taken];
    let second = header.starts_with(SIGNATURE);
    let longest = LONGEST[usize::from(second)];
    ensure(taken <= longest, || format!("{taken} bytes are taken"))?;
    let told = match told {
        Err(error) => return Ok(error),
        Ok(told) => told,
    };
    let says = if second {
        let length = u16::from_be_bytes([header[14], header[15]]);
        ensure(taken == 16 + usize::from(length), || {
            format!("{taken} bytes of a rest of {length}")
        })?;
        let whose = |all: usize| header.get(16..16 + all);
        match (header[12], header[13]) {
            (0x21, 0x11) => whose(4).map(|b| IpAddr::from(<[u8; 4]>::try_from(b).unwrap())),
            (0x21, 0x21) => whose(16).map(|b| IpAddr::from(<[u8; 16]>::try_from(b).unwrap())),
            _ => None,
        }
    } else {
        let text = std::str::from_utf8(header).map_err(|error| error.to_string())?;
        let line = text.strip_suffix("\r\n").ok_or("there is no end")?;
        ensure(!line.contains(['\r', '\n']), || format!("{line:?}"))?;
        let mut words = line.split(' ').skip(1);
        match (words.next(), words.next()) {
            (Some("TCP4"), Some(from)) => from.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            (Some("TCP6"), Some(from)) => from.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let client = match told {
        Told::Client(client) => Some(client),
        Told::Own | Told::Somebody => None,
    };
    ensure(says.map(|says| says.to_canonical()) == client, || {
        format!("{says:?} is taken for {client:?}")
    })?;
    ensure(
        !client.is_some_and(|client| client.is_unspecified()),
        || "nobody's address is a client's".to_owned(),
    )?;
    // What follows it is no part of it, and nothing less is one.
    for (input, expected) in [
        (header.to_vec(), (Ok(told), taken)),
        ([header, b"\r\nPROXY "].concat(), (Ok(told), taken)),
    ] {
        let again = read(&input, usize::MAX);
        ensure(again == expected, || {
            format!("{again:?} of the header alone")
        })?;
    }
    let less = read(&header[..taken - 1], usize::MAX).0;
    ensure(less.is_err(), || format!("{less:?} of a part"))?;
    for header in written(told) {
        let again = read(&header, usize::MAX);
        ensure(again == (Ok(told), header.len()), || {
            format!("{told:?} comes back as {again:?}")
        })?;
    }
    let kind = client.map(|client| client.is_ipv4());
    Ok(format!("{second} {kind:?} {}", told == Told::Own))
}
