//! Which requests are written down: a share of them, and those of which a trusted proxy says so.

use super::chance;
use crate::core::trace_context::Inbound;

/// The share of requests that are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u64);

impl Share {
    /// A share from 0 to 1; `None` for what is none.
    pub fn of(share: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "from 0 to 2^64, where the cast stays within bounds"
        )]
        let most = (share * u64::MAX as f64) as u64;
        Some(Self(most))
    }

    /// Whether a request is written down that comes from `sender`, with what it says of its trace.
    pub(super) fn takes(self, inbound: Option<&Inbound>, sender: Sender) -> bool {
        // SECURITY: a stranger chooses the number of a trace and the flag beside it. Neither has a say, or
        // anybody could have all of their requests written down, and those of others crowded out.
        match (inbound, sender) {
            (Some(inbound), Sender::Trusted) => inbound.sampled,
            (Some(_), Sender::Stranger) | (None, _) => self.falls(),
        }
    }

    /// Whether it falls on one more request.
    pub(super) fn falls(self) -> bool {
        self.0 == u64::MAX || chance() < self.0
    }
}

/// Whether what a request says of its trace is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// It says where the request belongs, and whether it is written down.
    Trusted,
    /// It says where the request belongs.
    Stranger,
}

impl Sender {
    /// Who it is, by whether the peer is a trusted proxy.
    pub fn of(trusted: bool) -> Self {
        if trusted {
            Self::Trusted
        } else {
            Self::Stranger
        }
    }
}
