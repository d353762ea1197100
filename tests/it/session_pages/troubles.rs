//! Clerk is down, slow, short of patience or not itself: nothing is half done and left unsaid.

use std::time::Duration;

use clerk_gate::standin::{Endpoint, Fault};
use http::StatusCode;

use super::{assert_kept_close, form, gets_in, json, script, status_of, taken_away};
use crate::support::{World, sealed, usual_routes};

const FAULTS: [Fault; 8] = [
    Fault::Close,
    Fault::Status(401),
    Fault::StatusWithRetryAfter(429, 10),
    Fault::Status(500),
    Fault::Garbage,
    Fault::Page,
    Fault::PlainText,
    Fault::Huge(1_000_000),
];

#[tokio::test]
async fn a_sign_out_that_clerk_does_not_confirm_is_said_to_be_none_of_its() {
    for fault in FAULTS {
        let world = World::start().await;
        let ada = world.clerk.sign_in("ada", None);
        world.clerk.misbehave(Endpoint::Revoke, fault);
        let page = form(&world, "/_gate/sign-out", &ada).send().await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        assert_kept_close(&page);
        for said in [
            "You are signed out on this browser",
            "Clerk has not confirmed",
            "revocation-unconfirmed",
            r#"href="/_gate/sign-out">Try again"#,
        ] {
            assert!(page.body.contains(said), "{fault:?}: {said}: {}", page.body);
        }
        // Here it is over, all the same.
        let gone = taken_away(&page);
        assert!(gone.contains(&"__session".to_owned()), "{gone:?}");
        assert!(!gone.contains(&"__client_uat".to_owned()), "{gone:?}");
        assert!(!gets_in(&world, &ada).await, "{fault:?}");
        world.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn a_script_is_told_what_is_left_undone() {
    let world = World::start().await;
    let (ada, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    world.clerk.misbehave(Endpoint::Revoke, Fault::Close);
    let answer = script(&world, "/_gate/sign-out/all", &ada).send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = json(&answer);
    assert_eq!(body["error"]["code"], "revocation-unconfirmed");
    assert_eq!(
        (&body["sessions"], &body["unconfirmed"]),
        (&0.into(), &2.into())
    );
    assert_eq!(body["complete"], true);
    for session in [&ada, &there] {
        assert!(!gets_in(&world, session).await);
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn everywhere_without_a_list_refuses_all_of_them_here_and_says_so() {
    let world = World::start().await;
    let (ada, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    let mel = world.clerk.sign_in("mel", None);
    world
        .clerk
        .misbehave(Endpoint::SessionList, Fault::Status(500));
    let answer = script(&world, "/_gate/sign-out/all", &ada).send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = json(&answer);
    assert_eq!(
        (&body["sessions"], &body["complete"]),
        (&1.into(), &false.into())
    );
    assert_eq!(status_of(&world, &ada).await, "revoked");
    assert_eq!(status_of(&world, &there).await, "active");
    assert!(!gets_in(&world, &there).await);
    world.upstream.assert_untouched();
    assert!(gets_in(&world, &mel).await);
    // Whoever signs in anew is let in.
    world.clock.advance_ms(2_000);
    let new = world.clerk.sign_in("ada", None);
    assert!(gets_in(&world, &new).await);
}

#[tokio::test]
async fn what_clerk_did_not_confirm_can_be_tried_again() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clerk.misbehave(Endpoint::Revoke, Fault::Status(500));
    form(&world, "/_gate/sign-out", &ada).send().await;
    assert_eq!(status_of(&world, &ada).await, "active");
    world.clerk.behave();
    // The browser still has a client at Clerk, which gives it the session once more; here it is over.
    let mut browser = crate::support::browser::Browser::new(&world, &["localhost"]);
    browser.keep("localhost", "__client_uat", ada.client_uat);
    browser.keep("localhost", "__clerk_db_jwt", &ada.dev_browser);
    let address = format!("http://localhost:{}/_gate/sign-out", world.gate.port());
    let page = browser.visit(&address).await;
    assert_eq!(page.status, StatusCode::OK, "{:?} {page:?}", browser.hops);
    assert!(
        page.body.contains("Sign out on this browser"),
        "{}",
        page.body
    );
    let again = clerk_gate::standin::TestSession {
        token: browser.cookie("localhost", "__session").unwrap().to_owned(),
        ..ada.clone()
    };
    assert!(!gets_in(&world, &again).await);
    let answer = form(&world, "/_gate/sign-out", &again).send().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(status_of(&world, &ada).await, "revoked");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_slow_clerk_is_not_waited_for_for_ever() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world
        .clerk
        .misbehave(Endpoint::Revoke, Fault::Hang(Duration::from_mins(1)));
    let call = script(&world, "/_gate/sign-out", &ada).try_send();
    let began = tokio::time::Instant::now();
    let refused = async {
        // While Clerk is waited for, the session is over here.
        while gets_in(&world, &ada).await {
            tokio::task::yield_now().await;
        }
        began.elapsed()
    };
    let (answer, refused_after) = tokio::join!(call, refused);
    assert_eq!(answer.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(refused_after < Duration::from_secs(4), "{refused_after:?}");
}

#[tokio::test]
async fn without_a_list_nothing_is_shown_and_nothing_ended() {
    for fault in FAULTS {
        let world = World::start().await;
        let (ada, there) = (
            world.clerk.sign_in("ada", None),
            world.clerk.sign_in("ada", None),
        );
        world.clerk.misbehave(Endpoint::SessionList, fault);
        let page = world
            .visit("/_gate/sessions")
            .cookie(&sealed(&world, &ada))
            .send()
            .await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        assert!(page.body.contains("sessions-unavailable"), "{}", page.body);
        assert_kept_close(&page);
        for path in [
            format!("/_gate/sessions/{}/revoke", there.session_id),
            "/_gate/sessions/revoke-others".to_owned(),
        ] {
            let answer = script(&world, &path, &ada).send().await;
            assert_eq!(answer.code(), "sessions-unavailable", "{fault:?} {path}");
        }
        assert_eq!(world.clerk.calls(Endpoint::Revoke), 0);
        world.clerk.behave();
        assert!(gets_in(&world, &there).await);
    }
}

#[tokio::test]
async fn another_session_whose_end_is_not_confirmed_is_refused_here_and_that_is_said() {
    let world = World::start().await;
    let (ada, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    world.clerk.misbehave(Endpoint::Revoke, Fault::Status(500));
    let path = format!("/_gate/sessions/{}/revoke", there.session_id);
    let page = form(&world, &path, &ada).send().await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        page.body.contains("Not everything has ended"),
        "{}",
        page.body
    );
    assert!(!gets_in(&world, &there).await);
    world.upstream.assert_untouched();
    assert!(gets_in(&world, &ada).await);
    // It still stands in the list, and can be ended again.
    world.clerk.behave();
    let answer = form(&world, &path, &ada).send().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(status_of(&world, &there).await, "revoked");
}

#[tokio::test]
async fn a_session_that_clerk_no_longer_knows_is_over() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut of_nobody = ada.clone();
    let claims = serde_json::json!({ "sid": "sess_unheard_of" });
    of_nobody.token = world.clerk.mint(&ada.session_id, &claims);
    let answer = script(&world, "/_gate/sign-out", &of_nobody).send().await;
    assert_eq!(json(&answer)["signed_out"], true);
    assert!(!gets_in(&world, &of_nobody).await);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_404_that_is_not_clerks_confirms_no_end() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clerk.misbehave(Endpoint::Revoke, Fault::Status(404));
    let answer = script(&world, "/_gate/sign-out", &ada).send().await;
    assert_eq!(answer.code(), "revocation-unconfirmed");
    assert!(!gets_in(&world, &ada).await);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn whoever_is_brought_back_with_a_session_that_is_over_here_can_finish_it() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clerk.misbehave(Endpoint::Revoke, Fault::Status(500));
    form(&world, "/_gate/sign-out", &ada).send().await;
    world.clerk.behave();
    // Clerk still has the session, and gives the browser a token of it.
    let mut browser = crate::support::browser::Browser::new(&world, &["localhost"]);
    browser.keep("localhost", "__client_uat", ada.client_uat);
    browser.keep("localhost", "__clerk_db_jwt", &ada.dev_browser);
    let address = format!("http://localhost:{}/members?x=1", world.gate.port());
    let mut page = browser.visit(&address).await;
    for _ in 0..3 {
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{:?}", browser.hops);
        assert_eq!(page.header("location"), None);
        page = browser.visit(&address).await;
    }
    assert!(
        page.body.contains("Clerk has not confirmed"),
        "{}",
        page.body
    );
    let action = page.body.split("action=\"").nth(1).unwrap();
    let action = action.split('"').next().unwrap().replace("&#38;", "&");
    assert!(
        action.starts_with("/_gate/sign-out?then=sign-in&redirect_url="),
        "{action}"
    );
    assert!(action.ends_with("%2Fmembers%3Fx%3D1"), "{action}");
    // The way to sign in alone would lead back here.
    assert!(!page.body.contains(">Sign in<"), "{}", page.body);
    world.upstream.assert_untouched();
    let token = browser.cookie("localhost", "__session").unwrap().to_owned();
    let again = clerk_gate::standin::TestSession { token, ..ada };
    let answer = form(&world, &action, &again).send().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    let location = answer.header("location").unwrap();
    assert!(
        location.starts_with(&world.clerk.sign_in_url()),
        "{location}"
    );
    assert_eq!(status_of(&world, &again).await, "revoked");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn without_a_secret_key_people_are_told_that_only_this_site_let_them_go() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.clerk.secret_key = None;
            config.clerk.instance.backend_api = clerk_gate::core::instance::BackendApi::NoSecretKey;
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let answer = script(&world, "/_gate/sign-out", &ada).send().await;
    assert_eq!(answer.code(), "revocation-unconfirmed");
    assert!(!gets_in(&world, &ada).await);
    let mel = world.clerk.sign_in("mel", None);
    let answer = world
        .get("/_gate/sessions")
        .cookie(&sealed(&world, &mel))
        .send()
        .await;
    assert_eq!(answer.code(), "sessions-unavailable");
}

#[tokio::test]
async fn a_spent_budget_is_said_too() {
    let world = World::with(usual_routes())
        .configure(|config| config.clerk.api_budget = 10)
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let others: Vec<_> = (0..8).map(|_| world.clerk.sign_in("ada", None)).collect();
    let answer = script(&world, "/_gate/sign-out/all", &ada).send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    let body = json(&answer);
    assert!(body["unconfirmed"].as_u64().unwrap() > 0, "{body}");
    for other in others.iter().chain([&ada]) {
        assert!(!gets_in(&world, other).await);
    }
    world.upstream.assert_untouched();
}
