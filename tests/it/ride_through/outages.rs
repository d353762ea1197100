//! The same with a gate, a Clerk that fails and comes back, and an application that says what it got.

use std::sync::Arc;
use std::time::Duration;

use clerk_gate::clock::Clock as _;
use clerk_gate::config::RedisConfig;
use clerk_gate::core::door::Dialect;
use clerk_gate::core::policy::Route;
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, Fault, TestSession};
use clerk_gate::store::redis::{Addresses, OnError, Servers};
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::doors::said;
use crate::live::ticket_for;
use crate::support::log::listen;
use crate::support::{Answer, Call, World, WorldBuilder, cookies, refreshable, route, sealed};

const MARK: &str = "x-clerk-gate-ride-through";

/// Longer than a token and its leeway live.
const A_TOKENS_LIFE_MS: u64 = 70_000;

const FIFTEEN_MINUTES_MS: u64 = 15 * 60_000;

/// `/desk/**` rides through for a quarter of an hour; `/vault/**` asks for a young proof; the rest
/// does neither.
fn builder() -> WorldBuilder {
    let desk = Route {
        ride_through: Some(Duration::from_millis(FIFTEEN_MINUTES_MS)),
        ..route("desk", &["/desk/**"], Requirement::SignedIn)
    };
    let young = Requirement::All(vec![
        Requirement::SignedIn,
        Requirement::MaxAge(Duration::from_hours(9)),
    ]);
    let vault = Route {
        ride_through: desk.ride_through,
        ..route("vault", &["/vault/**"], young)
    };
    World::with(vec![desk, vault])
}

async fn world() -> World {
    builder().start().await
}

/// Somebody whom the gate has verified, and whose token has ended since.
async fn known(world: &World) -> TestSession {
    let session = world.clerk.sign_in("mel", None);
    let answer = world.get("/desk/before").cookie(&cookies(&session));
    let answer = answer.send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header(MARK), None);
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    world.upstream.take_received();
    session
}

fn out(world: &World) {
    world.clerk.misbehave(Endpoint::All, Fault::Close);
}

async fn post(world: &World, path: &str, cookies: &str) -> Answer {
    let call = world.request(Method::POST, path).cookie(cookies);
    patient(call.body("a=1")).await
}

/// Sends a request that may take as long as two calls to Clerk.
async fn patient(call: Call) -> Answer {
    let answer = tokio::time::timeout(Duration::from_secs(20), call.try_send());
    answer.await.expect("in time").expect("an answer")
}

fn assert_rides(world: &World, answer: &Answer, user: &str) {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header(MARK), Some("1"));
    assert_eq!(answer.all("set-cookie"), Vec::<String>::new());
    let received = world.upstream.only();
    assert_eq!(received.header("x-user-id").as_deref(), Some(user));
    assert_eq!(received.header(MARK).as_deref(), Some("1"));
    world.upstream.take_received();
}

fn assert_stays(world: &World, answer: &Answer) {
    assert_ne!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header(MARK), None);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_session_goes_on_while_clerk_is_out_and_everything_says_so() {
    let world = world().await;
    let mel = known(&world).await;
    let (log, listening) = listen();
    out(&world);
    for _ in 0..3 {
        let answer = post(&world, "/desk/save", &cookies(&mel)).await;
        assert_rides(&world, &answer, &mel.user_id);
    }
    let page = world
        .visit("/desk/page")
        .cookie(&cookies(&mel))
        .send()
        .await;
    assert_rides(&world, &page, &mel.user_id);
    drop(listening);
    let log = log.text();
    let warned = log.matches("clerk is out of reach: sessions ride through");
    assert_eq!(warned.count(), 1, "{log}");
    assert!(log.contains("ride_through_s=10"), "{log}");
    let metrics = world.window("/metrics").send().await;
    let series = "clerk_gate_ride_throughs_total{route=\"desk\"} 4";
    assert!(metrics.body.contains(series), "{}", metrics.body);
}

