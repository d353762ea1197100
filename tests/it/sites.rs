//! Several sites behind one gate: each works for its own instance, and the host alone picks it.

use std::sync::Arc;

use clerk_gate::clock::ManualClock;
use clerk_gate::core::decide::Decision;
use clerk_gate::core::edge::{PublicAddress, SiteAddress};
use clerk_gate::core::facts::{RequestFacts, WireRequest};
use clerk_gate::core::origin::{Origin, Scheme};
use clerk_gate::core::policy::HostPattern;
use clerk_gate::core::proxy_path::ProxyPath;
use clerk_gate::core::reason::Reason;
use clerk_gate::gate::Gate;
use clerk_gate::server;
use clerk_gate::standin::{Endpoint, StandIn, StandInOptions, TestSession};
use http::{HeaderMap, Method, StatusCode, Version};

use crate::support::upstream::RecordingUpstream;
use crate::support::{
    Call, START_MS, World, add_site, clerk_config, config, cookies, usual_routes,
};

/// A second instance.
pub async fn other_instance() -> StandIn {
    StandIn::start(StandInOptions::new(Arc::new(|| START_MS)))
        .await
        .unwrap()
}

/// A gate whose first site is on this machine's names and whose second one has another instance.
pub async fn two_instances() -> (World, StandIn) {
    let other = other_instance().await;
    let clerk = clerk_config(&other);
    let world = World::with(usual_routes())
        .configure(|config| {
            let hosts = ["shop.localhost", "*.shop.localhost"];
            add_site(config, &hosts, PublicAddress::Loopback, clerk);
        })
        .start()
        .await;
    (world, other)
}

fn at(world: &World, host: &str, target: &str) -> Call {
    let host = format!("{host}:{}", world.gate.port());
    world.get(target).header("host", &host)
}

#[tokio::test]
async fn each_site_takes_the_tokens_of_its_own_instance() {
    let (world, other) = two_instances().await;
    let ada = world.clerk.sign_in("ada", None);
    let mel = other.sign_in("mel", None);
    for (host, session) in [
        ("localhost", &ada),
        ("shop.localhost", &mel),
        ("deep.in.shop.localhost", &mel),
    ] {
        for call in [
            at(&world, host, "/members").bearer(&session.token),
            at(&world, host, "/members").cookie(&cookies(session)),
        ] {
            let answer = call.send().await;
            assert_eq!(answer.status, StatusCode::OK, "{host}: {answer:?}");
            let received = world.upstream.take_received().remove(0);
            assert_eq!(
                received.header("x-user-id").as_ref(),
                Some(&session.user_id)
            );
            assert!(received.header("host").unwrap().starts_with(host));
        }
    }
}

