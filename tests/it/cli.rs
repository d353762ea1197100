//! The program itself: what it says, how it ends, and what it writes down.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Stdio;

use http::Method;
use serde_json::Value;

use crate::support::program::{Running, file, program, run};
use crate::support::site::clerk;
use crate::support::upstream::RecordingUpstream;
use crate::support::{Call, cookies};

const KEY: &str = "pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk";

#[test]
fn help_says_what_there_is() {
    let mut all = String::new();
    for command in [
        vec!["--help"],
        vec!["run", "--help"],
        vec!["dev", "--help"],
        vec!["init", "--help"],
        vec!["check", "--help"],
        vec!["doctor", "--help"],
        vec!["explain", "--help"],
        vec!["recipe", "--help"],
        vec!["health", "--help"],
        vec!["schema", "--help"],
        vec!["completions", "--help"],
        vec!["man", "--help"],
    ] {
        let (code, out, err) = run(program().args(&command));
        assert_eq!((code, err.as_str()), (0, ""));
        writeln!(all, "$ clerk-gate {}\n{out}", command.join(" ")).unwrap();
    }
    insta::assert_snapshot!("help", all);
}

#[test]
fn what_cannot_be_asked_ends_with_2() {
    for arguments in [
        vec!["fly"],
        vec!["run", "--colour"],
        vec!["run", "-c", "/nowhere/gate.toml"],
        vec!["check", "-c", "/nowhere/gate.toml"],
        vec!["run"],
        vec!["dev", "--listen", "0.0.0.0:0"],
        vec!["dev", "--upstream", "somewhere"],
        vec!["dev", "--clerk-js", "/nowhere"],
        vec!["dev", "--clerk-js", env!("CARGO_MANIFEST_DIR")],
        vec!["dev", "--token-lifetime", "4"],
        vec!["dev", "--events-to", "https://example.com/events"],
        vec!["health", "not an address"],
        vec!["init"],
        vec!["completions", "tcsh"],
        vec!["man", "fly"],
    ] {
        let (code, out, err) = run(program().args(&arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.starts_with("error: "), "{arguments:?}: {err}");
    }
}

#[test]
fn a_bad_file_is_reported_whole_and_nothing_is_started() {
    let path = file("bad.toml", "lisen = 1\n[clerk]\npublishable-key = \"x\"\n");
    for command in ["run", "check"] {
        let (code, out, err) = run(program().arg(command).arg("-c").arg(&path));
        assert_eq!((code, out.as_str()), (2, ""));
        for problem in [
            "there is no key `lisen`",
            "`publishable-key` is none",
            "there is no upstream",
            "bad.toml: 3 errors",
        ] {
            assert!(err.contains(problem), "{err}");
        }
    }
}

#[test]
fn check_shows_the_routes_as_understood() {
    let path = file(
        "good.toml",
        &format!("clerk.publishable-key = \"{KEY}\"\nupstream.url = \"http://127.0.0.1:3000\"\n"),
    );
    let (code, out, err) = run(program().arg("check").env("CLERK_GATE_CONFIG", &path));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("good.toml: no problem found"), "{out}");
    assert!(out.contains("(everything else)"), "{out}");
}

/// A question to `explain` as it is typed, with what is answered.
fn explained(question: &str, path: &str) -> String {
    let (code, out, err) = run(program()
        .arg("explain")
        .args(question.split(' '))
        .args(["-c", path]));
    assert_eq!((code, err.as_str()), (0, ""), "{question}");
    format!("$ clerk-gate explain {question}\n{out}\n")
}

#[test]
fn explain_tells_which_rule_decides_and_why() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/cases/config/design.toml"
    );
    let mut all = String::new();
    for question in [
        "GET /admin/x --as nobody",
        "GET /admin/x --as user_1,org:member",
        "GET /admin/x --as org:admin,permission=org:invoices:read",
        "GET /public/..;/admin --as org:member",
        "GET /ADMIN/x.json --as signed-in --program",
        "GET /billing --as user_2,verified=2h",
        "GET https://app.example.com/assets/app.js?v=1",
        "GET https://elsewhere.example/",
        "GET /a%00b",
        "POST /sign-in/x --as impersonated --json",
        "GET /x --bearer a.b.c --program",
        "GET /_gate/me --as user_1",
    ] {
        all += &explained(question, path);
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/cases/config/prefixes.toml"
    );
    for question in [
        "GET /app/x?v=1 --as signed-in",
        "GET /files/a --as signed-in --json",
        "GET /files/..;/..;/x --as nobody",
    ] {
        all += &explained(question, path);
    }
    insta::assert_snapshot!("explain", all);
}

