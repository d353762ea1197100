//! Requests in plain text, which are sent to the public address.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::origin::Origin;
use http::{Method, StatusCode};

use super::{Authority, agree, behind, terms};
use crate::support::program::{Running, file, program, run};
use crate::support::site::Site;
use crate::support::waiting::DEADLINE;
use crate::support::wire::Wire;
use crate::support::{
    Answer, Call, World, WorldBuilder, add_site, clerk_config_of, cookies, raw, read_answer,
};

fn origin(url: &str) -> PublicAddress {
    PublicAddress::Fixed(Origin::parse(url).unwrap())
}

/// A gate at `https://app.example` that sends there whoever asks in plain text.
fn redirecting(authority: &Authority) -> WorldBuilder {
    behind(terms(vec![
        authority.certifies(&["localhost", "app.example"]),
    ]))
    .configure(|config| {
        config.edge.public = origin("https://app.example");
        config.redirect_listen = vec!["127.0.0.1:0".parse().unwrap()];
    })
}

fn plain(world: &World) -> SocketAddr {
    world.redirect.unwrap()
}

fn leads_to(answer: &Answer, location: &str) {
    assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT, "{answer:?}");
    assert_eq!(answer.header("location"), Some(location));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(answer.body, "");
    for never in [
        "set-cookie",
        "strict-transport-security",
        "x-clerk-auth-status",
    ] {
        assert_eq!(answer.header(never), None, "{never}");
    }
}

