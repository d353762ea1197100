//! A shadow policy: judged beside the one in force, told of in the log and among the metrics, never
//! enforced, and at nobody's cost.

use std::fs;
use std::sync::Arc;

use clerk_gate::config::ShadowConfig;
use clerk_gate::core::authorization::Asked;
use clerk_gate::core::budget::{Budget, By, Enforcement, Figures, Rate, Told};
use clerk_gate::core::machine::{TokenType, TokenTypes};
use clerk_gate::core::policy::{CredentialUse, PathReading, Policy, Route};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, StandIn, StandInOptions};
use http::{Method, StatusCode};

use crate::support::log::listen;
use crate::support::program::{Running, file, program};
use crate::support::upstream::RecordingUpstream;
use crate::support::{Call, World, cookies, refreshable, route, usual_routes};

fn policy(routes: Vec<Route>) -> Policy {
    Policy::compile(routes, PathReading::Leniently).unwrap()
}

fn admins(name: &str, path: &str) -> Route {
    let admin = Asked {
        role: Some("org:admin".to_owned()),
        ..Asked::default()
    };
    route(name, &[path], Requirement::Has(admin))
}

fn unread(name: &str, path: &str) -> Route {
    Route {
        credentials: CredentialUse::Ignore,
        ..route(name, &[path], Requirement::Public)
    }
}

async fn world(enforced: Vec<Route>, shadow: Policy) -> World {
    World::with(enforced)
        .configure(move |config| {
            config.shadow = Some(Box::new(ShadowConfig {
                name: "next-policy.toml".to_owned(),
                policy: shadow,
            }));
        })
        .start()
        .await
}

/// What was counted: what became of requests, what would have, and how many.
fn counted(world: &World) -> Vec<(&'static str, &'static str, u64)> {
    let totals = world.service.gate.meters.shadow.totals();
    let some = totals.filter(|(_, _, total)| *total > 0);
    some.map(|(enforced, shadow, total)| {
        let shadow = shadow.map_or("unknown", |shadow| shadow.as_str());
        (enforced.as_str(), shadow, total)
    })
    .collect()
}

#[tokio::test]
async fn what_a_shadow_policy_says_is_told_and_never_done() {
    let shadow = vec![
        admins("public", "/public/**"),
        route("members", &["/members/**"], Requirement::Public),
    ];
    let world = world(usual_routes(), policy(shadow)).await;
    let (log, listening) = listen();
    let call = world.get("/public/x?secret=1").header("x-request-id", "r1");
    assert_eq!(call.send().await.status, StatusCode::OK);
    assert_eq!(world.upstream.take_received().len(), 1);
    let call = world.get("/members/x").header("x-request-id", "r2");
    assert_eq!(call.send().await.status, StatusCode::UNAUTHORIZED);
    world.upstream.assert_untouched();
    let same = world.get("/elsewhere").header("x-request-id", "r3");
    assert_eq!(same.send().await.status, StatusCode::UNAUTHORIZED);
    drop(listening);
    let log = log.text();
    let lines: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.split_once("clerk_gate::shadow: ")?.1))
        .collect();
    insta::assert_snapshot!("shadow", lines.join("\n"));
    assert!(!log.contains("secret=1"));
    assert_eq!(
        counted(&world),
        [
            ("allowed", "signed-out", 1),
            ("signed-out", "allowed", 1),
            ("signed-out", "signed-out", 1),
        ]
    );
    let metrics = world.window("/metrics").send().await;
    let series = "clerk_gate_shadow_verdicts_total{outcome=\"allowed\",shadow=\"signed-out\"} 1";
    assert!(metrics.body.contains(series), "{}", metrics.body);
}

#[tokio::test]
async fn a_request_is_judged_by_who_really_sent_it() {
    let shadow = vec![admins("members", "/members/**")];
    let world = world(usual_routes(), policy(shadow)).await;
    for person in ["ada", "mel"] {
        let session = world.clerk.sign_in(person, None);
        let answer = world.get("/members/x").cookie(&cookies(&session));
        assert_eq!(answer.send().await.status, StatusCode::OK);
    }
    assert_eq!(
        counted(&world),
        [("allowed", "allowed", 1), ("allowed", "forbidden", 1)]
    );
}