#[tokio::test]
async fn every_other_route_is_as_it_was() {
    let world = world().await;
    let mel = known(&world).await;
    out(&world);
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_rides(&world, &answer, &mel.user_id);
    for path in ["/vault/x", "/members", "/_gate/me", "/DESK/../members"] {
        let answer = world.get(path).cookie(&cookies(&mel)).send().await;
        assert_stays(&world, &answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proves_that_clerk_is_out_and_what_does_not() {
    const HANG: Fault = Fault::Hang(Duration::from_hours(1));
    let mut rows = JoinSet::new();
    // So few at once that nobody is late for want of a processor.
    let places = Arc::new(Semaphore::new(6));
    for (fault, proves) in [
        (Fault::Close, true),
        (Fault::HalfWay, true),
        (Fault::Status(500), true),
        (Fault::Status(502), true),
        (Fault::Status(503), true),
        (HANG, true),
        (Fault::Status(429), false),
        (Fault::StatusWithRetryAfter(429, 60), false),
        (Fault::Status(401), false),
        (Fault::Status(404), false),
        (Fault::Garbage, false),
        (Fault::Page, false),
        (Fault::Empty, false),
        (Fault::Huge(1 << 20), false),
    ] {
        let ways: [fn(&World, &TestSession) -> String; 3] = [cookies_alone, refreshable, sealed];
        for way in ways {
            let places = Arc::clone(&places);
            rows.spawn(async move {
                let _place = places.acquire_owned().await.unwrap();
                let world = world().await;
                let mel = known(&world).await;
                let cookies = way(&world, &mel);
                world.clerk.misbehave(Endpoint::All, fault);
                let answer = post(&world, "/desk/save", &cookies).await;
                if proves {
                    assert_rides(&world, &answer, &mel.user_id);
                } else {
                    assert_stays(&world, &answer);
                }
            });
        }
    }
    assert_eq!(rows.len(), 42);
    rows.join_all().await;
}

fn cookies_alone(_: &World, session: &TestSession) -> String {
    cookies(session)
}

#[tokio::test]
async fn what_somebody_makes_their_own_refresh_fail_with_proves_nothing() {
    let world = world().await;
    let mel = known(&world).await;
    for fault in [Fault::Close, Fault::Status(500), Fault::HalfWay] {
        world.clerk.misbehave(Endpoint::Refresh, fault);
        let answer = post(&world, "/desk/save", &refreshable(&world, &mel)).await;
        assert_stays(&world, &answer);
        world.clock.advance_ms(11_000);
    }
}

#[tokio::test]
async fn a_budget_that_is_spent_proves_nothing() {
    let world = builder()
        .configure(|config| config.clerk.api_budget = 0)
        .start()
        .await;
    let mel = known(&world).await;
    out(&world);
    let answer = post(&world, "/desk/save", &refreshable(&world, &mel)).await;
    assert_stays(&world, &answer);
}

#[tokio::test]
async fn the_ride_ends_at_its_time_however_often_it_was_taken() {
    let world = world().await;
    let mel = known(&world).await;
    out(&world);
    // The token lives for a minute.
    let end_ms = 60_000 + FIFTEEN_MINUTES_MS;
    let mut at_ms = A_TOKENS_LIFE_MS;
    while at_ms < end_ms {
        let answer = post(&world, "/desk/save", &cookies(&mel)).await;
        assert_rides(&world, &answer, &mel.user_id);
        let step = 50_000.min(end_ms - at_ms);
        world.clock.advance_ms(step);
        at_ms += step;
    }
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_stays(&world, &answer);
}

#[tokio::test]
async fn who_was_not_verified_here_before_the_end_of_the_token_does_not_ride() {
    let world = world().await;
    let mel = known(&world).await;
    let stranger = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    out(&world);
    // Within the leeway a token is taken, and nevertheless it had ended.
    let late = world.clerk.sign_in("ada", None);
    world.clock.advance_ms(61_000);
    let taken = world.get("/desk/x").cookie(&cookies(&late)).send().await;
    assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
    world.clock.advance_ms(10_000);
    world.upstream.take_received();
    for other in [&stranger, &late] {
        let answer = post(&world, "/desk/save", &cookies(other)).await;
        assert_stays(&world, &answer);
    }
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_rides(&world, &answer, &mel.user_id);
}

#[tokio::test]
async fn what_was_verified_as_a_bearer_alone_does_not_ride_as_a_cookie() {
    let world = world().await;
    let mel = world.clerk.sign_in("mel", None);
    let answer = world.get("/desk/x").bearer(&mel.token).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    world.upstream.take_received();
    out(&world);
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_stays(&world, &answer);
}

#[tokio::test]
async fn a_gate_that_was_started_again_remembers_nobody() {
    let world = world().await;
    let mel = known(&world).await;
    let clerk = world.config.clerk.clone();
    let now = world.clock.now_ms() - crate::support::START_MS;
    let again = builder()
        .configure(move |config| config.clerk = clerk)
        .start()
        .await;
    again.clock.advance_ms(now);
    // The keys are at hand.
    let ada = world.clerk.sign_in("ada", None);
    let answer = again.get("/desk/x").cookie(&cookies(&ada)).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    again.upstream.take_received();
    out(&world);
    let answer = post(&again, "/desk/save", &cookies(&mel)).await;
    assert_stays(&again, &answer);
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_rides(&world, &answer, &mel.user_id);
}

#[tokio::test]
async fn a_session_that_ends_during_an_outage_rides_no_more() {
    let world = builder().told_by_clerk().start().await;
    let mel = known(&world).await;
    out(&world);
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_rides(&world, &answer, &mel.user_id);
    // Events find their way although nothing can be asked.
    world.clerk.revoke(&mel.session_id);
    let sent = world.clerk.events_sent().await;
    assert_eq!((sent.len(), sent[0].status), (1, Some(204)));
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_stays(&world, &answer);
}

#[tokio::test]
async fn who_is_revoked_while_clerk_is_asked_does_not_ride() {
    let world = world().await;
    let mel = known(&world).await;
    world
        .clerk
        .misbehave(Endpoint::All, Fault::Hang(Duration::from_hours(1)));
    let hers = cookies(&mel);
    let asking = post(&world, "/desk/save", &hers);
    let revoking = async {
        while world.clerk.calls(Endpoint::Session) == 0 {
            tokio::task::yield_now().await;
        }
        let now_ms = world.clock.now_ms();
        let denials = world.service.gate.denials();
        denials.deny_session(&mel.session_id, now_ms);
    };
    let (answer, ()) = tokio::join!(asking, revoking);
    assert_stays(&world, &answer);
}

#[tokio::test]
async fn once_clerk_is_back_sessions_are_renewed_and_no_longer_ride() {
    let world = world().await;
    let mel = known(&world).await;
    let hers = refreshable(&world, &mel);
    out(&world);
    let answer = post(&world, "/desk/save", &hers).await;
    assert_rides(&world, &answer, &mel.user_id);
    let refreshes = world.clerk.calls(Endpoint::Refresh);
    let answer = post(&world, "/desk/save", &hers).await;
    assert_rides(&world, &answer, &mel.user_id);
    // Nobody waits for a Clerk that is known to be out.
    assert_eq!(world.clerk.calls(Endpoint::Refresh), refreshes);
    world.clerk.behave();
    world.clock.advance_ms(11_000);
    // One request goes on while it is looked whether Clerk is there; the next one is renewed.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = post(&world, "/desk/save", &hers).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        world.upstream.take_received();
        let renewed = answer.all("set-cookie");
        if renewed.iter().any(|line| line.starts_with("__session=")) {
            assert_eq!(answer.header(MARK), None);
            break;
        }
        assert_eq!(answer.header(MARK), Some("1"));
        assert!(Instant::now() < deadline, "never renewed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_clerk_says_when_it_is_back_ends_a_session_that_is_over() {
    let world = world().await;
    let mel = known(&world).await;
    out(&world);
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_rides(&world, &answer, &mel.user_id);
    world.clerk.revoke(&mel.session_id);
    world.clerk.behave();
    world.clock.advance_ms(1_000);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = post(&world, "/desk/save", &cookies(&mel)).await;
        if answer.status != StatusCode::OK {
            break;
        }
        assert!(Instant::now() < deadline, "never ended");
        world.upstream.take_received();
        tokio::task::yield_now().await;
    }
    out(&world);
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_eq!(answer.code(), "session-token-expired");
    assert_stays(&world, &answer);
    let now_ms = world.clock.now_ms();
    let denials = world.service.gate.denials();
    assert!(denials.is_denied(&mel.session_id, now_ms));
}

#[tokio::test]
async fn many_at_once_ask_clerk_once() {
    let world = world().await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        let session = world.clerk.sign_in("mel", None);
        let answer = world.get("/desk/x").cookie(&cookies(&session));
        assert_eq!(answer.send().await.status, StatusCode::OK);
        sessions.push(session);
    }
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    world.upstream.take_received();
    let fault = Fault::Hang(Duration::from_hours(1));
    world.clerk.misbehave(Endpoint::All, fault);
    let before = world.clerk.calls(Endpoint::Session);
    let mut asking = JoinSet::new();
    for session in &sessions {
        let call = world.request(Method::POST, "/desk/save");
        asking.spawn(patient(call.cookie(&cookies(session))));
    }
    for answer in asking.join_all().await {
        assert_eq!(answer.header(MARK), Some("1"), "{answer:?}");
    }
    let asked = world.clerk.calls(Endpoint::Session) - before;
    // The one that they wait for, and one behind them.
    assert!(asked <= 2, "{asked} calls");
    assert_eq!(world.upstream.take_received().len(), 20);
}

#[tokio::test]
async fn nobody_rides_while_other_gates_cannot_be_heard() {
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://{}", closed.local_addr().unwrap());
    drop(closed);
    let world = builder()
        .configure(move |config| {
            config.store = Some(RedisConfig {
                addresses: Addresses {
                    servers: Servers::One(address.into()),
                    roots: None,
                },
                timeout: Duration::from_millis(50),
                on_error: OnError::Local,
            });
        })
        .start()
        .await;
    let mel = known(&world).await;
    out(&world);
    let answer = post(&world, "/desk/save", &cookies(&mel)).await;
    assert_stays(&world, &answer);
}

#[tokio::test]
async fn neither_a_client_nor_the_application_can_say_that_somebody_rides() {
    let world = world().await;
    world.upstream.answers(|_| {
        let mut answer = http::Response::new(bytes::Bytes::new());
        let value = HeaderValue::from_static("1");
        answer.headers_mut().insert(MARK, value);
        answer
    });
    let mel = world.clerk.sign_in("mel", None);
    let mut count = 0;
    for spelling in [
        MARK,
        "X_Clerk_Gate_Ride_Through",
        "x-clerk.gate-ride-through",
    ] {
        let call = world.get("/desk/x").cookie(&cookies(&mel));
        let answer = call.header(spelling, "1").send().await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header(MARK), None);
        let received = world.upstream.only();
        let like = |name: &&http::HeaderName| name.as_str().contains("ride");
        assert_eq!(received.headers.keys().find(like), None, "{spelling}");
        world.upstream.take_received();
        count += 1;
    }
    assert_eq!(count, 3);
}

#[tokio::test]
async fn gateways_are_told_who_rides_and_who_does_not() {
    let world = builder().with_doors().start().await;
    let mel = world.clerk.sign_in("mel", None);
    let host = format!("localhost:{}", world.gate.port());
    let asks = || {
        let call = Call::new(world.doors.unwrap(), Method::GET, Dialect::Traefik.path());
        let lines = said(Dialect::Traefik, "GET", "/desk/x", &host).into_iter();
        let call = lines.fold(call, |call, (name, value)| call.header(&name, &value));
        call.cookie(&cookies(&mel)).send()
    };
    let before = asks().await;
    assert_eq!(before.status, StatusCode::OK, "{before:?}");
    assert_eq!(before.header(MARK), Some(""));
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    out(&world);
    let riding = asks().await;
    assert_eq!(riding.status, StatusCode::OK, "{riding:?}");
    assert_eq!(riding.header(MARK), Some("1"));
    assert_eq!(riding.header("x-user-id"), Some(&*mel.user_id));
    world.clock.advance_ms(FIFTEEN_MINUTES_MS);
    let after = asks().await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED, "{after:?}");
    assert_eq!(after.header(MARK), None);
}

#[tokio::test]
async fn what_is_opened_on_a_ride_ends_with_it_although_clerk_is_not_missed_yet() {
    let day = Duration::from_hours(24);
    for check in [None, Some(Duration::from_secs(30))] {
        let world = builder()
            .configure(move |config| {
                let live = &mut config.clerk.live;
                (live.check, live.grace, live.max) = (check, day, day);
            })
            .start()
            .await;
        let mel = known(&world).await;
        out(&world);
        let lease = ticket_for(&world, "/desk/socket", &mel).await.bind();
        let ended = lease.ended();
        tokio::pin!(ended);
        // All but a second of the ride.
        world.clock.advance_ms(FIFTEEN_MINUTES_MS - 11_000);
        let still = tokio::time::timeout(Duration::from_millis(1_500), &mut ended).await;
        assert!(still.is_err(), "{still:?}");
        world.clock.advance_ms(1_000);
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        assert_eq!(ended.unwrap().code(), "session-token-expired");
    }
}
