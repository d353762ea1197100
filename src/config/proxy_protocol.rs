//! `[proxy-protocol]`: who passes connections on, and says whose they are.

use ipnet::IpNet;

use super::report::Problem;
use super::section::Section;
use super::settings::{self, Everybody};

/// Reads the table. Empty where nobody does.
pub(super) fn read(root: &mut Section<'_>) -> Vec<IpNet> {
    let written = root.has("proxy-protocol");
    let mut section = root.section("proxy-protocol");
    let (problems, place) = (section.problems(), section.place().clone());
    section.needs("peers");
    let peers = section.texts("peers").unwrap_or_default();
    section.finish();
    if written && peers.is_empty() {
        problems.add(
            Problem::error(
                &place,
                "`[proxy-protocol]` has no `peers`: nobody says whose a connection is",
            )
            .hint("name the proxies that pass connections on: `peers = [\"10.0.0.0/8\"]`"),
        );
    }
    let everybody = Everybody {
        may: "everybody may say whose a connection is",
        hint: "whoever reaches the gate can then have any address; name the proxies",
    };
    settings::networks(peers, Some(&everybody), problems)
}
