//! No `Debug` and no log line shows a token, a cookie or a key: whatever is printed stays harmless.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clerk_gate::clerk::client::Answer;
use clerk_gate::clock::ManualClock;
use clerk_gate::core::auth;
use clerk_gate::core::continuity::{OwnCookies, Seal};
use clerk_gate::core::decide::{self, Decision, Inputs, Step, Verdict, Webhooks};
use clerk_gate::core::edge::{Edge, PublicAddress};
use clerk_gate::core::facts::{RequestFacts, WireRequest};
use clerk_gate::core::identity_headers::HeaderPlan;
use clerk_gate::core::instance::{BackendApi, Instance};
use clerk_gate::core::jwt::Token;
use clerk_gate::core::key::PublishableKey;
use clerk_gate::core::machine::{Accepts, TokenType};
use clerk_gate::core::origin::{Origin, Scheme};
use clerk_gate::core::policy::{PathReading, Policy};
use clerk_gate::core::proxy_path::ProxyPath;
use clerk_gate::core::question::{MintFailure, Progress, Question, TokenAnswer};
use clerk_gate::core::reason::Reason;
use clerk_gate::core::reply;
use clerk_gate::core::requirement::Requirement;
use clerk_gate::core::ride_through::{Reach, Recollection};
use clerk_gate::core::template::Template;
use clerk_gate::core::verify::Signature;
use clerk_gate::gate::flights::Flights;
use clerk_gate::pages;
use clerk_gate::server;
use clerk_gate::standin::{Endpoint, Fault, StandIn, StandInOptions};
use http::{HeaderMap, HeaderName, Method, Uri, Version};
use serde_json::json;

use crate::signed_assertion::{assertion, secret_of};
use crate::support::log::listen;
use crate::support::pure::journey;
use crate::support::{START_MS, World, add_site, config, cookies, route, usual_routes};

/// A test key whose instance is nowhere.
const KEY: &str = "pk_test_Zm9vLWJhci0xMy5jbGVyay5hY2NvdW50cy5kZXYk";

/// What every secret of these tests has in it, base64url included: `hidden` behind 0, 1 or 2 bytes.
const MARKS: [&str; 4] = ["hidden", "aGlkZGVu", "hpZGRlb", "oaWRkZW"];

#[track_caller]
fn assert_shows_nothing(what: &str, value: &dyn Debug) {
    for shown in [format!("{value:?}"), format!("{value:#?}")] {
        for mark in MARKS {
            assert!(!shown.contains(mark), "{what} shows a secret:\n{shown}");
        }
    }
}

/// A session token that would be good, had it a signature; `age` in seconds.
fn token(age: u64) -> String {
    let now = START_MS / 1000;
    let claims = json!({
        "sub": "user_1", "sid": "sess_1", "iat": now - age, "exp": now - age + 60,
        "iss": "https://foo-bar-13.clerk.accounts.dev", "own": "hidden",
    });
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let header = json!({ "alg": "RS256", "kid": "ins_1", "typ": "JWT" });
    let signature = encode("hidden signature".to_owned());
    format!(
        "{}.{}.{signature}",
        encode(header.to_string()),
        encode(claims.to_string())
    )
}

fn new_cookies() -> Vec<String> {
    vec![
        format!("__session={}; Path=/", token(0)),
        "__refresh_abc=hidden; HttpOnly".to_owned(),
    ]
}

