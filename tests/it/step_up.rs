//! Requirements of freshness: who is too old for them, what they are told, and how they get on.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clerk_gate::core::authorization::{Asked, Level, Reverification};
use clerk_gate::core::edge::PublicAddress;
use clerk_gate::core::jwt::Token;
use clerk_gate::core::machine::TokenTypes;
use clerk_gate::core::origin::Origin;
use clerk_gate::core::policy::{Disclosure, Route};
use clerk_gate::core::reason::Reason;
use clerk_gate::core::requirement::{Caller, Person, Requirement};
use clerk_gate::core::step_up;
use clerk_gate::standin::{MachineGrant, MachineKind, TestSession};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::support::{Answer, Call, START_MS, World, cookies, route};

fn reverified(wanted: Reverification) -> Requirement {
    Requirement::Has(Asked {
        reverification: Some(wanted),
        ..Asked::default()
    })
}

fn preset(name: &str) -> Reverification {
    Reverification::preset(name).unwrap()
}

fn first_factor(after_minutes: f64) -> Reverification {
    Reverification {
        level: Level::FirstFactor,
        after_minutes,
    }
}

fn hour() -> Requirement {
    Requirement::MaxAge(Duration::from_hours(1))
}

fn role(role: &str) -> Requirement {
    Requirement::Has(Asked {
        role: Some(role.to_owned()),
        ..Asked::default()
    })
}

/// Routes of every kind of freshness.
fn routes() -> Vec<Route> {
    let mut hidden = route("hidden", &["/hidden/**"], hour());
    hidden.disclosure = Disclosure::Hidden;
    let mut forbidden = route("forbidden", &["/elsewhere/**"], hour());
    forbidden.on_forbidden = Some("/denied".to_owned());
    vec![
        route("public", &["/", "/denied", "/sign-in"], Requirement::Public),
        route("hour", &["/hour/**"], hour()),
        route("strict", &["/strict/**"], reverified(preset("strict"))),
        route("own", &["/own/**"], reverified(first_factor(5.0))),
        route(
            "token",
            &["/token/**"],
            Requirement::MaxTokenAge(Duration::from_secs(30)),
        ),
        route(
            "admins",
            &["/admins/**"],
            Requirement::All(vec![hour(), role("org:admin")]),
        ),
        hidden,
        forbidden,
    ]
}

/// A world, somebody in it, and their token with factors of these ages.
async fn world(fva: Value) -> (World, TestSession, String) {
    let world = World::with(routes()).start().await;
    let mel = world.clerk.sign_in("mel", None);
    let token = world.clerk.mint(&mel.session_id, &json!({ "fva": fva }));
    (world, mel, token)
}

fn with(session: &TestSession, token: &str) -> String {
    let cookies = cookies(session);
    cookies.replace(&session.token, token)
}

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

/// What a session with these claims is told by a requirement, and what it can verify again.
fn judged(requirement: &Requirement, claims: &Value) -> (Option<Reason>, Option<Reverification>) {
    let mut all = json!({ "sub": "user_1", "sid": "sess_1", "iat": START_MS / 1000 - 40 });
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = format!("{}.{}.", encode(&json!({ "alg": "RS256" })), encode(&all));
    let token = Token::decode(&token).unwrap();
    let person = Person {
        identity: token.identity().unwrap(),
        token: &token,
        now_ms: START_MS,
    };
    let reason = requirement.judge(Caller::Person(person)).err();
    (reason, step_up::wanted(&[requirement], person))
}

