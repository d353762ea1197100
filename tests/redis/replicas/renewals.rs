//! What many gates are asked at the same time Clerk is asked once.

use std::time::Duration;

use clerk_gate::standin::{Endpoint, Fault, TestSession};
use clerk_gate::store::redis::Addresses;
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{advance, sealed, three};
use crate::server::Server;
use crate::support::{Answer, START_MS, World, refreshable};
use crate::{DEADLINE, eventually};

const TIMEOUT: Duration = Duration::from_millis(500);

/// Longer than a token and its leeway live.
const A_TOKENS_LIFE_MS: u64 = 70_000;

/// So many requests at once, of all gates in turn. Each is answered.
async fn at_once(worlds: &[World], count: usize, method: &Method, line: &str) -> Vec<Answer> {
    let mut calls = JoinSet::new();
    for number in 0..count {
        let world = &worlds[number % worlds.len()];
        let call = world.request(method.clone(), "/members").cookie(line);
        calls.spawn(call.try_send());
    }
    let answers = tokio::time::timeout(DEADLINE, calls.join_all()).await;
    let answers = answers.expect("nobody hangs");
    answers.into_iter().map(Option::unwrap).collect()
}

fn assert_all_arrived(worlds: &[World], answers: &[Answer]) {
    for answer in answers {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    let arrived = worlds.iter().map(|w| w.upstream.take_received().len());
    assert_eq!(arrived.sum::<usize>(), answers.len());
}

/// Everything that stands in Redis, names included.
fn dumped(server: &Server) -> Vec<Vec<u8>> {
    let connection = &mut server.connection();
    let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(connection).unwrap();
    let mut all = names.clone();
    for name in names {
        let kind: String = redis::cmd("TYPE").arg(&name).query(connection).unwrap();
        match kind.as_str() {
            "string" => all.push(redis::cmd("GET").arg(&name).query(connection).unwrap()),
            "stream" => {
                let all_of = redis::cmd("XRANGE").arg(&name).arg("-").arg("+").to_owned();
                let entries: redis::Value = all_of.query(connection).unwrap();
                all.push(format!("{entries:?}").into_bytes());
            }
            "none" => {}
            other => panic!("a {other} in redis"),
        }
    }
    all
}

fn assert_nothing_in_clear(server: &Server, secrets: &[&str]) {
    let all = dumped(server);
    let named = |name: &Vec<u8>| name.starts_with(b"clerk-gate:{once:");
    assert_eq!(all.iter().filter(|entry| named(entry)).count(), 1);
    assert!(secrets.len() > 3);
    for secret in secrets {
        assert!(secret.len() > 8, "{secret}");
        for entry in &all {
            let found = entry.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "`{secret}` stands in redis");
        }
    }
}

