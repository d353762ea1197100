//! Whether the certificates that clients are shown are valid, and for long enough.

use super::finding::{Check, Finding};
use crate::config::Config;
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
    let trouble = certificate.trouble_at(now_ms)?;
    let whose = match certificate.names() {
        [] => "a certificate without a name".to_owned(),
        names => format!("the certificate of `{}`", names.join("`, `")),
    };
    let said = format!("{whose} {}", trouble.said);
    Some(if trouble.is_refused {
        Finding::problem(Check::Certificates, said, trouble.hint)
    } else {
        Finding::warning(Check::Certificates, said, trouble.hint)
    })
}
