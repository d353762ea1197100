//! Where connections are accepted: the addresses of listeners, and who gets in each other's way.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::model::Listening;
use super::proxy_protocol;
use super::report::{Place, Problem, Problems};
use super::section::{Placed, Section};
use super::shape::Shape;
use super::tree::{Node, Value};
use crate::upstream::address::socket_path;

/// Listeners for visitors, at most.
const MOST: usize = 32;

/// An address that connections are accepted at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and a port; port 0 is any that is free.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
    /// Sockets that systemd has opened, by the name that it has for them.
    Systemd(String),
}

impl ListenAddress {
    /// The address and port, where there are such.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Systemd(_) => None,
        }
    }

    /// Whether two listeners at this address are at one.
    fn is_one_place(&self) -> bool {
        self.tcp().is_none_or(|address| address.port() != 0)
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(socket_path(path).map(Self::Unix)?);
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return socket_name(name).map(Self::Systemd);
        }
        let address = text.parse().map_err(|_| {
            "it is an address and a port such as `127.0.0.1:8080`, or a socket such as `unix:/run/gate.sock`"
        })?;
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// A name as systemd takes it for a file descriptor.
fn socket_name(name: &str) -> Result<String, String> {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b':');
    if plain && (1..=255).contains(&name.len()) {
        Ok(name.to_owned())
    } else {
        Err("it is the `FileDescriptorName` of a socket unit, such as `systemd:web`".to_owned())
    }
}

/// Reads the address of one listener.
pub(super) fn one(section: &mut Section<'_>, key: &'static str) -> Option<Placed<ListenAddress>> {
    section.parsed(key, str::parse)
}

/// Reads where requests are accepted, from the top level.
pub(super) fn read(section: &mut Section<'_>) -> Listening {
    Listening {
        addresses: own(section),
        unix_mode: mode(section),
        proxy_peers: proxy_protocol::read(section),
        hand_over: hand_over(section),
    }
}

/// Reads `listen`. Never empty.
fn own(section: &mut Section<'_>) -> Vec<ListenAddress> {
    let read = several(section, "listen").into_iter();
    let read: Vec<ListenAddress> = read.map(|read| read.value).collect();
    if read.is_empty() {
        return vec![ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))];
    }
    read
}

/// Reads one address or several. What cannot be used has been reported, and is left out.
pub(super) fn several(section: &mut Section<'_>, key: &'static str) -> Vec<Placed<ListenAddress>> {
    let problems = section.problems();
    let Some(node) = section.node(key, Shape::Text.or_several()) else {
        return Vec::new();
    };
    if matches!(&node.value, Value::List(items) if items.is_empty() || items.len() > MOST) {
        let title = format!("`{key}` is an address, or from 1 to {MOST} of them");
        problems.add(Problem::error(&node.place, title));
        return Vec::new();
    }
    addresses(key, node, problems)
}

fn addresses(key: &str, node: Node, problems: &Problems) -> Vec<Placed<ListenAddress>> {
    let mut read: Vec<Placed<ListenAddress>> = Vec::new();
    for text in super::section::texts(key, node, problems) {
        match text.value.parse::<ListenAddress>() {
            Err(why) => problems.add(Problem::error(
                &text.place,
                format!("`{key}` cannot be used: {why}"),
            )),
            Ok(address)
                if address.is_one_place() && read.iter().any(|known| known.value == address) =>
            {
                let title = format!("`{key}` has `{address}` twice");
                problems.add(Problem::error(&text.place, title));
            }
            Ok(address) => read.push(Placed::new(address, text.place)),
        }
    }
    read
}

/// Reads `[hand-over]`.
fn hand_over(root: &mut Section<'_>) -> Option<PathBuf> {
    let written = root.has("hand-over");
    let mut section = root.section("hand-over");
    let has_socket = section.has_needed("socket");
    if written && !has_socket {
        section.problems().add(
            Problem::error(
                section.place(),
                "`[hand-over]` has no `socket`: there is nowhere to ask",
            )
            .hint("add `socket = \"/run/clerk-gate/next.sock\"`, in a folder of the gate's own"),
        );
    }
    let socket = section.parsed("socket", |path| Ok(socket_path(path)?));
    section.finish();
    socket.map(|read| read.value)
}

/// Reads `unix-mode`.
fn mode(section: &mut Section<'_>) -> u32 {
    let mode = section.parsed("unix-mode", |text| {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok();
        mode.filter(|mode| digits && *mode <= 0o777 && mode & 0o600 == 0o600)
            .ok_or_else(|| {
                "it is the mode of a file such as `\"0660\"`, and its owner may read and write"
                    .to_owned()
            })
    });
    mode.map_or(0o660, |read| read.value)
}

/// Reports an address that one of `others` has, by the names of their keys.
pub(super) fn apart(
    (name, address): (&str, &ListenAddress),
    place: &Place,
    others: &[(&str, &ListenAddress)],
    hint: &str,
    problems: &Problems,
) {
    for (key, other) in others {
        if *other == address && address.is_one_place() {
            let title = format!("`{key}` and `{name}` are both `{address}`");
            problems.add(Problem::error(place, title).hint(hint));
        }
    }
}
