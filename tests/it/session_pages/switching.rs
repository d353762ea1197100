//! Several people on one browser: who is in front, and who may come there.

use clerk_gate::core::origin::Origin;
use clerk_gate::core::proxy_path::ProxyPath;
use clerk_gate::standin::{Endpoint, Fault};
use http::{Method, StatusCode};
use serde_json::json;

use super::{assert_kept_close, form, held, json, script, taken_away};
use crate::support::browser::Browser;
use crate::support::pure::LIVE;
use crate::support::upstream::RecordingUpstream;
use crate::support::{START_MS, World, seal, sealed, usual_routes};

#[tokio::test]
async fn somebody_else_on_the_same_browser_comes_to_the_front() {
    let world = World::start().await;
    let mel = world.clerk.sign_in("mel", None);
    let ada = world.clerk.sign_in_beside(&mel, "ada");
    let path = format!("/_gate/sessions/{}/switch", mel.session_id);
    let answer = form(&world, &path, &ada).send().await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(
        answer.header("location"),
        Some("/_gate/sessions?notice=switched")
    );
    assert_kept_close(&answer);
    let gone = taken_away(&answer);
    let suffix = world.clerk.cookie_suffix();
    for name in ["__session", "__refresh", "__Host-clerk-gate-seal"] {
        assert!(
            gone.contains(&format!("{name}_{suffix}")),
            "{name}: {gone:?}"
        );
    }
    assert!(
        !gone.iter().any(|name| name.starts_with("__client_uat")),
        "{gone:?}"
    );
    assert_eq!(
        held(&world, &ada).await["last_active_session_id"],
        mel.session_id
    );

    // The next page load asks Clerk, and is Mel's.
    let host = "localhost";
    let mut browser = Browser::new(&world, &["localhost"]);
    browser.keep(host, "__client_uat", ada.client_uat);
    browser.keep(host, "__clerk_db_jwt", &ada.dev_browser);
    let home = format!("http://localhost:{}/members", world.gate.port());
    let page = browser.visit(&home).await;
    assert_eq!(page.status, StatusCode::OK, "{:?}", browser.hops);
    assert_eq!(world.upstream.only().header("x-user-id"), Some(mel.user_id));
}

#[tokio::test]
async fn a_page_may_send_its_forms_to_clerk_and_back() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let page = world
        .visit("/_gate/sessions")
        .cookie(&sealed(&world, &ada))
        .send()
        .await;
    let policy = page.header("content-security-policy").unwrap();
    let clerk = world.clerk.url();
    assert!(
        policy.contains(&format!("; form-action 'self' {clerk};")),
        "{policy}"
    );
}

#[tokio::test]
async fn a_session_of_another_browser_never_comes_to_the_front() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    world.clerk.sign_in_beside(&ada, "mel");
    let elsewhere = world.clerk.sign_in("ada", None);
    for id in [elsewhere.session_id.as_str(), "sess_nobody"] {
        let path = format!("/_gate/sessions/{id}/switch");
        let answer = script(&world, &path, &ada).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
        assert_eq!(answer.code(), "session-unknown");
        assert_eq!(answer.all("set-cookie"), [""; 0]);
    }
}

#[tokio::test]
async fn a_token_of_another_browser_that_was_planted_shows_and_changes_nothing() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let evil = world.clerk.sign_in("mel", None);
    let also = world.clerk.sign_in_beside(&evil, "sol");
    let jar = sealed(&world, &ada).replace(&ada.dev_browser, &evil.dev_browser);
    let page = world.visit("/_gate/sessions").cookie(&jar).send().await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        !page.body.contains("mel@") && !page.body.contains("sol@"),
        "{}",
        page.body
    );
    let call = world.request(
        Method::POST,
        &format!("/_gate/sessions/{}/switch", evil.session_id),
    );
    let answer = super::from_here(&world, call).cookie(&jar).send().await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(
        held(&world, &evil).await["last_active_session_id"],
        also.session_id
    );
}

#[tokio::test]
async fn where_clerk_does_not_tell_the_page_says_so_and_leads_to_the_chooser() {
    let world = World::start().await;
    let ada = world.clerk.sign_in("ada", None);
    let mel = world.clerk.sign_in_beside(&ada, "mel");
    let page = world.visit("/_gate/sessions").cookie(&sealed(&world, &mel));
    assert!(page.send().await.body.contains("Ada Admin"));
    world.clock.advance_ms(5_000);
    // All of it is down: the page cannot be made. Only who else is here: it can.
    world.clerk.misbehave(Endpoint::All, Fault::Status(500));
    let page = world
        .visit("/_gate/sessions")
        .cookie(&sealed(&world, &mel))
        .send()
        .await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    world.clock.advance_ms(1_000);
    world.clerk.misbehave(
        Endpoint::SessionList,
        Fault::Hang(std::time::Duration::ZERO),
    );
    let page = world
        .visit("/_gate/sessions")
        .cookie(&sealed(&world, &mel))
        .send()
        .await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert!(page.body.contains("cannot be told here"), "{}", page.body);
    assert!(page.body.contains("/sign-in/choose?"), "{}", page.body);
    let path = format!("/_gate/sessions/{}/switch", ada.session_id);
    let answer = script(&world, &path, &mel).send().await;
    assert_eq!(answer.code(), "sessions-unavailable");
    assert_eq!(answer.all("set-cookie"), [""; 0]);
}

