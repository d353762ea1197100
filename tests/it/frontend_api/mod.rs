//! The gate as the proxy of Clerk's Frontend API: through it to the stand-in, and what a recording
//! Frontend API sees of it.

mod attacks;
mod errors;
mod headers;
mod streams;

use clerk_gate::core::explain::{Act, Rehearsal, Trust};
use clerk_gate::core::policy::{PathReading, Policy};
use clerk_gate::core::proxy_path::ProxyPath;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use crate::support::pure::Scene;
use crate::support::upstream::RecordingUpstream;
use crate::support::{World, WorldBuilder, cookies, usual_routes};

/// The secret key of gates before a recording Frontend API.
const SECRET_KEY: &str = "sk_test_neverSeenByAnyBrowser";

/// A gate before a recording Frontend API, to be started.
fn before(frontend_api: &RecordingUpstream) -> WorldBuilder {
    World::with(usual_routes())
        .relaying_to(frontend_api.address)
        .configure(|config| config.clerk.secret_key = Some(SECRET_KEY.into()))
}

/// A gate before a recording Frontend API.
async fn world() -> (World, RecordingUpstream) {
    let frontend_api = RecordingUpstream::start().await;
    (before(&frontend_api).start().await, frontend_api)
}

/// The address of the proxy as browsers of this machine know it.
fn proxy_url(world: &World) -> String {
    format!("http://localhost:{}/__clerk", world.gate.port())
}

/// The path and query of an address of the gate.
fn target(world: &World, location: &str) -> String {
    let origin = format!("http://localhost:{}", world.gate.port());
    location
        .strip_prefix(&origin)
        .unwrap_or_else(|| panic!("{location} is not the gate's"))
        .to_owned()
}

#[tokio::test]
async fn a_handshake_goes_through_the_gate_and_comes_back_signed_in() {
    let world = World::with(usual_routes()).relaying().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let known = format!(
        "__clerk_db_jwt={}; __client_uat={}",
        ada.dev_browser, ada.client_uat
    );
    let answer = world.visit("/members?x=1").cookie(&known).send().await;
    let to_clerk = answer.header("location").unwrap().to_owned();
    let handshake = format!("{}/v1/client/handshake?", proxy_url(&world));
    assert!(to_clerk.starts_with(&handshake), "{to_clerk}");

    let at_clerk = world.visit(&target(&world, &to_clerk)).cookie(&known);
    let back = at_clerk.send().await;
    assert_eq!(back.status, StatusCode::TEMPORARY_REDIRECT);
    let result = target(&world, back.header("location").unwrap());
    assert!(
        result.starts_with("/members?x=1&__clerk_gate_state=")
            && result.contains("&__clerk_handshake="),
        "{result}"
    );

    let cleaned = world.visit(&result).cookie(&known).send().await;
    let session: Vec<String> = cleaned
        .all("set-cookie")
        .into_iter()
        .filter_map(|line| Some(line.split_once(';')?.0.to_owned()))
        .collect();
    assert!(session.len() >= 2, "{session:?}");
    world.upstream.assert_untouched();
    let signed_in = world.visit("/members?x=1").cookie(&session.join("; "));
    assert_eq!(signed_in.send().await.status, StatusCode::OK);
    assert_eq!(
        world.upstream.only().header("x-user-id"),
        Some(ada.user_id.clone())
    );
}

