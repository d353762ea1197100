//! Sockets that this process did not open itself: those that systemd has opened for it, and those of the
//! process before it.

use std::os::fd::OwnedFd;

use listenfd::ListenFd;

/// Sockets by the names that the configuration has for them.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Of systemd: `systemd:NAME`, and of one name there may be several.
    of_systemd: Vec<(String, OwnedFd)>,
    /// Of the process before this one, by whatever names it had.
    of_predecessor: Vec<(String, OwnedFd)>,
}

/// Whoever had a socket before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Giver {
    /// It looks after the file of its socket.
    Systemd,
    /// It looked after the file.
    Predecessor,
}

impl Inherited {
    /// What systemd has opened. `names` is what it says in `LISTEN_FDNAMES`.
    ///
    /// Sockets that nobody listens at are left out, and so not found by their names.
    pub fn of_systemd(mut given: ListenFd, names: Option<&str>) -> Self {
        let names: Vec<&str> = names
            .map(|names| names.split(':').collect())
            .unwrap_or_default();
        let mut of_systemd = Vec::new();
        for at in 0..given.len() {
            let tcp = given
                .take_tcp_listener(at)
                .ok()
                .flatten()
                .map(OwnedFd::from);
            let socket = tcp.or_else(|| {
                let unix = given.take_unix_listener(at).ok().flatten();
                unix.map(OwnedFd::from)
            });
            // What systemd calls a socket that has no name.
            let name = names.get(at).copied().unwrap_or("unknown");
            of_systemd.extend(socket.map(|socket| (format!("systemd:{name}"), socket)));
        }
        Self {
            of_systemd,
            of_predecessor: Vec::new(),
        }
    }

    pub(super) fn of_predecessor(sockets: impl Iterator<Item = (String, OwnedFd)>) -> Self {
        Self {
            of_systemd: Vec::new(),
            of_predecessor: sockets.collect(),
        }
    }

    /// The sockets of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.of_systemd.extend(other.of_systemd);
        self.of_predecessor.extend(other.of_predecessor);
        self
    }

    /// Takes the socket of this name.
    pub(super) fn take(&mut self, name: &str) -> Option<(Giver, OwnedFd)> {
        let from = |sockets: &mut Vec<(String, OwnedFd)>| {
            let at = sockets.iter().position(|(known, _)| known == name)?;
            Some(sockets.remove(at).1)
        };
        let predecessors = from(&mut self.of_predecessor);
        let taken = predecessors.map(|socket| (Giver::Predecessor, socket));
        taken.or_else(|| Some((Giver::Systemd, from(&mut self.of_systemd)?)))
    }

    /// Takes all sockets of this name: those of the process before this one, which had systemd's, or else
    /// systemd's own.
    pub(super) fn take_all(&mut self, name: &str) -> Vec<(Giver, OwnedFd)> {
        let mut taken: Vec<_> = std::iter::from_fn(|| self.take(name)).collect();
        if let Some((first, _)) = taken.first() {
            let giver = *first;
            taken.retain(|(other, _)| *other == giver);
        }
        taken
    }
}
