//! The header with which a proxy that passes connections on says whose they are (PROXY protocol,
//! versions 1 and 2): <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>.
//!
//! Only peers that are listed write one, and they always do: see [`ProxyPeers`]. [`read`] takes exactly the
//! header off the connection, whatever comes with it; what it says is in [`Told`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tracing::{debug, warn};

use crate::core::peers;

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The shortest header there is: `PROXY UNKNOWN`.
const LEAST: usize = 15;

/// The longest of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// The part of version 2 that every header has.
const FIXED: usize = 16;

/// How long the rest of version 2 may be: addresses, and what else a proxy likes to tell.
const LONGEST_REST: usize = 4096;

/// Those who pass connections on, and how long they may take to say whose.
#[derive(Debug)]
pub struct ProxyPeers {
    peers: Vec<IpNet>,
    patience: Duration,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The proxy's own: it looks whether somebody is there.
    Own,
    /// That of this client.
    Client(IpAddr),
    /// That of a client without an address, or of one that the proxy does not tell.
    Somebody,
}

/// Why what came is no header.
#[derive(Debug, Error)]
pub enum ProxyHeaderError {
    /// Nothing came at all.
    #[error("the connection was closed before anything came")]
    Nothing,
    /// It ended in the middle.
    #[error("the connection ended within the header")]
    Short,
    /// It begins as no header does.
    #[error("there is no header")]
    Missing,
    /// A line of version 1 that is none.
    #[error("the line of version 1 is malformed")]
    Line,
    /// A command of version 2 that there is not.
    #[error("version 2 has no such command")]
    Command,
    /// A family of addresses of version 2 that no connection has.
    #[error("version 2 has no such family of connections")]
    Family,
    /// A length that does not hold the addresses.
    #[error("the length is too small for the addresses")]
    Length,
    /// A length that nobody needs.
    #[error("the header is longer than {LONGEST_REST} bytes")]
    Long,
    /// The address is nobody's.
    #[error("the address is not that of a machine")]
    Address,
    /// It took too long.
    #[error("the header did not arrive in time")]
    Late,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

impl ProxyPeers {
    /// Those who come from `peers`, and have `patience` for their header.
    pub(super) fn new(peers: Vec<IpNet>, patience: Duration) -> Self {
        Self { peers, patience }
    }

    /// The address of whoever is behind a connection that came from `peer`; `None` if it has to be closed.
    // SECURITY: from a listed peer a connection without a header is nobody's, and from any other one a header
    // is never read: else either could choose its address.
    pub(super) async fn client(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        peer: IpAddr,
    ) -> Option<IpAddr> {
        if !peers::is_listed(&self.peers, peer) {
            return Some(peer);
        }
        // On the heap, for it is soon over: the connection goes on for long.
        let reading = Box::pin(tokio::time::timeout(self.patience, read(stream)));
        match reading.await.unwrap_or(Err(ProxyHeaderError::Late)) {
            Ok(Told::Own) => Some(peer),
            Ok(Told::Client(address)) => Some(address),
            Ok(Told::Somebody) => Some(peers::UNTOLD),
            Err(error @ ProxyHeaderError::Nothing) => {
                debug!(%peer, cause = %error, "a connection without the header of its proxy is closed");
                None
            }
            Err(error) => {
                warn!(%peer, cause = %error, "a connection without the header of its proxy is closed");
                None
            }
        }
    }
}

/// Takes a header off a connection, and nothing of what follows it.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Told, ProxyHeaderError> {
    let mut header = Vec::with_capacity(LONGEST_LINE);
    match more(stream, &mut header, LEAST).await {
        Err(ProxyHeaderError::Short) if header.is_empty() => return Err(ProxyHeaderError::Nothing),
        // Whoever began otherwise need not send as much as a header.
        Err(ProxyHeaderError::Short) if !begins(&header) => return Err(ProxyHeaderError::Missing),
        read => read?,
    }
    if header.starts_with(&SIGNATURE) {
        return version_2(stream, header).await;
    }
    if !begins(&header) {
        return Err(ProxyHeaderError::Missing);
    }
    while !header.ends_with(b"\r\n") {
        if header.len() >= LONGEST_LINE || header.contains(&b'\n') {
            return Err(ProxyHeaderError::Line);
        }
        // INVARIANT: never a byte beyond the end. Only behind CR can the next one be the last.
        let safe = if header.ends_with(b"\r") { 1 } else { 2 };
        let left = LONGEST_LINE - header.len();
        more(stream, &mut header, safe.min(left)).await?;
    }
    version_1(&header).ok_or(ProxyHeaderError::Line)?
}

