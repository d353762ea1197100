//! What the documents say is true: TOML blocks load, links lead somewhere, and references have what
//! the code has, no more and no less.

mod blocks;
mod commands;
mod migrations;
mod pictures;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clerk_gate::config::{self, Loaded, Report, Source, Surroundings};
use clerk_gate::core::budget::{Budget, By, Enforcement, Figures, Rate, Told};
use clerk_gate::core::call::Manner;
use clerk_gate::core::decide::{self, Challenge, Refusal, RefusalKind};
use clerk_gate::core::facts::Audience;
use clerk_gate::core::identity_headers::IDENTITY_HEADERS;
use clerk_gate::core::pattern::PathPattern;
use clerk_gate::core::prefix::{Prefix, Prefixes};
use clerk_gate::core::reason::{Reason, RefreshFailure};
use clerk_gate::core::reply;
use clerk_gate::core::reserved::{RESERVED, RESERVED_PREFIXES};
use clerk_gate::pages;
use clerk_gate::telemetry::access::{AccessLine, Action};
use clerk_gate::telemetry::json::JsonLines;
use clerk_gate::upstream::head;
use http::{HeaderName, StatusCode};
use serde_json::{Map, Value};

use crate::support::upstream::RecordingUpstream;
use crate::support::{NOW_MS, World, usual_routes};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A file of the project.
pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// Every document of the project.
fn documents() -> Vec<PathBuf> {
    let markdown =
        |path: &Path| path.extension().is_some_and(|extension| extension == "md") && path.is_file();
    let mut found: Vec<PathBuf> = fs::read_dir(ROOT)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| markdown(path))
        .collect();
    let mut folders = vec![Path::new(ROOT).join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if markdown(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// The blocks of a document in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == fence {
            let block: Vec<&str> = lines
                .by_ref()
                .take_while(|line| line.trim() != "```")
                .collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// What a file holds that a configuration of the documents names.
fn file_of_an_example(text: &str, path: &Path) -> io::Result<Vec<u8>> {
    let key = if text.contains("pk_live_") {
        "sk_live_x"
    } else {
        "sk_test_x"
    };
    if path.ends_with("jwt.pem") {
        let other = read("tests/packaging/clerk-gate.toml");
        Ok(other.split("\"\"\"").nth(1).unwrap().as_bytes().to_vec())
    } else if path.ends_with("machine") {
        Ok(b"ak_x".to_vec())
    } else if path.ends_with("seal") {
        Ok(b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_vec())
    } else if path.ends_with("door") {
        Ok(b"0123456789abcdef0123456789abcdef".to_vec())
    } else if path.ends_with("webhooks") {
        Ok(b"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_vec())
    } else if path.ends_with("redis-ca.pem") || path.ends_with("ca-certificates.crt") {
        fs::read(Path::new(ROOT).join("tests/cases/keys/roots.pem"))
    } else if path.starts_with("/run/tls") {
        let name = path.file_name().unwrap();
        fs::read(Path::new(ROOT).join("tests/cases/keys").join(name))
    } else if path.ends_with("assertion.pem") {
        fs::read(Path::new(ROOT).join("tests/cases/keys/p256.pem"))
    } else if path.ends_with("next-policy.toml") {
        fs::read(Path::new(ROOT).join("tests/cases/policies/next-policy.toml"))
    } else if path.starts_with("/run/secrets") {
        Ok(key.as_bytes().to_vec())
    } else {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}

fn load(name: &str, text: &str) -> Result<Loaded, Report> {
    let files = |path: &Path| file_of_an_example(text, path);
    let surroundings = Surroundings {
        environment: &Vec::new(),
        flags: &[],
        files: &files,
        now_ms: NOW_MS,
    };
    config::load(&Source::new(name, text), &surroundings)
}

fn assert_loads(name: &str, text: &str) {
    match load(name, text) {
        Ok(loaded) => assert!(loaded.warnings.is_empty(), "{name}: {}", loaded.warnings),
        Err(report) => panic!("{name}:\n{text}\n{report}"),
    }
}

#[test]
fn every_toml_block_of_the_documents_loads() {
    let mut count = 0;
    for path in documents() {
        for block in blocks(&read(&path), "toml") {
            assert_loads(&path.display().to_string(), &block);
            count += 1;
        }
    }
    assert!(count >= 4, "{count} blocks");
}

#[test]
fn every_file_of_the_configuration_folder_loads() {
    let mut count = 0;
    for entry in fs::read_dir(Path::new(ROOT).join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            assert_loads(&path.display().to_string(), &read(&path));
            count += 1;
        }
    }
    assert!(count >= 2, "{count} files");
}

/// The reference file with every commented setting taken at its word.
#[test]
fn every_setting_in_a_comment_of_the_reference_is_one() {
    let text: String = read("config/clerk-gate.toml")
        .lines()
        .map(|line| {
            let setting = line.strip_prefix("# ").filter(|rest| {
                rest.starts_with('[')
                    || rest.split_once('=').is_some_and(|(key, value)| {
                        let key = key.trim();
                        value.starts_with(' ')
                            && !key.is_empty()
                            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
                    })
            });
            setting.unwrap_or(line).to_owned() + "\n"
        })
        .collect();
    let report = match load("config/clerk-gate.toml", &text) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(report) => report.to_string(),
    };
    assert!(!report.contains("there is no key"), "{report}");
    assert!(!report.contains("not TOML"), "{report}");
    // The files it names are not here.
    let unusable = report
        .lines()
        .filter(|line| line.contains("cannot be used") && !line.contains("-file`"));
    assert_eq!(unusable.count(), 0, "{report}");
}

/// All keys that the gate looks for, as `[table] key`.
fn keys_of_the_code() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for name in ["every-key", "requirements", "tests-hold"] {
        let path = format!("tests/cases/config/{name}.toml");
        let loaded = load_anything(&path);
        keys.extend(loaded);
    }
    keys
}

fn load_anything(path: &str) -> BTreeSet<String> {
    let files = |path: &Path| -> io::Result<Vec<u8>> {
        Ok(match path.strip_prefix("/run/keys") {
            Ok(name) => fs::read(Path::new(ROOT).join("tests/cases/keys").join(name))?,
            Err(_) if path.ends_with("next-policy.toml") => {
                fs::read(Path::new(ROOT).join("tests/cases/policies/next-policy.toml"))?
            }
            Err(_) => b"sk_test_x".to_vec(),
        })
    };
    let surroundings = Surroundings {
        environment: &Vec::new(),
        flags: &[],
        files: &files,
        now_ms: NOW_MS,
    };
    match config::load(&Source::new(path, read(path)), &surroundings) {
        Ok(loaded) => loaded.warnings.keys().clone(),
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn every_key_is_in_the_reference_and_every_key_of_the_reference_is_one() {
    let reference = read("docs/reference/configuration.md");
    let mut documented = BTreeSet::new();
    let mut section = String::new();
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("## ").or(line.strip_prefix("### ")) {
            section = heading.replace('`', "");
        }
        let Some(key) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split_once('`'))
        else {
            continue;
        };
        match (section.as_str(), key.0.split_once('.')) {
            ("Requirements", _) => {}
            ("Top level", _) => {
                documented.insert(format!(" {}", key.0));
            }
            (_, Some((table, key))) => {
                documented.insert(format!("[{table}] {key}"));
            }
            (table, None) => {
                documented.insert(format!("{table} {}", key.0));
            }
        }
    }
    let code: BTreeSet<String> = keys_of_the_code()
        .into_iter()
        // The tables themselves are headings, requirements have a table of their own.
        .filter(|key| {
            let tables = [
                "clerk",
                "session",
                "upstream",
                "upstreams",
                "limits",
                "http2",
                "tls",
                "certificate",
                "admin",
                "ext-authz",
                "forward-auth",
                "pages",
                "webhooks",
                "identity",
                "traces",
                "log",
                "shutdown",
                "reload",
                "site",
                "route",
                "test",
                "assertion",
                "template",
                "inject",
                "limit",
                "store",
                "proxy-protocol",
                "ride-through",
                "shadow",
                "hand-over",
            ];
            !tables.iter().any(|table| key == &format!(" {table}"))
                && !key.starts_with("require")
                && !key.starts_with("reverified")
                && !key.starts_with("[require")
                && !key.starts_with("as ")
                && !key.starts_with("[limit.by]")
                && key != "[store] redis"
                // The keys of each are those of `[upstream]`.
                && !key.starts_with("[upstreams.")
        })
        .collect();
    assert_eq!(documented, code);
    let requirements: Vec<String> = keys_of_the_code()
        .into_iter()
        .filter_map(|key| Some(key.strip_prefix("require ")?.to_owned()))
        .collect();
    assert!(requirements.len() >= 10, "{requirements:?}");
    for key in requirements {
        assert!(
            reference.contains(&format!("| `{{ {key} = ")),
            "`{key}` is not in the table of requirements"
        );
    }
}

/// The part of a document under a heading of the second order.
pub fn part<'t>(text: &'t str, heading: &str) -> &'t str {
    let (_, rest) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("there is no `## {heading}`"));
    rest.split("\n## ").next().unwrap()
}

