//! Another configuration in a gate that runs: what changes, what stays, and what is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clerk_gate::clock::Clock as _;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::{PathReading, Policy};

use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::Endpoint;
use http::{Method, StatusCode};

use crate::support::program::{Running, file, program};
use crate::support::site::Site;
use crate::support::upstream::RecordingUpstream;
use crate::support::wire::Wire;
use crate::support::{Call, World, cookies, doors, refreshable, route, usual_routes};

const READ_AGAIN: &str = "the configuration has been read again";
const AS_IT_WAS: &str = "the configuration stays as it was";

/// A configuration in which `/open/**` requires this, with more at its end.
fn text(site: &Site, require: &str, more: &str) -> String {
    site.text("\"127.0.0.1:0\"", require, more)
}

fn start(path: &Path) -> (Running, std::net::SocketAddr) {
    Running::start(program().arg("run").arg("-c").arg(path))
}

async fn open(gate: std::net::SocketAddr) -> StatusCode {
    Call::new(gate, Method::GET, "/open/a").send().await.status
}

const ON_ORDER: &str = "[reload]\nwatch = false\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_counts_from_the_next_request_on() {
    let site = Site::new("reload-policy").await;
    let path = file("reload-policy.toml", &text(&site, "public", ON_ORDER));
    let (mut running, gate) = start(&path);
    assert_eq!(open(gate).await, StatusCode::OK);
    fs::write(&path, text(&site, "signed-in", ON_ORDER)).unwrap();
    assert_eq!(open(gate).await, StatusCode::OK, "nobody has said so yet");
    site.upstream.take_received();
    running.signal("HUP");
    running.until(READ_AGAIN);
    assert_eq!(open(gate).await, StatusCode::UNAUTHORIZED);
    site.upstream.assert_untouched();
    fs::write(&path, text(&site, "public", ON_ORDER)).unwrap();
    running.signal("HUP");
    running.until(READ_AGAIN);
    assert_eq!(open(gate).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ought_to_be_looked_at_is_a_line_of_the_log_whenever_the_file_is_read() {
    let site = Site::new("reload-warnings").await;
    let plain = |text: String| format!("public-url = \"http://app.example\"\n{text}");
    let text = text(&site, "public", ON_ORDER);
    let path = file("reload-warnings.toml", &plain(text));
    let command = || {
        let mut command = program();
        command.arg("run").arg("-c").arg(&path);
        command
    };
    let (mut running, lines) = Running::start_saying(&mut command());
    let warned = |line: &serde_json::Value| {
        line["message"] == "there are warnings of the configuration"
            && line["level"] == "WARN"
            && (line["warnings"].as_str())
                .is_some_and(|said| said.contains("`public-url` is plain `http`"))
    };
    let count = lines.iter().filter(|line| warned(line)).count();
    assert_eq!(count, 1, "{lines:?}");
    running.signal("HUP");
    let line = running.until("there are warnings of the configuration");
    assert!(warned(&serde_json::from_str(&line).unwrap()), "{line}");
    running.until(READ_AGAIN);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_or_cannot_change_is_said_and_changes_nothing() {
    let site = Site::new("reload-wrong").await;
    let closed = text(&site, "signed-in", ON_ORDER);
    let path = file("reload-wrong.toml", &closed);
    let (mut running, gate) = start(&path);
    let opened = text(&site, "public", ON_ORDER);
    let secret = site.secret.display().to_string();
    for (text, said) in [
        ("[".to_owned(), "reload-wrong.toml"),
        (text(&site, "pubic", ON_ORDER), "pubic"),
        (
            opened.replace(&secret, "/nowhere/secret"),
            "/nowhere/secret",
        ),
        (opened.replace("127.0.0.1:0", "127.0.0.1:9"), "`listen`"),
        (
            opened.replace("\"off\"", "\"127.0.0.1:0\""),
            "`[admin] listen`",
        ),
        (format!("{opened}[log]\nlevel = \"debug\"\n"), "`[log]`"),
        (
            opened.replace("watch = false", "watch = true"),
            "`[reload]`",
        ),
        (
            format!("{opened}[shutdown]\ndrain = \"1s\"\n"),
            "`[shutdown] drain`",
        ),
        (
            format!("{opened}[limits]\nhead-size = \"9KiB\"\n"),
            "`[limits] head-size`",
        ),
        (
            format!("{opened}[store.redis]\nurl = \"redis://gate:hidden@127.0.0.1:9\"\n"),
            "`[store]`",
        ),
        (
            format!("{opened}[forward-auth]\nlisten = \"127.0.0.1:0\"\npeers = [\"127.0.0.1\"]\n"),
            "`[forward-auth]`",
        ),
        (
            format!("{opened}[ext-authz]\nlisten = \"127.0.0.1:0\"\npeers = [\"127.0.0.1\"]\n"),
            "`[ext-authz]`",
        ),
        (
            opened.replace(
                site.clerk.publishable_key(),
                "pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk",
            ),
            "which instances",
        ),
    ] {
        fs::write(&path, &text).unwrap();
        running.signal("HUP");
        let line = running.until(AS_IT_WAS);
        assert!(line.contains(said), "{said}: {line}");
        assert!(!line.contains("hidden"), "{line}");
        assert!(!line.contains(site.clerk.secret_key()), "{line}");
        assert_eq!(open(gate).await, StatusCode::UNAUTHORIZED, "{said}");
    }
    fs::remove_file(&path).unwrap();
    running.signal("HUP");
    running.until(AS_IT_WAS);
    assert_eq!(open(gate).await, StatusCode::UNAUTHORIZED);
    site.upstream.assert_untouched();
    fs::write(&path, &opened).unwrap();
    running.signal("HUP");
    running.until(READ_AGAIN);
    assert_eq!(open(gate).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_watched_through_renames_and_links() {
    let site = Site::new("reload-watch").await;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reload-watch");
    let _ = fs::remove_dir_all(&folder);
    for (version, require) in [("one", "public"), ("two", "signed-in")] {
        fs::create_dir_all(folder.join(version)).unwrap();
        let text = text(&site, require, "");
        fs::write(folder.join(version).join("gate.toml"), text).unwrap();
    }
    // As Kubernetes mounts it: the file is behind a link, and the link is replaced.
    let link = |version: &str| {
        let next = folder.join("next");
        symlink(version, &next).unwrap();
        fs::rename(&next, folder.join("data")).unwrap();
    };
    link("one");
    let path = folder.join("gate.toml");
    symlink("data/gate.toml", &path).unwrap();
    let (mut running, gate) = start(&path);
    assert_eq!(open(gate).await, StatusCode::OK);
    link("two");
    running.until(READ_AGAIN);
    assert_eq!(open(gate).await, StatusCode::UNAUTHORIZED);
    // As editors save.
    let saved = folder.join("two").join("saved");
    fs::write(&saved, text(&site, "public", "")).unwrap();
    fs::rename(&saved, folder.join("two").join("gate.toml")).unwrap();
    running.until(READ_AGAIN);
    assert_eq!(open(gate).await, StatusCode::OK);
    // A secret is another file that the configuration is in.
    fs::write(&site.secret, "no key").unwrap();
    let said = running.until(AS_IT_WAS);
    assert!(!said.contains("no key"), "{said}");
    assert_eq!(open(gate).await, StatusCode::OK);
    fs::write(&site.secret, site.clerk.secret_key()).unwrap();
    running.until(READ_AGAIN);
    assert_eq!(open(gate).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_found_and_is_gone_takes_no_policy_with_it() {
    let site = Site::new("reload-found").await;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reload-found");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("clerk-gate.toml");
    let text = "[[route]]\nname = \"open\"\npath = \"/open/**\"\nrequire = \"public\"\n";
    fs::write(&path, text).unwrap();
    let upstream = format!("http://{}", site.upstream.address);
    let mut command = program();
    // Everything else comes from elsewhere: without the file, there is a configuration still.
    command
        .current_dir(&folder)
        .env("CLERK_GATE_ADMIN__LISTEN", "off")
        .args(["run", "--listen", "127.0.0.1:0", "--upstream", &upstream])
        .args(["--publishable-key", site.clerk.publishable_key()]);
    let (mut running, gate) = Running::start(&mut command);
    assert_eq!(open(gate).await, StatusCode::OK);
    fs::remove_file(&path).unwrap();
    running.until(AS_IT_WAS);
    assert_eq!(open(gate).await, StatusCode::OK);
    fs::write(&path, text.replace("public", "signed-in")).unwrap();
    running.until(READ_AGAIN);
    assert_eq!(open(gate).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_through_twenty_changes() {
    let site = Site::new("reload-load").await;
    let ada = site.clerk.sign_in("ada", None);
    let path = file("reload-load.toml", &text(&site, "signed-in", ON_ORDER));
    let (mut running, gate) = start(&path);
    let (over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let workers = (0..6).map(|number| {
        let (over, served, cookies) = (Arc::clone(&over), Arc::clone(&served), cookies(&ada));
        tokio::spawn(async move {
            let mut kept = Wire::connect(gate).await;
            while !over.load(Ordering::Relaxed) {
                if number % 2 == 0 {
                    // A connection that is kept.
                    let head = format!(
                        "HEAD /open/a HTTP/1.1\r\nhost: localhost:{}\r\ncookie: {cookies}\r\n\r\n",
                        gate.port()
                    );
                    kept.send(head).await;
                    let head = kept.head().await;
                    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                } else {
                    let call = Call::new(gate, Method::POST, "/open/a").cookie(&cookies);
                    let answer = call.body("x".repeat(1000)).send().await;
                    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    for number in 0..20 {
        let require = ["public", "signed-in"][number % 2];
        fs::write(&path, text(&site, require, ON_ORDER)).unwrap();
        running.signal("HUP");
        running.until(READ_AGAIN);
    }
    over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    let served = served.load(Ordering::Relaxed);
    assert!(served > 100, "{served} requests were in time");
}

#[tokio::test]
async fn what_is_known_of_clerk_and_of_people_stays() {
    let world = World::with(usual_routes())
        // A key that is made for as long as the gate runs.
        .configure(|config| config.clerk.seal_keys = Vec::new())
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(70_000);
    let refresh = refreshable(&world, &ada);
    let answer = world.get("/members").cookie(&refresh).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let lines = answer.all("set-cookie");
    let seal = lines
        .iter()
        .find(|line| line.starts_with("__Host-clerk-gate-seal_"));
    let seal = seal.unwrap().split(';').next().unwrap().to_owned();
    let keys = world.clerk.calls(Endpoint::Jwks);

    let mut config = world.config.clone();
    let routes = vec![route("all", &["/**"], Requirement::SignedIn)];
    config.policy = Policy::compile(routes, PathReading::Leniently).unwrap();
    config.debug_headers = true;
    world.reloader.change_to(config).unwrap();

    world.clock.advance_ms(70_000);
    let sealed = format!("{}; {seal}", cookies(&ada));
    let answer = world.get("/members").cookie(&sealed).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(answer.header("x-clerk-auth-status").is_some(), "{answer:?}");
    assert_eq!(world.clerk.calls(Endpoint::Jwks), keys);

    world
        .service
        .gate
        .denials()
        .deny_session(&ada.session_id, world.clock.now_ms());
    let mut config = world.config.clone();
    config.debug_headers = false;
    world.reloader.change_to(config).unwrap();
    world.upstream.take_received();
    let answer = world.get("/members").cookie(&sealed).send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn requests_go_to_the_upstream_that_the_configuration_has_now() {
    let world = World::start().await;
    let other = RecordingUpstream::start().await;
    let mut config = world.config.clone();
    config.upstreams[0].url = Origin::parse(&format!("http://{}", other.address))
        .unwrap()
        .into();
    world.reloader.change_to(config).unwrap();
    let answer = world.get("/public/a").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(other.received().len(), 1);
    world.upstream.assert_untouched();

    let mut config = world.config.clone();
    config.forward_auth = Some(doors(&["127.0.0.1"], None));
    config.ext_authz = Some(doors(&["127.0.0.1"], None));
    config.listen.addresses = vec!["127.0.0.1:9".parse().unwrap()];
    let error = world.reloader.change_to(config).unwrap_err().to_string();
    assert_eq!(
        error,
        "`listen`, `[forward-auth]`, `[ext-authz]` cannot change while the gate runs: restart it"
    );
}
