//! Signing out, of this browser and everywhere.

use clerk_gate::standin::Endpoint;
use http::{Method, StatusCode};
use serde_json::json;

use super::{
    assert_kept_close, form, from_here, gets_in, json, script, status_of, taken_away, without_style,
};
use crate::support::{World, cookies, sealed, usual_routes};

#[tokio::test]
async fn a_page_asks_before_anything_ends() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let before = world.clerk.calls(Endpoint::Sessions);
    let page = world.visit("/_gate/sign-out").cookie(&sealed(&world, &ada));
    let page = page.send().await;
    assert_eq!(page.status, StatusCode::OK);
    assert_kept_close(&page);
    assert!(
        page.body
            .contains(r#"<form method="post" action="/_gate/sign-out">"#)
    );
    assert!(
        page.body
            .contains(r#"<form method="post" action="/_gate/sign-out/all">"#)
    );
    assert_eq!(taken_away(&page), [""; 0]);
    assert_eq!(world.clerk.calls(Endpoint::Sessions), before);
    assert!(gets_in(&world, &ada).await);
    insta::assert_snapshot!("sign_out", without_style(&page.body));
}

#[tokio::test]
async fn signing_out_ends_the_session_at_clerk_and_here_at_once() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    assert!(gets_in(&world, &ada).await);
    world.upstream.take_received();

    let before = world.clerk.calls(Endpoint::Sessions);
    let answer = form(&world, "/_gate/sign-out", &ada).send().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(answer.header("location"), Some("/_gate/sign-out?done"));
    assert_kept_close(&answer);
    // One to revoke, one to see whether anybody is left on this browser.
    assert_eq!(world.clerk.calls(Endpoint::Sessions) - before, 2);
    assert_eq!(status_of(&world, &ada).await, "revoked");

    // The old cookie holds for a minute yet, and opens nothing.
    let old = world.get("/members").cookie(&cookies(&ada)).send().await;
    assert_eq!(old.status, StatusCode::UNAUTHORIZED);
    assert_eq!(old.code(), "session-revoked");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn every_cookie_of_the_session_is_taken_away() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let answer = form(&world, "/_gate/sign-out", &ada).send().await;
    let suffix = world.clerk.cookie_suffix();
    let mut expected = vec![
        "__session".to_owned(),
        "clerk_active_context".to_owned(),
        "__clerk_handshake".to_owned(),
        "__clerk_handshake_nonce".to_owned(),
        "__clerk_redirect_count".to_owned(),
    ];
    for name in [
        "__session",
        "__refresh",
        "__Host-clerk-gate-seal",
        "__client_uat",
    ] {
        expected.push(format!("{name}_{suffix}"));
    }
    expected.push("__client_uat".to_owned());
    let (mut gone, mut wanted) = (taken_away(&answer), expected);
    gone.sort();
    wanted.sort();
    assert_eq!(gone, wanted);
    for line in answer.all("set-cookie") {
        assert!(line.contains("; Path=/;"), "{line}");
        if line.starts_with("__Host-") {
            assert!(
                line.ends_with("; Secure; HttpOnly; SameSite=Lax; Max-Age=0"),
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn the_sign_of_a_client_stays_while_somebody_else_is_signed_in_on_the_browser() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clerk.sign_in_beside(&ada, "mel");
    let answer = form(&world, "/_gate/sign-out", &ada).send().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let gone = taken_away(&answer);
    assert!(gone.contains(&"__session".to_owned()), "{gone:?}");
    assert!(
        !gone.iter().any(|name| name.starts_with("__client_uat")),
        "{gone:?}"
    );
}

#[tokio::test]
async fn the_sign_of_a_client_goes_from_its_domain_too_where_that_is_known() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.clerk.instance.cookie_domain = Some("example.com".to_owned());
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let answer = form(&world, "/_gate/sign-out", &ada).send().await;
    let on_the_domain = answer
        .all("set-cookie")
        .into_iter()
        .filter(|line| line.starts_with("__client_uat") && line.ends_with("; Domain=example.com"));
    assert_eq!(on_the_domain.count(), 2);
}

#[tokio::test]
async fn a_script_is_told_and_sent_nowhere() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let answer = script(&world, "/_gate/sign-out", &ada).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(json(&answer), json!({ "signed_out": true, "sessions": 1 }));
    assert_kept_close(&answer);
    assert!(!gets_in(&world, &ada).await);
}

#[tokio::test]
async fn everywhere_means_every_session_of_the_person_and_of_nobody_else() {
    let world = World::start().await;
    let (here, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    let mel = world.clerk.sign_in("mel", None);
    let before = world.clerk.calls(Endpoint::Sessions);
    let answer = script(&world, "/_gate/sign-out/all", &here).send().await;
    assert_eq!(json(&answer), json!({ "signed_out": true, "sessions": 2 }));
    // Active ones and pending ones, two that end, and who is left on the browser.
    assert_eq!(world.clerk.calls(Endpoint::Sessions) - before, 5);
    for session in [&here, &there] {
        assert_eq!(status_of(&world, session).await, "revoked");
        assert!(!gets_in(&world, session).await);
    }
    world.upstream.assert_untouched();
    assert_eq!(status_of(&world, &mel).await, "active");
    assert!(gets_in(&world, &mel).await);
}

#[tokio::test]
async fn somebody_with_tasks_left_can_sign_out_too() {
    let world = World::start().await;
    let pia = world.clerk.sign_in("pia", None);
    let answer = script(&world, "/_gate/sign-out", &pia).send().await;
    assert_eq!(json(&answer)["sessions"], 1);
    assert_eq!(status_of(&world, &pia).await, "revoked");
}

#[tokio::test]
async fn a_token_that_has_run_out_ends_its_session_and_no_other() {
    let world = World::with(usual_routes())
        .clerk(|options| options.refresh_tokens = false)
        .start()
        .await;
    let (here, there) = (
        world.clerk.sign_in("ada", None),
        world.clerk.sign_in("ada", None),
    );
    world.clock.advance_ms(600_000);
    // Without a seal nobody renews it.
    let script = |path| {
        let call = world.request(Method::POST, path).cookie(&cookies(&here));
        from_here(&world, call)
    };
    let answer = script("/_gate/sign-out/all").send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(status_of(&world, &there).await, "active");
    let answer = script("/_gate/sign-out").send().await;
    assert_eq!(json(&answer)["sessions"], 1);
    assert_eq!(status_of(&world, &here).await, "revoked");
    assert_eq!(status_of(&world, &there).await, "active");
}

#[tokio::test]
async fn whoever_is_signed_out_already_is_told_so_and_clerk_is_left_alone() {
    let world = World::start().await;
    let calls = world.clerk.calls_total();
    let call = world.request(Method::POST, "/_gate/sign-out");
    let answer = from_here(&world, call)
        .cookie("__clerk_db_jwt=dvb_1")
        .send()
        .await;
    assert_eq!(json(&answer), json!({ "signed_out": true, "sessions": 0 }));
    assert_eq!(world.clerk.calls_total(), calls);
    let page = world
        .visit("/_gate/sign-out?done")
        .cookie("__clerk_db_jwt=dvb_1; __client_uat=5");
    let page = page.send().await;
    // What is left in the browser brings nobody back in.
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert!(page.body.contains("You are signed out"), "{}", page.body);
    assert!(
        page.body.contains(r#"href="/_gate/sign-in""#),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn a_forged_token_ends_nothing() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let mut forged = ada.token.clone();
    forged.truncate(forged.len() - 6);
    forged.push_str("AAAAAA");
    let call = world.request(Method::POST, "/_gate/sign-out");
    let jar = format!(
        "__session={forged}; __client_uat=1; __clerk_db_jwt={}",
        ada.dev_browser
    );
    from_here(&world, call).cookie(&jar).send().await;
    assert_eq!(status_of(&world, &ada).await, "active");
    assert!(gets_in(&world, &ada).await);
}

#[tokio::test]
async fn the_way_on_is_the_operators_or_the_sign_in_page() {
    let world = World::with(usual_routes())
        .configure(|config| {
            config.clerk.instance.after_sign_out_url =
                Some("https://www.example.com/goodbye".to_owned());
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let page = world
        .visit("/_gate/sign-out")
        .cookie(&sealed(&world, &ada))
        .send()
        .await;
    // Browsers hold the way on to the policy of the page.
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains(" https://www.example.com"), "{policy}");
    let answer = form(&world, "/_gate/sign-out", &ada).send().await;
    let location = answer.header("location").unwrap();
    assert!(
        location.starts_with("https://www.example.com/goodbye"),
        "{location}"
    );

    let mel = world.clerk.sign_in("mel", None);
    let way = "/_gate/sign-out?then=sign-in&redirect_url=/members?tab=1";
    let page = world.visit(way).cookie(&sealed(&world, &mel)).send().await;
    let action = "/_gate/sign-out?then=sign-in&amp;redirect_url=";
    let action = action.replace("&amp;", "&#38;");
    assert!(page.body.contains(&action), "{}", page.body);
    let answer = form(&world, way, &mel).send().await;
    let location = answer.header("location").unwrap();
    assert!(
        location.starts_with(&world.clerk.sign_in_url()),
        "{location}"
    );
    let back = format!(
        "redirect_url=http%3A%2F%2Flocalhost%3A{}%2Fmembers%3Ftab%3D1",
        world.gate.port()
    );
    assert!(location.contains(&back), "{location}");
}

#[tokio::test]
async fn nobody_is_led_off_the_site_by_an_address() {
    let world = World::start().await;
    for elsewhere in [
        "https://evil.example/",
        "//evil.example/",
        "/%5Cevil.example/",
        "/.//evil.example",
        "javascript:alert(1)",
        "http://localhost@evil.example/",
    ] {
        let ada = world.clerk.sign_in("ada", None);
        let way = format!("/_gate/sign-out?then=sign-in&redirect_url={elsewhere}");
        for call in [
            world.visit(&way).cookie(&sealed(&world, &ada)),
            form(&world, &way, &ada),
        ] {
            let answer = call.send().await;
            let said = format!("{answer:?}");
            let own = world.clerk.sign_in_url();
            if let Some(location) = answer.header("location") {
                assert!(location.starts_with(&own), "{elsewhere}: {location}");
            }
            let front = format!(
                "redirect_url=http%3A%2F%2Flocalhost%3A{}%2F",
                world.gate.port()
            );
            assert!(said.contains(&front), "{elsewhere}: {said}");
            assert!(!said.contains("2F%2Fevil.example"), "{elsewhere}: {said}");
        }
    }
}

#[tokio::test]
async fn signing_out_again_and_again_costs_clerk_nothing() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    script(&world, "/_gate/sign-out", &ada).send().await;
    let calls = world.clerk.calls_total();
    for _ in 0..20 {
        let answer = script(&world, "/_gate/sign-out", &ada).send().await;
        assert_eq!(json(&answer)["signed_out"], true);
    }
    assert_eq!(world.clerk.calls_total(), calls);
    assert!(!gets_in(&world, &ada).await);
}