/// The rows of the tables in a part, without their headings.
pub fn rows(part: &str) -> Vec<Vec<String>> {
    part.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect()
        })
        .collect()
}

/// Headings of the third order in a part, each with what stands under it.
fn sections(part: &str) -> Vec<(&str, &str)> {
    part.split("\n### ")
        .skip(1)
        .map(|section| {
            let (heading, text) = section.split_once('\n').unwrap();
            (heading.trim_matches('`'), text.trim())
        })
        .collect()
}

/// The statuses that visitors usually see, as the reference writes them.
fn usual_status(reason: Reason) -> String {
    let alone = reply::status(RefusalKind::Request, reason);
    if alone != StatusCode::INTERNAL_SERVER_ERROR {
        return alone.as_u16().to_string();
    }
    // What the core tells by the kind of refusal: requirements, and all that is about a session.
    let of_a_requirement = matches!(
        reason,
        Reason::RoleMissing
            | Reason::PermissionMissing
            | Reason::FeatureMissing
            | Reason::PlanMissing
            | Reason::ReverificationNeeded
            | Reason::FactorTooOld
            | Reason::TokenTooOld
            | Reason::ClaimMismatch
            | Reason::ScopeMissing
            | Reason::Impersonated
            | Reason::OriginNotAllowed
            | Reason::SealMissing
            | Reason::RequirementUnmet
    );
    if of_a_requirement {
        let status = reply::status(RefusalKind::Forbidden, reason);
        return status.as_u16().to_string();
    }
    // No machine is ever sent to a page.
    let of_a_machine = matches!(
        reason,
        Reason::NoTokenInHeader | Reason::TokenRevoked | Reason::TokenExpired
    );
    if of_a_machine {
        let status = reply::status(RefusalKind::Unauthorized, reason);
        return status.as_u16().to_string();
    }
    format!(
        "{}, {}",
        reply::status(RefusalKind::SignedOut, reason).as_u16(),
        pages::redirect("/").status.as_u16()
    )
}

