//! Connections, counted by the listener that they came to, and by what is spoken on them.

use std::sync::Arc;

use super::accept::{Entrance, Mode};
use super::http2::preface::Version;
use crate::core::origin::Scheme;
use crate::telemetry::meters::{OneOpen, Open};

/// Who is connected.
#[derive(Debug, Default)]
pub struct Visitors {
    application: Arc<Open>,
    doors: Arc<Open>,
    checks: Arc<Open>,
    https_redirects: Arc<Open>,
    spoken: Spoken,
}

/// Those to the application on which it is known what is spoken.
#[derive(Debug, Default)]
struct Spoken {
    http1: Arc<Open>,
    http1_over_tls: Arc<Open>,
    http2: Arc<Open>,
    http2_over_tls: Arc<Open>,
}

impl Visitors {
    /// Counts a connection in, until what this gives is dropped.
    pub(super) fn enter(&self, entrance: &Entrance) -> OneOpen {
        match entrance {
            Entrance::Http(Mode::Proxy) => self.application.enter(),
            Entrance::Http(Mode::ForwardAuth(_)) => self.doors.enter(),
            Entrance::Grpc(_) => self.checks.enter(),
            Entrance::Http(Mode::HttpsRedirect) => self.https_redirects.enter(),
        }
    }

    /// Counts one in to the application on which this is spoken from now on, until what this gives is dropped.
    pub(super) fn speaks(&self, version: Version, scheme: Scheme) -> OneOpen {
        let spoken = &self.spoken;
        match (version, scheme) {
            (Version::Http1, Scheme::Http) => spoken.http1.enter(),
            (Version::Http1, Scheme::Https) => spoken.http1_over_tls.enter(),
            (Version::Http2, Scheme::Http) => spoken.http2.enter(),
            (Version::Http2, Scheme::Https) => spoken.http2_over_tls.enter(),
        }
    }

    /// What is spoken to the application, by the name that TLS has for it, and whether it is over TLS.
    pub(super) fn by_protocol(&self) -> impl Iterator<Item = ([&'static str; 2], &Open)> {
        let spoken = &self.spoken;
        [
            (["http/1.1", "no"], &*spoken.http1),
            (["http/1.1", "yes"], &*spoken.http1_over_tls),
            (["h2", "no"], &*spoken.http2),
            (["h2", "yes"], &*spoken.http2_over_tls),
        ]
        .into_iter()
    }

    /// The listeners by the tables of the configuration that they stand in.
    pub(super) fn by_listener(&self) -> impl Iterator<Item = (&'static str, &Open)> {
        [
            ("proxy", &*self.application),
            ("forward-auth", &*self.doors),
            ("ext-authz", &*self.checks),
            ("redirect", &*self.https_redirects),
        ]
        .into_iter()
    }
}