#[tokio::test]
async fn each_site_sends_people_to_sign_in_at_its_own_instance_and_back_to_itself() {
    let (world, other) = two_instances().await;
    for (host, clerk) in [("localhost", &world.clerk), ("shop.localhost", &other)] {
        let answer = at(&world, host, "/members")
            .header("sec-fetch-dest", "document")
            .cookie("__clerk_db_jwt=d")
            .send()
            .await;
        let back = format!(
            "redirect_url=http%3A%2F%2F{host}%3A{}%2Fmembers",
            world.gate.port()
        );
        let location = answer.header("location").unwrap();
        assert!(location.starts_with(&clerk.sign_in_url()), "{location}");
        assert!(location.contains(&back), "{location}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn sites_of_one_instance_fetch_its_keys_once() {
    let world = World::with(usual_routes())
        .configure(|config| {
            let clerk = config.clerk.clone();
            for host in ["one.localhost", "two.localhost"] {
                add_site(config, &[host], PublicAddress::Loopback, clerk.clone());
            }
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    for host in ["localhost", "one.localhost", "two.localhost"] {
        let answer = at(&world, host, "/members").bearer(&ada.token).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{host}: {answer:?}");
    }
    assert_eq!(world.clerk.calls(Endpoint::Jwks), 1);
}

#[tokio::test]
async fn an_expired_session_is_refreshed_at_the_instance_of_its_site() {
    let (world, other) = two_instances().await;
    let expired = |clerk: &StandIn, session: &TestSession| {
        let past = START_MS / 1000 - 120;
        let token = clerk.mint(
            &session.session_id,
            &serde_json::json!({ "iat": past, "nbf": past, "exp": past + 60 }),
        );
        format!(
            "__session={token}; __client_uat={}; __clerk_db_jwt={}; __refresh_{}={}",
            past - 1,
            session.dev_browser,
            clerk.cookie_suffix(),
            session.refresh_token.as_deref().unwrap(),
        )
    };
    let mel = other.sign_in("mel", None);
    let answer = at(&world, "shop.localhost", "/members")
        .cookie(&expired(&other, &mel))
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(other.calls(Endpoint::Refresh), 1);
    assert_eq!(world.clerk.calls(Endpoint::Refresh), 0);
    let received = world.upstream.take_received().remove(0);
    assert_eq!(received.header("x-user-id"), Some(mel.user_id));
}

#[tokio::test]
async fn a_name_counts_before_a_pattern_and_the_longest_pattern_before_others() {
    let shop = other_instance().await;
    let (near, far) = (clerk_config(&shop), clerk_config(&shop));
    let world = World::with(usual_routes())
        .configure(|config| {
            let own = config.clerk.clone();
            let add = |config: &mut _, host, clerk| {
                add_site(config, &[host], PublicAddress::Loopback, clerk);
            };
            add(config, "*.localhost", own.clone());
            add(config, "*.shop.localhost", near);
            add(config, "own.shop.localhost", own);
            add(config, "shop.localhost", far);
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None).token;
    let mel = shop.sign_in("mel", None).token;
    for (host, good, bad) in [
        ("localhost", &ada, &mel),
        ("a.localhost", &ada, &mel),
        ("xshop.localhost", &ada, &mel),
        ("shop.localhost", &mel, &ada),
        ("a.shop.localhost", &mel, &ada),
        ("own.shop.localhost", &ada, &mel),
        ("a.own.shop.localhost", &mel, &ada),
    ] {
        let allowed = at(&world, host, "/members").bearer(good).send().await;
        assert_eq!(allowed.status, StatusCode::OK, "{host}");
        world.upstream.take_received();
        let refused = at(&world, host, "/members").bearer(bad).send().await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{host}");
        world.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn a_host_of_no_site_is_not_served() {
    let other = other_instance().await;
    let clerk = clerk_config(&other);
    let fixed = |text| PublicAddress::Fixed(Origin::parse(text).unwrap());
    let world = World::with(usual_routes())
        .configure(move |config| {
            config.edge.public = fixed("https://app.example.com");
            add_site(
                config,
                &["shop.example"],
                fixed("https://shop.example"),
                clerk,
            );
        })
        .start()
        .await;
    for (host, status) in [
        ("app.example.com", StatusCode::OK),
        ("shop.example", StatusCode::OK),
        ("SHOP.example.:444", StatusCode::OK),
        ("a.shop.example", StatusCode::MISDIRECTED_REQUEST),
        ("localhost", StatusCode::MISDIRECTED_REQUEST),
        ("elsewhere.example", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let answer = world.get("/public/x").header("host", host).send().await;
        assert_eq!(answer.status, status, "{host}");
        let arrived = world.upstream.take_received().len();
        assert_eq!(arrived == 1, status == StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn the_site_is_that_of_a_forwarded_host_of_a_trusted_proxy_and_of_no_other() {
    let other = other_instance().await;
    let mel = other.sign_in("mel", None).token;
    for trusted in [true, false] {
        let clerk = clerk_config(&other);
        let world = World::with(usual_routes())
            .configure(move |config| {
                if trusted {
                    config.edge.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
                }
                add_site(config, &["shop.localhost"], PublicAddress::Loopback, clerk);
            })
            .start()
            .await;
        let forwarded = world
            .get("/members")
            .header("x-forwarded-host", "shop.localhost")
            .bearer(&mel)
            .send()
            .await;
        if trusted {
            assert_eq!(forwarded.status, StatusCode::OK, "{forwarded:?}");
        } else {
            assert_eq!(forwarded.status, StatusCode::UNAUTHORIZED, "{forwarded:?}");
            world.upstream.assert_untouched();
        }
    }
}

#[tokio::test]
async fn every_site_has_pages_of_its_own_instance() {
    let (world, other) = two_instances().await;
    let mel = other.sign_in("mel", None);
    let me = at(&world, "shop.localhost", "/_gate/me")
        .bearer(&mel.token)
        .send()
        .await;
    assert_eq!(me.status, StatusCode::OK, "{me:?}");
    let me = at(&world, "localhost", "/_gate/me")
        .bearer(&mel.token)
        .send()
        .await;
    assert_eq!(me.status, StatusCode::UNAUTHORIZED, "{me:?}");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn an_address_without_a_site_serves_nobody_and_does_not_start() {
    let clerk = other_instance().await;
    let address = SiteAddress {
        hosts: vec![HostPattern::Exact("shop.localhost".to_owned())],
        public: PublicAddress::Loopback,
    };
    let clock = ManualClock::at(START_MS);
    let mut config = config(&clerk, ([127, 0, 0, 1], 9).into(), usual_routes());
    let mut snapshot = server::snapshot(&config, &(clock.clone() as _)).unwrap();
    snapshot.edge.sites.push(address.clone());
    let mut headers = HeaderMap::new();
    headers.insert("host", "shop.localhost".parse().unwrap());
    let target = "/public/x".parse().unwrap();
    let wire = WireRequest {
        method: &Method::GET,
        target: &target,
        version: Version::HTTP_11,
        headers: &headers,
        peer: [127, 0, 0, 1].into(),
        scheme: Scheme::Http,
    };
    let facts = RequestFacts::read(wire, &snapshot.edge).unwrap();
    let verdict = Gate::new(clock.clone())
        .decide(&snapshot, &facts)
        .await
        .verdict;
    assert!(
        matches!(&verdict.decision, Decision::Refuse(refusal) if refusal.cause.reason == Reason::HostNotServed),
        "{verdict:?}"
    );
    config.edge.sites.push(address);
    assert!(server::snapshot(&config, &(clock as _)).is_err());
}

#[tokio::test]
async fn a_site_relays_to_its_own_frontend_api_with_its_own_secret_key() {
    let apis = [
        RecordingUpstream::start().await,
        RecordingUpstream::start().await,
    ];
    let addresses = apis.each_ref().map(|api| api.address);
    let other = other_instance().await;
    let clerk = clerk_config(&other);
    let world = World::with(usual_routes())
        .configure(move |config| {
            add_site(
                config,
                &["shop.localhost"],
                PublicAddress::Loopback,
                clerk.clone(),
            );
            add_site(config, &["bare.localhost"], PublicAddress::Loopback, clerk);
            config.clerk.secret_key = Some("sk_test_ofTheFirst".into());
            config.sites[0].secret_key = Some("sk_test_ofTheShop".into());
            for (clerk, address) in [&mut config.clerk, &mut config.sites[0]]
                .into_iter()
                .zip(addresses)
            {
                clerk.frontend_api_proxy = Origin::parse(&format!("http://{address}"));
                clerk.instance.frontend_api_proxy = ProxyPath::parse("/__clerk");
            }
        })
        .start()
        .await;
    for (host, number, key) in [
        ("localhost", 0, "sk_test_ofTheFirst"),
        ("shop.localhost", 1, "sk_test_ofTheShop"),
    ] {
        let answer = at(&world, host, "/__clerk/v1/client").send().await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let received = apis[number].take_received().remove(0);
        assert_eq!(received.header("clerk-secret-key").as_deref(), Some(key));
        let own = format!("http://{host}:{}/__clerk", world.gate.port());
        assert_eq!(received.header("clerk-proxy-url"), Some(own));
        apis[1 - number].assert_untouched();
    }
    // A site without a proxy has none of its neighbours'.
    let answer = at(&world, "bare.localhost", "/__clerk/v1/client")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    for api in &apis {
        api.assert_untouched();
    }
    world.upstream.assert_untouched();
}
