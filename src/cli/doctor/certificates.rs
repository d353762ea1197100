//! Whether the certificates that clients are shown are valid, and for long enough.

use super::finding::{Check, Finding};
use crate::config::Config;
use crate::tls::Standing;
use crate::tls::server::Certificate;

/// What is said of each that ought to be looked at, or that all are well. Nothing where there are none.
pub(super) fn all(config: &Config, now_ms: u64) -> Vec<Finding> {
    let Some(terms) = &config.tls else {
        return Vec::new();
    };
    let shown = terms.certificates.iter();
    let mut findings: Vec<Finding> = shown
        .filter_map(|certificate| judged(certificate, now_ms))
        .collect();
    if findings.is_empty() {
        let said = match terms.certificates.len() {
            1 => "one certificate is valid, for two weeks at least".to_owned(),
            many => format!("{many} certificates are valid, for two weeks at least"),
        };
        findings.push(Finding::well(Check::Certificates, said));
    }
    findings
}

fn judged(certificate: &Certificate, now_ms: u64) -> Option<Finding> {
    let check = Check::Certificates;
    let names = certificate.names().join(", ");
    let Some(validity) = certificate.validity() else {
        let said = format!("when the certificate of `{names}` is valid cannot be read");
        return Some(Finding::skipped(check, said));
    };
    let (said, hint) = validity.trouble_at(now_ms)?;
    let said = format!("the certificate of `{names}` {said}");
    Some(match validity.at(now_ms) {
        Standing::Early | Standing::Expired => Finding::problem(check, said, hint),
        Standing::Ending(_) | Standing::Valid => Finding::warning(check, said, hint),
    })
}