#[test]
fn what_is_too_old_is_told_with_what_would_be_young_enough() {
    let strict = preset("strict");
    let needed = Some(Reason::ReverificationNeeded);
    let old = Some(Reason::FactorTooOld);
    for (requirement, fva, reason, wanted) in [
        (hour(), json!([60, -1]), None, None),
        (hour(), json!([61, -1]), old, Some(first_factor(60.0))),
        (hour(), json!([61, 0]), old, Some(first_factor(60.0))),
        (hour(), json!([-1, 0]), old, Some(first_factor(60.0))),
        (hour(), json!([-1, -1]), old, Some(first_factor(60.0))),
        (hour(), json!(null), old, Some(first_factor(60.0))),
        (hour(), json!("0"), old, Some(first_factor(60.0))),
        (reverified(strict), json!([0, 9]), None, None),
        (reverified(strict), json!([9, -1]), None, None),
        (reverified(strict), json!([0, 10]), needed, Some(strict)),
        (reverified(strict), json!([10, -1]), needed, Some(strict)),
        (reverified(strict), json!([-1, -1]), needed, Some(strict)),
        (
            Requirement::MaxAge(Duration::from_secs(90)),
            json!([2, -1]),
            old,
            Some(first_factor(1.5)),
        ),
    ] {
        let told = judged(&requirement, &json!({ "fva": fva }));
        assert_eq!(told, (reason, wanted), "{requirement} {fva}");
    }
}

#[test]
fn nobody_is_asked_to_verify_again_where_that_is_not_enough() {
    let old = json!({ "fva": [90, 90] });
    let admin = json!({ "fva": [90, 90], "org_id": "org_1", "org_role": "org:admin" });
    let all = Requirement::All(vec![hour(), role("admin")]);
    assert_eq!(judged(&all, &old), (Some(Reason::FactorTooOld), None));
    let told = judged(&all, &admin);
    assert_eq!(told.1, Some(first_factor(60.0)));
    // The age of a token is another matter.
    let token = Requirement::MaxTokenAge(Duration::from_secs(30));
    assert_eq!(judged(&token, &old), (Some(Reason::TokenTooOld), None));
    let all = Requirement::All(vec![hour(), token]);
    assert_eq!(judged(&all, &old).1, None);
}

#[test]
fn of_several_ways_and_parts_the_one_that_leads_on_is_told() {
    let old = json!({ "fva": [90, 90], "org_id": "org_1", "org_role": "org:member" });
    let strict = preset("strict_mfa");
    let unmet = Some(Reason::RequirementUnmet);
    let ways = Requirement::Any(vec![
        Requirement::All(vec![role("admin"), reverified(strict)]),
        Requirement::All(vec![role("member"), hour()]),
        reverified(strict),
    ]);
    assert_eq!(judged(&ways, &old), (unmet, Some(first_factor(60.0))));
    let none = Requirement::Any(vec![role("admin"), role("owner")]);
    assert_eq!(judged(&none, &old), (unmet, None));
    // Both parts of this are met by the more demanding one.
    let parts = Requirement::All(vec![hour(), reverified(strict)]);
    assert_eq!(judged(&parts, &old).1, Some(strict));
    // What is met already asks nothing.
    let parts = Requirement::All(vec![
        Requirement::Any(vec![role("member"), reverified(strict)]),
        hour(),
    ]);
    assert_eq!(judged(&parts, &old).1, Some(first_factor(60.0)));
}

