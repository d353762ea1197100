//! Decisions explained later, by the function that decided.

use clerk_gate::core::policy::{PathReading, Policy};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, Fault, MachineGrant, MachineKind};

use super::*;
use crate::support::{cookies, refreshable, route, sealed};

/// The explanation of the request of this id.
async fn explained(world: &World, id: &str) -> Value {
    let answer = world
        .window(&format!("/explain.json?request-id={id}"))
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    value["decisions"][0].clone()
}

/// What was recorded, joined.
fn recorded(explained: &Value) -> String {
    let lines = explained["explanation"]["recorded"].as_array().unwrap();
    let lines = lines.iter().map(|line| line.as_str().unwrap());
    lines.collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn every_kind_of_decision_is_explained_as_it_was_made() {
    let world = builder().relaying().start().await;
    let (ada, mel) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("mel", None),
    );
    let grant = MachineGrant::new(MachineKind::ApiKey, &ada.user_id, &[]);
    let key = world.clerk.machine_token(grant);
    let unknown = "__session=x.y.z; __client_uat=1; __clerk_db_jwt=d";
    let calls = [
        (world.get("/public/1"), "allowed"),
        (world.get("/members/1").bearer(&ada.token), "allowed"),
        (world.get("/members/1").cookie(&cookies(&ada)), "allowed"),
        (world.get("/members/1"), "signed-out"),
        (world.visit("/members/1?a=secret"), "signed-out"),
        (world.visit("/members/1").cookie(unknown), "signed-out"),
        (world.get("/members/1").cookie(unknown), "signed-out"),
        (world.get("/members/1").bearer("x"), "signed-out"),
        (world.get("/admin/1").bearer(&mel.token), "forbidden"),
        (world.get("/ADMIN/1").cookie(&cookies(&mel)), "forbidden"),
        (world.visit("/admin/1").cookie(&cookies(&mel)), "forbidden"),
        (world.get("/few/1"), "allowed"),
        (world.get("/few/2"), "refused"),
        (world.get("/keys/1").bearer(&key.secret), "allowed"),
        (world.get("/keys/1").bearer("ak_made_up"), "forbidden"),
        (world.get("/keys/1"), "signed-out"),
        (world.get("/public/a%2fb"), "refused"),
        (world.get("/_gate/me").cookie(&cookies(&ada)), "page"),
        (world.get("/_gate/nowhere"), "refused"),
        (
            world.visit("/_gate/sessions").cookie(&sealed(&world, &ada)),
            "page",
        ),
        (world.get("/__clerk/v1/client"), "relayed"),
    ];
    let count = calls.len();
    for (number, (call, _)) in calls.into_iter().enumerate() {
        call.header("x-request-id", &format!("r-{number}"))
            .send()
            .await;
    }
    for number in 0..count {
        let why = explained(&world, &format!("r-{number}")).await;
        let (decision, explanation) = (&why["decision"], &why["explanation"]);
        let case = format!("{number}: {why:#}");
        // What was said then is what is said now.
        assert_eq!(decision["reason"], explanation["reason"], "{case}");
        assert_eq!(decision["user"], explanation["user"], "{case}");
        assert_eq!(decision["path"], explanation["path"], "{case}");
        assert_eq!(explanation["left_out"], serde_json::json!([]), "{case}");
        if let Some(status) = explanation["status"].as_u64() {
            assert_eq!(decision["status"], status, "{case}");
        }
        let done = decision["decision"].as_str().unwrap();
        let outcome = explanation["outcome"].as_str().unwrap();
        let fits = match outcome {
            "allowed" => done == "forward",
            "relayed" => done == "relay",
            "page" => done == "page",
            "refused" | "not-found" | "unavailable" => done == "refuse",
            "signed-out" | "forbidden" => matches!(done, "refuse" | "redirect"),
            other => panic!("{other}"),
        };
        assert!(fits, "{case}");
    }
}

