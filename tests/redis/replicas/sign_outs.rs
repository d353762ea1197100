//! Who signs out at one gate is out at every gate.

use std::time::Duration;

use clerk_gate::clock::Clock as _;
use clerk_gate::standin::TestSession;
use clerk_gate::store::redis::Addresses;
use redis::Commands as _;
use tokio::time::Instant;

use super::{lets_in, replica, sealed, signs_out_everywhere, three};
use crate::server::Server;
use crate::support::wire::{Wire, WireUpstream};
use crate::support::{START_MS, World, cookies};
use crate::{DEADLINE, eventually};

const TIMEOUT: Duration = Duration::from_millis(500);

const A_SECOND: Duration = Duration::from_secs(1);

/// Has somebody sign out everywhere at the first gate, and says how long it took until the others knew.
async fn known_after(worlds: &[World], ada: &TestSession) -> Duration {
    for world in worlds {
        assert!(lets_in(world, ada).await);
    }
    signs_out_everywhere(&worlds[0], &sealed(&worlds[0], ada, START_MS)).await;
    let began = Instant::now();
    for world in worlds {
        eventually("the session is over", async || !lets_in(world, ada).await).await;
    }
    let took = began.elapsed();
    for world in worlds {
        world.upstream.take_received();
        assert!(!lets_in(world, ada).await);
        world.upstream.assert_untouched();
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_out_everywhere_at_one_gate_is_out_at_every_gate_within_a_second() {
    let server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    for _ in 0..5 {
        let ada = worlds[0].clerk.sign_in("ada", None);
        let elsewhere = worlds[0].clerk.sign_in("ada", None);
        assert!(lets_in(&worlds[1], &elsewhere).await);
        let took = known_after(&worlds, &ada).await;
        assert!(took < A_SECOND, "{took:?}");
        for world in &worlds {
            assert!(!lets_in(world, &elsewhere).await);
        }
        let other = worlds[0].clerk.sign_in("mel", None);
        assert!(lets_in(&worlds[2], &other).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_at_another_gate_ends_too() {
    let server = Server::start();
    let at = Addresses::one(&server.url());
    let first = replica(at.clone(), TIMEOUT, None).start().await;
    let upstream = WireUpstream::start().await;
    let other = replica(at, TIMEOUT, Some(&first)).before(upstream.address);
    let other = other.start().await;
    let ada = first.clerk.sign_in("ada", None);
    let mut browser = Wire::connect(other.gate).await;
    let port = other.gate.port();
    let line = cookies(&ada);
    browser
        .send(format!(
            "GET /feed HTTP/1.1\r\nhost: localhost:{port}\r\ncookie: {line}\r\n\r\n"
        ))
        .await;
    let mut application = upstream.accept().await;
    application.head().await;
    application
        .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
        .await;
    let streams = || other.service.gate.live().open().0;
    eventually("the stream is open", async || streams() == 1).await;
    signs_out_everywhere(&first, &sealed(&first, &ada, START_MS)).await;
    let began = Instant::now();
    eventually("the stream is over", async || streams() == 0).await;
    assert!(began.elapsed() < A_SECOND, "{:?}", began.elapsed());
    let (_, closed) = application.heard(DEADLINE).await;
    assert!(closed, "the upstream's connection is closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_is_started_later_refuses_from_its_first_request_on() {
    let server = Server::start();
    let at = Addresses::one(&server.url());
    let worlds = three(&at, TIMEOUT).await;
    let ada = worlds[0].clerk.sign_in("ada", None);
    known_after(&worlds, &ada).await;
    // More than is read at once.
    let denials = worlds[1].service.gate.denials();
    for other in 0..1_200 {
        denials.deny_session(&format!("sess_other{other}"), START_MS);
    }
    let last = worlds[0].clerk.sign_in("ada", None);
    denials.deny_session(&last.session_id, START_MS);
    let written = || server.connection().xlen_of_notices();
    eventually("all is written", async || written() >= 1_202).await;
    let late = replica(at, TIMEOUT, worlds.first()).start().await;
    assert!(!lets_in(&late, &ada).await);
    assert!(!lets_in(&late, &last).await);
    late.upstream.assert_untouched();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_out_while_redis_is_away_is_known_everywhere_once_it_is_back() {
    let mut server = Server::start();
    let at = Addresses::one(&server.url());
    let worlds = three(&at, TIMEOUT).await;
    let ada = worlds[0].clerk.sign_in("ada", None);
    for world in &worlds {
        assert!(lets_in(world, &ada).await);
    }
    server.stop();
    signs_out_everywhere(&worlds[0], &sealed(&worlds[0], &ada, START_MS)).await;
    // Here it counts at once.
    assert!(!lets_in(&worlds[0], &ada).await);
    assert!(lets_in(&worlds[1], &ada).await, "nobody can have told it");
    server.start_again();
    for world in &worlds {
        eventually("the session is over", async || !lets_in(world, &ada).await).await;
        world.upstream.take_received();
        assert!(!lets_in(world, &ada).await);
        world.upstream.assert_untouched();
    }
    let late = replica(at, TIMEOUT, worlds.first()).start().await;
    assert!(!lets_in(&late, &ada).await);
    late.upstream.assert_untouched();
    // And all is as before.
    let again = worlds[0].clerk.sign_in("ada", None);
    worlds[0].clock.advance_ms(2_000);
    let took = known_after(&worlds, &again).await;
    assert!(took < A_SECOND, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_started_again_without_what_it_had_is_told_once_more() {
    let mut server = Server::start();
    let at = Addresses::one(&server.url());
    let worlds = three(&at, TIMEOUT).await;
    let ada = worlds[0].clerk.sign_in("ada", None);
    known_after(&worlds, &ada).await;
    server.stop();
    server.start_again();
    let written = || server.connection().xlen_of_notices();
    eventually("it is told again", async || written() > 0).await;
    let late = replica(at, TIMEOUT, worlds.first()).start().await;
    assert!(!lets_in(&late, &ada).await);
    late.upstream.assert_untouched();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_ahead_of_its_time_is_heard_when_it_has_been_started_again() {
    let mut server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    let [ada, mel] = ["ada", "mel"].map(|person| worlds[0].clerk.sign_in(person, None));
    let mut ahead = redis::cmd("XADD");
    ahead.arg("clerk-gate:{notices}").arg("99999999999999-1");
    ahead
        .arg("kind")
        .arg("none")
        .exec(&mut server.connection())
        .unwrap();
    known_after(&worlds, &mel).await;
    server.stop();
    server.start_again();
    let denials = worlds[0].service.gate.denials();
    denials.deny_session(&ada.session_id, worlds[0].clock.now_ms());
    for world in &worlds {
        eventually("the session is over", async || !lets_in(world, &ada).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_starts_without_redis_and_learns_what_it_has_missed() {
    let mut server = Server::start();
    let at = Addresses::one(&server.url());
    let first = replica(at.clone(), TIMEOUT, None).start().await;
    let ada = first.clerk.sign_in("ada", None);
    server.stop();
    let began = Instant::now();
    let late = replica(at, TIMEOUT, Some(&first)).start().await;
    assert!(began.elapsed() < 5 * A_SECOND, "{:?}", began.elapsed());
    assert!(lets_in(&late, &ada).await);
    let denials = first.service.gate.denials();
    denials.deny_session(&ada.session_id, first.clock.now_ms());
    server.start_again();
    eventually("the session is over", async || !lets_in(&late, &ada).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_is_no_notice_is_passed_over() {
    let server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    let ada = worlds[0].clerk.sign_in("ada", None);
    let id = &ada.session_id;
    let far = u64::MAX.to_string();
    let entries: [&[&[u8]]; 6] = [
        &[b"kind", b"session"],
        &[b"\xff\xfe", b"\xff"],
        &[b"kind", b"king", b"of", id.as_bytes(), b"by", b"x"],
        &[
            b"kind",
            b"session",
            b"of",
            id.as_bytes(),
            b"by",
            b"x",
            b"revoked-to",
            b"1",
            b"outdated-before",
            b"1",
            b"forget-at",
            b"soon",
        ],
        &[
            b"kind",
            b"keys",
            b"of",
            b"pk_test_x",
            b"by",
            b"x",
            b"digest",
            b"",
        ],
        // Nobody is out for longer than the gate itself would have it.
        &[
            b"kind",
            b"session",
            b"of",
            b"sess_long",
            b"by",
            b"x",
            b"revoked-to",
            far.as_bytes(),
            b"outdated-before",
            b"0",
            b"forget-at",
            far.as_bytes(),
        ],
    ];
    for entry in entries {
        let mut add = redis::cmd("XADD");
        add.arg("clerk-gate:{notices}").arg("*").arg(entry);
        add.exec(&mut server.connection()).unwrap();
    }
    let is_denied = |days: u64| {
        let denials = worlds[2].service.gate.denials();
        denials.is_denied("sess_long", START_MS + days * 24 * 3_600_000)
    };
    eventually("the last one is read", async || is_denied(29)).await;
    assert!(!is_denied(31));
    let took = known_after(&worlds, &ada).await;
    assert!(took < A_SECOND, "{took:?}");
}

trait Stream {
    fn xlen_of_notices(&mut self) -> usize;
}

impl Stream for redis::Connection {
    fn xlen_of_notices(&mut self) -> usize {
        let mut asked = redis::cmd("XLEN");
        asked.arg("clerk-gate:{notices}").query(self).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_of_notices_does_not_stay_for_ever() {
    let server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    worlds[0]
        .service
        .gate
        .denials()
        .deny_session("sess_1", START_MS);
    let left = || {
        let mut connection = server.connection();
        connection.ttl::<_, i64>("clerk-gate:{notices}").unwrap()
    };
    let day = 24 * 3600;
    eventually("it is written", async || left() > 30 * day).await;
    assert!(left() <= 31 * day);
}
