//! From the end of a session at the stand-in to the gate, over sockets.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clerk_gate::standin::WebhookFault;
use http::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::post;
use crate::support::program::program;
use crate::support::{Answer, Call, World, cookies, usual_routes};

async fn told() -> World {
    World::with(usual_routes()).told_by_clerk().start().await
}

/// Signs somebody in, whose cookies then let them in.
async fn let_in(world: &World, person: &str) -> (String, String) {
    let session = world.clerk.sign_in(person, None);
    let cookies = cookies(&session);
    assert!(is_let_in(world, &cookies).await);
    (session.session_id, cookies)
}

/// Whether these cookies still let somebody in; if not, the application receives nothing.
async fn is_let_in(world: &World, cookies: &str) -> bool {
    let answer = world.get("/members").cookie(cookies).send().await;
    let received = world.upstream.take_received().len();
    match (answer.status, received) {
        (StatusCode::OK, 1) => true,
        (StatusCode::UNAUTHORIZED, 0) => {
            assert_eq!(answer.code(), "session-revoked");
            false
        }
        other => panic!("{other:?}: {answer:?}"),
    }
}

#[tokio::test]
async fn a_revoked_session_is_refused_at_once_although_its_token_still_holds() {
    let world = told().await;
    let (session, hers) = let_in(&world, "ada").await;
    let (_, his) = let_in(&world, "mel").await;
    world.clerk.revoke(&session);
    let sent = world.clerk.events_sent().await;
    assert_eq!(
        (sent.len(), sent[0].status, &*sent[0].event),
        (1, Some(204), "session.revoked")
    );
    assert!(!is_let_in(&world, &hers).await);
    assert!(is_let_in(&world, &his).await);

    // A page load asks Clerk, which knows the session no more, and ends at the sign-in page.
    let answer = world.visit("/members").cookie(&hers).send().await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    let location = answer.header("location").unwrap();
    assert!(
        location.contains("__clerk_hs_reason=session-revoked"),
        "{location}"
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_ban_ends_every_session_of_the_person_and_no_other() {
    let world = told().await;
    let (_, here) = let_in(&world, "mel").await;
    let (_, there) = let_in(&world, "mel").await;
    world.clerk.ban("mel");
    assert_eq!(world.clerk.events_sent().await.len(), 3);
    assert!(!is_let_in(&world, &here).await);
    assert!(!is_let_in(&world, &there).await);
    let_in(&world, "ada").await;
}

#[tokio::test]
async fn an_event_with_a_wrong_signature_ends_nothing() {
    let world = told().await;
    let (session, hers) = let_in(&world, "ada").await;
    world.clerk.misdeliver(WebhookFault::WrongSignature);
    world.clerk.revoke(&session);
    let sent = world.clerk.events_sent().await;
    assert_eq!((sent.len(), sent[0].status), (1, Some(401)));
    assert!(is_let_in(&world, &hers).await);
}

#[tokio::test]
async fn an_event_that_comes_twice_is_taken_twice_and_counts_once() {
    let world = told().await;
    let (session, hers) = let_in(&world, "ada").await;
    world.clerk.misdeliver(WebhookFault::Doubled);
    world.clerk.revoke(&session);
    let sent = world.clerk.events_sent().await;
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|event| event.status == Some(204)));
    assert!(!is_let_in(&world, &hers).await);
}

#[tokio::test]
async fn an_event_that_somebody_has_overheard_is_worth_nothing_changed_or_late() {
    let world = told().await;
    let (session, _) = let_in(&world, "ada").await;
    let (other, his) = let_in(&world, "mel").await;
    world.clerk.revoke(&session);
    let event = world.clerk.events_sent().await.remove(0);
    let about_him = event.body.replace(&session, &other);
    assert_ne!(about_him, event.body);
    let (id, at, signature) = (&*event.id, event.timestamp, &*event.signature);
    for (name, call) in [
        ("about another", post(&world, id, at, signature, &about_him)),
        (
            "another id",
            post(&world, "msg_2", at, signature, &event.body),
        ),
        (
            "another time",
            post(&world, id, at + 1, signature, &event.body),
        ),
        (
            "no version",
            post(&world, id, at, &signature[3..], &event.body),
        ),
    ] {
        let answer = call.send().await;
        assert_eq!(answer.code(), "webhook-invalid", "{name}");
        assert!(is_let_in(&world, &his).await, "{name}");
    }
    world.clock.advance_ms(301_000);
    let answer = post(&world, id, at, signature, &event.body).send().await;
    assert_eq!(answer.code(), "webhook-invalid", "too old");
}

/// `dev`, ended when it is dropped, and what it says of itself.
struct Dev {
    child: std::process::Child,
    said: Value,
}

impl Dev {
    fn start() -> Self {
        let mut child = program()
            .args(["dev", "--listen", "127.0.0.1:0", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        Self { child, said }
    }

    fn told(&self, name: &str) -> &str {
        self.said[name].as_str().unwrap()
    }

    fn call(&self, whose: &str, method: Method, target: &str) -> Call {
        let url = Url::parse(self.told(whose)).unwrap();
        let address = ([127, 0, 0, 1], url.port().unwrap()).into();
        let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        Call::new(address, method, target).header("host", &host)
    }

    /// Whether these cookies let somebody in.
    async fn members(&self, cookies: &str) -> Answer {
        let call = self.call("gate", Method::GET, "/members");
        call.cookie(cookies).send().await
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn under_dev_a_revocation_at_the_stand_in_counts_at_once() {
    let dev = Dev::start();
    let form = dev
        .call("clerk", Method::POST, "/sign-in")
        .body("person=ada");
    let answer = form.send().await;
    let location = answer.header("location").unwrap();
    let (_, browser) = location.split_once("__clerk_db_jwt=").unwrap();
    let back = url::form_urlencoded::byte_serialize(dev.told("gate").as_bytes());
    let back: String = back.collect();
    let handshake = format!("/v1/client/handshake?redirect_url={back}&__clerk_db_jwt={browser}");
    let answer = dev.call("clerk", Method::GET, &handshake).send().await;
    let location = answer.header("location").unwrap();
    let (_, token) = location.split_once("__clerk_handshake=").unwrap();
    let claims = |token: &str| -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    };
    let lines = claims(token)["handshake"].clone();
    let pairs = lines.as_array().unwrap().iter().map(|line| {
        let line = line.as_str().unwrap();
        line.split(';').next().unwrap().to_owned()
    });
    let pairs: Vec<String> = pairs
        .filter(|pair| !pair.starts_with("__refresh"))
        .collect();
    let hers = pairs.join("; ");
    let answer = dev.members(&hers).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");

    let session = pairs
        .iter()
        .find_map(|pair| pair.strip_prefix("__session="));
    let session = claims(session.unwrap())["sid"].as_str().unwrap().to_owned();
    let revoke = format!("/v1/sessions/{session}/revoke");
    let revoke = dev.call("clerk", Method::POST, &revoke);
    let answer = revoke.bearer(dev.told("secret_key")).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    // The event is on its way; the token holds for a minute.
    let refused = async {
        loop {
            let answer = dev.members(&hers).await;
            if answer.code() == "session-revoked" {
                return answer.status;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(20), refused).await;
    assert_eq!(refused.unwrap(), StatusCode::UNAUTHORIZED);
    assert!(dev.told("webhook_secret").starts_with("whsec_"));
}