#[tokio::test]
async fn what_was_found_out_then_is_not_asked_again() {
    let world = builder().start().await;
    let (ada, mel) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("mel", None),
    );
    world.clock.advance_ms(70_000);
    let call = world.get("/members/1").cookie(&refreshable(&world, &ada));
    call.header("x-request-id", "refreshed").send().await;
    world.clerk.misbehave(Endpoint::Refresh, Fault::Status(422));
    let call = world.get("/members/1").cookie(&refreshable(&world, &mel));
    call.header("x-request-id", "refused").send().await;
    world.clerk.behave();
    world
        .get("/few/1")
        .header("x-request-id", "few-1")
        .send()
        .await;
    world
        .get("/few/1")
        .header("x-request-id", "few-2")
        .send()
        .await;
    let asked = world.clerk.calls_total();
    explained(&world, "few-1").await;
    let again = world.get("/few/1").send().await;
    let spent = StatusCode::TOO_MANY_REQUESTS;
    assert_eq!(again.status, spent, "nothing is given back");
    // Long after all of it has ended.
    world.clock.advance_ms(3_600_000);
    for (id, outcome, said) in [
        ("refreshed", "allowed", "the session was refreshed at Clerk"),
        (
            "refused",
            "signed-out",
            "the session was not refreshed at Clerk: ",
        ),
        ("few-1", "allowed", "limit `few` had room"),
        ("few-2", "refused", "limit `few` refused (rate-limited)"),
    ] {
        let why = explained(&world, id).await;
        assert_eq!(why["explanation"]["outcome"], outcome, "{why:#}");
        assert!(recorded(&why).contains(said), "{why:#}");
    }
    assert_eq!(world.clerk.calls_total(), asked, "Clerk is not asked");
    assert_eq!(
        world.upstream.received().len(),
        2,
        "nor is anything forwarded"
    );
}

#[tokio::test]
async fn another_configuration_explains_what_it_would_say_and_tells_so() {
    let world = builder().start().await;
    world
        .get("/members/1")
        .header("x-request-id", "r-1")
        .send()
        .await;
    let mut next = world.config.clone();
    let routes = vec![route("open", &["/members/**"], Requirement::Public)];
    next.policy = Policy::compile(routes, PathReading::Leniently).unwrap();
    world.reloader.change_to(next).unwrap();
    let why = explained(&world, "r-1").await;
    assert_eq!(why["decision"]["config_generation"], 1);
    assert_eq!(why["explained_by"], 2);
    assert_eq!(why["decision"]["decision"], "refuse");
    assert_eq!(why["explanation"]["outcome"], "allowed");
    let text = world.window("/explain?request-id=r-1").send().await.body;
    assert!(
        text.contains("judged    by configuration 1, as proxy\n"),
        "{text}"
    );
    assert!(text.contains("configuration 2 is what follows"), "{text}");
}

#[tokio::test]
async fn a_configuration_that_asks_more_is_told_as_left_out() {
    let world = builder().start().await;
    let call = world.get("/public/1").bearer("ak_made_up");
    call.header("x-request-id", "r-1").send().await;
    let mut next = world.config.clone();
    next.policy = crate::support::toml::written(
        "[[route]]\nname = \"keys\"\npath = \"/public/**\"\nrequire = { token = \"api_key\" }\n",
    )
    .policy;
    world.reloader.change_to(next).unwrap();
    let why = explained(&world, "r-1").await;
    assert_eq!(why["explanation"]["outcome"], "unavailable", "{why:#}");
    let left_out = &why["explanation"]["left_out"][0];
    assert_eq!(left_out, "the token would be looked up at Clerk");
}

#[tokio::test]
async fn an_explanation_is_for_people_too() {
    let world = builder().start().await;
    let mel = world.clerk.sign_in("mel", None);
    let call = world.get("/ADMIN/1").cookie(&cookies(&mel));
    call.header("x-request-id", "r-1").send().await;
    world.get("/%zz").header("x-request-id", "r-2").send().await;
    let text = world.window("/explain?request-id=r-1").send().await;
    assert_eq!(
        text.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let text = text.body.replace(&world.gate.port().to_string(), "PORT");
    let text = text.replace(&mel.user_id, "user_mel");
    insta::assert_snapshot!("explained", text);
    let unread = world.window("/explain?request-id=r-2").send().await.body;
    assert!(
        unread.contains(": refuse, 400, path-malformed\n"),
        "{unread}"
    );
    assert!(
        unread.contains("GET (unread): no route was looked for"),
        "{unread}"
    );
}

#[tokio::test]
async fn of_several_requests_with_one_id_each_is_explained_and_of_none_it_is_said() {
    let world = builder().start().await;
    for number in 0..12 {
        let call = world.get(&format!("/public/{number}"));
        call.header("x-request-id", "mine").send().await;
    }
    let text = world.window("/explain?request-id=mine").send().await.body;
    assert_eq!(text.matches("decided ").count(), 10, "{text}");
    assert!(
        text.contains("/public/11") && !text.contains("/public/1\n"),
        "{text}"
    );
    let nobody = world.window("/explain?request-id=other").send().await;
    assert_eq!(nobody.status, StatusCode::GONE);
    let which = world.window("/explain").send().await;
    assert_eq!(which.status, StatusCode::BAD_REQUEST);
}
