//! When a certificate is valid.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

/// How long before its end a certificate ought to have been renewed, in seconds.
const EARLY_S: u64 = 14 * DAY_S;

const DAY_S: u64 = 24 * 60 * 60;

/// From when until when a certificate is valid, in seconds since the epoch; both belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first of them.
    pub from_s: u64,
    /// The last of them.
    pub until_s: u64,
}

/// What is to be said of a certificate that does not hold, or not for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is so, to be read behind the name of the certificate.
    pub said: String,
    /// What can be done.
    pub hint: &'static str,
    /// Whether clients refuse it already.
    pub is_refused: bool,
}

impl Trouble {
    fn new(is_refused: bool, said: String, hint: &'static str) -> Self {
        Self {
            said,
            hint,
            is_refused,
        }
    }

    /// That of a certificate that does not say when it is valid.
    pub(super) fn unreadable() -> Self {
        let said = "does not say in a way that can be read when it is valid".to_owned();
        Self::new(true, said, "put another one in its place")
    }
}

impl Validity {
    /// What is to be said of it at this moment, in milliseconds since the epoch, if anything is.
    pub(super) fn trouble_at(self, now_ms: u64) -> Option<Trouble> {
        let now = now_ms / 1000;
        let (from, until) = (date(self.from_s), date(self.until_s));
        match self.until_s.checked_sub(now) {
            None => Some(Trouble::new(
                true,
                format!("has expired: it was valid until {until}"),
                "put another one in its place",
            )),
            Some(_) if now < self.from_s => Some(Trouble::new(
                true,
                format!("is not valid yet: it is from {from} on"),
                "see whether the clock of this machine is right",
            )),
            Some(left) if left < EARLY_S => Some(Trouble::new(
                false,
                format!(
                    "expires in {}: it is valid until {until}",
                    days(left / DAY_S)
                ),
                "put another one in its place before that",
            )),
            Some(_) => None,
        }
    }

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
            // From the epoch itself on.
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

fn days(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "one day".to_owned(),
        many => format!("{many} days"),
    }
}

fn date(s: u64) -> impl fmt::Display {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_in_trouble_outside_its_time_and_in_its_last_two_weeks() {
        let (from_s, until_s) = (1_700_000_000, 1_800_000_000);
        let validity = Validity { from_s, until_s };
        for (now, is_refused, said) in [
            (0, true, "is not valid yet"),
            (
                from_s - 1,
                true,
                "is not valid yet: it is from 2023-11-14T22:13:20Z on",
            ),
            (from_s, false, ""),
            (until_s - 14 * DAY_S, false, ""),
            (until_s - 14 * DAY_S + 1, false, "expires in 13 days"),
            (
                until_s - DAY_S,
                false,
                "expires in one day: it is valid until 2027-01-15T08:00:00Z",
            ),
            (until_s - DAY_S + 1, false, "expires in less than a day"),
            (until_s, false, "expires in less than a day"),
            (
                until_s + 1,
                true,
                "has expired: it was valid until 2027-01-15T08:00:00Z",
            ),
            (u64::MAX / 1000, true, "has expired"),
        ] {
            let told = validity.trouble_at(now * 1000);
            let refused = told.as_ref().is_some_and(|told| told.is_refused);
            assert_eq!(refused, is_refused, "{now}");
            let told = told.map_or(String::new(), |told| told.said);
            assert_eq!(said.is_empty(), told.is_empty(), "{now}: {told}");
            assert!(told.starts_with(said), "{now}: {told}");
        }
    }
}
