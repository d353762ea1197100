//! What a check has found, and how it is told.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Well,
    /// It works, and ought to be looked at.
    Warning,
    /// It does not work, or is not safe.
    Problem,
    /// It was not looked at, or cannot be seen from here.
    Skipped,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Skipped => "skipped",
        }
    }
}

/// What was looked at. The names stand in the answer and in the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Keys,
    SecretKey,
    JwtKey,
    KeySet,
    Clock,
    Issuer,
    AuthorizedParties,
    PublicUrl,
    ForwardedHeaders,
    CookieSizes,
    Upstream,
    AroundTheGate,
    SealKey,
    Certificates,
    Files,
    Store,
    Admin,
}

impl Check {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::SecretKey => "secret-key",
            Self::JwtKey => "jwt-key",
            Self::KeySet => "key-set",
            Self::Clock => "clock",
            Self::Issuer => "issuer",
            Self::AuthorizedParties => "authorized-parties",
            Self::PublicUrl => "public-url",
            Self::ForwardedHeaders => "forwarded-headers",
            Self::CookieSizes => "cookie-sizes",
            Self::Upstream => "upstream",
            Self::AroundTheGate => "around-the-gate",
            Self::SealKey => "seal-key",
            Self::Certificates => "certificates",
            Self::Files => "files",
            Self::Store => "store",
            Self::Admin => "admin",
        }
    }
}

/// What a check has found.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    check: Check,
    verdict: Verdict,
    /// What is so.
    said: String,
    /// What the reader can do.
    hint: Option<String>,
}

impl Finding {
    pub(super) fn well(check: Check, said: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Well,
            said: said.into(),
            hint: None,
        }
    }

    pub(super) fn warning(check: Check, said: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            hint: Some(hint.into()),
            ..Self::well(check, said)
        }
    }

    pub(super) fn problem(check: Check, said: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Problem,
            ..Self::warning(check, said, hint)
        }
    }

    pub(super) fn skipped(check: Check, said: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Skipped,
            ..Self::well(check, said)
        }
    }

    /// The same, said of one of several sites.
    pub(super) fn on(mut self, site: Option<&str>) -> Self {
        if let Some(site) = site {
            let _ = write!(self.said, " (site `{site}`)");
        }
        self
    }

    #[cfg(test)]
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    #[cfg(test)]
    pub(super) fn said(&self) -> &str {
        &self.said
    }
}

/// How many findings have this verdict.
pub(super) fn count(findings: &[Finding], verdict: Verdict) -> usize {
    let of_it = findings.iter().filter(|found| found.verdict == verdict);
    of_it.count()
}

/// For people: a line for each finding, and a hint below those that need one.
pub(super) fn text(name: &str, findings: &[Finding]) -> String {
    let mut text = format!("{name}: {}\n\n", summary(findings));
    let width = findings.iter().map(|found| found.check.name().len()).max();
    let width = width.unwrap_or_default();
    for found in findings {
        let (verdict, check) = (found.verdict.word(), found.check.name());
        let _ = writeln!(text, "{verdict:8} {check:width$}  {}", found.said);
        if let Some(hint) = &found.hint {
            let _ = writeln!(text, "{:8} {:width$}  hint: {hint}", "", "");
        }
    }
    text
}

fn summary(findings: &[Finding]) -> String {
    let counted = |verdict, noun: &str| match count(findings, verdict) {
        0 => None,
        1 => Some(format!("one {noun}")),
        many => Some(format!("{many} {noun}s")),
    };
    let parts: Vec<String> = [
        counted(Verdict::Problem, "problem"),
        counted(Verdict::Warning, "warning"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        "no problem found".to_owned()
    } else {
        parts.join(" and ")
    }
}

/// For programs.
pub(super) fn json(name: &str, findings: &[Finding]) -> Json {
    let checks: Vec<Json> = findings
        .iter()
        .map(|found| {
            json!({
                "check": found.check.name(),
                "verdict": found.verdict.word(),
                "said": found.said,
                "hint": found.hint,
            })
        })
        .collect();
    json!({
        "file": name,
        "problems": count(findings, Verdict::Problem),
        "warnings": count(findings, Verdict::Warning),
        "checks": checks,
    })
}
