//! Listening, on whichever kind of socket, and whoever opened it.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::Stream as Connections;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType};
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};

use super::inherited::{Giver, Inherited};
use super::stream::Stream;
use crate::config::ListenAddress;
use crate::core::peers;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long whoever may listen at a socket already has to show it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A socket that connections come to. It is closed with the last of its copies.
#[derive(Clone, Debug)]
pub(super) struct Listener(Arc<Open>);

#[derive(Debug)]
struct Open {
    socket: Socket,
    /// What the configuration calls it.
    name: String,
    /// Where it is, with the real port.
    address: ListenAddress,
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket in the file system, which goes when nobody listens to it any more.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may have put its own in this place.
    identity: (u64, u64),
    /// Whether it is this process that takes it away.
    ours: AtomicBool,
}

/// Opens sockets, or takes those that are there already.
#[derive(Debug)]
pub(super) struct Opener {
    inherited: Inherited,
    mode: u32,
}

impl Opener {
    /// Prefers what is `inherited`; sockets in the file system get this mode.
    pub(super) fn new(inherited: Inherited, mode: u32) -> Self {
        Self { inherited, mode }
    }

    /// The sockets at an address: one, or as many as systemd has given it a name.
    pub(super) async fn open(&mut self, address: &ListenAddress) -> anyhow::Result<Vec<Listener>> {
        let opened = self.opened(address).await;
        opened.with_context(|| format!("cannot listen on `{address}`"))
    }

    /// The sockets at all of these addresses.
    pub(super) async fn open_all(
        &mut self,
        addresses: &[ListenAddress],
    ) -> anyhow::Result<Vec<Listener>> {
        let mut opened = Vec::new();
        for address in addresses {
            opened.extend(self.open(address).await?);
        }
        Ok(opened)
    }

    /// The socket at an address that has to be one.
    pub(super) async fn open_one(&mut self, address: &ListenAddress) -> anyhow::Result<Listener> {
        let mut opened = self.open(address).await?;
        anyhow::ensure!(
            opened.len() == 1,
            "`{address}` are {} sockets, and one is needed here",
            opened.len()
        );
        opened.pop().context("there is no socket")
    }

    /// A socket in the file system for this process and its like.
    pub(super) async fn open_private(&mut self, path: &Path) -> anyhow::Result<Listener> {
        let address = ListenAddress::Unix(path.to_owned());
        let others = std::mem::replace(&mut self.mode, 0o600);
        let opened = self.open_one(&address).await;
        self.mode = others;
        opened
    }

    async fn opened(&mut self, address: &ListenAddress) -> io::Result<Vec<Listener>> {
        let name = address.to_string();
        if let ListenAddress::Systemd(_) = address {
            let given = self.inherited.take_all(&name).into_iter();
            let given = given.map(|(giver, socket)| Listener::given(giver, socket, address));
            let given: Vec<Listener> = given.collect::<io::Result<_>>()?;
            return if given.is_empty() {
                let why = "systemd has given no listening socket of this name";
                Err(io::Error::new(io::ErrorKind::NotFound, why))
            } else {
                Ok(given)
            };
        }
        if let Some((giver, socket)) = self.inherited.take(&name) {
            let given = Listener::given(giver, socket, address)?;
            if let Some(file) = &given.0.file {
                fs::set_permissions(&file.path, fs::Permissions::from_mode(self.mode))?;
            }
            return Ok(vec![given]);
        }
        let opened = match address {
            ListenAddress::Tcp(address) => open_tcp(*address, name).await?,
            ListenAddress::Unix(path) => open_unix(path, self.mode, name).await?,
            // Dealt with above.
            ListenAddress::Systemd(_) => return Ok(Vec::new()),
        };
        Ok(vec![opened])
    }
}

impl Listener {
    /// A socket that somebody else has opened.
    fn given(giver: Giver, socket: OwnedFd, address: &ListenAddress) -> io::Result<Self> {
        if !listens(&socket)? || sockopt::socket_type(&socket)? != SocketType::STREAM {
            let why = "what was given is no socket that connections come to";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let name = address.to_string();
        if rustix::net::getsockname(&socket)?.address_family() == AddressFamily::UNIX {
            let listener = std::os::unix::net::UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            let own = listener.local_addr()?;
            let path = own.as_pathname().map(Path::to_owned);
            // The file of systemd's socket is systemd's, also where this process has it from another one.
            let file = match (giver, address) {
                (Giver::Predecessor, ListenAddress::Unix(path)) => SocketFile::at(path, false).ok(),
                _ => None,
            };
            let real = path.map(ListenAddress::Unix);
            return Ok(Self(Arc::new(Open {
                socket: Socket::Unix(UnixListener::from_std(listener)?),
                address: real.unwrap_or_else(|| address.clone()),
                name,
                file,
            })));
        }
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(Self(Arc::new(Open {
            address: ListenAddress::Tcp(listener.local_addr()?),
            socket: Socket::Tcp(TcpListener::from_std(listener)?),
            name,
            file: None,
        })))
    }

    /// What the configuration calls it.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Where it is, with the real port.
    pub(super) fn address(&self) -> &ListenAddress {
        &self.0.address
    }

    /// The next connection, and the address of its other end.
    pub(super) async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match &self.0.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Without it, small answers wait for the client's acknowledgement.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), peer.ip().to_canonical()))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), peers::ON_UNIX_SOCKET))
            }
        }
    }

    /// One connection after the other, for whoever does not mind where they come from.
    pub(super) fn connections(self) -> impl Connections<Item = io::Result<Stream>> {
        futures_util::stream::unfold(self, |listener| async {
            let accepted = listener.accept().await;
            Some((accepted.map(|(stream, _)| stream), listener))
        })
    }

    /// Leaves the file to whoever listens from now on.
    pub(super) fn leave_file(&self) {
        self.look_after_file(false);
    }

    /// Takes the file away in the end.
    pub(super) fn keep_file(&self) {
        self.look_after_file(true);
    }

    fn look_after_file(&self, ours: bool) {
        if let Some(file) = &self.0.file {
            file.ours.store(ours, Ordering::Release);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0.socket {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Whether connections come to a socket. Where the system does not tell, accepting them will.
fn listens(socket: &OwnedFd) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    return Ok(sockopt::socket_acceptconn(socket)?);
    #[cfg(not(target_os = "linux"))]
    return Ok(sockopt::socket_type(socket)? == SocketType::STREAM);
}

async fn open_tcp(address: SocketAddr, name: String) -> io::Result<Listener> {
    let listener = TcpListener::bind(address).await?;
    Ok(Listener(Arc::new(Open {
        address: ListenAddress::Tcp(listener.local_addr()?),
        socket: Socket::Tcp(listener),
        name,
        file: None,
    })))
}

async fn open_unix(path: &Path, mode: u32, name: String) -> io::Result<Listener> {
    make_room(path).await?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile::at(path, true)?;
    // SECURITY: before it listens, so that nobody comes in whom the mode keeps out.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(Listener(Arc::new(Open {
        socket: Socket::Unix(socket.listen(BACKLOG)?),
        address: ListenAddress::Unix(path.to_owned()),
        name,
        file: Some(file),
    })))
}

/// Takes away the socket of somebody who is gone, and nothing else.
async fn make_room(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let why = "what is there is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    match tokio::time::timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Whoever is slow to answer is there.
        Ok(Ok(_)) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
        Ok(Err(error)) => Err(error),
    }
}

impl SocketFile {
    fn at(path: &Path, ours: bool) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
            ours: AtomicBool::new(ours),
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = self.ours.load(Ordering::Acquire);
        if ours && identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
