//! Who may ask, and how.

use clerk_gate::core::door::Dialect;
use clerk_gate::modes::forward_auth::Admission;

use super::{ask, code, question, said, status};
use crate::support::{World, doors, usual_routes};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn world(peers: &'static [&'static str], secret: Option<&'static str>) -> World {
    World::with(usual_routes())
        .configure(move |config| config.forward_auth = Some(doors(peers, secret)))
        .start()
        .await
}

#[tokio::test]
async fn a_stranger_gets_a_bare_403_and_nothing_is_judged() {
    let world = world(&["10.0.0.0/8"], None).await;
    let ada = world.clerk.sign_in("ada", None);
    for dialect in Dialect::ALL {
        let answer = ask(&world, dialect, "GET", "/members").bearer(&ada.token);
        let answer = answer.send().await;
        assert_eq!(answer.status, 403);
        assert_eq!(answer.body, "");
        let names: Vec<&str> = answer
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .collect();
        for name in names {
            assert!(
                ["connection", "content-length", "date"].contains(&name),
                "{name}"
            );
        }
    }
    // Keys are fetched where a token is judged.
    assert_eq!(world.clerk.calls_total(), 0);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn whoever_shows_the_secret_may_ask_and_nobody_else() {
    let world = world(&[], Some(SECRET)).await;
    let wrong = format!("{}0", &SECRET[1..]);
    for (shown, wanted) in [
        (vec![SECRET], 200),
        (vec![], 403),
        (vec![""], 403),
        (vec![&*wrong], 403),
        (vec![&SECRET[1..]], 403),
        (vec![SECRET, SECRET], 403),
        (vec![SECRET, "x"], 403),
    ] {
        let call = ask(&world, Dialect::Traefik, "GET", "/public/x");
        let call = shown.iter().fold(call, |call, secret| {
            call.header("x-clerk-gate-secret", secret)
        });
        let answer = call.send().await;
        assert_eq!(answer.status, wanted, "{shown:?}");
        assert!(!format!("{answer:?}").contains(SECRET), "{answer:?}");
    }
}

#[tokio::test]
async fn where_peers_and_a_secret_are_set_both_have_to_hold() {
    for (peers, wanted) in [(&["127.0.0.1/32"], 200), (&["10.0.0.0/8"], 403)] {
        let world = world(peers, Some(SECRET)).await;
        let call = ask(&world, Dialect::Caddy, "GET", "/public/x");
        assert_eq!(call.send().await.status, 403);
        let call = ask(&world, Dialect::Caddy, "GET", "/public/x");
        let call = call.header("x-clerk-gate-secret", SECRET);
        assert_eq!(call.send().await.status, wanted);
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_nobody_at_a_door() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.edge.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            config.forward_auth = Some(doors(&["10.0.0.0/8"], None));
        })
        .start()
        .await;
    let call = ask(&world, Dialect::Nginx, "GET", "/public/x");
    assert_eq!(call.send().await.status, 403);
}

#[tokio::test]
async fn the_paths_of_the_doors_are_the_applications_on_the_main_listener() {
    let world = World::with(usual_routes()).with_doors().start().await;
    for dialect in Dialect::ALL {
        let answer = world.get(dialect.path()).send().await;
        assert_eq!(answer.status, 401);
    }
    world.upstream.assert_untouched();
    let ada = world.clerk.sign_in("ada", None);
    let answer = world.get("/auth/nginx").bearer(&ada.token).send().await;
    assert_eq!(answer.body, "upstream");
    assert_eq!(world.upstream.only().target, "/auth/nginx");
}

#[tokio::test]
async fn a_door_that_is_not_there_says_nothing() {
    let world = World::with(usual_routes()).with_doors().start().await;
    for path in [
        "/",
        "/auth",
        "/auth/apache",
        "/auth/nginx/",
        "/auth/nginx/x",
        "/auth/envoy",
        "/auth/envoyx",
    ] {
        let call = crate::support::Call::new(world.doors.unwrap(), http::Method::GET, path);
        let answer = call.send().await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (404, ""), "{path}");
    }
}

