//! The list of one's sessions, and ending others of them.

use clerk_gate::standin::{Endpoint, Fault, TestSession};
use http::{Method, StatusCode};
use serde_json::json;

use super::{assert_kept_close, form, from_here, gets_in, json, script, status_of, without_style};
use crate::support::upstream::RecordingUpstream;
use crate::support::{World, sealed, usual_routes};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";

/// Three sessions of Ada's: the one in front, one in another browser and one in a third.
fn three(world: &World) -> [TestSession; 3] {
    let address = "198.51.100.7".parse().unwrap();
    let there = world.clerk.sign_in_from("ada", FIREFOX, address);
    world.clock.advance_ms(1_000);
    let third = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(1_000);
    [world.clerk.sign_in("ada", None), there, third]
}

#[tokio::test]
async fn a_program_gets_the_sessions_of_whoever_asks() {
    let world = World::start().await;
    let [here, there, third] = three(&world);
    let mel = world.clerk.sign_in("mel", None);
    let before = world.clerk.calls(Endpoint::SessionList);
    let answer = world
        .get("/_gate/sessions")
        .cookie(&sealed(&world, &here))
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_kept_close(&answer);
    // Active ones, and those with tasks left.
    assert_eq!(world.clerk.calls(Endpoint::SessionList) - before, 2);
    let body = json(&answer);
    let sessions = body["sessions"].as_array().unwrap();
    let ids: Vec<&str> = sessions
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [&here.session_id, &third.session_id, &there.session_id]
    );
    assert!(!answer.body.contains(&mel.session_id));
    let current: Vec<bool> = sessions.iter().map(|one| one["current"] == true).collect();
    assert_eq!(current, [true, false, false]);
    assert_eq!(sessions[2]["ip"], "198.51.100.7");
    assert_eq!(sessions[2]["device"]["browser"], "Firefox");
    let keys: Vec<&String> = sessions[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "created_at",
            "current",
            "device",
            "expire_at",
            "id",
            "ip",
            "last_active_at",
            "place",
            "status"
        ]
    );
    assert_eq!(body["complete"], true);
}

#[tokio::test]
async fn a_person_gets_a_page() {
    let world = World::start().await;
    let sessions = three(&world);
    world.clerk.sign_in_beside(&sessions[0], "mel");
    let page = world
        .visit("/_gate/sessions")
        .cookie(&sealed(&world, &sessions[0]));
    let page = page.send().await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert_kept_close(&page);
    let mut shown = without_style(&page.body);
    for (session, name) in sessions.iter().zip(["here", "there", "third"]) {
        shown = shown.replace(&session.session_id, &format!("sess_{name}"));
    }
    // What is made anew in each run.
    let beside = shown
        .split("/switch")
        .next()
        .unwrap()
        .rsplit("sessions/")
        .next()
        .unwrap();
    let shown = shown
        .replace(beside, "sess_beside")
        .replace(&sessions[0].dev_browser, "dvb_here")
        .replace(&world.clerk.addr().port().to_string(), "4001")
        .replace(&world.gate.port().to_string(), "8080");
    insta::assert_snapshot!("sessions", shown);
}

