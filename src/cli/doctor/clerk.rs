//! What Clerk says: its keys, its name, its clock, and whether it takes the secret key.

use serde_json::Value;

use super::SiteView;
use super::finding::{Check, Finding};
use super::web::{Reply, Web};
use crate::clerk::keys::KeySet;
use crate::clock::Clock;
use crate::config::{ClerkConfig, KeySource};
use crate::core::instance::IssuerRule;

/// The keys of an instance, where everybody finds them.
const JWKS: &str = "/.well-known/jwks.json";

/// What an authorisation server says of itself (RFC 8414): who issues its tokens.
const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Everything that is asked of the instance of a site.
pub(super) async fn all(web: &Web, site: &SiteView<'_>, clock: &dyn Clock) -> Vec<Finding> {
    let clerk = site.clerk;
    let at = frontend_api(clerk);
    let (jwks, about) = (format!("{at}{JWKS}"), format!("{at}{METADATA}"));
    let (keys, metadata, of_backend) = tokio::join!(
        web.get(&jwks, None, &[], clock),
        web.get(&about, None, &[], clock),
        backend_keys(web, clerk, clock),
    );
    let skew_ms = clerk.instance.clock_skew_ms;
    let mut findings = vec![clock_of(keys.as_ref().ok(), skew_ms)];
    let (found, known) = key_set(&at, keys);
    findings.push(found);
    findings.push(issuer(&clerk.instance.issuer, metadata));
    if let KeySource::Pem(pem) = &clerk.keys {
        findings.push(jwt_key(pem, known.as_ref()));
    }
    findings.push(match of_backend {
        Some(answer) => secret_key(answer, known.as_ref()),
        None => Finding::warning(
            Check::SecretKey,
            "there is none: sessions are not renewed, and nobody is signed out at clerk",
            "add `secret-key-file` to `[clerk]`, or set `CLERK_SECRET_KEY`",
        ),
    });
    let name = site.name.as_deref();
    findings.into_iter().map(|found| found.on(name)).collect()
}

/// The Frontend API itself, not a proxy of it.
fn frontend_api(clerk: &ClerkConfig) -> String {
    match &clerk.keys {
        KeySource::FrontendApi { url } => url.clone(),
        KeySource::Pem(_) | KeySource::BackendApi => {
            let own = &clerk.instance.authorization_server;
            own.trim_end_matches('/').to_owned()
        }
    }
}

/// What the Backend API says its keys are, which only the right secret key is told.
async fn backend_keys(
    web: &Web,
    clerk: &ClerkConfig,
    clock: &dyn Clock,
) -> Option<Result<Reply, String>> {
    let secret = clerk.secret_key.as_ref()?;
    let url = format!("{}/v1/jwks", clerk.api_url.as_str().trim_end_matches('/'));
    Some(web.get(&url, Some(secret), &[], clock).await)
}

fn clock_of(answer: Option<&Reply>, skew_ms: u64) -> Finding {
    let check = Check::Clock;
    match answer.map(Reply::ahead_ms) {
        None => Finding::skipped(check, "clerk cannot be reached"),
        Some(None) => Finding::skipped(check, "clerk does not tell the time"),
        Some(Some(ahead_ms)) => judged_clock(ahead_ms, skew_ms),
    }
}

fn judged_clock(ahead_ms: i64, skew_ms: u64) -> Finding {
    const HINT: &str = "have this machine's clock set by NTP";
    let off_ms = ahead_ms.unsigned_abs();
    let tenths = off_ms / 100;
    let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let said = format!(
        "this machine is {}.{} s {way} clerk",
        tenths / 10,
        tenths % 10
    );
    match off_ms {
        0..1_000 => Finding::well(Check::Clock, "as clerk's, to a second"),
        _ if off_ms > skew_ms => Finding::problem(
            Check::Clock,
            format!("{said}, more than `clock-skew` allows: good tokens are refused"),
            HINT,
        ),
        _ => Finding::warning(Check::Clock, said, HINT),
    }
}

