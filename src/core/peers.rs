//! The other end of a connection, by its address, and lists of such addresses.
//!
//! Not everybody has one. Who has none goes by an address that no machine can have, and is in no network,
//! however wide: only in lists that name it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Whoever comes over a socket in the file system, and so from this machine. `unix` in lists.
pub const ON_UNIX_SOCKET: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Whoever a proxy passes on without saying who it is. In no list at all.
pub const UNTOLD: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Whether this peer is in a list of networks.
// SECURITY: `::/0` is every machine with an address, and must not be every program on this one as well.
pub fn is_listed(networks: &[IpNet], peer: IpAddr) -> bool {
    if has_address(peer) {
        networks.iter().any(|network| network.contains(&peer))
    } else {
        networks.contains(&IpNet::from(peer))
    }
}

/// Whether this is the address of a machine, and not what stands for one.
pub fn has_address(peer: IpAddr) -> bool {
    !peer.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn whoever_has_no_address_is_in_no_network_that_does_not_name_it() {
        let everybody = networks(&[
            "::/0",
            "0.0.0.0/0",
            "::/64",
            "0.0.0.0/8",
            "127.0.0.0/8",
            "::1/128",
        ]);
        assert!(!is_listed(&everybody, ON_UNIX_SOCKET));
        assert!(!is_listed(&everybody, UNTOLD));
        assert!(is_listed(&[IpNet::from(ON_UNIX_SOCKET)], ON_UNIX_SOCKET));
    }

    #[test]
    fn whoever_is_trusted_without_an_address_lends_it_to_no_machine() {
        let unix = [IpNet::from(ON_UNIX_SOCKET)];
        for peer in ["127.0.0.1", "::1", "0.0.0.0", "10.0.0.1", "::ffff:0.0.0.0"] {
            assert!(!is_listed(&unix, peer.parse().unwrap()), "{peer}");
        }
    }
}