#[test]
fn every_reason_is_in_its_reference_in_order() {
    let reference = read("docs/reference/reasons.md");
    let code: Vec<Vec<String>> = Reason::ALL
        .iter()
        .map(|reason| {
            vec![
                reason.code().to_owned(),
                usual_status(*reason),
                reason.message().to_owned(),
            ]
        })
        .collect();
    assert_eq!(rows(part(&reference, "Overview")), code);
}

#[test]
fn every_reason_has_a_paragraph_with_what_visitors_see() {
    let reference = read("docs/reference/reasons.md");
    let sections = sections(part(&reference, "Codes"));
    let headings: Vec<&str> = sections.iter().map(|(heading, _)| *heading).collect();
    let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(headings, codes);
    for (reason, (heading, text)) in Reason::ALL.iter().zip(sections) {
        assert!(text.len() >= 120, "{heading}: {text}");
        assert!(!text.contains("\n\n"), "{heading}: more than a paragraph");
        for status in usual_status(*reason).split(", ") {
            assert!(text.contains(status), "{heading}: {status} is not in it");
        }
    }
}

#[test]
fn every_detail_of_a_renewal_that_failed_is_in_the_reference() {
    let reference = read("docs/reference/reasons.md");
    let documented: Vec<String> = rows(part(&reference, "Details of a renewal that failed"))
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    let code = RefreshFailure::OURS;
    let code: Vec<&str> = code.iter().map(RefreshFailure::code).collect();
    assert_eq!(documented, code);
}