#[tokio::test]
async fn a_program_is_told_what_clerks_hook_for_reverification_understands() {
    let (world, mel, token) = world(json!([90, 90])).await;
    for (target, code, config) in [
        ("/strict/x", "reverification-error", json!("strict")),
        (
            "/own/x",
            "reverification-error",
            json!({ "level": "first_factor", "afterMinutes": 5 }),
        ),
        (
            "/hour/x",
            "factor-too-old",
            json!({ "level": "first_factor", "afterMinutes": 60 }),
        ),
    ] {
        let by_cookie = world.get(target).cookie(&with(&mel, &token));
        let by_bearer = world.request(Method::POST, target).bearer(&token);
        for call in [by_cookie, by_bearer] {
            let answer = call.send().await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
            assert_eq!(answer.code(), code);
            assert_eq!(answer.header("x-clerk-auth-reason"), Some(code));
            assert_eq!(
                body(&answer)["clerk_error"],
                json!({
                    "type": "forbidden",
                    "reason": "reverification-error",
                    "metadata": { "reverification": config },
                })
            );
        }
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_bearer_is_told_how_old_the_authentication_may_be() {
    let (world, mel, token) = world(json!([90, 90])).await;
    for (target, seconds) in [("/hour/x", 3600), ("/strict/x", 600), ("/own/x", 300)] {
        let answer = world.get(target).bearer(&token).send().await;
        let challenge = format!(
            "Bearer realm=\"clerk\", error=\"insufficient_user_authentication\", max_age=\"{seconds}\""
        );
        assert_eq!(answer.header("www-authenticate"), Some(&*challenge));
        let cookie = world.get(target).cookie(&with(&mel, &token)).send().await;
        assert_eq!(cookie.status, StatusCode::FORBIDDEN);
        assert_eq!(cookie.header("www-authenticate"), None);
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_token_that_is_too_old_has_to_be_got_anew_and_nothing_to_be_verified() {
    let (world, mel, token) = world(json!([0, 0])).await;
    world.clock.advance_ms(31_000);
    let answer = world.get("/token/x").bearer(&token).send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.code(), "token-too-old");
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer realm=\"clerk\", error=\"invalid_token\"")
    );
    assert_eq!(body(&answer)["clerk_error"], Value::Null);
    let message = body(&answer)["error"]["message"].clone();
    assert!(message.as_str().unwrap().contains("get a new one"));

    let answer = world
        .get("/token/x")
        .cookie(&with(&mel, &token))
        .send()
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::FORBIDDEN, "token-too-old".to_owned())
    );
    assert_eq!(answer.header("www-authenticate"), None);
    world.upstream.assert_untouched();

    let young = world.clerk.mint(&mel.session_id, &json!({}));
    let answer = world.get("/token/x").bearer(&young).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    world.upstream.only();
}

/// The form of a page, and what its policy says of forms.
fn form(answer: &Answer) -> (String, String) {
    let form = answer.body.split("<form").nth(1).expect("a form");
    let form = form.split("</form>").next().unwrap();
    let action = form.split("action=\"").nth(1).unwrap();
    let action = action.split('"').next().unwrap().replace("&#38;", "&");
    let policy = answer.header("content-security-policy").unwrap();
    let targets = policy
        .split("; ")
        .find(|part| part.starts_with("form-action"));
    (action, targets.unwrap().to_owned())
}

fn page_load(world: &World, target: &str, cookie: &str) -> Call {
    world.visit(target).cookie(cookie)
}