#[tokio::test]
async fn whoever_asks_in_plain_text_is_sent_to_the_same_place_over_tls_and_known_to_nobody() {
    let authority = Authority::new();
    let world = redirecting(&authority)
        .configure(|config| {
            config.debug_headers = true;
            let other = clerk_config_of(config.clerk.instance.clone());
            add_site(
                config,
                &["docs.example"],
                origin("https://docs.example:444"),
                other,
            );
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let asked = world.clerk.calls_total();
    for (method, target, host, location) in [
        (Method::GET, "/", "app.example", "https://app.example/"),
        (
            Method::POST,
            "/members/a%20b?c=d&e='f'",
            "app.example:80",
            "https://app.example/members/a%20b?c=d&e='f'",
        ),
        (
            Method::DELETE,
            "/members?x",
            "docs.example",
            "https://docs.example:444/members?x",
        ),
        (
            Method::OPTIONS,
            "//evil.example/a",
            "evil.example",
            "https://app.example/evil.example/a",
        ),
        (
            Method::GET,
            "http://evil.example/a",
            "evil.example",
            "https://app.example/a",
        ),
        (
            Method::GET,
            "/_gate/me",
            "192.0.2.1",
            "https://app.example/_gate/me",
        ),
        (
            Method::GET,
            "/?__clerk_handshake=x",
            "app.example",
            "https://app.example/?__clerk_handshake=x",
        ),
    ] {
        for cookie in [String::new(), cookies(&ada)] {
            let call = Call::new(plain(&world), method.clone(), target).header("host", host);
            leads_to(&call.cookie(&cookie).send().await, location);
        }
    }
    let head = Call::new(plain(&world), Method::HEAD, "/a").header("host", "app.example");
    leads_to(&head.send().await, "https://app.example/a");
    assert_eq!(world.clerk.calls_total(), asked);
    world.upstream.assert_untouched();
    // The health of the gate is where it was.
    let health = world.window("/readyz").send().await;
    assert_eq!(health.status, StatusCode::OK);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_leads_nowhere() {
    let world = redirecting(&Authority::new()).start().await;
    for request in [
        "GET /%zz HTTP/1.1\r\nhost: app.example\r\n\r\n",
        "GET /a%00 HTTP/1.1\r\nhost: app.example\r\n\r\n",
        "GET /a%5c..%5cb HTTP/1.1\r\nhost: app.example\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: app.example\r\n\r\n",
        "CONNECT app.example:443 HTTP/1.1\r\nhost: app.example:443\r\n\r\n",
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a@app.example\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: app.example\r\nhost: app.example\r\n\r\n",
        "GET http://other.example/a HTTP/1.1\r\nhost: app.example\r\n\r\n",
        "POST /a HTTP/1.1\r\nhost: app.example\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "GET /\r\n\r\n",
    ] {
        let mut wire = Wire::connect(plain(&world)).await;
        wire.send(request).await;
        let (heard, closed) = wire.heard(DEADLINE).await;
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(closed, "{request:?}");
        assert!(heard.starts_with("HTTP/1.1 400 "), "{request:?}: {heard}");
        assert!(!heard.to_lowercase().contains("location:"), "{heard}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_balancer_that_ends_tls_and_leads_all_of_it_there_sends_nobody_round_in_circles() {
    for (trusted, status) in [(true, 421), (false, 308)] {
        let world = redirecting(&Authority::new())
            .configure(move |config| {
                if trusted {
                    config.edge.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
                }
            })
            .start()
            .await;
        let call = Call::new(plain(&world), Method::GET, "/a").header("host", "app.example");
        let over_tls = call.header("x-forwarded-proto", "https").send().await;
        assert_eq!(over_tls.status, status, "{over_tls:?}");
        assert_eq!(over_tls.header("location").is_none(), trusted);
        if trusted {
            assert_eq!(over_tls.code(), "https-misdirected");
            assert_eq!(over_tls.header("connection"), Some("close"));
        }
        let call = Call::new(plain(&world), Method::GET, "/a").header("host", "app.example");
        let over_none = call.header("x-forwarded-proto", "http").send().await;
        leads_to(&over_none, "https://app.example/a");
        world.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn what_is_refused_there_can_be_asked_about_later_and_what_is_sent_on_is_counted() {
    let world = redirecting(&Authority::new()).start().await;
    for (id, target) in [("sent", "/a?b=secret"), ("refused", "/%zz")] {
        let call = Call::new(plain(&world), Method::GET, target).header("host", "app.example");
        let answer = call.header("x-request-id", id).send().await;
        assert_eq!(answer.header("x-request-id"), Some(id));
    }
    let kept = world.window("/decisions.json").send().await;
    let kept: serde_json::Value = serde_json::from_str(&kept.body).unwrap();
    let kept = kept["decisions"].as_array().unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    for (name, value) in [
        ("request_id", "refused"),
        ("mode", "redirect"),
        ("route", "(unread)"),
        ("decision", "refuse"),
        ("reason", "path-malformed"),
    ] {
        assert_eq!(kept[0][name], value, "{kept:?}");
    }
    let why = world.window("/explain?request-id=refused").send().await;
    assert!(
        why.body.contains(": refuse, 400, path-malformed\n")
            && why.body.contains(", as redirect\n"),
        "{}",
        why.body
    );
    let counted = world.window("/metrics").send().await.body;
    for series in [
        r#"clerk_gate_requests_total{mode="redirect",status="308"} 1"#,
        r#"clerk_gate_requests_total{mode="redirect",status="400"} 1"#,
        r#"clerk_gate_decisions_total{route="(no route)",decision="redirect",reason="none"} 1"#,
        r#"clerk_gate_decisions_total{route="(unread)",decision="refuse",reason="path-malformed"} 1"#,
    ] {
        assert!(
            counted.lines().any(|line| line == series),
            "{series}: {counted}"
        );
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_body_is_neither_asked_for_nor_waited_for() {
    let world = redirecting(&Authority::new()).start().await;
    for lines in [
        "content-length: 1000000\r\nexpect: 100-continue\r\n",
        "content-length: 5\r\n",
        "transfer-encoding: chunked\r\n",
    ] {
        let mut wire = Wire::connect(plain(&world)).await;
        wire.send(format!(
            "PUT /a HTTP/1.1\r\nhost: app.example\r\n{lines}\r\n"
        ))
        .await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 308 "), "{lines}: {head}");
        assert!(wire.closes_within(DEADLINE).await, "{lines}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn plain_text_has_the_limits_of_the_others_and_takes_no_place_of_theirs() {
    let authority = Authority::new();
    let world = redirecting(&authority)
        .configure(|config| {
            config.limits.connections = 1;
            config.limits.head_timeout = Duration::from_millis(400);
        })
        .start()
        .await;
    let mut silent = Wire::connect(plain(&world)).await;
    silent.send("GET /a HTTP/1.1\r\n").await;
    let agreed = agree(&world, &authority.plain_client(), "localhost").await;
    assert!(agreed.is_ok());
    // The only place is free again once that head has taken too long.
    let second = Call::new(plain(&world), Method::GET, "/b").header("host", "app.example");
    leads_to(&second.send().await, "https://app.example/b");
    let (heard, closed) = silent.heard(DEADLINE).await;
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(closed && !heard.contains("308"), "{heard}");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_balancer_says_whose_a_connection_in_plain_text_is() {
    let world = redirecting(&Authority::new())
        .configure(|config| config.listen.proxy_peers = vec!["127.0.0.0/8".parse().unwrap()])
        .start()
        .await;
    let request = "GET /a HTTP/1.1\r\nhost: app.example\r\n\r\n";
    let header = "PROXY TCP4 203.0.113.9 10.0.0.1 56324 80\r\n";
    let answer = raw(plain(&world), format!("{header}{request}").as_bytes()).await;
    leads_to(&answer, "https://app.example/a");
    let mut wire = Wire::connect(plain(&world)).await;
    wire.send(request).await;
    let (heard, closed) = wire.heard(DEADLINE).await;
    assert!(closed && heard.is_empty());
}

#[tokio::test]
async fn whoever_is_being_sent_to_tls_while_the_gate_drains_is_told_and_nobody_after() {
    let world = redirecting(&Authority::new()).start().await;
    let address = plain(&world);
    let mut asking = Wire::connect(address).await;
    asking.send("GET /a HTTP/1.1\r\nhost: app.").await;
    world.begin_to_stop();
    asking.send("example\r\n\r\n").await;
    let head = asking.head().await;
    assert!(
        head.contains("location: https://app.example/a\r\n"),
        "{head}"
    );
    world.upstream.assert_untouched();
    world.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_address_that_it_leads_to_can_change_and_where_it_is_cannot() {
    let world = redirecting(&Authority::new()).start().await;
    let mut config = world.config.clone();
    config.edge.public = origin("https://new.example");
    world.reloader.change_to(config.clone()).unwrap();
    let call = || Call::new(plain(&world), Method::GET, "/a").header("host", "app.example");
    leads_to(&call().send().await, "https://new.example/a");
    config.redirect_listen.clear();
    let error = world.reloader.change_to(config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`[tls] redirect-listen` cannot change while the gate runs: restart it"
    );
    leads_to(&call().send().await, "https://new.example/a");
}

/// A file whose gate sends to TLS whoever asks at this socket.
fn configuration(site: &Site, folder: &Path, name: &str, redirect: &str) -> std::path::PathBuf {
    let (chain, key) = Authority::new().signs(&["app.example"]);
    let chain = file("redirect-chain", &chain);
    let key = file("redirect-key", &key);
    let more = format!(
        "[hand-over]\nsocket = \"{}/next.sock\"\n[tls]\nredirect-listen = \"{redirect}\"\n\
         [[tls.certificate]]\ncert-file = \"{}\"\nkey-file = \"{}\"\n",
        folder.display(),
        chain.display(),
        key.display()
    );
    let text = site.text("\"127.0.0.1:0\"", "public", &more);
    file(
        name,
        &format!("public-url = \"https://app.example\"\n{text}"),
    )
}

async fn start(path: &Path) -> Running {
    let path = path.to_owned();
    let start = move || Running::start(program().arg("run").arg("-c").arg(path));
    tokio::task::spawn_blocking(start).await.unwrap().0
}

async fn is_led(socket: &Path) {
    use tokio::io::AsyncWriteExt as _;
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let request = b"GET /open/a?b HTTP/1.1\r\nhost: app.example\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let answer = read_answer(&mut stream, false, &mut Vec::new()).await;
    leads_to(&answer, "https://app.example/open/a?b");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_tls_goes_from_one_process_to_the_next_and_has_its_line_in_the_log() {
    let folder = std::env::temp_dir().join(format!("gate-redirect-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("plain.sock");
    let site = Site::new("redirect").await;
    let redirect = format!("unix:{}", socket.display());
    let path = configuration(&site, &folder, "redirect.toml", &redirect);
    let mut first = start(&path).await;
    is_led(&socket).await;
    let line: serde_json::Value = serde_json::from_str(&first.request_line()).unwrap();
    for (field, value) in [
        ("path", "/open/a"),
        ("host", "app.example"),
        ("decision", "redirect"),
        ("protocol", "http/1.1"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(line["status"], 308);
    assert_eq!(line.get("reason"), None);
    let second = start(&path).await;
    let (code, rest) = tokio::task::spawn_blocking(move || first.end())
        .await
        .unwrap();
    assert_eq!(code, Some(0), "{rest}");
    is_led(&socket).await;
    second.signal("TERM");
    let (code, rest) = tokio::task::spawn_blocking(move || second.end())
        .await
        .unwrap();
    assert_eq!(code, Some(0), "{rest}");
    site.upstream.assert_untouched();
    std::fs::remove_dir_all(&folder).unwrap();

    // What is taken is named.
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken_at = taken.local_addr().unwrap().to_string();
    std::fs::create_dir_all(&folder).unwrap();
    let path = configuration(&site, &folder, "redirect-taken.toml", &taken_at);
    let starting = move || run(program().arg("run").arg("-c").arg(path));
    let (code, _, err) = tokio::task::spawn_blocking(starting).await.unwrap();
    assert_eq!(code, 1, "{err}");
    let said = format!("the way to TLS (`[tls] redirect-listen`): cannot listen on `{taken_at}`");
    assert!(err.contains(&said), "{err}");
    std::fs::remove_dir_all(&folder).unwrap();
}