/// The first cells of the tables in a part of `docs/reference/headers.md`.
fn headers_under(heading: &str) -> Vec<String> {
    let reference = read("docs/reference/headers.md");
    rows(part(&reference, heading))
        .into_iter()
        .map(|row| row[0].trim_end_matches(" |").trim_matches('`').to_owned())
        .collect()
}

/// A set of names, in order.
pub fn names<T: ToString>(names: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.to_string()).collect()
}

#[test]
fn every_header_that_a_request_loses_is_in_the_reference() {
    let letters = |name: &String| name.replace('-', "");
    let mut code: Vec<String> = RESERVED.map(str::to_owned).to_vec();
    code.extend(RESERVED_PREFIXES.map(|prefix| format!("{prefix}*")));
    let documented = headers_under("Removed from requests");
    assert_eq!(documented.iter().map(letters).collect::<Vec<_>>(), code);
    assert_eq!(
        headers_under("Removed in both directions"),
        head::HOP_BY_HOP.each_ref().map(HeaderName::as_str)
    );
    let cookies: Vec<&str> = [&head::SECRET_COOKIES[..], &head::STATE_COOKIES[..]].concat();
    assert_eq!(headers_under("Cookies"), cookies);
    assert_eq!(headers_under("Query parameters"), head::CLERK_PARAMETERS);
}

#[tokio::test]
async fn every_header_that_the_upstream_is_told_is_in_the_reference() {
    let identity: Vec<&str> = IDENTITY_HEADERS.iter().map(HeaderName::as_str).collect();
    assert_eq!(headers_under("Identity"), identity);
    let mut routes = usual_routes();
    let prefix = Prefix::parse("/public").unwrap();
    routes[0].paths = vec![PathPattern::parse("/public/**").unwrap()];
    routes[0].prefixes = Prefixes::new(Some(prefix), None);
    let world = World::with(routes).start().await;
    let websocket = world
        .get("/public/x")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .cookie("a=1")
        .header("te", "trailers")
        .header("trailer", "x-sum");
    websocket.send().await;
    let received = world.upstream.only();
    assert_eq!(
        names(headers_under("Set towards the application")),
        names(received.headers.keys())
    );
}

#[tokio::test]
async fn every_header_and_cookie_that_clerk_is_told_is_in_the_reference() {
    let frontend_api = RecordingUpstream::start().await;
    let world = World::with(crate::support::usual_routes()).relaying_to(frontend_api.address);
    let world = world.start().await;
    let call = world.get("/__clerk/v1/client").cookie("a=1; __client=c");
    call.send().await;
    let told: Vec<String> = names(frontend_api.only().headers.keys())
        .into_iter()
        .collect();
    let mut documented = headers_under("To Clerk's Frontend API");
    let cookies = documented.split_off(told.len());
    documented.sort();
    assert_eq!(documented, told);
    assert_eq!(cookies, head::COOKIES_FOR_CLERK);
    world.upstream.assert_untouched();
}

/// A limit that is spent by one request.
pub fn one_at_all() -> Arc<Budget> {
    let rate = Rate::SlidingWindow {
        requests: 1,
        window_ms: 60_000,
    };
    Arc::new(Budget {
        name: "all".into(),
        by: By::Address,
        figures: Figures {
            rate: Some(rate),
            in_flight: None,
        },
        tiers: Vec::new(),
        ipv6_prefix: 64,
        enforcement: Enforcement::Refuse,
        disclosure: Told::InHeaders,
    })
}

