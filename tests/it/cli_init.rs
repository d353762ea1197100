//! The first configuration file: what `clerk-gate init` writes, and what it refuses to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clerk_gate::config::{self, Source, Surroundings};

use crate::support::NOW_MS;
use crate::support::program::{program, run};

const TEST_KEY: &str = "pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk";
const LIVE_KEY: &str = "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k";
const UPSTREAM: &str = "http://127.0.0.1:3000";
const PUBLIC_URL: &str = "https://app.example.com";

/// An empty folder of a test's own.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    fs::create_dir(&path).unwrap();
    path
}

/// What there is in a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// `init` in this folder, for a key and perhaps a public address.
fn init(folder: &Path, key: &str, public_url: Option<&str>) -> Command {
    let mut command = program();
    command
        .current_dir(folder)
        .args(["init", "--publishable-key", key, "--upstream", UPSTREAM]);
    if let Some(url) = public_url {
        command.args(["--public-url", url]);
    }
    command
}

#[test]
fn what_init_writes_passes_check() {
    let mut written = Vec::new();
    for (name, key, public_url) in [
        ("init-test", TEST_KEY, None),
        ("init-test-public", TEST_KEY, Some(PUBLIC_URL)),
        ("init-live", LIVE_KEY, Some(PUBLIC_URL)),
        ("init-live-local", LIVE_KEY, Some("http://localhost:8080")),
    ] {
        let folder = folder(name);
        let (code, out, err) = run(&mut init(&folder, key, public_url));
        assert_eq!((code, out.as_str()), (0, ""), "{name}: {err}");
        assert!(err.contains("`clerk-gate.toml` is written"), "{err}");
        let (code, out, err) = run(program().current_dir(&folder).arg("check"));
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
        assert!(out.contains("clerk-gate.toml: no problem found"), "{out}");
        let text = fs::read_to_string(folder.join("clerk-gate.toml")).unwrap();
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(120), "{name}: {widest:?}");
        written.push(text);
    }
    insta::assert_snapshot!("init_test", written[0]);
    insta::assert_snapshot!("init_live", written[2]);
}

#[test]
fn tokens_of_other_applications_are_turned_away_with_a_live_key_over_https_alone() {
    for (key, public_url, expected) in [
        (LIVE_KEY, PUBLIC_URL, vec![PUBLIC_URL.to_owned()]),
        (LIVE_KEY, "http://localhost:8080", Vec::new()),
        (TEST_KEY, PUBLIC_URL, Vec::new()),
    ] {
        let folder = folder("init-parties");
        let (_, text, _) = run(init(&folder, key, Some(public_url)).args(["-o", "-"]));
        let loaded = load(&text, key);
        let instance = loaded.config.clerk.instance;
        assert_eq!(instance.authorized_parties, expected, "{key} {public_url}");
    }
}

fn load(text: &str, key: &str) -> config::Loaded {
    let files = |path: &Path| -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/run/secrets/clerk") if key == LIVE_KEY => Ok(b"sk_live_x".to_vec()),
            Some("/run/secrets/clerk") => Ok(b"sk_test_x".to_vec()),
            Some("/run/secrets/seal-keys") => {
                Ok(b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_vec())
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    };
    let surroundings = Surroundings {
        environment: &Vec::new(),
        flags: &[],
        files: &files,
        now_ms: NOW_MS,
    };
    config::load(&Source::new("init", text), &surroundings)
        .unwrap_or_else(|report| panic!("{text}\n{report}"))
}

#[test]
fn everything_that_is_suggested_in_the_file_can_be_taken_at_its_word() {
    let folder = folder("init-suggestions");
    for (key, public_url, settings) in [
        (TEST_KEY, None, 12),
        (TEST_KEY, Some(PUBLIC_URL), 11),
        (LIVE_KEY, Some(PUBLIC_URL), 10),
    ] {
        let (_, text, _) = run(init(&folder, key, public_url).args(["-o", "-"]));
        let mut count = 0;
        let mut taken = String::new();
        for line in text.lines() {
            let suggested = line.strip_prefix("# ").filter(|rest| {
                let name = rest.split_once('=').map_or("", |(name, _)| name.trim());
                let is_name =
                    |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
                (!name.is_empty() && is_name(name)) || rest.starts_with('[')
            });
            count += usize::from(suggested.is_some_and(|rest| !rest.starts_with('[')));
            taken += suggested.unwrap_or(line);
            taken += "\n";
        }
        assert_eq!(count, settings, "{taken}");
        let loaded = load(&taken, key);
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert!(loaded.config.clerk.secret_key.is_some(), "{taken}");
        assert_eq!(loaded.config.clerk.seal_keys.len(), 1, "{taken}");
        assert_eq!(loaded.config.policy.routes().len(), 2, "{taken}");
    }
}

