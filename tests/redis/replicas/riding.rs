//! Riding through an outage of Clerk's while Redis is away too: nobody does, because nobody can be heard
//! who knows that a session is over.

use std::time::Duration;

use clerk_gate::core::policy::{PathReading, Policy, Route};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, Fault, TestSession};
use clerk_gate::store::redis::Addresses;
use http::{Method, StatusCode};

use super::{PUBLIC, advance, replica};
use crate::eventually;
use crate::server::Server;
use crate::support::{Answer, World, cookies, route};

const TIMEOUT: Duration = Duration::from_millis(500);

const MARK: &str = "x-clerk-gate-ride-through";

/// Longer than a token and its leeway live.
const A_TOKENS_LIFE_MS: u64 = 70_000;

/// How a Redis is away.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// Nobody listens.
    Stopped,
    /// It listens and says nothing.
    Paused,
    /// It tells what it has and takes nothing.
    Full,
}

impl Away {
    fn begin(self, server: &mut Server) {
        match self {
            Self::Stopped => server.stop(),
            Self::Paused => server.pause(),
            Self::Full => server.fill(true),
        }
    }

    fn end(self, server: &mut Server) {
        match self {
            Self::Stopped => server.start_again(),
            Self::Paused => server.go_on(),
            Self::Full => server.fill(false),
        }
    }
}

/// Two gates with one Clerk and this Redis, where sessions ride through on `/desk/**`.
async fn two(server: &Server) -> Vec<World> {
    let mut worlds: Vec<World> = Vec::new();
    for _ in 0..2 {
        let at = Addresses::one(&server.url());
        let world = replica(at, TIMEOUT, worlds.first()).configure(|config| {
            let desk = Route {
                ride_through: Some(Duration::from_mins(15)),
                ..route("desk", &["/desk/**"], Requirement::SignedIn)
            };
            config.policy = Policy::compile(vec![desk], PathReading::Leniently).unwrap();
        });
        worlds.push(world.start().await);
    }
    worlds
}

async fn posts(world: &World, path: &str, session: &TestSession, id: &str) -> Answer {
    let call = world.request(Method::POST, path).cookie(&cookies(session));
    let call = call.header("x-request-id", id).header("origin", PUBLIC);
    call.send().await
}

/// Whether a session whose token has ended rides through; both ends are told so, or nobody is told
/// anything.
async fn rides(world: &World, session: &TestSession) -> bool {
    let answer = posts(world, "/desk/save", session, "ride").await;
    let arrived = world.upstream.take_received();
    if answer.status != StatusCode::OK {
        assert_eq!(answer.header(MARK), None, "{answer:?}");
        assert!(arrived.is_empty(), "{arrived:?}");
        return false;
    }
    assert_eq!(answer.header(MARK), Some("1"), "{answer:?}");
    assert_eq!(arrived.len(), 1, "{arrived:?}");
    assert_eq!(arrived[0].header(MARK).as_deref(), Some("1"));
    assert_eq!(arrived[0].header("x-user-id").unwrap(), session.user_id);
    true
}

/// How many requests have ridden through, as the gate counts.
async fn counted(world: &World) -> String {
    let metrics = world.window("/metrics").send().await.body;
    let mut lines = metrics.lines();
    let line =
        lines.find(|line| line.starts_with("clerk_gate_ride_throughs_total{route=\"desk\"}"));
    line.unwrap().to_owned()
}

async fn while_away(away: Away) {
    let mut server = Server::start();
    let worlds = two(&server).await;
    let [first, other] = &worlds[..] else {
        panic!("there are two");
    };
    let sessions = ["mel", "ada"].map(|person| first.clerk.sign_in(person, None));
    let [mel, ada] = &sessions;
    for world in &worlds {
        for session in &sessions {
            let answer = posts(world, "/desk/before", session, "before").await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(answer.header(MARK), None);
        }
        world.upstream.take_received();
    }
    advance(&worlds, A_TOKENS_LIFE_MS);
    first.clerk.misbehave(Endpoint::All, Fault::Close);
    for world in &worlds {
        for session in &sessions {
            eventually("they ride", async || rides(world, session).await).await;
        }
    }

    away.begin(&mut server);
    for world in &worlds {
        eventually("nobody rides", async || !rides(world, ada).await).await;
    }
    // At one gate it is known who signs out meanwhile, and not at the other.
    posts(first, "/_gate/sign-out", mel, "out").await;
    let counts = [counted(first).await, counted(other).await];
    for _ in 0..5 {
        for world in &worlds {
            for session in &sessions {
                assert!(!rides(world, session).await, "{away:?}");
            }
        }
    }
    assert_eq!([counted(first).await, counted(other).await], counts);
    let refused = posts(other, "/desk/save", mel, "why").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{refused:?}");
    let why = other.window("/explain?request-id=why").send().await.body;
    let said = "recorded  nobody could tell who is out: other gates were not heard\n";
    assert!(why.contains(said), "{why}");

    away.end(&mut server);
    for world in &worlds {
        eventually("they ride again", async || rides(world, ada).await).await;
        for _ in 0..3 {
            assert!(!rides(world, mel).await, "{away:?}: who has signed out");
        }
    }
    assert_ne!([counted(first).await, counted(other).await], counts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_rides_while_redis_is_stopped_and_again_once_it_is_back() {
    while_away(Away::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_rides_while_redis_says_nothing_and_again_once_it_goes_on() {
    while_away(Away::Paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_rides_while_redis_is_full_and_again_once_there_is_room() {
    while_away(Away::Full).await;
}
