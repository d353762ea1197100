//! Who may read the files of the configuration.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::finding::{Check, Finding};
use crate::cli::settings::Found;
use crate::cli::watch::Seen;
use crate::config::Source;

/// What others may do with a file.
const READ: u32 = 0o004;
const WRITE: u32 = 0o002;

/// What is said of each file that ought to be looked at, or that all are well.
pub(super) fn all(found: &Found) -> Vec<Finding> {
    let mut looked_at = 0;
    let mut findings = Vec::new();
    let mut paths: Vec<&Path> = found.files.iter().map(Seen::path).collect();
    paths.dedup();
    for path in paths {
        let read = std::fs::metadata(path).and_then(|known| Ok((known, std::fs::read(path)?)));
        let Ok((metadata, content)) = read else {
            let said = format!("`{}` cannot be read any more", path.display());
            findings.push(Finding::warning(
                Check::Files,
                said,
                "see what became of it",
            ));
            continue;
        };
        looked_at += 1;
        let is_configuration = found.path.as_deref() == Some(path);
        let secret = if is_configuration {
            Source::of_bytes(path, content).is_ok_and(|source| source.holds_secrets())
        } else {
            is_secret(&content)
        };
        findings.extend(judged(path, metadata.permissions().mode(), secret));
    }
    if findings.is_empty() {
        let said = match looked_at {
            0 => "there are none".to_owned(),
            1 => "one file is as private as it should be".to_owned(),
            many => format!("{many} files are as private as they should be"),
        };
        findings.push(Finding::well(Check::Files, said));
    }
    findings
}

/// Of the files that a configuration names, certificates and public keys alone are for everybody.
fn is_secret(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    text.contains("PRIVATE KEY") || !text.contains("-----BEGIN ")
}

fn judged(path: &Path, mode: u32, secret: bool) -> Option<Finding> {
    let name = path.display();
    if mode & WRITE != 0 {
        return Some(Finding::problem(
            Check::Files,
            format!("everybody on this machine may write `{name}`"),
            format!("`chmod o-rwx {name}`"),
        ));
    }
    (secret && mode & READ != 0).then(|| {
        Finding::warning(
            Check::Files,
            format!("everybody on this machine may read `{name}`, which holds a secret"),
            format!("`chmod o-rwx {name}`, and have it belong to the gate's account"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_secret_is_for_its_owner_and_nothing_is_for_everybody_to_write() {
        for (mode, secret, verdict) in [
            (0o600, true, None),
            (0o640, true, None),
            (0o644, true, Some(Verdict::Warning)),
            (0o644, false, None),
            (0o666, false, Some(Verdict::Problem)),
            (0o602, true, Some(Verdict::Problem)),
        ] {
            let found = judged(Path::new("/x"), mode, secret);
            assert_eq!(found.map(|found| found.verdict()), verdict, "{mode:o}");
        }
        assert!(is_secret(b"sk_test_x"));
        assert!(is_secret(b"-----BEGIN PRIVATE KEY-----"));
        assert!(!is_secret(b"-----BEGIN CERTIFICATE-----"));
    }
}