fn key_set(at: &str, answer: Result<Reply, String>) -> (Finding, Option<KeySet>) {
    let check = Check::KeySet;
    let wrong = |said: String| {
        let hint = "the gate fetches keys there: let it through, or give `jwt-key-file`";
        (Finding::problem(check, said, hint), None)
    };
    let answer = match answer {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) => return wrong(format!("`{at}` answers {}", answer.status)),
        Err(why) => return wrong(format!("`{at}` cannot be asked: {why}")),
    };
    match KeySet::from_jwks(&answer.body) {
        Ok(keys) => {
            let said = match keys.len() {
                1 => format!("one usable key at `{at}`"),
                many => format!("{many} usable keys at `{at}`"),
            };
            (Finding::well(check, said), Some(keys))
        }
        Err(error) => wrong(format!("at `{at}`: {error}")),
    }
}

fn issuer(rule: &IssuerRule, metadata: Result<Reply, String>) -> Finding {
    let check = Check::Issuer;
    let accepted = match rule {
        IssuerRule::Any => {
            return Finding::warning(
                check,
                "tokens of every issuer are accepted if their signature fits",
                "leave `issuer` out: it follows from the publishable key",
            );
        }
        IssuerRule::OneOf(accepted) => accepted,
    };
    let told = metadata
        .ok()
        .filter(|answer| answer.status == 200)
        .and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok())
        .and_then(|told| Some(told.get("issuer")?.as_str()?.to_owned()));
    let Some(told) = told else {
        return Finding::skipped(check, "clerk does not say who issues its tokens");
    };
    // A stand-in in plain text hands out tokens of the address that Clerk would have.
    let over_tls = told.replacen("http://", "https://", 1);
    if accepted.contains(&told) || accepted.contains(&over_tls) {
        return Finding::well(check, format!("`{told}`"));
    }
    let listed: Vec<String> = accepted.iter().map(|one| format!("`{one}`")).collect();
    Finding::problem(
        check,
        format!("clerk says `{told}`, and accepted is {}", listed.join(", ")),
        "take `issuer` out of `[clerk]`, or add this address to it",
    )
}

fn jwt_key(pem: &str, known: Option<&KeySet>) -> Finding {
    let check = Check::JwtKey;
    let Some(known) = known else {
        return Finding::skipped(
            check,
            "clerk's keys are not known, so it cannot be compared",
        );
    };
    match KeySet::from_pem(pem) {
        Ok(own) if own.shares_a_key_with(known) => {
            Finding::well(check, "it is a key of this instance")
        }
        Ok(_) | Err(_) => Finding::problem(
            check,
            "it is no key of this instance, or one that is no longer used: every token is refused",
            "copy the `JWKS public key` again from Clerk's dashboard, or leave `jwt-key` out",
        ),
    }
}

fn secret_key(answer: Result<Reply, String>, known: Option<&KeySet>) -> Finding {
    let check = Check::SecretKey;
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            return Finding::problem(
                check,
                format!("the Backend API cannot be asked: {why}"),
                "sessions are renewed there: let the gate through to `api-url`",
            );
        }
    };
    match answer.status {
        200 => {}
        401 | 403 => {
            return Finding::problem(
                check,
                format!("clerk does not take it: {}", answer.status),
                "copy it again from Clerk's dashboard, under API keys",
            );
        }
        other => {
            return Finding::warning(
                check,
                format!("the Backend API answers {other}"),
                "try again; if it stays, ask Clerk's status page",
            );
        }
    }
    match (KeySet::from_jwks(&answer.body), known) {
        (Ok(own), Some(known)) if !own.shares_a_key_with(known) => Finding::problem(
            check,
            "it is of another instance than the publishable key",
            "take both from the same instance in Clerk's dashboard",
        ),
        (Ok(_), Some(_)) => Finding::well(check, "clerk takes it, and it is of this instance"),
        (Ok(_), None) => Finding::well(check, "clerk takes it"),
        (Err(error), _) => Finding::warning(
            check,
            format!("of the Backend API: {error}"),
            "see whether `api-url` is the Backend API",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_the_gate_forgives() {
        for (ahead_ms, verdict, said) in [
            (0, Verdict::Well, "as clerk's"),
            (-900, Verdict::Well, "as clerk's"),
            (2_340, Verdict::Warning, "2.3 s ahead of clerk"),
            (-4_000, Verdict::Warning, "4.0 s behind clerk"),
            (5_100, Verdict::Problem, "5.1 s ahead of clerk, more than"),
            (-60_000, Verdict::Problem, "60.0 s behind clerk, more than"),
        ] {
            let found = judged_clock(ahead_ms, 5_000);
            assert_eq!(found.verdict(), verdict, "{ahead_ms}");
            assert!(found.said().contains(said), "{}", found.said());
        }
    }
}
