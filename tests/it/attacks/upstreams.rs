//! Applications that answer what is no answer, too much, too late or nothing: whatever they send,
//! their client gets something defined, and the next client gets its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::heard::Heard;
use super::stage::{Play, Stage};
use super::{Case, assert_none, table};
use crate::support::World;
use crate::support::wire::Wire;

/// How long anything may take that is not waited for on purpose.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// For how long nothing is heard of a body that goes on later.
const PAUSE: Duration = Duration::from_millis(300);

/// Somebody who asks a gate.
struct Client {
    area: &'static str,
    lines: String,
    user: String,
}

impl Client {
    fn nobody() -> Self {
        Self {
            area: "/public",
            lines: String::new(),
            user: "nobody".to_owned(),
        }
    }

    fn member(world: &World, person: &str) -> Self {
        let session = world.clerk.sign_in(person, None);
        Self {
            area: "/members",
            lines: format!("authorization: Bearer {}\r\n", session.token),
            user: session.user_id,
        }
    }

    async fn ask(&self, world: &World, method: &str, own: &str, name: &str) -> Wire {
        let (method, more) = match method {
            "websocket" => ("GET", WEBSOCKET),
            "POST" => ("POST", "content-length: 4\r\nconnection: close\r\n\r\nbody"),
            method => (method, "connection: close\r\n\r\n"),
        };
        let Self { area, lines, .. } = self;
        let port = world.gate.port();
        let mut wire = Wire::connect(world.gate).await;
        wire.send(format!(
            "{method} {area}/{name} HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}{own}x-request-id: {name}\r\n{more}"
        ))
        .await;
        wire
    }
}

const WEBSOCKET: &str = "connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The headers of a refusal of the gate's.
const REFUSAL: [&str; 13] = [
    "cache-control",
    "connection",
    "content-length",
    "content-security-policy",
    "content-type",
    "date",
    "referrer-policy",
    "vary",
    "x-clerk-auth-message",
    "x-clerk-auth-reason",
    "x-content-type-options",
    "x-frame-options",
    "x-request-id",
];

/// The headers of an answer to the next client.
const OWN: [&str; 5] = [
    "cache-control",
    "connection",
    "content-length",
    "date",
    "x-request-id",
];

/// What is wrong with what the client of a play hears.
fn misheard(case: &Case, heard: &Heard, raw: &[u8], private: bool) -> Option<String> {
    let (answer, parts) = case
        .expected
        .split_once(" & ")
        .unwrap_or((&case.expected, ""));
    let shown = heard.shown();
    let fits = answer
        .split(" or ")
        .any(|answer| match answer.strip_suffix(" ...") {
            Some(status) => shown.starts_with(status) && shown.ends_with("..."),
            None => answer == shown,
        });
    if !fits {
        return Some(shown.chars().take(300).collect());
    }
    if raw.windows(6).any(|w| w == b"poison") {
        return Some(format!("poison: {}", String::from_utf8_lossy(raw)));
    }
    let mut trailers = String::new();
    for part in parts
        .split(" & ")
        .filter(|part| !matches!(*part, "" | "kept"))
    {
        if let Some(trailer) = part.strip_prefix("trailer ") {
            trailers.push_str(trailer);
            trailers.push_str("\r\n");
            continue;
        }
        let (name, wanted) = match part.strip_prefix("no ") {
            Some(name) => (name, None),
            None => part.split_once(": ").map(|(n, v)| (n, Some(v))).unwrap(),
        };
        let value = heard.header(name);
        if value.as_deref() != wanted {
            return Some(format!("{name} is {value:?}"));
        }
    }
    if heard.trailers != trailers {
        return Some(format!("trailers: {}", heard.trailers));
    }
    if shown == "closed" {
        return None;
    }
    if heard.header("x-request-id").as_deref() != Some("play") {
        return Some(format!("x-request-id: {:?}", heard.header("x-request-id")));
    }
    let cache = heard.header("cache-control");
    if answer.starts_with("50") {
        let others = heard.others_than(&REFUSAL);
        if !others.is_empty() || cache.as_deref() != Some("no-store") {
            return Some(format!("{others:?} {cache:?}"));
        }
    } else if cache.as_deref() != private.then_some("private") {
        return Some(format!("cache-control: {cache:?}"));
    }
    None
}

/// What is wrong with how the gate takes a play, if anything is.
async fn fault(
    world: &World,
    play: &Arc<Play>,
    case: &Case,
    clients: [Client; 2],
) -> Option<String> {
    let [client, next] = clients;
    let mut wire = client.ask(world, play.method, play.lines, "play").await;
    let patience = if case.expected.contains('~') {
        PAUSE
    } else {
        PATIENCE
    };
    let (raw, closed) = wire.heard(patience).await;
    let heard = match Heard::of(&raw, closed, play.method == "HEAD") {
        Ok(heard) => heard,
        Err(torn) => return Some(torn),
    };
    if let Some(misheard) = misheard(case, &heard, &raw, client.area == "/members") {
        return Some(misheard);
    }
    drop(wire);
    let asked = play.asked.load(Ordering::SeqCst);
    if asked > 1 {
        return Some(format!("asked {asked} times"));
    }
    // Somebody else, right behind.
    let mut wire = next.ask(world, "GET", "", "next").await;
    let (raw, closed) = wire.heard(PATIENCE).await;
    let own = match Heard::of(&raw, closed, false) {
        Ok(own) => own,
        Err(torn) => return Some(format!("next: {torn}")),
    };
    let others = own.others_than(&OWN);
    let id = own.header("x-request-id");
    if own.shown() != format!("200 :own of {}", next.user)
        || id.as_deref() != Some("next")
        || !others.is_empty()
    {
        return Some(format!("next: {}", String::from_utf8_lossy(&raw)));
    }
    if case.expected.ends_with("kept") {
        return None;
    }
    if play.reused.load(Ordering::SeqCst) {
        return Some("the connection is used again".to_owned());
    }
    let mut open = play.open.subscribe();
    let gone = tokio::time::timeout(PATIENCE, open.wait_for(|open| *open == 0)).await;
    gone.is_err().then(|| "the connection is kept".to_owned())
}

/// Plays the whole table to one client, with another one behind each line.
async fn walk(clients: impl Fn(&World) -> [Client; 2]) {
    let stage = Stage::open().await;
    let mut faults = Vec::new();
    for case in table("upstreams.txt", 150) {
        let world = if case.expected.starts_with("504") {
            &stage.hasty
        } else {
            &stage.patient
        };
        let play = Arc::new(Play::of(&case));
        stage.put_on(&play);
        let fault = fault(world, &play, &case, clients(world)).await;
        faults.extend(fault.map(|fault| case.fault(fault)));
    }
    assert_none(&faults);
}

#[tokio::test]
async fn whatever_an_application_sends_to_nobody_the_next_client_gets_its_own_answer() {
    Box::pin(walk(|world| {
        [Client::nobody(), Client::member(world, "mel")]
    }))
    .await;
}

#[tokio::test]
async fn whatever_an_application_sends_to_a_member_the_next_client_gets_its_own_answer() {
    Box::pin(walk(|world| {
        [Client::member(world, "mel"), Client::member(world, "ada")]
    }))
    .await;
}