#[tokio::test]
async fn nothing_is_asked_of_clerk_for_the_shadows_sake() {
    let machines = Requirement::Token(TokenTypes::of(&[TokenType::ApiKey]));
    let shadow = vec![
        route("static", &["/static/**"], Requirement::SignedIn),
        route("keys", &["/public/keys/**"], machines),
    ];
    let mut enforced = vec![unread("static", "/static/**")];
    enforced.extend(usual_routes());
    let world = world(enforced, policy(shadow)).await;
    let mel = world.clerk.sign_in("mel", None);
    let before = world.clerk.calls_total();
    // No key is at hand, and none is fetched.
    let call = world.get("/static/a").cookie(&cookies(&mel));
    assert_eq!(call.send().await.status, StatusCode::OK);
    let call = world.get("/public/keys/a").bearer("ak_madeup");
    assert_eq!(call.send().await.status, StatusCode::OK);
    assert_eq!(world.clerk.calls_total(), before);
    assert_eq!(counted(&world), [("allowed", "unknown", 2)]);
    // Once there are keys, a signature can be checked without asking anybody.
    let known = world.get("/members/x").cookie(&cookies(&mel));
    assert_eq!(known.send().await.status, StatusCode::OK);
    let before = world.clerk.calls_total();
    let call = world.get("/static/a").cookie(&cookies(&mel));
    assert_eq!(call.send().await.status, StatusCode::OK);
    // What would be renewed is not.
    world.clock.advance_ms(70_000);
    let call = world.get("/static/a").cookie(&refreshable(&world, &mel));
    assert_eq!(call.send().await.status, StatusCode::OK);
    assert_eq!(world.clerk.calls_total(), before);
    assert_eq!(world.clerk.calls(Endpoint::Refresh), 0);
    assert_eq!(
        counted(&world),
        [("allowed", "allowed", 2), ("allowed", "unknown", 3)]
    );
}

#[tokio::test]
async fn a_policy_beside_itself_never_differs_and_has_nothing_asked_twice() {
    let machines = Requirement::Token(TokenTypes::of(&[TokenType::ApiKey]));
    let mut routes = usual_routes();
    routes.push(route("keys", &["/keys/**"], machines));
    routes.push(unread("static", "/static/**"));
    let world = world(routes.clone(), policy(routes)).await;
    let ada = world.clerk.sign_in("ada", None);
    let mel = world.clerk.sign_in("mel", None);
    let fresh = [cookies(&ada), cookies(&mel)];
    let calls = vec![
        world.get("/"),
        world.get("/members"),
        world.visit("/members"),
        world.get("/admin/x").cookie(&fresh[0]),
        world.get("/admin/x").cookie(&fresh[1]),
        world.get("/ADMIN/x").cookie(&fresh[1]),
        world.get("/members").bearer(&mel.token),
        world.get("/members").bearer("a.b.c"),
        world.get("/keys/x").bearer("ak_madeup"),
        world.get("/static/x").cookie(&fresh[0]),
        world.get("/a%2Fb").cookie(&fresh[0]),
        world.request(Method::POST, "/members").body("a=1"),
        world.get("/_gate/me").cookie(&fresh[0]),
        world.get("/x%zz"),
    ];
    let count = calls.len() as u64;
    for call in calls {
        call.send().await;
    }
    let machines = world.clerk.calls(Endpoint::MachineTokens);
    assert_eq!(machines, 1);
    world.clock.advance_ms(70_000);
    let renewed = world.get("/members").cookie(&refreshable(&world, &mel));
    assert_eq!(renewed.send().await.status, StatusCode::OK);
    assert_eq!(world.clerk.calls(Endpoint::Refresh), 1);
    let counted = counted(&world);
    for (enforced, shadow, _) in &counted {
        assert_eq!(enforced, shadow, "{counted:?}");
    }
    let judged: u64 = counted.iter().map(|(_, _, total)| total).sum();
    // A page of the gate's own and what cannot be read have no route.
    assert_eq!(judged, count + 1 - 2, "{counted:?}");
}

fn once(name: &str) -> Arc<Budget> {
    Arc::new(Budget {
        name: name.into(),
        by: By::Address,
        figures: Figures {
            rate: Some(Rate::SlidingWindow {
                requests: 1,
                window_ms: 60_000,
            }),
            in_flight: None,
        },
        tiers: Vec::new(),
        ipv6_prefix: 64,
        enforcement: Enforcement::Refuse,
        disclosure: Told::InHeaders,
    })
}

#[tokio::test]
async fn limits_of_a_shadow_policy_are_charged_to_nobody() {
    let shadow = policy(usual_routes()).limited_by(&[once("shadow")]);
    let world = world(usual_routes(), shadow).await;
    for _ in 0..5 {
        let answer = world.get("/public/x").send().await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("ratelimit"), None);
    }
    assert_eq!(counted(&world), [("allowed", "allowed", 5)]);
    let limits = world.service.gate.meters.limits();
    assert!(limits.is_empty(), "{limits:?}");
}

