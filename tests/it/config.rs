//! Configurations and what the gate says of them: each file of a folder beside what is expected.
//! `UPDATE=1 cargo test` writes down what is said now.

mod environment;
mod schema;

use std::fs;
use std::io;
use std::path::Path;

use clerk_gate::config::{
    self, Colour, Environment, Loaded, Report, Severity, Source, Surroundings,
};

use crate::support::NOW_MS;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/config");

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/keys");

const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/policies");

/// The files that configurations name.
fn files(path: &Path) -> io::Result<Vec<u8>> {
    if let Ok(name) = path.strip_prefix("/run/keys") {
        return fs::read(Path::new(KEYS).join(name));
    }
    if let Ok(name) = path.strip_prefix("/run/policies") {
        return fs::read(Path::new(POLICIES).join(name));
    }
    match path.to_str() {
        Some("/run/secrets/test") => Ok(b"sk_test_fromafile\n".to_vec()),
        Some("/run/secrets/webhooks") => Ok(b"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n\n whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy \n".to_vec()),
        Some("/run/secrets/webhooks-broken") => Ok(b"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\nwhsec_hunter2hunter2\n".to_vec()),
        Some("/run/secrets/empty") => Ok(b"\n".to_vec()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

/// Loads a text whose comments `# env: NAME=value` are its environment.
fn load(name: &str, text: &str) -> Result<Loaded, Report> {
    let environment: Environment = text
        .lines()
        .filter_map(|line| line.strip_prefix("# env: ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let surroundings = Surroundings {
        environment: &environment,
        flags: &[],
        files: &files,
        now_ms: NOW_MS,
    };
    config::load(&Source::new(name, text), &surroundings)
}

fn said(name: &str, text: &str) -> String {
    match load(name, text) {
        Err(report) => {
            assert!(report.count(Severity::Error) > 0, "{name}");
            format!("{}\n", report.render(Colour::Plain))
        }
        Ok(loaded) => {
            let mut said = loaded.warnings.render(Colour::Plain);
            if !said.is_empty() {
                said.push_str("\n\n");
            }
            said + &config::route_table(&loaded.config)
        }
    }
}

#[test]
fn every_configuration_is_answered_as_expected() {
    let update = option_env!("UPDATE").is_some();
    let mut names: Vec<_> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    names.sort();
    assert!(names.len() >= 105, "{} cases", names.len());
    let mut wrong = Vec::new();
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        let said = said(name, &fs::read_to_string(&path).unwrap());
        let expected = path.with_extension("expected");
        if update {
            fs::write(&expected, &said).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if said != expected {
            wrong.push(format!(
                "{name} says\n{said}\nand was expected to say\n{expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn no_report_shows_a_secret() {
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let shown = match load("x", &text) {
            Ok(loaded) => format!("{loaded:?}{}", loaded.warnings),
            Err(report) => format!("{report:?}{report}{}", report.render(Colour::Ansi)),
        };
        for secret in [
            "abcdefghijklmnop",
            "hunter2hunter2",
            "fromenvironment",
            "fromafile",
        ] {
            assert!(!shown.contains(secret), "{}: {shown}", path.display());
        }
    }
}

/// Where handshakes go, and which Frontend API is relayed to.
#[test]
fn browsers_reach_clerk_by_way_of_the_proxy_unless_another_is_named() {
    let test_key = "publishable-key = \"pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk\"\nsecret-key = \"sk_test_x\"";
    let live_key =
        "publishable-key = \"pk_live_Y2xlcmsuZXhhbXBsZS5jb20k\"\nsecret-key = \"sk_live_x\"";
    let public = "public-url = \"https://app.example.com\"";
    let on = "frontend-api-proxy = { enabled = true }";
    let elsewhere = "proxy-url = \"https://other.example.com/clerk/\"";
    let relative = "proxy-url = \"/clerk/\"";
    for (top, clerk, expected) in [
        ("", vec![test_key], "https://foo-bar-13.clerk.accounts.dev"),
        ("", vec![test_key, on], "/__clerk"),
        ("", vec![test_key, relative], "/clerk"),
        ("", vec![test_key, on, relative], "/clerk"),
        (public, vec![live_key], "https://clerk.example.com"),
        (
            public,
            vec![live_key, on],
            "https://app.example.com/__clerk",
        ),
        (
            public,
            vec![live_key, relative],
            "https://app.example.com/clerk",
        ),
        (
            public,
            vec![live_key, on, elsewhere],
            "https://other.example.com/clerk",
        ),
    ] {
        let text = format!(
            "{top}\nupstream.url = \"http://127.0.0.1:3000\"\n[clerk]\n{}\n",
            clerk.join("\n")
        );
        let config = load("x", &text).unwrap().config;
        let relayed = clerk.contains(&on);
        assert_eq!(config.clerk.instance.frontend_api, expected, "{text}");
        assert_eq!(
            config.clerk.instance.frontend_api_proxy.is_some(),
            relayed,
            "{text}"
        );
        let url = config.clerk.frontend_api_proxy.map(|url| url.to_string());
        let expected = relayed.then(|| "https://frontend-api.clerk.dev".to_owned());
        assert_eq!(url, expected, "{text}");
    }
}

#[test]
fn decisions_are_kept_for_other_machines_only_where_somebody_says_so() {
    let kept = |listen: &str, more: &str| {
        let text = format!(
            "admin.listen = \"{listen}\"\n{more}\nclerk.publishable-key = \"pk_test_Y2xlcmsuZXhhbXBsZS5jb20k\"\nupstream.url = \"http://127.0.0.1:3000\"\n"
        );
        load("decisions", &text).unwrap().config.decisions
    };
    for (listen, more, expected) in [
        ("127.0.0.1:9901", "", 1000),
        ("[::1]:9901", "", 1000),
        ("unix:/run/clerk-gate/admin.sock", "", 1000),
        ("0.0.0.0:9901", "", 0),
        ("10.0.0.7:9901", "", 0),
        ("0.0.0.0:9901", "admin.decisions = 50", 50),
        ("off", "", 0),
    ] {
        assert_eq!(kept(listen, more), expected, "{listen} {more}");
    }
}

#[test]
fn a_flag_counts_more_than_the_environment_and_the_environment_more_than_the_file() {
    let text = "[clerk]\npublishable-key = \"pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk\"\n[upstream]\nurl = \"http://file.example\"\n";
    let environment: Environment = vec![(
        "CLERK_GATE_UPSTREAM__URL".to_owned(),
        "http://environment.example".to_owned(),
    )];
    let upstream = |environment: &Environment, flags: &[config::FlagValue]| {
        let surroundings = Surroundings {
            environment,
            flags,
            files: &files,
            now_ms: NOW_MS,
        };
        let loaded = config::load(&Source::new("x", text), &surroundings).unwrap();
        loaded.config.upstreams[0].url.to_string()
    };
    let flag = config::FlagValue {
        path: &["upstream", "url"],
        flag: "--upstream",
        value: "http://flag.example".to_owned(),
    };
    assert_eq!(upstream(&Vec::new(), &[]), "http://file.example");
    assert_eq!(upstream(&environment, &[]), "http://environment.example");
    assert_eq!(upstream(&environment, &[flag]), "http://flag.example");
}