#[tokio::test]
async fn what_browsers_and_clerk_say_is_text_and_not_too_much_of_it() {
    let clerk = RecordingUpstream::start().await;
    let api = format!("http://{}", clerk.address);
    let world = World::with(usual_routes())
        .configure(move |config| config.clerk.api_url = api.parse().unwrap())
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let hostile = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'";
    let odd = json!([{
        "id": format!("sess_1{hostile}"),
        "user_id": ada.user_id,
        "status": "active",
        "created_at": u64::MAX,
        "last_active_at": 1_790_000_000_000_u64,
        "latest_activity": {
            "device_type": hostile,
            "browser_name": format!("{hostile}{}", "long ".repeat(1000)),
            "browser_version": hostile,
            "ip_address": hostile,
            "city": hostile,
            "country": "\u{202e}\u{0}",
        },
    }]);
    clerk.answers(move |_| {
        let answer = http::Response::builder().header("content-type", "application/json");
        answer.body(odd.to_string().into()).unwrap()
    });
    let page = world.visit("/_gate/sessions?notice=%3Cscript%3Ealert(3)%3C/script%3E");
    let page = page.cookie(&sealed(&world, &ada)).send().await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert_kept_close(&page);
    assert!(
        page.body.contains("&#60;script&#62;alert(1)"),
        "{}",
        page.body
    );
    for raw in ["<script", "<img", "alert(3)", "\"&#62;<"] {
        assert!(!page.body.contains(raw), "{raw}: {}", page.body);
    }
    assert!(page.body.len() < 10_000, "{} bytes", page.body.len());
    let answer = world
        .get("/_gate/sessions")
        .cookie(&sealed(&world, &ada))
        .send()
        .await;
    assert_eq!(json(&answer)["sessions"][0]["place"]["city"], hostile);
    // Not even a session that is listed leads to a path of its own making.
    let path = "/_gate/sessions/sess_1%22%3E/revoke";
    let answer = script(&world, path, &ada).send().await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let asked: Vec<String> = clerk.received().into_iter().map(|one| one.method).collect();
    assert_eq!(asked, ["GET"; 2]);
}

