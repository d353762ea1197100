//! What one instance of Clerk has signed, tried at a site that works for another one.

use bytes::Bytes;
use clerk_gate::config::KeySource;
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::instance::IssuerRule;
use clerk_gate::core::machine::{TokenType, TokenTypes};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, StandIn, TestSession};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::assert_none;
use crate::sites::other_instance;
use crate::support::upstream::RecordingUpstream;
use crate::support::{Call, World, add_site, clerk_config, route, usual_routes};

/// How the two sites know whose tokens are theirs.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// As they usually do.
    Usually,
    /// By keys that are fetched, alone.
    ByFetching,
    /// By a key from the configuration, alone: not even a key id is compared.
    ByHeart,
}

const HOSTS: [&str; 2] = ["localhost", "shop.localhost"];

/// Two sites with an instance each, and who is signed in at them.
async fn world(told: Told) -> (World, [(StandIn, TestSession); 2]) {
    let clerks = [other_instance().await, other_instance().await];
    let configs = clerks.each_ref().map(|clerk| {
        let mut config = clerk_config(clerk);
        match told {
            Told::Usually => {}
            Told::ByFetching => config.instance.issuer = IssuerRule::Any,
            Told::ByHeart => {
                config.instance.issuer = IssuerRule::Any;
                config.keys = KeySource::Pem(clerk.jwt_key_pem());
            }
        }
        config
    });
    let world = World::with(usual_routes())
        .configure(move |config| {
            let [first, second] = configs;
            config.clerk = first;
            add_site(config, &HOSTS[1..], PublicAddress::Loopback, second);
        })
        .start()
        .await;
    let people = clerks.map(|clerk| {
        let session = clerk.sign_in("ada", None);
        (clerk, session)
    });
    (world, people)
}

fn at(world: &World, site: usize) -> Call {
    let host = format!("{}:{}", HOSTS[site], world.gate.port());
    world.get("/members").header("host", &host)
}

/// Everything that a browser or a program can make of a session, for a site that it is not of.
fn tries(foreign: &(StandIn, TestSession), own: &StandIn) -> Vec<String> {
    let (clerk, session) = foreign;
    let TestSession {
        token,
        client_uat,
        dev_browser,
        ..
    } = session;
    let rest = format!("__client_uat={client_uat}; __clerk_db_jwt={dev_browser}");
    let suffixed = |suffix: &str| {
        format!(
            "cookie: __session_{suffix}={token}; __client_uat_{suffix}={client_uat}; __clerk_db_jwt_{suffix}={dev_browser}; {rest}"
        )
    };
    let handshake = clerk.handshake_token(&[format!("__session={token}; Path=/")]);
    vec![
        format!("authorization: Bearer {token}"),
        format!("cookie: __session={token}; {rest}"),
        suffixed(clerk.cookie_suffix()),
        suffixed(own.cookie_suffix()),
        format!("{}; __session={token}", suffixed(own.cookie_suffix())),
        format!("cookie: __clerk_handshake={handshake}; __session={token}; {rest}"),
    ]
}

#[tokio::test]
async fn a_token_of_one_instance_never_passes_on_a_site_of_another() {
    let mut faults = Vec::new();
    let mut tried = 0;
    for told in [Told::Usually, Told::ByFetching, Told::ByHeart] {
        let (world, people) = world(told).await;
        // Both tokens are known as verified, and both sites have their first keys.
        for round in 0..2 {
            for (site, (_, session)) in people.iter().enumerate() {
                let own = at(&world, site).bearer(&session.token).send().await;
                assert_eq!(own.status, StatusCode::OK, "{told:?} {own:?}");
            }
            world.upstream.take_received();
            for site in 0..2 {
                for line in tries(&people[1 - site], &people[site].0) {
                    let (name, value) = line.split_once(": ").unwrap();
                    for dest in ["empty", "document"] {
                        let answer = at(&world, site)
                            .header("sec-fetch-dest", dest)
                            .header(name, value)
                            .send()
                            .await;
                        tried += 1;
                        let received = world.upstream.take_received();
                        if answer.status.is_success() || !received.is_empty() {
                            faults.push(format!(
                                "{told:?}, round {round}, site {site}, {dest}: {line}: {}",
                                answer.status
                            ));
                        }
                    }
                }
            }
        }
    }
    assert_eq!(tried, 3 * 2 * 2 * 6 * 2);
    assert_none(&faults);
}