#[tokio::test]
async fn every_header_that_answers_get_is_in_the_reference() {
    let mut ours = BTreeSet::new();
    for kind in [
        RefusalKind::SignedOut,
        RefusalKind::Unauthorized,
        RefusalKind::Forbidden,
        RefusalKind::Hidden,
        RefusalKind::Request,
        RefusalKind::Unavailable,
    ] {
        for audience in [
            Audience::Navigation,
            Audience::Submission,
            Audience::Program,
        ] {
            for reason in Reason::ALL {
                let refusal = Refusal {
                    kind,
                    cause: (*reason).into(),
                    audience,
                    sign_in_url: None,
                    challenge: Challenge::default(),
                    methods: decide::READING,
                };
                for manner in [Manner::Plain, Manner::Call] {
                    let reply = reply::in_manner(manner, &refusal, "r1");
                    ours.extend(names(pages::refusal(reply).headers.keys()));
                }
            }
        }
    }
    // What HTTP itself puts on every answer.
    let of_http = names(["content-length", "date"]);
    let world = World::with(crate::support::usual_routes())
        .configure(|config| config.debug_headers = true)
        .start()
        .await;
    for call in [
        world.get("/%zz"),
        world.visit("/members"),
        world.get("/_gate/unauthorized"),
    ] {
        ours.extend(names(call.send().await.headers.keys()));
    }
    let limited = World::with(crate::support::usual_routes())
        .configure(|config| config.policy = config.policy.clone().limited_by(&[one_at_all()]))
        .start()
        .await;
    let mut theirs = names(["set-cookie"]);
    for answers in [&mut theirs, &mut ours] {
        let call = limited.get("/public/x").header("connection", "keep-alive");
        answers.extend(names(call.send().await.headers.keys()));
    }
    assert_eq!(limited.upstream.received().len(), 1);
    assert_eq!(
        names(headers_under("On answers of the gate")),
        &ours - &of_http
    );
    world.upstream.assert_untouched();

    let ada = world.clerk.sign_in("ada", None);
    for call in [
        world.get("/public/x"),
        world.get("/members").bearer(&ada.token),
    ] {
        let answer = call.header("connection", "keep-alive");
        theirs.extend(names(answer.send().await.headers.keys()));
    }
    assert_eq!(
        names(headers_under("On answers of the application")),
        &theirs - &of_http
    );
}

#[test]
fn every_page_is_in_its_reference_in_order() {
    let reference = read("docs/reference/pages.md");
    let documented: Vec<(String, String)> = rows(part(&reference, "Overview"))
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let code: Vec<(String, String)> = decide::PAGES
        .iter()
        .map(|page| (page.path.to_owned(), page.methods.to_owned()))
        .collect();
    assert_eq!(documented, code);
}

#[tokio::test]
async fn every_page_that_is_listed_is_one_and_takes_the_methods_that_are_listed() {
    let world = World::with(crate::support::usual_routes())
        .configure(|config| {
            let secret = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="];
            config.webhooks =
                Some(clerk_gate::clerk::webhooks::WebhookSecrets::parse(secret).unwrap());
            config.assertion = Some(crate::signed_assertion::assertion("p256"));
            config.clerk.instance.injection = Some(crate::support::pages::injection());
        })
        .start()
        .await;
    for page in decide::PAGES {
        let path = page
            .path
            .replace("{id}", "sess_1")
            .replace("{template}", "x");
        let path = format!("/_gate/{path}");
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
            let call = world.request(method.parse().unwrap(), &path);
            let answer = call.send().await;
            let listed = page.methods.split(", ").any(|known| known == method);
            let taken = answer.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(taken, listed, "{method} {path}");
            assert_ne!(answer.code(), "page-unknown", "{method} {path}");
            if !taken {
                let allowed = answer.header("allow");
                assert_eq!(allowed, Some(page.methods), "{method} {path}");
            }
        }
    }
    assert_eq!(decide::PAGES.len(), 15);
    world.upstream.assert_untouched();
}

