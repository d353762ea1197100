//! When a certificate is valid.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

/// From when until when a certificate is valid, in seconds since the epoch; both belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first of them.
    pub from_s: u64,
    /// The last of them.
    pub until_s: u64,
}

impl Validity {
    /// What a certificate says of itself; `None` if it says nothing that can be read.
    ///
    /// webpki hands the two times out only beside a third that is not between them, so it is asked at the
    /// beginning of time and at its end. Nothing else of the certificate is looked at: that comes later.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let at = |time| {
            let usage = KeyUsage::server_auth();
            let verified = certificate.verify_for_usage(&[], &[], &[], time, usage, None, None);
            verified.err()
        };
        let from_s = match at(UnixTime::since_unix_epoch(Duration::ZERO)) {
            Some(Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
            // From the epoch on, or before it.
            Some(Error::UnknownIssuer) => 0,
            _ => return None,
        };
        match at(UnixTime::since_unix_epoch(Duration::MAX)) {
            Some(Error::CertExpired { not_after, .. }) => Some(Self {
                from_s,
                until_s: not_after.as_secs(),
            }),
            _ => None,
        }
    }
}
