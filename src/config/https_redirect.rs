//! `[tls] redirect-listen`: where requests in plain text are sent to the public address, and whether there
//! is one that they can be sent to.

use super::listen::ListenAddress;
use super::report::{Place, Problem, Problems};
use super::section::Placed;
use crate::core::edge::{Edge, PublicAddress};
use crate::core::origin::Scheme;

/// Reports sites that nobody can be sent to.
pub(super) fn leads_to_https(listen: &[Placed<ListenAddress>], edge: &Edge, problems: &Problems) {
    let Some(first) = listen.first() else {
        return;
    };
    needs(&edge.public, "`public-url`", &first.place, problems);
    for (site, number) in edge.sites.iter().zip(1..) {
        let name = edge.site_name(number).unwrap_or_default();
        let what = format!("the `public-url` of the site `{name}`");
        needs(&site.public, &what, &first.place, problems);
    }
}

fn needs(public: &PublicAddress, what: &str, place: &Place, problems: &Problems) {
    let (title, hint) = match public {
        PublicAddress::Fixed(origin) if origin.scheme() == Scheme::Https => return,
        PublicAddress::Fixed(_) => (
            format!("`redirect-listen` leads to {what}, which is plain `http`"),
            "write the `https` address that browsers use",
        ),
        // SECURITY: a host that merely stands in the request is no place to send anybody to.
        PublicAddress::Loopback => (
            format!("`redirect-listen` needs {what}: where it leads to"),
            "write the `https` address that browsers use: public-url = \"https://app.example.com\"",
        ),
    };
    problems.add(Problem::error(place, title).hint(hint));
}
