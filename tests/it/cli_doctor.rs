//! `clerk-gate doctor`, against a Clerk, an application and a gate of this machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clerk_gate::standin::{Endpoint, Fault, StandIn};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::docs::{part, read, rows};
use crate::support::World;
use crate::support::program::{file, program, run};
use crate::support::site::clerk;
use crate::tls::expiry::{this_year, valid};

/// What the doctor found: its exit code, and each check's verdicts and words, in order.
struct Diagnosis {
    code: i32,
    checks: BTreeMap<String, Vec<(String, String)>>,
    text: String,
}

impl Diagnosis {
    fn verdicts(&self, check: &str) -> Vec<&str> {
        let found = self.checks.get(check).into_iter().flatten();
        found.map(|(verdict, _)| verdict.as_str()).collect()
    }

    #[track_caller]
    fn assert(&self, check: &str, verdict: &str, said: &str) {
        let found = self.checks.get(check).into_iter().flatten();
        let mut matching = found.filter(|(is, says)| is == verdict && says.contains(said));
        assert!(
            matching.next().is_some(),
            "{check} is not {verdict} with `{said}`: {}",
            self.text
        );
    }
}

/// Runs it with a configuration of its own file, which nobody else may read.
async fn diagnose(name: &str, text: &str, options: &[&str]) -> Diagnosis {
    let path = private(&format!("doctor-{name}.toml"), text);
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    let asked = tokio::task::spawn_blocking(move || {
        run(program()
            .args(["doctor", "--json", "-c"])
            .arg(path)
            .args(options))
    });
    let (code, out, err) = asked.await.unwrap();
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let mut checks: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for check in told["checks"].as_array().unwrap() {
        let of = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let found = (of("verdict"), of("said") + " " + &of("hint"));
        checks.entry(of("check")).or_default().push(found);
    }
    for secret in ["sk_test_", "sk_live_", "PRIVATE KEY", "hunter2"] {
        assert!(!out.contains(secret) && !err.contains(secret), "{out}{err}");
    }
    Diagnosis {
        code,
        checks,
        text: out,
    }
}