/// The names of headers in a source text: constants of the `http` crate, and those made there.
fn headers_in(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let is_constant =
        |word: &&str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let mut found = BTreeSet::new();
    for piece in source.split("header::").skip(1) {
        let list = match piece.strip_prefix('{') {
            Some(rest) => rest.split('}').next().unwrap(),
            None => piece
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next()
                .unwrap(),
        };
        let constants = list.split([',', '\n', ' ']).filter(is_constant);
        found.extend(constants.map(|name| name.to_ascii_lowercase().replace('_', "-")));
    }
    for piece in source.split("HeaderName::from_static(\"").skip(1) {
        found.insert(piece.split('"').next().unwrap().to_owned());
    }
    found
}

#[test]
fn every_header_that_is_read_from_gateways_is_in_the_reference() {
    let looked_at = headers_in(&read("src/core/door.rs"));
    assert_eq!(names(headers_under("Read from gateways")), looked_at);
}

#[test]
fn every_header_that_is_looked_at_is_in_the_reference() {
    let mut looked_at = BTreeSet::new();
    let mut files = 0;
    for file in sources(&["src/core"]) {
        // What is said, not what is heard.
        if [
            "door.rs",
            "identity_headers.rs",
            "reply.rs",
            "reply/call.rs",
            "signed_assertion.rs",
            "ride_through.rs",
            "budget/fields.rs",
        ]
        .iter()
        .any(|said| file.ends_with(said))
        {
            continue;
        }
        files += 1;
        looked_at.extend(headers_in(&read(file)));
    }
    assert!(files >= 35, "{files} files of the core");
    // Read where they are written anew.
    looked_at.extend(names(["te", "trailer", "x-request-id", "connection"]));
    assert_eq!(names(headers_under("Read from clients")), looked_at);
}

/// What a subscriber writes.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The entry that a line becomes in the JSON log.
fn entry(line: &AccessLine<'_>) -> Map<String, Value> {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .event_format(JsonLines)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || line.write());
    let bytes = written.0.lock().unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn every_field_of_the_access_line_is_in_the_reference() {
    let bare = AccessLine {
        request_id: "r1",
        method: "GET",
        protocol: None,
        path: None,
        host: None,
        client: [127, 0, 0, 1].into(),
        route: None,
        reading: None,
        decision: Action::Refuse,
        reason: None,
        user: None,
        session: None,
        org: None,
        rides: None,
        status: 400,
        upstream_status: None,
        verdict: Duration::ZERO,
        upstream: None,
        server: None,
        limit: None,
    };
    let least = entry(&bare);
    let most = entry(&AccessLine {
        protocol: Some("h2"),
        path: Some("/"),
        host: Some("localhost"),
        route: Some("home"),
        reading: Some("folded"),
        reason: Some("role-missing"),
        user: Some("user_1"),
        session: Some("sess_1"),
        org: Some("org_1"),
        upstream_status: Some(200),
        upstream: Some(Duration::ZERO),
        server: Some("http://10.0.0.1"),
        limit: Some("api"),
        rides: Some(Duration::ZERO),
        ..bare
    });
    let reference = read("docs/reference/log.md");
    let documented: BTreeSet<(String, String, bool)> =
        rows(part(&reference, "The line of a request"))
            .into_iter()
            .map(|row| (row[0].clone(), row[1].clone(), row[2] == "always"))
            .collect();
    let written: BTreeSet<(String, String, bool)> = most
        .iter()
        .map(|(name, value)| {
            let kind = if value.is_number() { "number" } else { "text" };
            (name.clone(), kind.to_owned(), least.contains_key(name))
        })
        .collect();
    assert_eq!(documented, written);
}

/// What the program says of itself, by the command line that asks for it.
fn help() -> Vec<(String, String)> {
    let snapshot = read("tests/it/snapshots/it__cli__help.snap");
    snapshot
        .split("\n$ clerk-gate ")
        .skip(1)
        .map(|said| {
            let (asked, text) = said.split_once("--help\n").unwrap();
            (asked.trim().to_owned(), text.to_owned())
        })
        .collect()
}

/// The long options that a help text lists, but for `--help` and `--version` of all.
fn options(help: &str) -> BTreeSet<String> {
    help.lines()
        .filter_map(|line| {
            let line = line.trim_start();
            let long = match line.split_once(", ") {
                Some((short, long)) if short.len() == 2 && short.starts_with('-') => long,
                _ => line,
            };
            let name = long.strip_prefix("--")?.split(' ').next().unwrap();
            (!matches!(name, "help" | "version")).then(|| format!("--{name}"))
        })
        .collect()
}

#[test]
fn every_command_and_option_is_in_the_reference() {
    let reference = read("docs/reference/cli.md");
    let sections = sections(part(&reference, "Commands"));
    let help = help();
    let (_, overview) = &help[0];
    let commands: Vec<&str> = overview
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let documented: Vec<&str> = sections.iter().map(|(heading, _)| *heading).collect();
    assert_eq!(documented, commands);

    let of_rows = |text: &str| -> BTreeSet<String> {
        rows(text)
            .into_iter()
            .map(|row| row[0].split("`, `").last().unwrap().to_owned())
            .collect()
    };
    let common = of_rows(part(&reference, "Configuration"));
    assert!(common.len() >= 4, "{common:?}");
    let mut count = 0;
    for (command, text) in sections {
        let Some((_, help)) = help.iter().find(|(asked, _)| asked == command) else {
            assert_eq!(command, "help");
            continue;
        };
        let has = options(help);
        let mut told = of_rows(text);
        if matches!(command, "run" | "check" | "doctor" | "explain" | "recipe") {
            told.extend(common.clone());
        }
        assert_eq!(told, has, "{command}");
        count += has.len();
    }
    assert!(count >= 15, "{count} options");
}

#[test]
fn every_exit_code_is_in_the_reference() {
    let reference = read("docs/reference/cli.md");
    let documented: Vec<String> = rows(part(&reference, "Exit codes"))
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    // Tested in `cli.rs`, and stated where they are made.
    let code: Vec<String> = read("src/cli/mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! 0: "))
        .flat_map(|line| {
            ["0"].into_iter().map(str::to_owned).chain(
                line.split(". ")
                    .filter_map(|said| Some(said.split_once(':')?.0.to_owned())),
            )
        })
        .collect();
    assert_eq!(documented, code);
}