/// A gate of a live instance that is the proxy of its Frontend API, and an API that writes down what
/// it is told.
async fn live() -> (World, RecordingUpstream, String) {
    use clerk_gate::config::KeySource;
    use clerk_gate::core::edge::PublicAddress;
    use clerk_gate::core::instance::{BackendApi, Instance, IssuerRule};
    use clerk_gate::core::key::PublishableKey;

    let clerk = RecordingUpstream::start().await;
    let api = format!("http://{}", clerk.address);
    let world = World::with(usual_routes())
        .configure(move |config| {
            let stand_in = config.clerk.instance.frontend_api.clone();
            let issuer = config.clerk.instance.own_issuer_host.clone();
            let key = PublishableKey::parse(LIVE).unwrap();
            let mut instance = Instance::of(key, BackendApi::Available);
            instance.issuer = IssuerRule::Any;
            instance.own_issuer_host = issuer;
            instance.frontend_api_proxy = ProxyPath::parse("/__clerk");
            "https://app.example.com/__clerk".clone_into(&mut instance.frontend_api);
            let origin = Origin::parse("https://app.example.com").unwrap();
            config.edge.public = PublicAddress::Fixed(origin);
            config.clerk.frontend_api_proxy = Origin::parse(&api);
            config.clerk.api_url = api.parse().unwrap();
            config.clerk.secret_key = Some("sk_live_hidden".into());
            config.clerk.keys = KeySource::FrontendApi { url: stand_in };
            config.clerk.instance = instance;
        })
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let seal = seal(LIVE, "https://app.example.com", &ada, START_MS);
    let jar = format!(
        "__session={}; __client_uat={}; __client=eyJ.client-1_x; other=1; {seal}",
        ada.token, ada.client_uat
    );
    let sessions = json!({
        "response": { "object": "client", "sessions": [
            { "id": ada.session_id, "status": "active" },
            { "id": "sess_mel", "status": "active", "public_user_data": {
                "first_name": "<i>Mel</i>", "last_name": null, "identifier": "mel@example.com",
            } },
            { "id": "sess_gone", "status": "ended" },
        ] },
    });
    let listed = json!([{ "id": ada.session_id, "user_id": ada.user_id, "status": "active" }]);
    clerk.answers(move |asked| {
        let body = match asked.target.split('?').next().unwrap() {
            "/v1/client" => sessions.to_string(),
            "/v1/sessions" => listed.to_string(),
            _ => "{}".to_owned(),
        };
        http::Response::builder()
            .header("content-type", "application/json")
            .header("set-cookie", "__client=eyJ.client-2; Path=/; HttpOnly")
            .header("set-cookie", "__client_uat=7; Path=/")
            .header("set-cookie", "evil=1")
            .header("set-cookie", "__client_leak=sk_live_hidden")
            .body(body.into())
            .unwrap()
    });
    (world, clerk, jar)
}

#[tokio::test]
async fn behind_a_proxy_of_ours_clerk_knows_the_browser_by_its_own_cookie() {
    let (world, clerk, jar) = live().await;
    let page = world
        .visit("/_gate/sessions")
        .header("host", "app.example.com");
    let page = page.cookie(&jar).send().await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    assert!(
        page.body.contains("&#60;i&#62;Mel&#60;/i&#62;"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("sess_gone"), "{}", page.body);
    let asked = clerk.take_received();
    let client = asked.iter().find(|one| one.target == "/v1/client").unwrap();
    for (name, value) in [
        ("cookie", "__client=eyJ.client-1_x"),
        ("clerk-secret-key", "sk_live_hidden"),
        ("clerk-proxy-url", "https://app.example.com/__clerk"),
        ("x-forwarded-for", "127.0.0.1"),
        ("origin", "https://app.example.com"),
    ] {
        assert_eq!(client.header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(client.header("authorization"), None);

    // What is acted on is not what was shown.
    world.clock.advance_ms(1_000);
    let call = world.request(Method::POST, "/_gate/sessions/sess_mel/switch");
    let call = call.header("host", "app.example.com").cookie(&jar);
    let answer = call
        .header("origin", "https://app.example.com")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(json(&answer), json!({ "switched_to": "sess_mel" }));
    let asked: Vec<_> = clerk
        .take_received()
        .into_iter()
        .map(|one| (one.method, one.target))
        .collect();
    assert_eq!(
        asked,
        [
            ("GET".to_owned(), "/v1/client".to_owned()),
            (
                "POST".to_owned(),
                "/v1/client/sessions/sess_mel/touch".to_owned()
            ),
        ]
    );
    let cookies = answer.all("set-cookie");
    assert!(cookies.contains(&"__client=eyJ.client-2; Path=/; HttpOnly".to_owned()));
    assert!(cookies.contains(&"__client_uat=7; Path=/".to_owned()));
    let said = format!("{cookies:?}");
    assert!(
        !said.contains("evil=1") && !said.contains("hidden"),
        "{said}"
    );
}

#[tokio::test]
async fn a_client_cookie_that_is_none_goes_nowhere() {
    let (world, clerk, jar) = live().await;
    for odd in ["a%0D%0Aevil:1", "a%3B%20x=1", "a\"b"] {
        let jar = jar.replace("eyJ.client-1_x", odd);
        let page = world
            .visit("/_gate/sessions")
            .header("host", "app.example.com");
        let page = page.cookie(&jar).send().await;
        assert_eq!(page.status, StatusCode::OK, "{odd}: {page:?}");
        let asked = clerk.take_received();
        assert!(
            asked
                .iter()
                .all(|one| one.target.starts_with("/v1/sessions?")),
            "{asked:?}"
        );
    }
}