/// Whether a header can begin like this.
fn begins(bytes: &[u8]) -> bool {
    let line = b"PROXY ";
    let same = |wanted: &[u8]| bytes.iter().zip(wanted).all(|(one, other)| one == other);
    same(line) || same(&SIGNATURE)
}

/// Reads so many bytes more.
async fn more(
    stream: &mut (impl AsyncRead + Unpin),
    header: &mut Vec<u8>,
    count: usize,
) -> Result<(), ProxyHeaderError> {
    let wanted = header.len() + count;
    let mut rest = stream.take(u64::try_from(count).unwrap_or(0));
    while header.len() < wanted {
        if rest.read_buf(header).await? == 0 {
            return Err(ProxyHeaderError::Short);
        }
    }
    Ok(())
}

/// Reads a whole line of version 1; `None` where it is none.
fn version_1(line: &[u8]) -> Option<Result<Told, ProxyHeaderError>> {
    let line = std::str::from_utf8(line).ok()?;
    let said = line.strip_prefix("PROXY ")?.strip_suffix("\r\n")?;
    if said == "UNKNOWN" || said.starts_with("UNKNOWN ") {
        // The rest of it is to be ignored.
        return (!said.contains(['\r', '\n'])).then_some(Ok(Told::Somebody));
    }
    let mut words = said.split(' ');
    let family = words.next()?;
    let [from, to] = [words.next()?, words.next()?];
    let ports = [words.next()?, words.next()?];
    if words.next().is_some() || !ports.into_iter().all(is_port) {
        return None;
    }
    let addresses = [from, to].map(|text| match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        "TCP6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    });
    let [Some(from), Some(_)] = addresses else {
        return None;
    };
    Some(client(from))
}

/// A number from 0 to 65535, as it is written.
fn is_port(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let written_once = text == "0" || !text.starts_with('0');
    plain && written_once && text.parse::<u16>().is_ok()
}

/// Reads the rest of version 2.
async fn version_2(
    stream: &mut (impl AsyncRead + Unpin),
    mut header: Vec<u8>,
) -> Result<Told, ProxyHeaderError> {
    more(stream, &mut header, FIXED - LEAST).await?;
    let Some([command, family, high, low]) = header.get(SIGNATURE.len()..) else {
        return Err(ProxyHeaderError::Short);
    };
    let (command, family) = (*command, *family);
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > LONGEST_REST {
        return Err(ProxyHeaderError::Long);
    }
    let mut rest = Vec::with_capacity(length);
    more(stream, &mut rest, length).await?;
    match command {
        // What else it says of its own connection is to be ignored.
        0x20 => return Ok(Told::Own),
        0x21 => {}
        _ => return Err(ProxyHeaderError::Command),
    }
    match family {
        0x00 => Ok(Told::Somebody),
        0x11 => addresses::<12, 4>(&rest).map(|from| client(IpAddr::V4(Ipv4Addr::from(from))))?,
        0x21 => addresses::<36, 16>(&rest).map(|from| client(IpAddr::V6(Ipv6Addr::from(from))))?,
        // Two paths of 108 bytes.
        0x31 => addresses::<216, 1>(&rest).map(|_| Told::Somebody),
        _ => Err(ProxyHeaderError::Family),
    }
}

/// The first of the addresses, which together have `ALL` bytes; others may follow them.
fn addresses<const ALL: usize, const ONE: usize>(
    rest: &[u8],
) -> Result<[u8; ONE], ProxyHeaderError> {
    let all = rest.first_chunk::<ALL>().ok_or(ProxyHeaderError::Length)?;
    let first = all.first_chunk::<ONE>().copied();
    first.ok_or(ProxyHeaderError::Length)
}

// SECURITY: what stands for those without an address may be trusted, and no proxy says it of a client.
fn client(address: IpAddr) -> Result<Told, ProxyHeaderError> {
    let address = address.to_canonical();
    if peers::has_address(address) {
        Ok(Told::Client(address))
    } else {
        Err(ProxyHeaderError::Address)
    }
}