#[tokio::test]
async fn what_a_gateway_has_to_say_is_there_once_or_the_request_is_refused() {
    let world = World::with(usual_routes()).with_doors().start().await;
    let host = format!("localhost:{}", world.gate.port());
    let mut cases = 0;
    for dialect in Dialect::ALL {
        let told = said(dialect, "GET", "/public/x", &host);
        let send = |told: Vec<(String, String)>| {
            let call = question(world.doors.unwrap(), dialect, "GET", "/public/x", &told);
            call.send()
        };
        assert_eq!(status(dialect, &send(told.clone()).await), 200);
        for at in 0..told.len() {
            // `Call` writes a host of its own where there is none; its absence is a case below.
            let is_host = told[at].0 == "host";
            let mut variants = vec![
                {
                    let mut empty = told.clone();
                    empty[at].1 = String::new();
                    empty
                },
                {
                    let mut blank = told.clone();
                    blank[at].1 = "  ".to_owned();
                    blank
                },
                {
                    let mut doubled = told.clone();
                    doubled.push(told[at].clone());
                    doubled
                },
            ];
            if !is_host {
                let mut missing = told.clone();
                missing.remove(at);
                variants.push(missing);
            }
            for variant in variants {
                let answer = send(variant.clone()).await;
                assert_eq!(status(dialect, &answer), 400, "{dialect:?} {variant:?}");
                assert_eq!(code(dialect, &answer), "door-metadata", "{variant:?}");
                assert!(answer.header("x-user-id").is_none());
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 4 * 5 * 4 + 2 * 4 + 3);
}

#[tokio::test]
async fn what_a_gateway_says_is_refused_where_it_is_malformed() {
    let world = World::with(usual_routes()).with_doors().start().await;
    let host = format!("localhost:{}", world.gate.port());
    let dialect = Dialect::Traefik;
    for (name, value, wanted) in [
        ("x-forwarded-method", "GE T", "door-metadata"),
        ("x-forwarded-method", "CONNECT", "target-unsupported"),
        (
            "x-forwarded-uri",
            "http://localhost/public/x",
            "door-metadata",
        ),
        ("x-forwarded-uri", "public/x", "door-metadata"),
        ("x-forwarded-uri", "*", "door-metadata"),
        ("x-forwarded-uri", "/public/x#/admin", "path-ambiguous"),
        ("x-forwarded-uri", "/public/\\x", "path-ambiguous"),
        ("x-forwarded-uri", "/public/%zz", "path-malformed"),
        (
            "x-forwarded-host",
            "localhost, evil.example",
            "host-invalid",
        ),
        ("x-forwarded-host", "user@localhost", "host-invalid"),
        ("x-forwarded-host", "evil.example", "host-not-served"),
        ("x-forwarded-proto", "https, http", "door-metadata"),
        ("x-forwarded-proto", "ftp", "door-metadata"),
        ("x-forwarded-for", "203.0.113.7, unknown", "door-metadata"),
        ("x-forwarded-for", "203.0.113.7:80", "door-metadata"),
    ] {
        let mut told = said(dialect, "GET", "/public/x", &host);
        for line in &mut told {
            if line.0 == name {
                value.clone_into(&mut line.1);
            }
        }
        let call = question(world.doors.unwrap(), dialect, "GET", "/public/x", &told);
        let answer = call.send().await;
        assert_eq!(code(dialect, &answer), wanted, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_door_reads_the_words_of_its_own_gateway_alone() {
    let world = World::with(usual_routes()).with_doors().start().await;
    for dialect in Dialect::ALL {
        for other in Dialect::ALL {
            let mut call = ask(&world, dialect, "GET", "/members");
            let own = said(dialect, "GET", "/members", "localhost");
            for (name, value) in said(other, "GET", "/public/x", "evil.example") {
                if own.iter().all(|(known, _)| *known != name) && name != "host" {
                    call = call.header(&name, &value);
                }
            }
            let answer = call.send().await;
            assert_eq!(status(dialect, &answer), 401, "{dialect:?} {other:?}");
        }
    }
}

#[test]
fn neither_configuration_nor_doors_show_the_secret() {
    let config = doors(&["10.0.0.0/8"], Some(SECRET));
    let admission = Admission::new(config.peers.clone(), config.secret.clone());
    for shown in [format!("{config:?}"), format!("{admission:#?}")] {
        assert!(shown.contains("10.0.0.0/8"), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