#[tokio::test]
async fn what_renews_a_session_of_one_instance_is_never_sent_to_another() {
    let (world, people) = world(Told::Usually).await;
    let [(first, session), (second, _)] = &people;
    // The cookie of the other instance, under its own name and under the one of this site.
    for suffix in [first.cookie_suffix(), second.cookie_suffix()] {
        let cookies = format!(
            "__session={}; __client_uat={}; __clerk_db_jwt=d; __refresh_{suffix}={}",
            session.token,
            session.client_uat,
            session.refresh_token.as_deref().unwrap(),
        );
        world.clock.advance_ms(70_000);
        let answer = at(&world, 1).cookie(&cookies).send().await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    assert_eq!(second.calls(Endpoint::Refresh), 0);
    assert_eq!(first.calls(Endpoint::Refresh), 0);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_handshake_result_of_one_instance_is_none_on_a_site_of_another() {
    let (world, people) = world(Told::ByFetching).await;
    let [(first, session), _] = &people;
    let own = at(&world, 0).bearer(&session.token).send().await;
    assert_eq!(own.status, StatusCode::OK);
    world.upstream.take_received();
    let result = first.handshake_token(&[format!("__session={}; Path=/", session.token)]);
    let host = format!("{}:{}", HOSTS[1], world.gate.port());
    let answer = world
        .visit(&format!("/members?__clerk_handshake={result}"))
        .header("host", &host)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    assert_eq!(answer.all("set-cookie"), Vec::<String>::new());
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn an_api_key_of_one_instance_is_none_on_a_site_of_another() {
    let known = RecordingUpstream::start().await;
    known.answers(|_| {
        let body = json!({ "id": "ak_1", "subject": "user_1", "scopes": [], "claims": null, "revoked": false, "expired": false, "expiration": null });
        let mut answer = Response::new(Bytes::from(body.to_string()));
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
        answer
    });
    let unknown = RecordingUpstream::start().await;
    unknown.answers(|_| {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = StatusCode::NOT_FOUND;
        answer
    });
    let keys = Requirement::Token(TokenTypes::of(&[TokenType::ApiKey]));
    let other = other_instance().await;
    let mut second = clerk_config(&other);
    second.api_url = format!("http://{}", unknown.address).parse().unwrap();
    let first_api = format!("http://{}", known.address).parse().unwrap();
    let world = World::with(vec![route("keys", &["/members"], keys)])
        .configure(move |config| {
            config.clerk.api_url = first_api;
            add_site(config, &HOSTS[1..], PublicAddress::Loopback, second);
            let same = config.clerk.clone();
            add_site(config, &["docs.localhost"], PublicAddress::Loopback, same);
        })
        .start()
        .await;
    let token = "ak_0123456789abcdefghij";
    for _ in 0..2 {
        let own = at(&world, 0).bearer(token).send().await;
        assert_eq!(own.status, StatusCode::OK, "{own:?}");
        world.upstream.take_received();
        let foreign = at(&world, 1).bearer(token).send().await;
        assert_eq!(foreign.status, StatusCode::UNAUTHORIZED, "{foreign:?}");
        world.upstream.assert_untouched();
    }
    // A site of the same instance takes the word that the first one was given.
    let host = format!("docs.localhost:{}", world.gate.port());
    let same = world.get("/members").header("host", &host).bearer(token);
    assert_eq!(same.send().await.status, StatusCode::OK);
    assert_eq!((known.received().len(), unknown.received().len()), (1, 1));
}
