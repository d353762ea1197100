//! Certificates that are of no use any more, not yet, or not for long.

use std::time::{Duration, UNIX_EPOCH};

use super::report::{Place, Problem, Problems};
use crate::tls::Validity;

/// How long before its end a certificate ought to have been renewed, in seconds.
const EARLY_S: u64 = 14 * DAY_S;

const DAY_S: u64 = 24 * 60 * 60;

/// Warns of a certificate at this place that is not valid now, or not for long.
pub(super) fn in_time(place: &Place, validity: Validity, now_ms: u64, problems: &Problems) {
    let Validity { from_s, until_s } = validity;
    let now = now_ms / 1000;
    let (title, hint) = if now > until_s {
        let title = format!(
            "the certificate in `cert-file` has expired: it was valid until {}",
            date(until_s)
        );
        (title, "put another one in its place")
    } else if now < from_s {
        let title = format!(
            "the certificate in `cert-file` is not valid yet: it is from {} on",
            date(from_s)
        );
        (title, "see whether the clock of this machine is right")
    } else if until_s - now < EARLY_S {
        let title = format!(
            "the certificate in `cert-file` expires in {}: it is valid until {}",
            days((until_s - now) / DAY_S),
            date(until_s)
        );
        (title, "put another one in its place before that")
    } else {
        return;
    };
    problems.add(Problem::warning(place, title).hint(hint));
}

fn days(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "one day".to_owned(),
        many => format!("{many} days"),
    }
}

fn date(s: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(s)).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;

    fn said(from_s: u64, until_s: u64, now: u64) -> String {
        let problems = Problems::default();
        let validity = Validity { from_s, until_s };
        in_time(&Place::Nowhere, validity, now * 1000, &problems);
        problems.into_report(&Source::none()).to_string()
    }

    #[test]
    fn a_certificate_is_warned_of_outside_its_time_and_in_its_last_two_weeks() {
        let (from, until) = (1_700_000_000, 1_800_000_000);
        for (now, word) in [
            (0, "not valid yet"),
            (
                from - 1,
                "not valid yet: it is from 2023-11-14T22:13:20Z on",
            ),
            (from, ""),
            (until - 14 * DAY_S, ""),
            (until - 14 * DAY_S + 1, "expires in 13 days"),
            (until - 2 * DAY_S, "expires in 2 days"),
            (until - DAY_S, "expires in one day"),
            (until - DAY_S + 1, "expires in less than a day"),
            (
                until,
                "expires in less than a day: it is valid until 2027-01-15T08:00:00Z",
            ),
            (
                until + 1,
                "has expired: it was valid until 2027-01-15T08:00:00Z",
            ),
            (u64::MAX / 1000, "has expired"),
        ] {
            let said = said(from, until, now);
            assert_eq!(word.is_empty(), said.is_empty(), "{now}: {said}");
            assert!(said.contains(word), "{now}: {said}");
        }
    }
}