fn private(name: &str, text: &str) -> PathBuf {
    let path = file(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A configuration of that Clerk; `more` stands first, at the top level.
fn configuration(clerk: &StandIn, upstream: SocketAddr, more: &str) -> String {
    let (url, key, secret) = (clerk.url(), clerk.publishable_key(), clerk.secret_key());
    format!(
        "{more}\nadmin.listen = \"127.0.0.1:9901\"\nupstream.url = \"http://{upstream}\"\n[clerk]\npublishable-key = \"{key}\"\nsecret-key = \"{secret}\"\nfrontend-api-url = \"{url}\"\napi-url = \"{url}\"\n"
    )
}

async fn application() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_works_has_no_problem() {
    let world = World::start().await;
    let (clerk, app) = (clerk().await, application().await);
    let top = format!("public-url = \"http://{}\"", world.gate);
    let text = configuration(&clerk, app.local_addr().unwrap(), &top);
    let found = diagnose("well", &text, &[]).await;
    assert_eq!(found.code, 0, "{}", found.text);
    for (check, said) in [
        ("keys", "a development instance"),
        ("secret-key", "clerk takes it, and it is of this instance"),
        ("key-set", "one usable key"),
        ("clock", "as clerk's"),
        ("issuer", "http"),
        ("authorized-parties", "every party"),
        ("public-url", "leads to a gate"),
        ("forwarded-headers", "is not believed"),
        ("cookie-sizes", "a seal has"),
        ("upstream", "takes connections"),
        ("seal-key", "there is none"),
        ("files", "one file is as private"),
        ("store", "in memory"),
        ("admin", "on this machine only"),
    ] {
        found.assert(check, "ok", said);
    }
    let around = found.verdicts("around-the-gate");
    assert!(matches!(around[..], ["ok" | "skipped"]), "{}", found.text);
    world.upstream.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_clerk_is_found() {
    let app = application().await;
    for (fault, said) in [
        (Fault::Status(500), "answers 500"),
        (Fault::Garbage, "the answer is no key set"),
        (Fault::Empty, "no usable key"),
        (Fault::Close, "cannot be asked"),
    ] {
        let clerk = clerk().await;
        clerk.misbehave(Endpoint::Jwks, fault);
        let text = configuration(&clerk, app.local_addr().unwrap(), "");
        let found = diagnose("clerk", &text, &[]).await;
        assert_eq!(found.code, 1, "{}", found.text);
        found.assert("key-set", "problem", said);
        found.assert("upstream", "ok", "takes connections");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_two_instances_are_told_apart() {
    let app = application().await;
    let (clerk, other) = (clerk().await, clerk().await);
    let own = configuration(&clerk, app.local_addr().unwrap(), "");
    let api = |of: &StandIn| format!("\napi-url = \"{}\"", of.url());
    let text = own
        .replace(&api(&clerk), &api(&other))
        .replace(clerk.secret_key(), other.secret_key());
    let found = diagnose("two-instances", &text, &[]).await;
    assert_eq!(found.code, 1, "{}", found.text);
    found.assert("secret-key", "problem", "of another instance");

    let wrong = own.replace(clerk.secret_key(), "sk_test_wrong");
    let found = diagnose("wrong-secret", &wrong, &[]).await;
    found.assert("secret-key", "problem", "clerk does not take it: 401");

    for (pem, verdict, said) in [
        (clerk.jwt_key_pem(), "ok", "a key of this instance"),
        (other.jwt_key_pem(), "problem", "no key of this instance"),
    ] {
        let text = format!("{own}jwt-key = \"\"\"\n{pem}\"\"\"\n");
        let found = diagnose("jwt-key", &text, &[]).await;
        found.assert("jwt-key", verdict, said);
    }

    let issuer = format!("{own}issuer = \"https://elsewhere.example\"\n");
    let found = diagnose("issuer", &issuer, &[]).await;
    found.assert(
        "issuer",
        "problem",
        "accepted is `https://elsewhere.example`",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_to_no_gate_is_a_problem() {
    let (clerk, app) = (clerk().await, application().await);
    let upstream = app.local_addr().unwrap();
    // What answers there is Clerk, which is no gate.
    let top = format!("public-url = \"{}\"", clerk.url());
    let found = diagnose("no-gate", &configuration(&clerk, upstream, &top), &[]).await;
    assert_eq!(found.code, 1, "{}", found.text);
    found.assert("public-url", "problem", "by no gate");

    let gone = application().await;
    let top = format!("public-url = \"http://{}\"", gone.local_addr().unwrap());
    drop(gone);
    let found = diagnose("nothing", &configuration(&clerk, upstream, &top), &[]).await;
    assert_eq!(found.code, 0, "{}", found.text);
    found.assert("public-url", "warning", "nothing answers");

    let top = "public-url = \"http://nowhere.invalid\"";
    let found = diagnose("no-name", &configuration(&clerk, upstream, top), &[]).await;
    found.assert("public-url", "problem", "leads nowhere");
}

/// Something that ends TLS and speaks nothing above it: its port, its certificate in PEM, and itself.
async fn encrypting() -> (u16, String, tokio::task::JoinHandle<()>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(
        rustls::crypto::aws_lc_rs::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key)
    .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = application().await;
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    (port, made.cert.pem(), serving)
}

/// The connection is the one that requests have: with the same authorities, and the same protocol.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_reached_as_requests_reach_it() {
    let (clerk, app) = (clerk().await, application().await);
    let (port, pem, serving) = encrypting().await;
    let authority = private("doctor-authority.pem", &pem);
    let plain = configuration(&clerk, app.local_addr().unwrap(), "");
    let reached = |more: &str| {
        let line = format!("upstream.url = \"https://localhost:{port}\"\n{more}");
        let lines = plain.lines().map(|written| {
            if written.starts_with("upstream.url") {
                line.clone()
            } else {
                written.to_owned()
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let trusted = format!("upstream.ca-file = \"{}\"", authority.display());
    let found = diagnose("unknown-authority", &reached(""), &[]).await;
    found.assert("upstream", "problem", "cannot be reached");
    let found = diagnose("known-authority", &reached(&trusted), &[]).await;
    found.assert("upstream", "ok", "takes connections");
    let http2 = format!("{trusted}\nupstream.protocol = \"http2\"");
    let found = diagnose("other-protocol", &reached(&http2), &[]).await;
    found.assert("upstream", "problem", "does not speak what `protocol` says");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_a_problem() {
    let (clerk, app) = (clerk().await, application().await);
    let (port, _, serving) = encrypting().await;
    let top = format!("public-url = \"https://localhost:{port}\"");
    let text = configuration(&clerk, app.local_addr().unwrap(), &top);
    let found = diagnose("certificate", &text, &[]).await;
    serving.abort();
    assert_eq!(found.code, 1, "{}", found.text);
    found.assert(
        "public-url",
        "problem",
        "the certificate of `https://localhost:",
    );
    found.assert("forwarded-headers", "warning", "is in no `trusted-proxies`");
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/keys");
    let own = format!(
        "{text}\n[[tls.certificate]]\ncert-file = \"{keys}/tls.pem\"\nkey-file = \"{keys}/tls-key.pem\"\n"
    );
    let found = diagnose("own-certificate", &own, &["--offline"]).await;
    found.assert("forwarded-headers", "ok", "nobody's are believed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_believes_what_clients_write_is_found() {
    let world = World::with(crate::support::usual_routes())
        .configure(|config| config.edge.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()])
        .start()
        .await;
    let (clerk, app) = (clerk().await, application().await);
    let top = format!("public-url = \"http://{}\"", world.gate);
    let text = configuration(&clerk, app.local_addr().unwrap(), &top);
    let found = diagnose("believed", &text, &[]).await;
    assert_eq!(found.code, 1, "{}", found.text);
    found.assert("forwarded-headers", "problem", "the gate believes it");
    world.upstream.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_without_the_public_address_are_a_problem() {
    let (clerk, app) = (clerk().await, application().await);
    let top = "public-url = \"http://localhost:8080\"";
    let own = configuration(&clerk, app.local_addr().unwrap(), top);
    let text = format!("{own}authorized-parties = [\"https://other.example.com\"]\n");
    let found = diagnose("parties", &text, &["--offline"]).await;
    assert_eq!(found.code, 1, "{}", found.text);
    found.assert("authorized-parties", "problem", "http://localhost:8080");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_everybody_may_read_or_write_are_told() {
    let (clerk, app) = (clerk().await, application().await);
    let secret = private("doctor-secret", clerk.secret_key());
    let own = configuration(&clerk, app.local_addr().unwrap(), "");
    let line = format!("secret-key = \"{}\"", clerk.secret_key());
    let named = format!("secret-key-file = \"{}\"", secret.display());
    let text = own.replace(&line, &named);
    for (mode, code, verdict, said) in [
        (0o600, 0, "ok", "2 files are as private"),
        (0o604, 0, "warning", "which holds a secret"),
        (0o606, 1, "problem", "may write"),
    ] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let found = diagnose("files", &text, &["--offline"]).await;
        assert_eq!(found.code, code, "{}", found.text);
        found.assert("files", verdict, said);
    }
    assert_eq!(clerk.calls(Endpoint::All), 0, "`--offline` asks nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_looked_at_where_the_gate_shows_any() {
    let (clerk, app) = (clerk().await, application().await);
    let own = configuration(&clerk, app.local_addr().unwrap(), "");
    let year = this_year();
    let good = valid((2001, 1, 1), (year + 2, 1, 1));
    let old = valid((2001, 1, 1), (2002, 1, 1));
    let early = valid((year + 2, 1, 1), (year + 3, 1, 1));
    for (name, certificates, code, verdict, said) in [
        ("none", vec![], 0, None, ""),
        (
            "good",
            vec![&good, &good],
            0,
            Some("ok"),
            "2 certificates are valid",
        ),
        (
            "old",
            vec![&good, &old],
            1,
            Some("problem"),
            "the certificate of `app.example` has expired",
        ),
        (
            "early",
            vec![&early],
            1,
            Some("problem"),
            "is not valid yet",
        ),
    ] {
        let mut text = own.clone();
        for (place, (chain, key)) in certificates.into_iter().enumerate() {
            let chain = private(&format!("doctor-{name}-{place}-chain"), chain);
            let key = private(&format!("doctor-{name}-{place}-key"), key);
            let (chain, key) = (chain.display(), key.display());
            write!(
                text,
                "[[tls.certificate]]\ncert-file = \"{chain}\"\nkey-file = \"{key}\"\n"
            )
            .unwrap();
        }
        let found = diagnose(&format!("certificates-{name}"), &text, &["--offline"]).await;
        assert_eq!(found.code, code, "{}", found.text);
        assert_eq!(found.verdicts("certificates"), Vec::from_iter(verdict));
        if let Some(verdict) = verdict {
            found.assert("certificates", verdict, said);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_offline_and_nothing_is_skipped_without_a_word() {
    let (clerk, app) = (clerk().await, application().await);
    let text = configuration(&clerk, app.local_addr().unwrap(), "");
    let found = diagnose("offline", &text, &["--offline"]).await;
    assert_eq!(found.code, 0, "{}", found.text);
    for check in [
        "key-set",
        "secret-key",
        "issuer",
        "clock",
        "public-url",
        "upstream",
        "around-the-gate",
        "store",
    ] {
        assert_eq!(found.verdicts(check), ["skipped"], "{check}");
    }
    assert_eq!(clerk.calls(Endpoint::All), 0);
    let accepted = tokio::time::timeout(Duration::from_millis(1), app.accept()).await;
    assert!(accepted.is_err(), "the application was connected to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_does_not_answer_is_a_problem() {
    let (clerk, app) = (clerk().await, application().await);
    let gone = application().await;
    let at = gone.local_addr().unwrap();
    drop(gone);
    let own = configuration(&clerk, app.local_addr().unwrap(), "");
    let text = format!("{own}[store.redis]\nurl = \"redis://gate:hunter2@{at}\"\n");
    let found = diagnose("redis", &text, &[]).await;
    assert_eq!(found.code, 1, "{}", found.text);
    found.assert("store", "problem", "does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_in_lines_and_a_bad_file_ends_with_2() {
    let (clerk, app) = (clerk().await, application().await);
    let text = configuration(
        &clerk,
        app.local_addr().unwrap(),
        "listen = \"127.0.0.1:0\"",
    );
    let path = private("doctor-people.toml", &text);
    let asked = tokio::task::spawn_blocking(move || {
        run(program().args(["doctor", "--offline", "-c"]).arg(path))
    });
    let (code, out, _) = asked.await.unwrap();
    assert_eq!(code, 0);
    assert!(out.contains("no problem found\n\n"), "{out}");
    let told = out.lines().find(|line| line.starts_with("ok       keys "));
    assert!(told.is_some(), "{out}");

    let bad = private("doctor-bad.toml", "no = \"configuration\"\n");
    let (code, out, err) = run(program().args(["doctor", "-c"]).arg(bad));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("there is no key `no`"), "{err}");
}

#[test]
fn every_check_is_in_its_document() {
    let document = read("docs/how-to/check-a-setup.md");
    let documented: Vec<String> = rows(part(&document, "What is checked"))
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    let source = read("src/cli/doctor/finding.rs");
    let named: Vec<String> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""))
        .map(|(_, name)| name.trim_end_matches("\",").to_owned())
        .filter(|name| !["ok", "warning", "problem", "skipped"].contains(&name.as_str()))
        .collect();
    assert_eq!(documented.len(), 17);
    assert_eq!(documented, named);
}