#[tokio::test]
async fn what_a_limit_has_refused_is_not_compared() {
    let world = world(Vec::new(), policy(usual_routes()));
    let world = {
        let config = world.await.config;
        let limited = Policy::compile(usual_routes(), PathReading::Leniently).unwrap();
        World::with(usual_routes())
            .configure(move |fresh| {
                fresh.policy = limited.limited_by(&[once("door")]);
                fresh.shadow = config.shadow;
            })
            .start()
            .await
    };
    for wanted in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        assert_eq!(world.get("/public/x").send().await.status, wanted);
    }
    assert_eq!(counted(&world), [("allowed", "allowed", 1)]);
}

#[tokio::test]
async fn a_flood_of_differences_has_a_few_lines_and_is_counted_whole() {
    let shadow = vec![admins("public", "/public/**")];
    let world = world(usual_routes(), policy(shadow)).await;
    let (log, listening) = listen();
    for _ in 0..50 {
        assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
    }
    world.clock.advance_ms(1_000);
    assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
    drop(listening);
    let log = log.text();
    let told = log.matches("the shadow policy would have decided otherwise");
    assert_eq!(told.count(), 11);
    assert!(log.contains("left_out=40"), "{log}");
    assert_eq!(counted(&world), [("allowed", "signed-out", 51)]);
}

#[tokio::test]
async fn without_a_shadow_policy_nothing_is_compared() {
    let world = World::start().await;
    assert_eq!(world.get("/public/x").send().await.status, StatusCode::OK);
    assert!(counted(&world).is_empty());
}

const OTHERWISE: &str = "the shadow policy would have decided otherwise";

/// A policy file in which `/open/**` requires this.
fn next(require: &str) -> String {
    format!("[[route]]\nname = \"open\"\npath = \"/open/**\"\nrequire = \"{require}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_watched_and_a_bad_one_changes_nothing() {
    let clerk = StandIn::start(StandInOptions::new(Arc::new(|| 1_790_000_000_000)));
    let clerk = clerk.await.unwrap();
    let upstream = RecordingUpstream::start().await;
    let shadow = file("shadow-next.toml", &next("public"));
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin.listen = \"off\"\n\
         clerk = {{ publishable-key = \"{}\", api-url = \"{url}\", frontend-api-url = \"{url}\" }}\n\
         upstream.url = \"http://{}\"\nshadow.policy-file = \"{}\"\n{}",
        clerk.publishable_key(),
        upstream.address,
        shadow.display(),
        next("public"),
        url = clerk.url(),
    );
    let path = file("shadow-main.toml", &text);
    let (mut running, gate) = Running::start(program().arg("run").arg("-c").arg(&path));
    let open = || async {
        let answer = Call::new(gate, Method::GET, "/open/a").send().await;
        assert_eq!(answer.status, StatusCode::OK);
    };
    open().await;
    fs::write(&shadow, next("signed-in")).unwrap();
    running.until("the configuration has been read again");
    open().await;
    let line = running.until(OTHERWISE);
    assert!(line.contains("\"shadow_outcome\":\"signed-out\""), "{line}");
    fs::write(&shadow, next("pubic")).unwrap();
    let line = running.until("the configuration stays as it was");
    assert!(
        line.contains("shadow-next.toml") && line.contains("pubic"),
        "{line}"
    );
    open().await;
    running.until(OTHERWISE);
    assert_eq!(upstream.take_received().len(), 3);
}

#[test]
fn check_and_explain_show_both_policies() {
    let shadow = file("shadow-shown-next.toml", &next("org:admin"));
    let text = format!(
        "clerk.publishable-key = \"pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk\"\n\
         upstream.url = \"http://127.0.0.1:3000\"\nshadow.policy-file = \"{}\"\n{}",
        shadow.display(),
        next("signed-in"),
    );
    let path = file("shadow-shown.toml", &text);
    let said = |arguments: &[&str]| {
        let output = program().args(arguments).arg("-c").arg(&path).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .replace(&path.display().to_string(), "gate.toml")
            .replace(&shadow.display().to_string(), "next-policy.toml")
    };
    let mut all = said(&["check"]);
    all += &said(&["explain", "GET", "/open/x", "--as", "user_1"]);
    insta::assert_snapshot!("shadow_shown", all);
    let json = said(&["explain", "GET", "/open/x", "--as", "user_1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["outcome"], "allowed");
    assert_eq!(json["shadow"]["outcome"], "forbidden");
}