#[test]
fn a_file_that_is_there_is_left_as_it_is_unless_told_otherwise() {
    let folder = folder("init-there");
    let path = folder.join("clerk-gate.toml");
    fs::write(&path, "# mine\n").unwrap();
    let (code, out, err) = run(&mut init(&folder, TEST_KEY, None));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.starts_with("error: `clerk-gate.toml` is there already") && err.contains("`--force`"),
        "{err}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "# mine\n");

    let (code, _, err) = run(init(&folder, TEST_KEY, None).arg("--force"));
    assert_eq!(code, 0, "{err}");
    assert!(fs::read_to_string(&path).unwrap().contains(TEST_KEY));
    let (code, printed, err) = run(init(&folder, TEST_KEY, None).args(["-o", "-"]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(printed, fs::read_to_string(&path).unwrap());
    assert_eq!(files(&folder), ["clerk-gate.toml"]);
}

#[test]
fn a_file_that_cannot_be_written_ends_with_1() {
    let folder = folder("init-nowhere");
    let (code, out, err) = run(init(&folder, TEST_KEY, None).args(["-o", "nowhere/gate.toml"]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("error: cannot write `nowhere/gate.toml`"),
        "{err}"
    );
}

#[test]
fn secrets_of_the_environment_are_named_and_never_written() {
    let folder = folder("init-secrets");
    let secrets = [
        ("CLERK_SECRET_KEY", "sk_test_hidden1"),
        ("CLERK_GATE_CLERK__SECRET_KEY", "sk_test_hidden2"),
        ("CLERK_GATE_SESSION__SEAL_KEY", "hidden3"),
        ("CLERK_WEBHOOK_SIGNING_SECRET", "whsec_hidden4"),
    ];
    let others = [
        ("CLERK_GATE_CONFIG", "hidden5"),
        ("CLERK_GATE_LISTEN", ""),
        ("CLERK_GATE_X\nlisten = \"hidden6\"", "hidden6"),
        ("DATABASE_PASSWORD", "hidden7"),
    ];
    let (code, out, err) = run(init(&folder, TEST_KEY, None).envs(secrets).envs(others));
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let text = fs::read_to_string(folder.join("clerk-gate.toml")).unwrap();
    assert!(
        !text.contains("hidden") && !err.contains("hidden"),
        "{text}\n{err}"
    );
    let named: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .filter(|line| {
            line.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        })
        .collect();
    let mut expected = secrets.map(|(name, _)| name);
    expected.sort_unstable();
    assert_eq!(named, expected);
}

#[test]
fn what_is_missing_or_wrong_is_said_with_what_to_do_and_nothing_is_written() {
    let folder = folder("init-wrong");
    let whole = |key: &'static str| vec!["--publishable-key", key, "--upstream", UPSTREAM];
    let and = |mut all: Vec<&'static str>, more: &[&'static str]| {
        all.extend(more);
        all
    };
    for (arguments, complaints) in [
        (
            vec![],
            vec!["there is no publishable key", "there is no upstream"],
        ),
        (
            vec!["--upstream", UPSTREAM],
            vec!["there is no publishable key"],
        ),
        (
            vec!["--publishable-key", TEST_KEY],
            vec!["there is no upstream"],
        ),
        (
            vec!["--publishable-key", LIVE_KEY, "--upstream", UPSTREAM],
            vec!["a live key needs the address that browsers use"],
        ),
        (
            whole("pk_test_hidden"),
            vec!["does not decode to a host name"],
        ),
        (whole("sk_test_hidden"), vec!["`--publishable-key` is none"]),
        (
            vec![
                "--publishable-key",
                TEST_KEY,
                "--upstream",
                "http://hidden:hidden@app:3000",
            ],
            vec!["`--upstream` is no address"],
        ),
        (
            vec![
                "--publishable-key",
                TEST_KEY,
                "--upstream",
                "127.0.0.1:3000",
            ],
            vec!["`--upstream` is no address"],
        ),
        (
            and(
                whole(LIVE_KEY),
                &["--public-url", "https://app.example.com/x"],
            ),
            vec!["`--public-url` is no address"],
        ),
    ] {
        let (code, out, err) = run(program().current_dir(&folder).arg("init").args(&arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        let said: Vec<&str> = err.lines().collect();
        assert_eq!(said.len(), 2 * complaints.len(), "{err}");
        for (pair, complaint) in said.chunks(2).zip(complaints) {
            assert!(
                pair[0].starts_with("error: ") && pair[0].contains(complaint),
                "{err}"
            );
            assert!(pair[1].starts_with("hint: "), "{err}");
        }
        assert!(!err.contains("hidden"), "{err}");
    }
    let (code, _, err) = run(init(&folder, "sk_live_hidden", Some(PUBLIC_URL)).args(["-o", "-"]));
    assert_eq!(code, 2);
    assert!(
        err.contains("looks like the secret key") && !err.contains("hidden"),
        "{err}"
    );
    // What each value allows and all of them together do not.
    let itself = [
        "--publishable-key",
        TEST_KEY,
        "--upstream",
        "http://127.0.0.1:8080",
    ];
    let (code, _, err) = run(program().current_dir(&folder).arg("init").args(itself));
    assert_eq!(code, 2);
    assert!(err.contains("the upstream is the gate itself"), "{err}");
    assert_eq!(files(&folder), Vec::<String>::new());
}