#[tokio::test]
async fn a_page_load_that_is_too_old_gets_a_page_that_signs_in_again_and_comes_back() {
    let (world, mel, token) = world(json!([90, 90])).await;
    for target in ["/hour/a%20b?x=1&y=%26", "/strict/x", "/own/x"] {
        let answer = page_load(&world, target, &with(&mel, &token)).send().await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.header("location"), None);
        let (action, targets) = form(&answer);
        let origin = format!("http://localhost:{}", world.gate.port());
        let action = Url::parse(&origin).unwrap().join(&action).unwrap();
        assert_eq!(action.path(), "/_gate/sign-out");
        let query: Vec<(String, String)> = action.query_pairs().into_owned().collect();
        let back = format!("{origin}{target}");
        assert_eq!(
            query,
            [
                ("then".to_owned(), "sign-in".to_owned()),
                ("redirect_url".to_owned(), back)
            ]
        );
        // The browser stops a form whose answer leads where the page may not send any.
        assert_eq!(targets, format!("form-action 'self' {}", world.clerk.url()));
        assert!(!answer.body.contains("_blank") && !answer.body.contains("nothing was sent"));
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_form_that_is_too_old_can_be_sent_again() {
    let (world, mel, token) = world(json!([90, 90])).await;
    let answer = world
        .request(Method::POST, "/hour/pay")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-mode", "navigate")
        .header("content-type", "application/x-www-form-urlencoded")
        .cookie(&with(&mel, &token))
        .body("amount=1000")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let (action, _) = form(&answer);
    assert!(
        action.ends_with(
            "localhost%3A{}%2F"
                .replace("{}", &world.gate.port().to_string())
                .as_str()
        ),
        "{action}"
    );
    assert!(answer.body.contains("target=\"_blank\" rel=\"noopener\""));
    assert!(
        answer.body.contains("nothing was sent on"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("1000"));
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn the_form_leads_through_no_origin_that_need_not_be() {
    let world = World::with(routes())
        .configure(|config| {
            config.edge.public =
                PublicAddress::Fixed(Origin::parse("https://app.example.com").unwrap());
            config.clerk.instance.sign_in_url = Some("/sign-in".to_owned());
            "/__clerk".clone_into(&mut config.clerk.instance.frontend_api);
            config.pages_prefix = "/-/".to_owned();
        })
        .start()
        .await;
    let mel = world.clerk.sign_in("mel", None);
    let token = world
        .clerk
        .mint(&mel.session_id, &json!({ "fva": [90, -1] }));
    let call = page_load(&world, "/hour/x", &with(&mel, &token)).header("host", "app.example.com");
    let answer = call.send().await;
    let (action, targets) = form(&answer);
    assert!(action.starts_with("/-/sign-out?then=sign-in&"), "{action}");
    assert_eq!(targets, "form-action 'self'");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn nobody_is_offered_what_does_not_help_or_must_not_be_told() {
    let (world, mel, token) = world(json!([90, 90])).await;
    let cookie = with(&mel, &token);
    for (target, status) in [
        ("/admins/x", 403),
        ("/hidden/x", 404),
        ("/elsewhere/x", 307),
    ] {
        let page = page_load(&world, target, &cookie).send().await;
        assert_eq!(page.status.as_u16(), status, "{target}");
        assert!(!page.body.contains("<form"), "{target}: {}", page.body);
        let program = world.get(target).cookie(&cookie).send().await;
        // A program is never redirected, and can act on what it is told.
        let offered = target == "/elsewhere/x";
        assert_eq!(
            body(&program)["clerk_error"].is_object(),
            offered,
            "{target}"
        );
    }
    let page = page_load(&world, "/elsewhere/x", &cookie).send().await;
    assert!(page.header("location").unwrap().contains("/denied"));
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_machine_has_nothing_to_verify_again() {
    let machines = TokenTypes::MACHINES;
    let of_all = |part| Requirement::All(vec![Requirement::Token(machines), part]);
    let world = World::with(vec![
        route("hour", &["/hour/**"], of_all(hour())),
        route(
            "token",
            &["/token/**"],
            of_all(Requirement::MaxTokenAge(Duration::from_hours(1))),
        ),
        route(
            "strict",
            &["/strict/**"],
            of_all(reverified(preset("strict"))),
        ),
    ])
    .start()
    .await;
    let grant = MachineGrant::new(MachineKind::OAuth, "user_1", &[]);
    let token = world.clerk.machine_token(grant).secret;
    for (target, code) in [
        ("/hour/x", "token-type-mismatch"),
        ("/token/x", "token-type-mismatch"),
        ("/strict/x", "reverification-error"),
    ] {
        let answer = world.get(target).bearer(&token).send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (401, code.to_owned())
        );
        assert_eq!(body(&answer)["clerk_error"], Value::Null);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(!challenge.contains("insufficient_user"), "{challenge}");
    }
    world.upstream.assert_untouched();
}

/// The page as people see it, with what differs from run to run taken out.
#[tokio::test]
async fn the_pages_that_ask_to_sign_in_again() {
    let (world, mel, token) = world(json!([90, 90])).await;
    let cookie = with(&mel, &token);
    let load = page_load(&world, "/hour/x?q=%22&r=1", &cookie);
    let send = world
        .request(Method::POST, "/hour/pay")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-mode", "navigate")
        .cookie(&cookie);
    let mut pages = Vec::new();
    for call in [load, send] {
        let answer = call.header("x-request-id", "r1").send().await;
        let main = answer.body.split("<main>").nth(1).unwrap();
        let main = main.split("</main>").next().unwrap();
        pages.push(main.replace(&world.gate.port().to_string(), "PORT"));
    }
    insta::assert_snapshot!("step_up", pages.join("\n---\n"));
    world.upstream.assert_untouched();
}