/// A request of a test: method, target, headers.
struct Asked {
    method: Method,
    target: String,
    headers: Vec<(&'static str, String)>,
}

fn asked(target: &str, headers: &[(&'static str, String)]) -> Asked {
    Asked {
        method: Method::GET,
        target: target.to_owned(),
        headers: headers.to_vec(),
    }
}

/// Requests that carry secrets wherever one can stand, to every kind of decision.
fn requests() -> Vec<Asked> {
    let page = ("accept", "text/html".to_owned());
    let bearer = |age| ("authorization", format!("Bearer {}", token(age)));
    let session = |age| {
        let uat = START_MS / 1000 - 600;
        let key = PublishableKey::parse(KEY).unwrap();
        let suffix = key.cookie_suffix();
        let cookie = format!(
            "__session={}; __client_uat={uat}; __clerk_db_jwt=dvb_hidden; __refresh_{suffix}=hidden; \
             __Host-clerk-gate-seal_{suffix}=hidden",
            token(age),
        );
        ("cookie", cookie)
    };
    let known = ("cookie", "__clerk_db_jwt=dvb_hidden".to_owned());
    let from_here = ("origin", "http://localhost".to_owned());
    let change = |target: &str| Asked {
        method: Method::POST,
        ..asked(target, &[session(0), from_here.clone(), page.clone()])
    };
    let handshake = format!("/members?__clerk_handshake={}", token(0));
    vec![
        asked("/members?token=hidden", &[bearer(0)]),
        asked("/members", &[bearer(600)]),
        asked("/members", &[session(0)]),
        asked("/members", &[session(600), page.clone()]),
        asked("/members", &[known.clone(), page.clone()]),
        asked("/members", std::slice::from_ref(&known)),
        asked("/admin", &[session(0)]),
        asked("/lately?token=hidden", &[session(0), page.clone()]),
        asked("/lately?token=hidden", &[session(0)]),
        asked("/_gate/me", &[session(0)]),
        asked("/_gate/sign-in", &[known.clone(), page.clone()]),
        asked("/_gate/sessions", &[session(0), page.clone()]),
        asked("/_gate/sign-out", &[session(0), page.clone()]),
        asked("/_gate/sign-out?done", &[known.clone(), page.clone()]),
        change("/_gate/sign-out?then=sign-in&redirect_url=/x?token=hidden"),
        change("/_gate/sign-out/all"),
        change("/_gate/sessions/sess_2/switch"),
        change("/_gate/token"),
        change("/_gate/token/app"),
        asked("/data/x?token=hidden", &[session(0)]),
        asked(&handshake, &[known.clone(), page.clone()]),
        asked(
            "/members?__clerk_handshake_nonce=hidden",
            &[known, page.clone()],
        ),
        asked("/members?__clerk_db_jwt=dvb_hidden", &[page]),
        asked("/__clerk/v1/client?token=hidden", &[session(0)]),
        Asked {
            method: Method::POST,
            ..asked("/_gate/webhooks/clerk?x=hidden", &[session(0)])
        },
    ]
}

/// Decides as the gate does, with every answer at hand, and looks at each thing on the way.
fn decided(facts: &RequestFacts<'_>, instance: &Instance, policy: &Policy) -> Verdict {
    let inputs = Inputs {
        facts,
        instance,
        policy,
        headers: &HeaderPlan::default(),
        pages_prefix: "/_gate/",
        webhooks: Webhooks::Taken,
        now_ms: START_MS,
    };
    assert_shows_nothing("`Inputs`", &inputs);
    let mut progress = Progress::default();
    loop {
        let step = decide::decide(inputs, &mut progress);
        assert_shows_nothing("`Step`", &step);
        assert_shows_nothing("`Progress`", &progress);
        assert_shows_nothing("`Credentials`", &progress.credentials());
        match step {
            Step::Done(verdict) => {
                let session = Accepts::One(TokenType::Session);
                let state = auth::authenticate(facts, instance, session, START_MS, &mut progress);
                if let Ok(state) = state {
                    assert_shows_nothing("`AuthState`", &state);
                }
                return *verdict;
            }
            Step::Ask(Question::Token(slot)) => {
                let decoded = Token::decode(progress.raw(slot).unwrap()).map(Arc::new);
                let answer = TokenAnswer {
                    decoded,
                    signature: None,
                    standing: clerk_gate::core::question::TokenStanding::Stands,
                };
                assert_shows_nothing("`TokenAnswer`", &answer);
                progress.answer_token(slot, answer);
            }
            Step::Ask(Question::Signature(slot)) => {
                progress.answer_signature(slot, Signature::Good);
            }
            Step::Ask(Question::HandshakePayload) => progress.answer_payload(Ok(new_cookies())),
            Step::Ask(Question::OwnCookies) => progress.answer_own_cookies(OwnCookies {
                seal: Some(Seal {
                    session: "sess_1".to_owned(),
                    user: "user_1".to_owned(),
                    first_ms: START_MS,
                    sealed_ms: START_MS,
                }),
                state: None,
            }),
            Step::Ask(Question::Journey) => progress.answer_journey(journey()),
            Step::Ask(Question::Mint) => progress.answer_mint(Err(MintFailure::Unavailable)),
            Step::Ask(Question::Machine(_)) => {
                progress.answer_machine(Err(Reason::TokenVerificationUnavailable));
            }
            Step::Ask(Question::Budget(stage)) => progress.answer_budget(stage, Vec::new()),
            Step::Ask(Question::Refresh(_)) => progress.answer_refresh(Ok(new_cookies())),
            Step::Ask(Question::Recollection(_)) => {
                progress.answer_recollection(Recollection::Verified(Reach::Unproven));
            }
            Step::Ask(Question::Reach(_)) => progress.answer_reach(Reach::Unreachable),
            Step::Ask(Question::Template(_)) => progress.answer_template(Ok("hidden".into())),
        }
    }
}

#[test]
fn nothing_that_a_request_becomes_shows_its_credentials() {
    let mut instance = Instance::of(PublishableKey::parse(KEY).unwrap(), BackendApi::Available);
    instance.sign_in_url = Some("https://accounts.example.com/sign-in".to_owned());
    instance.frontend_api_proxy = ProxyPath::parse("/__clerk");
    let mut routes = usual_routes();
    let hour = Requirement::MaxAge(Duration::from_hours(1));
    routes.push(route("lately", &["/lately/**"], hour));
    let template = Arc::new(Template::new("app"));
    let mut data = route("data", &["/data/**"], Requirement::SignedIn);
    data.template = Some(Arc::clone(&template));
    routes.push(data);
    let policy = Policy::compile(routes, PathReading::Leniently).unwrap();
    let policy = policy.with_templates(vec![template]);
    let edge = Edge {
        public: PublicAddress::Loopback,
        trusted_proxies: Vec::new(),
        hosts: Vec::new(),
        sites: Vec::new(),
    };
    let mut decisions = [0; 6];
    for request in requests() {
        let target: Uri = request.target.parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("host", "localhost".parse().unwrap());
        for (name, value) in &request.headers {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let wire = WireRequest {
            method: &request.method,
            target: &target,
            version: Version::HTTP_11,
            headers: &headers,
            peer: [127, 0, 0, 1].into(),
            scheme: Scheme::Http,
        };
        assert_shows_nothing("`WireRequest`", &wire);
        let facts = RequestFacts::read(wire, &edge).unwrap();
        assert_shows_nothing("`RequestFacts`", &facts);
        let verdict = decided(&facts, &instance, &policy);
        assert_shows_nothing("`Verdict`", &verdict);
        let kind = match &verdict.decision {
            Decision::Forward(permit) => {
                assert_shows_nothing("`Permit`", permit);
                0
            }
            Decision::Redirect(redirect) => {
                let document = pages::redirect(&redirect.location);
                assert_shows_nothing("`Document`", &document);
                1
            }
            Decision::Refuse(refusal) => {
                let reply = reply::reply(refusal, "id");
                assert_shows_nothing("`Reply`", &reply);
                assert_shows_nothing("`Document`", &pages::refusal(reply));
                2
            }
            Decision::Page(page) => {
                assert_shows_nothing("`Document`", &pages::page(page, "id"));
                3
            }
            Decision::Relay(permit) => {
                assert_shows_nothing("`FapiPermit`", permit);
                4
            }
            Decision::Serve(order) => {
                assert_shows_nothing("`Order`", order);
                5
            }
        };
        decisions[kind] += 1;
    }
    assert!(decisions.iter().all(|count| *count > 0), "{decisions:?}");
    // The webhook, the list of sessions and every change.
    assert_eq!(decisions[5], 7, "{decisions:?}");
}

#[tokio::test]
async fn neither_configuration_nor_gate_shows_the_secret_key() {
    let clerk = StandIn::start(StandInOptions::new(Arc::new(|| START_MS)))
        .await
        .unwrap();
    let nowhere = ([127, 0, 0, 1], 9).into();
    let mut config = config(&clerk, nowhere, usual_routes());
    config.clerk.secret_key = Some("sk_test_hidden".into());
    config.clerk.frontend_api_proxy = Origin::parse(&clerk.url());
    config.clerk.instance.frontend_api_proxy = ProxyPath::parse("/__clerk");
    let mut site = config.clerk.clone();
    site.secret_key = Some("sk_test_also_hidden".into());
    site.machine_secret_key = Some("ak_hidden".into());
    add_site(
        &mut config,
        &["shop.localhost"],
        PublicAddress::Loopback,
        site,
    );
    assert_shows_nothing("`Config`", &config);
    let bound = server::build(&config, ManualClock::at(START_MS))
        .await
        .unwrap();
    let shown = format!("{bound:?}");
    assert!(
        shown.contains("Snapshot") && shown.contains("Gate") && shown.contains("FrontendApi("),
        "{shown}"
    );
    assert_shows_nothing("`Bound`", &bound);
}

#[tokio::test]
async fn a_refresh_under_way_shows_neither_its_question_nor_its_answer() {
    let flights = Flights::new();
    let key = ("sess_1".to_owned(), "hidden refresh token".to_owned());
    let seen = Mutex::new(0);
    let asking = flights.join(key, async {
        assert_shows_nothing("`Flights`", &flights);
        *seen.lock().unwrap() += 1;
        new_cookies()
    });
    let cookies = tokio::time::timeout(Duration::from_secs(5), asking)
        .await
        .unwrap();
    assert_eq!((cookies, *seen.lock().unwrap()), (new_cookies(), 1));
}

#[test]
fn an_answer_of_clerk_shows_no_body() {
    let answer = Answer {
        status: 200,
        is_json: true,
        body: json!({ "cookies": new_cookies() }).to_string().into(),
    };
    assert_shows_nothing("`Answer`", &answer);
}

#[tokio::test]
async fn no_log_line_shows_what_an_event_carries() {
    let (log, _logging) = listen();
    let world = World::with(usual_routes()).told_by_clerk().start().await;
    let event = json!({
        "type": "user.updated",
        "data": { "id": "user_1", "first_name": "hidden", "hidden": { "id": "hidden" } },
    });
    let event = event.to_string();
    let now = START_MS / 1000;
    let secret = world.clerk.webhook_secret();
    let signature = crate::webhooks::sign(secret, "msg_1", now, &event);
    for (body, status) in [(&*event, 204), ("hidden", 401), ("", 401)] {
        let call = world
            .request(Method::POST, "/_gate/webhooks/clerk?x=hidden")
            .header("svix-id", "msg_1")
            .header("svix-timestamp", &now.to_string())
            .header("svix-signature", &signature)
            .header("x-own", "hidden");
        assert_eq!(call.body(body).send().await.status, status, "{body}");
    }
    let log = log.text();
    assert!(log.contains("clerk sent an event") && log.contains("msg_1"));
    assert_eq!(log.matches("an event was turned away").count(), 2, "{log}");
    for unsaid in [secret, &signature["v1,".len()..], "hidden", "first_name"] {
        assert!(!log.contains(unsaid), "{unsaid} is in the log:\n{log}");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn no_log_line_shows_what_a_request_carries() {
    let (log, _logging) = listen();
    let world = World::with(usual_routes())
        .relaying()
        .configure(|config| config.assertion = Some(assertion("p256")))
        .start()
        .await;
    let ada = world.clerk.sign_in("ada", None);
    let refresh_token = ada.refresh_token.clone().unwrap();
    let all = format!(
        "{}; __refresh_{}={refresh_token}",
        cookies(&ada),
        world.clerk.cookie_suffix()
    );
    let line = format!("__session={}; Path=/", ada.token);
    let handshake = world.clerk.handshake_token(&[line]);
    let bad = format!("{}x", ada.token);
    let mut answers = vec![
        world
            .get("/members?q=hidden")
            .bearer(&ada.token)
            .send()
            .await,
        world.get("/members").bearer(&bad).send().await,
        world.get("/members").cookie(&all).send().await,
        world
            .visit("/admin/x")
            .cookie(&all)
            .body("hidden")
            .send()
            .await,
        world
            .visit("/members")
            .cookie("__clerk_db_jwt=hidden")
            .send()
            .await,
    ];
    let target = format!("/members?__clerk_handshake={handshake}");
    answers.push(world.visit(&target).cookie(&all).send().await);
    world.clock.advance_ms(70_000);
    answers.push(world.get("/members").cookie(&all).send().await);
    answers.push(world.visit("/members").bearer(&ada.token).send().await);
    answers.push(world.get("/%zz?q=hidden").cookie(&all).send().await);
    let relayed = format!("/__clerk/v1/client?__clerk_db_jwt={}", ada.dev_browser);
    let relayed = world.get(&relayed).cookie(&all).bearer(&ada.token);
    answers.push(relayed.send().await);
    world.clerk.misbehave(Endpoint::All, Fault::Close);
    answers.push(
        world
            .get("/__clerk/v1/x?q=hidden")
            .cookie(&all)
            .send()
            .await,
    );
    let statuses: Vec<_> = answers
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert_eq!(
        statuses,
        [200, 401, 200, 200, 307, 307, 200, 307, 400, 200, 502]
    );
    let log = log.text();
    assert!(
        log.matches("clerk_gate::access").count() >= statuses.len(),
        "{log}"
    );
    let relays = log
        .lines()
        .filter(|line| line.contains("decision=\"relay\""));
    assert_eq!(relays.count(), 2, "{log}");
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let cookie = answers[6].header("set-cookie").unwrap();
    let received = world.upstream.received();
    let asserted = received[0].header("x-clerk-gate-assertion").unwrap();
    let renewed = cookie.split(['=', ';']).nth(1).unwrap();
    for secret in [
        signature(&ada.token),
        signature(&handshake),
        signature(renewed),
        signature(&asserted),
        secret_of("p256"),
        refresh_token,
        ada.dev_browser,
        world.clerk.secret_key().to_owned(),
        "hidden".to_owned(),
    ] {
        assert!(
            secret.len() > 5 && !log.contains(&secret),
            "{secret} is in the log:\n{log}"
        );
    }
}