#[tokio::test]
async fn a_script_in_the_browser_reaches_its_client_through_the_gate() {
    let world = World::with(usual_routes()).relaying().start().await;
    let ada = world.clerk.sign_in("ada", None);
    let own = format!("__clerk_db_jwt={}", ada.dev_browser);
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();

    let environment = world.get("/__clerk/v1/environment").send().await;
    assert_eq!(environment.status, StatusCode::OK);
    assert!(json(&environment.body).is_object());

    let client = world.get(&format!("/__clerk/v1/client?{own}")).send().await;
    let client = json(&client.body);
    assert_eq!(client["response"]["sessions"][0]["id"], ada.session_id);

    // clerk-js sends every method but GET as POST.
    let end = format!("/__clerk/v1/client/sessions?{own}&_method=DELETE");
    let ended = world
        .request(Method::POST, &end)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("x=1");
    assert_eq!(ended.send().await.status, StatusCode::OK);
    let client = world.get(&format!("/__clerk/v1/client?{own}")).send().await;
    let sessions = json(&client.body)["response"]["sessions"].clone();
    let live = sessions.as_array().map(|all| {
        all.iter()
            .filter(|session| session["status"] == "active")
            .count()
    });
    assert_eq!(live, Some(0), "{sessions}");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn clerk_finds_the_proxy_healthy() {
    let world = World::with(usual_routes()).relaying().start().await;
    let health = "/__clerk/v1/proxy-health?domain_id=dmn_1";
    let answer = world.get(health).send().await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (
            StatusCode::OK,
            r#"{"status":"healthy","x_forwarded_for":"127.0.0.1"}"#
        )
    );
    let direct = crate::support::Call::new(
        world.clerk.addr(),
        Method::GET,
        "/v1/proxy-health?domain_id=dmn_1",
    );
    let direct = direct.header("x-forwarded-for", "127.0.0.1").send().await;
    assert_eq!(direct.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_redirect_of_clerks_stays_on_the_proxy() {
    let world = World::with(usual_routes()).relaying().start().await;
    let answer = world
        .request(Method::POST, "/__clerk/sign-out")
        .send()
        .await;
    let expected = format!("{}/sign-in", proxy_url(&world));
    assert_eq!(answer.header("location"), Some(expected.as_str()));
}

#[tokio::test]
async fn without_the_proxy_its_path_is_one_like_any_other() {
    let frontend_api = RecordingUpstream::start().await;
    let world = World::with(usual_routes())
        .configure(|config| config.clerk.secret_key = Some(SECRET_KEY.into()))
        .start()
        .await;
    let answer = world.get("/__clerk/v1/client").send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    world.upstream.assert_untouched();
    frontend_api.assert_untouched();
}

#[tokio::test]
async fn sessions_are_judged_as_ever_beside_the_proxy() {
    let world = World::with(usual_routes()).relaying().start().await;
    let mel = world.clerk.sign_in("mel", None);
    let members = world.get("/members").cookie(&cookies(&mel)).send().await;
    assert_eq!(members.status, StatusCode::OK);
    let admin = world.get("/admin").cookie(&cookies(&mel)).send().await;
    assert_eq!(admin.status, StatusCode::FORBIDDEN);
    assert_eq!(world.upstream.only().target, "/members");
}

#[test]
fn explain_says_where_a_request_is_relayed_to() {
    let policy = Policy::compile(usual_routes(), PathReading::Leniently).unwrap();
    let mut scene = Scene::with(policy);
    scene.instance.frontend_api_proxy = ProxyPath::parse("/__clerk");
    let target = "/__clerk/v1/client?x=1".parse().unwrap();
    let (text, json) = scene.with_facts(&Method::POST, &target, HeaderMap::new(), |inputs| {
        let mut rehearsal = Rehearsal::new(inputs, Trust::Nobody);
        let Act::Verdict(verdict) = rehearsal.go_on() else {
            panic!("nothing is asked");
        };
        let explanation = rehearsal.explain(&verdict);
        (explanation.to_string(), explanation.to_json())
    });
    assert_eq!(
        text,
        "request   POST /__clerk/v1/client\n\
         host      app.example.com\n\
         who       not asked\n\
         outcome   relayed\n\
         to        /v1/client of the Frontend API, by way of https://app.example.com/__clerk\n"
    );
    assert_eq!(json["outcome"], "relayed");
    assert_eq!(
        json["relay"]["proxy_url"],
        "https://app.example.com/__clerk"
    );
}
