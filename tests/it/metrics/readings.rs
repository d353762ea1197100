//! Clerk, caches, keys, connections and the configuration.

use clerk_gate::core::policy::{PathReading, Policy};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::Endpoint;
use clerk_gate::tls::server::Certificate;

use super::*;
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{add_site, route};
use crate::tls::{self, expiry};

#[tokio::test]
async fn calls_to_clerk_are_counted_and_timed_by_purpose() {
    let world = builder().start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.get("/members/1").bearer(&ada.token).send().await;
    world.get("/keys/1").bearer("ak_unknown").send().await;
    world.clerk.misbehave(Endpoint::MachineTokens, Fault::Close);
    world.get("/keys/1").bearer("ak_other").send().await;
    world
        .clerk
        .misbehave(Endpoint::MachineTokens, Fault::Status(500));
    world.get("/keys/1").bearer("ak_third").send().await;
    let page = Page::of(&world).await;
    let of = |purpose: &str, outcome: &str, count: f64| {
        (format!(r#"purpose="{purpose}",outcome="{outcome}""#), count)
    };
    assert_eq!(
        page.of_metric("clerk_gate_clerk_calls_total"),
        [
            of("keys", "2xx", 1.0),
            of("machine", "4xx", 1.0),
            of("machine", "5xx", 1.0),
            of("machine", "unreachable", 1.0),
        ]
    );
    let timed = page.of_metric("clerk_gate_clerk_call_seconds_count");
    let of = |purpose: &str, count: f64| (format!(r#"purpose="{purpose}""#), count);
    assert_eq!(timed, [of("keys", 1.0), of("machine", 3.0)]);
}

#[tokio::test]
async fn calls_that_nothing_is_left_for_are_counted_and_take_no_time() {
    let world = builder()
        .configure(|config| config.clerk.api_budget = 2)
        .start()
        .await;
    let before = Page::of(&world).await;
    assert_eq!(
        before.value(r#"clerk_gate_clerk_budget_calls{site="0"}"#),
        1.0
    );
    let answer = world.get("/keys/1").bearer("ak_unknown").send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let page = Page::of(&world).await;
    let series = r#"clerk_gate_clerk_calls_total{purpose="machine",outcome="budget-spent"}"#;
    assert_eq!(page.value(series), 1.0);
    assert_eq!(page.of_metric("clerk_gate_clerk_call_seconds_count"), []);
    assert_eq!(world.clerk.calls(Endpoint::MachineTokens), 0);
}

#[tokio::test]
async fn what_was_known_already_is_a_hit() {
    let world = builder().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let grant = MachineGrant::new(MachineKind::ApiKey, "user_2Ada00000000000000000000001", &[]);
    let key = world.clerk.machine_token(grant);
    for _ in 0..3 {
        world.get("/members/1").bearer(&ada.token).send().await;
        world.get("/keys/1").bearer(&key.secret).send().await;
    }
    let page = Page::of(&world).await;
    let of = |cache: &str, outcome: &str, count: f64| {
        (format!(r#"cache="{cache}",outcome="{outcome}""#), count)
    };
    assert_eq!(
        page.of_metric("clerk_gate_cache_lookups_total"),
        [
            of("machine-tokens", "hit", 2.0),
            of("machine-tokens", "miss", 1.0),
            of("verified-tokens", "hit", 2.0),
            of("verified-tokens", "miss", 1.0),
        ]
    );
}

#[tokio::test]
async fn keys_have_an_age_at_each_site_once_they_are_there() {
    let world = builder()
        .configure(|config| {
            let other = config.clerk.clone();
            let address = clerk_gate::core::edge::PublicAddress::Loopback;
            add_site(config, &["127.0.0.1"], address, other);
        })
        .start()
        .await;
    let key = |page: &Page, metric: &str, site: &str| {
        let series = format!("{metric}{{site=\"{site}\"}}");
        page.samples.get(&series).copied()
    };
    let before = Page::of(&world).await;
    for site in ["0", "1"] {
        assert_eq!(key(&before, "clerk_gate_keys", site), Some(0.0));
        assert_eq!(key(&before, "clerk_gate_keys_age_seconds", site), None);
    }
    let ada = world.clerk.sign_in("ada", None);
    world.get("/members/1").bearer(&ada.token).send().await;
    world.clock.advance_ms(12_500);
    let page = Page::of(&world).await;
    for site in ["0", "1"] {
        assert_eq!(key(&page, "clerk_gate_keys", site), Some(1.0));
        assert_eq!(key(&page, "clerk_gate_keys_age_seconds", site), Some(12.5));
    }
}

#[tokio::test]
async fn a_key_of_the_configuration_has_no_age() {
    let pem = builder().start().await.clerk.jwt_key_pem();
    let world = builder()
        .configure(|config| config.clerk.keys = clerk_gate::config::KeySource::Pem(pem))
        .start()
        .await;
    let page = Page::of(&world).await;
    assert_eq!(page.value(r#"clerk_gate_keys{site="0"}"#), 1.0);
    assert_eq!(page.of_metric("clerk_gate_keys_age_seconds"), []);
    assert!(
        !page
            .series()
            .contains(r#"clerk_gate_keys_age_seconds{site="0"}"#)
    );
}

#[tokio::test]
async fn what_is_open_is_counted_while_it_is() {
    let upstream = WireUpstream::start().await;
    let world = builder()
        .before(upstream.address)
        .configure(|config| config.redirect_listen = vec!["127.0.0.1:0".parse().unwrap()])
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let bearer = format!("authorization: Bearer {}\r\n", ada.token);
    let (client, server) = tunnel(&world, &upstream, "/members/socket", &bearer).await;
    let asking = Wire::connect(world.doors.unwrap()).await;
    let checking = Wire::connect(world.check.unwrap()).await;
    let plain = Wire::connect(world.redirect.unwrap()).await;
    let open = [
        (r#"clerk_gate_connections{listener="proxy"}"#, 1.0),
        (r#"clerk_gate_connections{listener="forward-auth"}"#, 1.0),
        (r#"clerk_gate_connections{listener="ext-authz"}"#, 1.0),
        (r#"clerk_gate_connections{listener="redirect"}"#, 1.0),
        ("clerk_gate_tunnels", 1.0),
        ("clerk_gate_live_connections", 1.0),
        ("clerk_gate_live_owners", 1.0),
    ];
    until(&world, |page| {
        open.iter()
            .all(|(series, count)| page.value(series) == *count)
    })
    .await;
    drop((client, server, asking, checking, plain));
    until(&world, |page| {
        open.iter().all(|(series, _)| page.value(series) == 0.0)
    })
    .await;
    let page = Page::of(&world).await;
    for listener in ["proxy", "forward-auth", "ext-authz", "redirect"] {
        let series = format!("clerk_gate_accepted_connections_total{{listener=\"{listener}\"}}");
        assert_eq!(page.value(&series), 1.0);
    }
    assert_eq!(page.value("clerk_gate_connections_limit"), 1000.0);
}

#[tokio::test]
async fn it_is_told_when_the_certificates_in_force_expire() {
    let certificate = |year| {
        let (chain, key) = expiry::valid((2020, 1, 1), (year, 1, 1));
        Certificate::of(chain.as_bytes(), key.as_bytes()).unwrap()
    };
    let world = tls::behind(tls::terms(vec![certificate(2040), certificate(2041)]))
        .start()
        .await;
    let expires = |page: &Page, at: usize| {
        let labels = format!("certificate=\"{at}\",name=\"app.example\"");
        page.value(&format!(
            "clerk_gate_certificate_expiry_timestamp_seconds{{{labels}}}"
        ))
    };
    let page = Page::of(&world).await;
    let told = (expires(&page, 0), expires(&page, 1));
    assert_eq!(told, (2_208_988_800.0, 2_240_611_200.0));
    let mut config = world.config.clone();
    config.tls = Some(tls::terms(vec![certificate(2042)]));
    world.reloader.change_to(config).unwrap();
    let page = Page::of(&world).await;
    assert_eq!(expires(&page, 0), 2_272_147_200.0);
    assert!(
        !page
            .samples
            .keys()
            .any(|series| series.contains("certificate=\"1\""))
    );
}

/// A WebSocket that is open, as its client and the application have it. `lines` are further ones of its head.
pub(super) async fn tunnel(
    world: &World,
    upstream: &WireUpstream,
    path: &str,
    lines: &str,
) -> (Wire, Wire) {
    let mut client = Wire::connect(world.gate).await;
    let port = world.gate.port();
    client
        .send(format!(
            "GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        ))
        .await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await;
    client.head().await;
    (client, server)
}

/// Waits until the page is as it should be: what ends does so in a task of its own.
pub(super) async fn until(world: &World, holds: impl Fn(&Page) -> bool) {
    let waiting = async { while !holds(&Page::of(world).await) {} };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
    assert!(waited.is_ok(), "{:#?}", Page::of(world).await.samples);
}

#[tokio::test]
async fn counts_go_on_when_another_configuration_takes_the_place_of_one() {
    let world = builder().start().await;
    world.get("/open/1").send().await;
    let before = Page::of(&world).await;
    assert_eq!(before.value("clerk_gate_config_generation"), 1.0);

    let mut next = world.config.clone();
    let routes = vec![
        route("new", &["/new/**"], Requirement::Public),
        route("open", &["/open/**"], Requirement::Public),
    ];
    next.policy = Policy::compile(routes, PathReading::Leniently).unwrap();
    world.reloader.change_to(next.clone()).unwrap();
    world.get("/open/2").send().await;
    world.get("/new/1").send().await;
    let page = Page::of(&world).await;
    assert_eq!(page.value("clerk_gate_config_generation"), 2.0);
    let asked = page.of_metric("clerk_gate_upstream_seconds_count");
    let of = |route: &str, count: f64| (format!(r#"route="{route}""#), count);
    assert_eq!(asked, [of("new", 1.0), of("open", 2.0)]);
    for (series, value) in &before.samples {
        let kept = page.samples.get(series);
        assert!(kept.is_some(), "{series}");
        if series.contains("_total") || series.contains("_count") {
            assert!(kept >= Some(value), "{series}");
        }
    }

    next.listen.addresses = vec!["127.0.0.1:9".parse().unwrap()];
    world.reloader.change_to(next).unwrap_err();
    let page = Page::of(&world).await;
    assert_eq!(page.value("clerk_gate_config_generation"), 2.0);
    assert_eq!(page.value("clerk_gate_rejected_configs_total"), 1.0);
}