#[test]
fn explain_picks_the_site_by_its_host_and_says_which() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/config/sites.toml");
    let mut all = String::new();
    for question in [
        "GET /x --as nobody",
        "GET https://docs.example/handbook/x --as nobody",
        "GET https://docs.example/handbook/x --as org:member",
        "GET https://a.other.example/handbook/x --as org:admin",
        "GET /handbook/x --as org:member --header host:docs.other.example",
        "GET https://elsewhere.example/x --as org:member",
    ] {
        all += &explained(question, path);
    }
    insta::assert_snapshot!("explain_sites", all);
}

#[test]
fn explain_says_what_it_cannot_understand() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/cases/config/design.toml"
    );
    for (arguments, complaint) in [
        (vec!["--as", "admin"], "`admin` is none of"),
        (vec!["--header", "x"], "is not `name: value`"),
        (
            vec!["--as", "nobody", "--bearer", "x"],
            "cannot be used with",
        ),
    ] {
        let (code, out, err) = run(program()
            .args(["explain", "GET", "/x", "-c", path])
            .args(&arguments));
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains(complaint), "{err}");
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, out, err) = run(program().args([
        "run",
        "--publishable-key",
        KEY,
        "--upstream",
        "http://127.0.0.1:3000",
        "--listen",
        &address,
    ]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains(&format!("cannot listen on `{address}`")) && err.contains("hint: another"),
        "{err}"
    );
}

#[test]
fn dev_does_not_start_beside_live_keys() {
    for name in ["CLERK_SECRET_KEY", "CLERK_GATE_CLERK__PUBLISHABLE_KEY"] {
        let value = if name.ends_with("SECRET_KEY") {
            "sk_live_abcdef"
        } else {
            "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k"
        };
        let (code, out, err) = run(program()
            .args(["dev", "--listen", "127.0.0.1:0"])
            .env(name, value));
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(name) && !err.contains(value), "{err}");
    }
}

#[test]
fn health_asks_and_says_why_not() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (code, _, err) = run(program().args(["health", &format!("http://{closed}/readyz")]));
    assert_eq!(code, 1);
    assert!(err.contains("is not well: cannot connect"), "{err}");
}

#[test]
fn whoever_stops_reading_is_no_trouble() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/gateways/clerk-gate.toml"
    );
    for arguments in [
        &["check"][..],
        &["explain", "GET", "/admin"],
        &["explain", "GET", "/admin", "--json"],
        &["recipe", "nginx"],
    ] {
        let mut command = program();
        let mut child = command
            .args(arguments)
            .args(["-c", path])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_serves_writes_one_line_for_each_request_and_drains() {
    let clerk = clerk().await;
    let upstream = RecordingUpstream::start().await;
    let session = clerk.sign_in("ada", None);
    let secret = file("secret", clerk.secret_key());
    let path = file(
        "gate.toml",
        &format!(
            "listen = \"127.0.0.1:0\"\n[clerk]\npublishable-key = \"{}\"\nsecret-key-file = \"{}\"\napi-url = \"{url}\"\nfrontend-api-url = \"{url}\"\nsign-in-url = \"{url}/sign-in\"\n[upstream]\nurl = \"http://{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[shutdown]\ndrain = \"5s\"\n[[route]]\nname = \"open\"\npath = \"/open/**\"\nrequire = \"public\"\n",
            clerk.publishable_key(),
            secret.display(),
            upstream.address,
            url = clerk.url(),
        ),
    );
    let (mut running, gate) = Running::start(program().arg("run").arg("-c").arg(&path));
    let ask = |target: &str| Call::new(gate, Method::GET, target);

    let answer = ask("/private?token=hidden-in-the-query")
        .cookie(&format!("{}; other=hidden-in-a-cookie", cookies(&session)))
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let line = running.request_line();
    let entry: Value = serde_json::from_str(&line).unwrap();
    for (name, value) in [
        ("message", "request"),
        ("method", "GET"),
        ("path", "/private"),
        ("route", "(everything else)"),
        ("decision", "forward"),
        ("user", session.user_id.as_str()),
        ("session", session.session_id.as_str()),
        ("client", "127.0.0.1"),
        ("level", "INFO"),
    ] {
        assert_eq!(entry[name], value, "{line}");
    }
    assert_eq!(
        (&entry["status"], &entry["upstream_status"]),
        (&200.into(), &200.into())
    );
    assert!(
        entry["verdict_us"].is_u64() && entry["upstream_us"].is_u64(),
        "{line}"
    );
    assert_eq!(entry["request_id"], answer.header("x-request-id").unwrap());

    let answer = ask("/private").bearer("hidden.in.a-token").send().await;
    assert_eq!(answer.status, 401);
    let refused = running.request_line();
    let entry: Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(
        (&entry["decision"], &entry["reason"]),
        (&"refuse".into(), &"token-invalid".into())
    );

    for line in [&line, &refused] {
        for secret in [
            "hidden",
            session.token.as_str(),
            clerk.secret_key(),
            "sk_test",
        ] {
            assert!(!line.contains(secret), "{line}");
        }
    }

    running.signal("TERM");
    let (code, rest) = running.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("\"stopped\""), "{rest}");
}