#[tokio::test]
async fn whoever_is_signed_out_is_sent_to_sign_in_or_told() {
    let world = World::start().await;
    let calls = world.clerk.calls(Endpoint::Sessions);
    let page = world
        .visit("/_gate/sessions")
        .cookie("__clerk_db_jwt=dvb_1")
        .send()
        .await;
    assert_eq!(page.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(
        page.header("location")
            .unwrap()
            .starts_with(&world.clerk.sign_in_url())
    );
    let answer = world
        .get("/_gate/sessions")
        .cookie("__clerk_db_jwt=dvb_1")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    // Somebody with tasks left is not signed in yet.
    let pia = world.clerk.sign_in("pia", None);
    let answer = world
        .get("/_gate/sessions")
        .cookie(&sealed(&world, &pia))
        .send()
        .await;
    assert_eq!(answer.code(), "session-pending");
    assert_eq!(world.clerk.calls(Endpoint::Sessions), calls);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn another_session_is_ended_at_clerk_and_refused_here_at_once() {
    let world = World::start().await;
    let [here, there, third] = three(&world);
    let before = world.clerk.calls(Endpoint::Sessions);
    let path = format!("/_gate/sessions/{}/revoke", there.session_id);
    let answer = form(&world, &path, &here).send().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(
        answer.header("location"),
        Some("/_gate/sessions?notice=revoked")
    );
    // Two lists, fresh ones, and the one that ends.
    assert_eq!(world.clerk.calls(Endpoint::Sessions) - before, 3);
    assert_eq!(status_of(&world, &there).await, "revoked");
    assert!(!gets_in(&world, &there).await);
    world.upstream.assert_untouched();
    assert!(gets_in(&world, &here).await && gets_in(&world, &third).await);
    let page = world
        .visit("/_gate/sessions?notice=revoked")
        .cookie(&sealed(&world, &here));
    let page = page.send().await;
    assert!(
        page.body.contains("The session has ended."),
        "{}",
        page.body
    );
    assert!(!page.body.contains(&there.session_id));
}

#[tokio::test]
async fn all_others_end_and_the_one_that_asks_stays() {
    let world = World::start().await;
    let [here, there, third] = three(&world);
    let before = world.clerk.calls(Endpoint::Sessions);
    let answer = script(&world, "/_gate/sessions/revoke-others", &here)
        .send()
        .await;
    assert_eq!(json(&answer), json!({ "revoked": 2 }));
    assert_eq!(world.clerk.calls(Endpoint::Sessions) - before, 4);
    for session in [&there, &third] {
        assert_eq!(status_of(&world, session).await, "revoked");
        assert!(!gets_in(&world, session).await);
    }
    world.upstream.assert_untouched();
    assert!(gets_in(&world, &here).await);
    assert_eq!(status_of(&world, &here).await, "active");
}

#[tokio::test]
async fn ending_the_session_that_asks_is_signing_out() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let path = format!("/_gate/sessions/{}/revoke", ada.session_id);
    let answer = form(&world, &path, &ada).send().await;
    assert_eq!(answer.header("location"), Some("/_gate/sign-out?done"));
    assert!(super::taken_away(&answer).contains(&"__session".to_owned()));
    assert!(!gets_in(&world, &ada).await);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn nobody_ends_a_session_of_somebody_else() {
    let world = World::start().await;
    let (ada, mel) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("mel", None),
    );
    let revokes = world.clerk.calls(Endpoint::Revoke);
    for id in [&mel.session_id, "sess_nobody", "sess1"] {
        let path = format!("/_gate/sessions/{id}/revoke");
        let answer = script(&world, &path, &ada).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
        assert_eq!(answer.code(), "session-unknown");
    }
    // What is no id is no page.
    for id in [
        "",
        "..%2f..%2fusers",
        "a.b",
        "sess-1",
        "%73ess.1",
        &"x".repeat(200),
    ] {
        let path = format!("/_gate/sessions/{id}/revoke");
        let call = world
            .request(Method::POST, &path)
            .cookie(&sealed(&world, &ada));
        let answer = from_here(&world, call).send().await;
        assert!(answer.status.is_client_error(), "{id}: {answer:?}");
    }
    assert_eq!(world.clerk.calls(Endpoint::Revoke), revokes);
    assert_eq!(status_of(&world, &mel).await, "active");
    assert!(gets_in(&world, &mel).await);
}

#[tokio::test]
async fn asking_in_a_loop_has_clerk_asked_once_in_a_while() {
    let world = World::start().await;
    let [here, there, _] = three(&world);
    let lists = || world.clerk.calls(Endpoint::SessionList);
    for made_up in 0..20 {
        let path = format!("/_gate/sessions/sess_{made_up}/revoke");
        let answer = script(&world, &path, &here).send().await;
        assert_eq!(answer.code(), "session-unknown");
        let page = world.get("/_gate/sessions").cookie(&sealed(&world, &here));
        assert_eq!(page.send().await.status, StatusCode::OK);
    }
    assert_eq!(lists(), 2);
    // What is shown may be older than what is acted on.
    world.clock.advance_ms(1_000);
    let page = world.get("/_gate/sessions").cookie(&sealed(&world, &here));
    page.send().await;
    assert_eq!(lists(), 2);
    let path = "/_gate/sessions/revoke-others";
    for _ in 0..20 {
        assert_eq!(
            script(&world, path, &here).send().await.status,
            StatusCode::OK
        );
    }
    assert_eq!(lists(), 4);
    assert_eq!(world.clerk.calls(Endpoint::Revoke), 2);
    // What has ended is not shown, however old the list.
    let page = world.get("/_gate/sessions").cookie(&sealed(&world, &here));
    let body = json(&page.send().await);
    assert_eq!(body["sessions"].as_array().unwrap().len(), 1, "{body}");
    assert!(!gets_in(&world, &there).await);
    // Somebody else's calls are their own.
    let mel = world.clerk.sign_in("mel", None);
    let page = world.get("/_gate/sessions").cookie(&sealed(&world, &mel));
    let body = json(&page.send().await);
    assert_eq!(body["sessions"][0]["id"], mel.session_id);
    assert_eq!(lists(), 6);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_list_that_failed_is_asked_for_again_after_a_second() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    (world.clerk).misbehave(Endpoint::SessionList, Fault::Status(500));
    let ask = || script(&world, "/_gate/sessions/revoke-others", &ada).send();
    for _ in 0..10 {
        assert_eq!(ask().await.code(), "sessions-unavailable");
    }
    assert!(world.clerk.calls(Endpoint::SessionList) <= 2);
    world.clerk.behave();
    world.clock.advance_ms(1_000);
    assert_eq!(ask().await.status, StatusCode::OK);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn whoever_has_just_signed_in_finds_themselves_in_the_list() {
    let world = World::start().await;
    for count in 1..=3 {
        let session = world.clerk.sign_in("ada", None);
        let page = world
            .get("/_gate/sessions")
            .cookie(&sealed(&world, &session));
        let body = json(&page.send().await);
        let sessions = body["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), count, "{body}");
        assert!(sessions.iter().any(|one| one["current"] == true), "{body}");
    }
}
