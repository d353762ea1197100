//! Connections, counted by the listener that they came to.

use std::sync::Arc;

use super::accept::{Entrance, Mode};
use crate::telemetry::meters::{OneOpen, Open};

/// Who is connected.
#[derive(Debug, Default)]
pub struct Visitors {
    application: Arc<Open>,
    doors: Arc<Open>,
    checks: Arc<Open>,
    redirects: Arc<Open>,
}

impl Visitors {
    /// Counts a connection in, until what this gives is dropped.
    pub(super) fn enter(&self, entrance: &Entrance) -> OneOpen {
        match entrance {
            Entrance::Http(Mode::Proxy) => self.application.enter(),
            Entrance::Http(Mode::ForwardAuth(_)) => self.doors.enter(),
            Entrance::Grpc(_) => self.checks.enter(),
            Entrance::Http(Mode::Redirect) => self.redirects.enter(),
        }
    }

    /// The listeners by the tables of the configuration that they stand in.
    pub(super) fn by_listener(&self) -> impl Iterator<Item = (&'static str, &Open)> {
        [
            ("proxy", &*self.application),
            ("forward-auth", &*self.doors),
            ("ext-authz", &*self.checks),
            ("redirect", &*self.redirects),
        ]
        .into_iter()
    }
}
