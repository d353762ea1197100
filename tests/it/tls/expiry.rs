//! Certificates that have expired, or are about to, or are for later.

use std::io;
use std::path::Path;

use clerk_gate::clock::{Clock as _, SystemClock};
use clerk_gate::config::{self, Source, Surroundings};
use clerk_gate::tls::server::Certificate;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::support::program::{Running, file, program, run};
use crate::support::site::Site;

/// A day, by year, month and day.
pub type Day = (i32, u8, u8);

/// A certificate that is valid from one day to another, and its key, in PEM.
pub fn valid(from: Day, until: Day) -> (String, String) {
    let mut params = CertificateParams::new(vec!["app.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from.0, from.1, from.2);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn seconds(day: Day) -> u64 {
    u64::try_from(date_time_ymd(day.0, day.1, day.2).unix_timestamp()).unwrap()
}

#[test]
fn the_time_of_a_certificate_is_read_from_it() {
    for (from, until) in [
        ((2020, 2, 29), (2021, 3, 1)),
        ((1975, 1, 1), (4096, 1, 1)),
        // Years of two digits end with 2049.
        ((2049, 12, 31), (2050, 1, 1)),
    ] {
        let (chain, key) = valid(from, until);
        let certificate = Certificate::of(chain.as_bytes(), key.as_bytes()).unwrap();
        let validity = certificate.validity().unwrap();
        assert_eq!(
            (validity.from_s, validity.until_s),
            (seconds(from), seconds(until))
        );
    }
}

/// The year, give or take a day.
pub fn this_year() -> i32 {
    1970 + i32::try_from(SystemClock.now_ms() / 31_556_952_000).unwrap()
}

/// What is said on this day of a configuration with these certificates.
fn said(now: Day, certificates: &[(String, String)]) -> String {
    use std::fmt::Write as _;
    let mut text = "clerk.publishable-key = \"pk_test_Y2xlcmsuZXhhbXBsZS5jb20k\"\n\
         upstream.url = \"http://127.0.0.1:3000\"\n"
        .to_owned();
    for place in 0..certificates.len() {
        write!(
            text,
            "[[tls.certificate]]\ncert-file = \"/{place}/chain\"\nkey-file = \"/{place}/key\"\n"
        )
        .unwrap();
    }
    let files = |path: &Path| {
        let mut parts = path.to_str().unwrap().split('/').skip(1);
        let place: usize = parts.next().unwrap().parse().unwrap();
        let (chain, key) = &certificates[place];
        Ok::<_, io::Error>(match parts.next().unwrap() {
            "chain" => chain.clone().into_bytes(),
            _ => key.clone().into_bytes(),
        })
    };
    let surroundings = Surroundings {
        environment: &Vec::new(),
        flags: &[],
        files: &files,
        now_ms: seconds(now) * 1000,
    };
    let loaded = config::load(&Source::new("gate.toml", text), &surroundings).unwrap();
    loaded.warnings.to_string()
}

#[test]
fn each_certificate_is_warned_of_at_its_place_and_keeps_nobody_from_starting() {
    let certificates = [
        valid((2020, 1, 1), (2030, 1, 1)),
        valid((2020, 1, 1), (2026, 6, 10)),
        valid((2026, 5, 1), (2026, 6, 25)),
        valid((2027, 1, 1), (2030, 1, 1)),
    ];
    let said = said((2026, 6, 15), &certificates);
    insta::assert_snapshot!("certificates", said);
}

#[test]
fn check_says_of_a_certificate_that_has_expired_and_ends_well() {
    let (chain, key) = valid((2001, 1, 1), (2002, 1, 1));
    let (chain, key) = (file("expiry-chain", &chain), file("expiry-key", &key));
    let text = format!(
        "clerk.publishable-key = \"pk_test_Y2xlcmsuZXhhbXBsZS5jb20k\"\nupstream.url = \"http://127.0.0.1:3000\"\n\
         [[tls.certificate]]\ncert-file = \"{}\"\nkey-file = \"{}\"\n",
        chain.display(),
        key.display()
    );
    let path = file("expiry.toml", &text);
    let (code, out, err) = run(program().arg("check").arg("-c").arg(&path));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("one warning"), "{out}");
    assert!(
        err.contains("has expired: it was valid until 2002-01-01T00:00:00Z"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_a_reload_say_so_in_the_log() {
    let site = Site::new("expiry").await;
    let (old, old_key) = valid((2001, 1, 1), (2002, 1, 1));
    let chain = file("expiry-log-chain", &old);
    let key = file("expiry-log-key", &old_key);
    let more = format!(
        "[reload]\nwatch = false\n[[tls.certificate]]\ncert-file = \"{}\"\nkey-file = \"{}\"\n",
        chain.display(),
        key.display()
    );
    let path = file(
        "expiry-log.toml",
        &site.text("\"127.0.0.1:0\"", "public", &more),
    );
    let (mut running, first) = Running::start_saying(program().arg("run").arg("-c").arg(&path));
    let warned = |lines: &[serde_json::Value], of: &str| {
        let lines = lines.iter().filter(|line| line["level"] == "WARN");
        let warnings: Vec<_> = lines.filter_map(|line| line["warnings"].as_str()).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(of), "{warnings:?}");
    };
    warned(&first, "has expired");
    // Of one that is renewed nothing is said, of one that is for later something else.
    let year = this_year();
    for (from, until, of) in [
        ((2001, 1, 1), (year + 2, 1, 1), None),
        ((year + 2, 1, 1), (year + 3, 1, 1), Some("not valid yet")),
    ] {
        let (chain, key) = valid(from, until);
        file("expiry-log-chain", &chain);
        file("expiry-log-key", &key);
        running.signal("HUP");
        let mut lines = Vec::new();
        loop {
            let line = running.line();
            lines.push(serde_json::from_str(&line).unwrap());
            if line.contains("the configuration has been read again") {
                break;
            }
        }
        match of {
            Some(of) => warned(&lines, of),
            None => assert!(
                lines
                    .iter()
                    .all(|line: &serde_json::Value| line["level"] != "WARN"),
                "{lines:?}"
            ),
        }
    }
}
