//! Riding through an outage of Clerk's while Redis is away too: nobody does, because nobody can be heard
//! who knows that a session is over.

use std::time::Duration;

use clerk_gate::core::budget::Rate;
use clerk_gate::core::policy::{PathReading, Policy, Route};
use clerk_gate::core::requirement::Requirement;
use clerk_gate::standin::{Endpoint, Fault, TestSession};
use clerk_gate::store::redis::{Addresses, OnError, Servers};
use http::{Method, StatusCode};

use super::{PUBLIC, advance, replica};
use crate::server::Server;
use crate::servers::cluster;
use crate::support::log::listen;
use crate::support::{Answer, World, cookies, route};
use crate::{each_address, eventually};

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

/// The route on which sessions ride.
fn desk() -> Route {
    Route {
        ride_through: Some(Duration::from_mins(15)),
        ..route("desk", &["/desk/**"], Requirement::SignedIn)
    }
}

fn policy(routes: Vec<Route>) -> Policy {
    Policy::compile(routes, PathReading::Leniently).unwrap()
}

/// Two gates with one Clerk and this Redis, where sessions ride through on `/desk/**`.
async fn two(server: &Server) -> Vec<World> {
    let mut worlds: Vec<World> = Vec::new();
    for _ in 0..2 {
        let at = Addresses::one(&server.url());
        let world = replica(at, TIMEOUT, worlds.first()).configure(|config| {
            config.policy = policy(vec![desk()]);
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

/// More than any test asks for.
const PLENTY: Rate = Rate::SlidingWindow {
    requests: 1_000_000,
    window_ms: 3_600_000,
};

/// How often a server has done, or refused to do, what this line of its information counts.
fn told(server: &Server, section: &str, line: &str) -> u64 {
    let info: String = server.ask(&format!("INFO {section}"));
    let line = info.lines().find_map(|l| l.strip_prefix(line));
    let digits = line.and_then(|l| l.split([',', '\r']).next());
    digits.map_or(0, |digits| digits.parse().unwrap())
}

// One thread, whose log is kept.
#[tokio::test]
async fn a_part_of_a_cluster_that_is_full_has_nobody_ride_and_leaves_limits_elsewhere_alone() {
    let servers = cluster().await;
    let slot: usize = servers[0].ask("CLUSTER KEYSLOT clerk-gate:{notices}");
    let full = &servers[slot / 5461];
    let (log, listening) = listen();
    let at = Addresses {
        servers: Servers::Cluster(vec![servers[0].url().into()]),
        roots: None,
    };
    let world = replica(at, TIMEOUT, None).configure(|config| {
        let limited = Route {
            budgets: vec![each_address("all", PLENTY).into()],
            ..route("limited", &["/limited"], Requirement::Public)
        };
        config.policy = policy(vec![desk(), limited]);
        config.store.as_mut().unwrap().on_error = OnError::Refuse;
    });
    let world = world.start().await;
    let charged = async || world.get("/limited").send().await.status == StatusCode::OK;
    eventually("limits are charged", charged).await;
    let elsewhere: Vec<String> = full.ask("KEYS clerk-gate:{all:*");
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    let mel = world.clerk.sign_in("mel", None);
    let answer = posts(&world, "/desk/before", &mel, "before").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    world.clock.advance_ms(A_TOKENS_LIFE_MS);
    world.clerk.misbehave(Endpoint::All, Fault::Close);
    world.upstream.take_received();
    eventually("they ride", async || rides(&world, &mel).await).await;
    let away = || log.text().matches("redis cannot be asked").count();
    let before = away();

    full.fill(true);
    // A request that is not charged is refused.
    eventually("it has refused three times", async || {
        for _ in 0..20 {
            assert!(charged().await);
        }
        told(full, "errorstats", "errorstat_OOM:count=") >= 3
    })
    .await;
    assert_eq!(away(), before);
    world.upstream.take_received();
    for _ in 0..3 {
        assert!(!rides(&world, &mel).await);
    }
    assert_eq!(log.text().matches("redis takes no notices").count(), 1);

    full.fill(false);
    eventually("they ride again", async || rides(&world, &mel).await).await;
    assert_eq!(log.text().matches("redis takes notices").count(), 1);
    assert_eq!(away(), before);
    drop(listening);
}

#[tokio::test]
async fn nothing_is_written_for_it_where_no_route_lets_anybody_ride() {
    let server = Server::start();
    let at = Addresses::one(&server.url());
    let public = || route("all", &["/**"], Requirement::Public);
    let world = replica(at, TIMEOUT, None);
    let world = world.configure(move |config| config.policy = policy(vec![public()]));
    let world = world.start().await;
    let read = || told(&server, "commandstats", "cmdstat_xread:calls=");
    let written = || told(&server, "commandstats", "cmdstat_set:calls=");
    // A connection is tried by a write, once.
    eventually("the stream is waited for", async || {
        read() >= 2 && written() >= 1
    })
    .await;
    let before = (read(), written());
    eventually("it is read on", async || read() >= before.0 + 3).await;
    assert_eq!(written(), before.1);
    for (routes, goes_on) in [(vec![desk()], true), (vec![public()], false)] {
        let mut config = world.config.clone();
        config.policy = policy(routes);
        world.reloader.change_to(config).unwrap();
        // What had begun before goes to its end.
        let begun = read();
        eventually("it is read on", async || read() >= begun + 2).await;
        let before = (read(), written());
        eventually("it is read on", async || read() >= before.0 + 3).await;
        assert_eq!(written() > before.1, goes_on);
    }
}