/// The new token that an answer sets.
fn token(answer: &Answer) -> String {
    let lines = answer.all("set-cookie");
    let line = lines
        .iter()
        .find_map(|line| line.strip_prefix("__session="));
    line.unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_expired_requests_of_one_session_make_one_refresh_among_three_gates() {
    let server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    let clerk = &worlds[0].clerk;
    let ada = clerk.sign_in("ada", None);
    advance(&worlds, A_TOKENS_LIFE_MS);
    clerk.misbehave(Endpoint::Refresh, Fault::Hang(Duration::from_secs(1)));
    let line = refreshable(&worlds[0], &ada);
    let answers = at_once(&worlds, 300, &Method::GET, &line).await;
    assert_all_arrived(&worlds, &answers);
    assert_eq!(clerk.calls(Endpoint::Refresh), 1);
    // Whoever was sent before the answer arrived, and arrives after it.
    let answers = at_once(&worlds, 20, &Method::GET, &line).await;
    assert_all_arrived(&worlds, &answers);
    assert_eq!(clerk.calls(Endpoint::Refresh), 1);
    let new = token(&answers[0]);
    let secrets = [
        &new,
        new.rsplit('.').next().unwrap(),
        new.split('.').nth(1).unwrap(),
        &ada.token,
        ada.refresh_token.as_deref().unwrap(),
        clerk.secret_key(),
        &ada.session_id,
    ];
    assert_nothing_in_clear(&server, &secrets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_forms_of_one_session_make_one_token_among_three_gates() {
    let server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    let clerk = &worlds[0].clerk;
    let ada = clerk.sign_in("ada", None);
    advance(&worlds, A_TOKENS_LIFE_MS);
    clerk.misbehave(Endpoint::Session, Fault::Hang(Duration::from_secs(1)));
    let line = sealed(&worlds[0], &ada, START_MS);
    let answers = at_once(&worlds, 300, &Method::POST, &line).await;
    assert_all_arrived(&worlds, &answers);
    let calls = [Endpoint::Session, Endpoint::MintedTokens].map(|one| clerk.calls(one));
    assert_eq!(calls, [1, 1]);
    let new = token(&answers[0]);
    let secrets = [
        &new,
        new.rsplit('.').next().unwrap(),
        &ada.token,
        clerk.secret_key(),
        &ada.session_id,
    ];
    assert_nothing_in_clear(&server, &secrets);
    // A token that has had its time is not given out again: another one is made, once.
    advance(&worlds, A_TOKENS_LIFE_MS);
    let answers = at_once(&worlds, 30, &Method::POST, &line).await;
    assert_all_arrived(&worlds, &answers);
    assert_ne!(token(&answers[0]), new);
    assert_eq!(clerk.calls(Endpoint::MintedTokens), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clerk_refuses_one_gate_the_others_do_not_ask_again_at_once() {
    let server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    let clerk = &worlds[0].clerk;
    let ada = clerk.sign_in("ada", None);
    advance(&worlds, A_TOKENS_LIFE_MS);
    clerk.revoke(&ada.session_id);
    let line = sealed(&worlds[0], &ada, START_MS);
    let answers = at_once(&worlds, 60, &Method::POST, &line).await;
    for answer in answers {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    for world in &worlds {
        world.upstream.assert_untouched();
    }
    assert_eq!(clerk.calls(Endpoint::Session), 1);
    assert_eq!(clerk.calls(Endpoint::MintedTokens), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_does_nothing_each_gate_asks_clerk_by_itself_and_nobody_waits() {
    let server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    let clerk = &worlds[0].clerk;
    let [ada, mel] = ["ada", "mel"].map(|person| clerk.sign_in(person, None));
    advance(&worlds, A_TOKENS_LIFE_MS);
    server.pause();
    let began = Instant::now();
    let line = refreshable(&worlds[0], &ada);
    let answers = at_once(&worlds, 30, &Method::GET, &line).await;
    let (took, calls) = (began.elapsed(), clerk.calls(Endpoint::Refresh));
    // The first of each gate may wait for it; after that, nobody does.
    let began = Instant::now();
    let line = sealed(&worlds[0], &mel, START_MS);
    let forms = at_once(&worlds, 30, &Method::POST, &line).await;
    let later = began.elapsed();
    server.go_on();
    assert!((1..=3).contains(&calls), "{calls}");
    assert!(took < TIMEOUT + Duration::from_secs(2), "{took:?}");
    assert!(later < Duration::from_secs(2), "{later:?}");
    let minted = clerk.calls(Endpoint::MintedTokens);
    assert!((1..=3).contains(&minted), "{minted}");
    // What was asked of it and given up may have been done after all: nobody waits for that.
    let began = Instant::now();
    let line = refreshable(&worlds[0], &ada);
    let again = at_once(&worlds, 30, &Method::GET, &line).await;
    let at_last = began.elapsed();
    assert!(at_last < Duration::from_secs(2), "{at_last:?}");
    let all: Vec<Answer> = answers.into_iter().chain(forms).chain(again).collect();
    assert_all_arrived(&worlds, &all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_goes_away_while_clerk_is_asked_keeps_no_other_gate_waiting() {
    let server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    let clerk = &worlds[0].clerk;
    let ada = clerk.sign_in("ada", None);
    advance(&worlds, A_TOKENS_LIFE_MS);
    clerk.misbehave(Endpoint::Refresh, Fault::Hang(Duration::from_mins(1)));
    let line = refreshable(&worlds[0], &ada);
    let mut leaving = tokio::net::TcpStream::connect(worlds[0].gate)
        .await
        .unwrap();
    let request = format!("GET /members HTTP/1.1\r\nhost: localhost\r\ncookie: {line}\r\n\r\n");
    leaving.write_all(request.as_bytes()).await.unwrap();
    eventually("clerk is asked", async || {
        clerk.calls(Endpoint::Refresh) == 1
    })
    .await;
    clerk.behave();
    drop(leaving);
    let began = Instant::now();
    let answers = at_once(&worlds[1..], 10, &Method::GET, &line).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_all_arrived(&worlds[1..], &answers);
    assert_eq!(clerk.calls(Endpoint::Refresh), 2);
}

/// The one entry about a call, as it is called.
fn entry(server: &Server) -> String {
    let mut names: Vec<String> =
        redis::Commands::keys(&mut server.connection(), "clerk-gate:{once:*").unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
    names.remove(0)
}

async fn renews(world: &World, line: &str) -> String {
    let answer = world.get("/members").cookie(line).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    token(&answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_has_put_into_redis_is_taken_for_nothing() {
    let server = Server::start();
    let worlds = three(&Addresses::one(&server.url()), TIMEOUT).await;
    let clerk = &worlds[0].clerk;
    let [ada, mel] = ["ada", "mel"].map(|person| clerk.sign_in(person, None));
    let line = |session: &TestSession| refreshable(&worlds[0], session);
    advance(&worlds, A_TOKENS_LIFE_MS);
    renews(&worlds[0], &line(&mel)).await;
    let of_mel = entry(&server);
    let sealed: Vec<u8> = redis::Commands::get(&mut server.connection(), &of_mel).unwrap();
    assert_eq!(sealed[0], b'o');
    redis::Commands::del::<_, ()>(&mut server.connection(), &of_mel).unwrap();
    renews(&worlds[0], &line(&ada)).await;
    let of_ada = entry(&server);
    let mut changed = sealed.clone();
    *changed.last_mut().unwrap() ^= 1;
    // Somebody else's outcome, a changed one, and nonsense.
    let mut calls = clerk.calls(Endpoint::Refresh);
    for (gate, written) in [(1, sealed), (2, b"x".to_vec())] {
        redis::Commands::set::<_, _, ()>(&mut server.connection(), &of_ada, written).unwrap();
        let token = renews(&worlds[gate], &line(&ada)).await;
        let claims = token.split('.').nth(1).unwrap();
        let claims = base64_of(claims);
        assert!(claims.contains(&ada.user_id), "{claims}");
        calls += 1;
        assert_eq!(clerk.calls(Endpoint::Refresh), calls);
    }
    redis::Commands::set::<_, _, ()>(&mut server.connection(), &of_mel, changed).unwrap();
    renews(&worlds[1], &line(&mel)).await;
    assert_eq!(clerk.calls(Endpoint::Refresh), calls + 1);
    // One that was there before, and has had its time.
    let outcome: Vec<u8> = redis::Commands::get(&mut server.connection(), &of_mel).unwrap();
    assert_eq!(outcome[0], b'o');
    advance(&worlds, A_TOKENS_LIFE_MS);
    redis::Commands::set::<_, _, ()>(&mut server.connection(), &of_mel, &outcome).unwrap();
    renews(&worlds[2], &line(&mel)).await;
    assert_eq!(clerk.calls(Endpoint::Refresh), calls + 2);
}

fn base64_of(claims: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims);
    String::from_utf8(bytes.unwrap()).unwrap()
}