/// Every Rust source below these folders.
fn sources(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|f| Path::new(ROOT).join(f)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let sources: String = sources(&["src", "tests/it", "tests/redis"])
        .iter()
        .map(read)
        .collect();
    let model = read("docs/explanation/threat-model.md");
    let named: BTreeSet<String> = model
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.trim_end_matches(" |").rsplit(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .filter_map(|name| Some(name.strip_prefix('`')?.strip_suffix('`')?.to_owned()))
        .filter(|name| name.contains('_'))
        .collect();
    assert!(named.len() > 50, "{named:?}");
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "`{name}`");
    }
}

#[test]
fn every_room_is_in_the_architecture() {
    let rooms: BTreeSet<String> = fs::read_dir(Path::new(ROOT).join("src"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                format!("{name}/")
            } else {
                name
            }
        })
        .collect();
    assert!(rooms.len() > 10, "{rooms:?}");
    let documented = rows(part(&read("ARCHITECTURE.md"), "The rooms"));
    assert_eq!(names(documented.iter().map(|row| &row[0])), rooms);
}

#[test]
fn every_document_is_linked_from_the_readme() {
    let readme = read("README.md");
    let list = part(&readme, "Documents");
    let mut count = 0;
    for path in documents() {
        let path = path.strip_prefix(ROOT).unwrap().display().to_string();
        if path != "README.md" {
            assert!(list.contains(&format!("]({path})")), "{path}");
            count += 1;
        }
    }
    assert!(count > 10, "{count} documents");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut count = 0;
    for path in documents() {
        let text = read(&path);
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let file = path.parent().unwrap().join(target);
            assert!(file.exists(), "{}: {target}", path.display());
            count += 1;
        }
    }
    assert!(count > 3, "{count} links");
}
