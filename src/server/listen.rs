//! Listening, on whichever kind of socket.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::Stream as Connections;
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};

use super::stream::Stream;
use crate::config::ListenAddress;
use crate::core::peers;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How long whoever may listen at a socket already has to show it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A socket that connections come to.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    /// Where it is, with the real port.
    address: ListenAddress,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

/// A socket in the file system, which goes when nobody listens to it any more.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may have put its own in this place.
    identity: (u64, u64),
}

impl Listener {
    /// Opens a socket; one in the file system gets this mode.
    pub(super) async fn open(address: &ListenAddress, mode: u32) -> anyhow::Result<Self> {
        let opened = match address {
            ListenAddress::Tcp(address) => open_tcp(*address).await,
            ListenAddress::Unix(path) => open_unix(path, mode).await,
        };
        opened.with_context(|| format!("cannot listen on `{address}`"))
    }

    /// Where it is, with the real port.
    pub(super) fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The next connection, and the address of its other end.
    pub(super) async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Without it, small answers wait for the client's acknowledgement.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), peer.ip().to_canonical()))
            }
            Socket::Unix { listener, .. } => {
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
}

async fn open_tcp(address: SocketAddr) -> io::Result<Listener> {
    let listener = TcpListener::bind(address).await?;
    let address = ListenAddress::Tcp(listener.local_addr()?);
    Ok(Listener {
        socket: Socket::Tcp(listener),
        address,
    })
}

async fn open_unix(path: &Path, mode: u32) -> io::Result<Listener> {
    make_room(path).await?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile::at(path)?;
    // SECURITY: before it listens, so that nobody comes in whom the mode keeps out.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    let listener = socket.listen(BACKLOG)?;
    Ok(Listener {
        socket: Socket::Unix {
            listener,
            _file: file,
        },
        address: ListenAddress::Unix(path.to_owned()),
    })
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
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
