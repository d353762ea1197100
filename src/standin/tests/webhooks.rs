//! What is told of sessions that end, to whom, and how it can go wrong.

use std::sync::Mutex;

use aws_lc_rs::hmac;
use base64::engine::general_purpose::STANDARD;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// Somebody who listens: the heads and bodies that arrive, each answered with 204.
#[derive(Clone)]
struct Ear {
    url: String,
    heard: Arc<Mutex<Vec<(http::HeaderMap, String)>>>,
}

impl Ear {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ear = Self {
            url: format!("http://{address}/hooks"),
            heard: Arc::default(),
        };
        let heard = Arc::clone(&ear.heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let heard = Arc::clone(&heard);
                let listen = service_fn(move |request: Request<Incoming>| {
                    let heard = Arc::clone(&heard);
                    async move {
                        assert_eq!(
                            (request.method(), request.uri().path()),
                            (&Method::POST, "/hooks")
                        );
                        let headers = request.headers().clone();
                        let body = text(Response::new(request.into_body())).await;
                        heard.lock().expect("the list").push((headers, body));
                        let answer = Response::builder()
                            .status(204)
                            .body(Full::<Bytes>::default());
                        Ok::<_, std::convert::Infallible>(answer.expect("an answer"))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), listen));
            }
        });
        ear
    }

    fn heard(&self) -> Vec<(http::HeaderMap, String)> {
        self.heard.lock().expect("the list").clone()
    }
}

async fn world_with_ear() -> (World, Ear) {
    let (world, ear) = (World::new().await, Ear::open().await);
    world
        .standin
        .send_events_to(&ear.url)
        .expect("an address of this machine");
    (world, ear)
}

/// Whether the signature is good, as Svix has it.
fn is_signed(secret: &str, headers: &http::HeaderMap, body: &str) -> bool {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let key = STANDARD.decode(&secret["whsec_".len()..]).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let content = format!("{}.{}.{body}", header("svix-id"), header("svix-timestamp"));
    let signature = header("svix-signature");
    let signature = signature.strip_prefix("v1,").expect("version 1");
    let signature = STANDARD.decode(signature).expect("base64");
    hmac::verify(&key, content.as_bytes(), &signature).is_ok()
}

#[tokio::test]
async fn each_end_of_a_session_is_told_once_and_signed() {
    let (world, ear) = world_with_ear().await;
    let sessions = ["ada", "mel", "sol", "ada"].map(|key| world.standin.sign_in(key, None));
    let [ended, removed, revoked, left] = &sessions;
    for (session, what) in [(ended, "end"), (removed, "remove")] {
        let call = format!("POST client/sessions/{}/{what}", session.session_id);
        world.script(&session.dev_browser, &call, "").await;
    }
    for _ in 0..2 {
        let path = format!("sessions/{}/revoke", revoked.session_id);
        world.api(Method::POST, &path, json!({})).await;
    }
    world
        .form("/sign-out", &[("__clerk_db_jwt", &*left.dev_browser)])
        .await;

    let sent = world.standin.events_sent().await;
    assert!(sent.iter().all(|event| event.status == Some(204)));
    let mut told: Vec<(String, String)> = Vec::new();
    for (headers, body) in ear.heard() {
        assert!(is_signed(world.standin.webhook_secret(), &headers, &body));
        assert_eq!(headers["svix-timestamp"], "1700000000");
        let event: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (&event["object"], &event["timestamp"]),
            (&json!("event"), &json!(1_700_000_000_000_u64))
        );
        assert_eq!(event["data"]["user_id"], event["data"]["user"]["id"]);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        told.push((text(&event["type"]), text(&event["data"]["id"])));
    }
    let mut expected = vec![
        ("session.ended".to_owned(), ended.session_id.clone()),
        ("session.removed".to_owned(), removed.session_id.clone()),
        ("session.revoked".to_owned(), revoked.session_id.clone()),
        ("session.ended".to_owned(), left.session_id.clone()),
    ];
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_ban_is_told_of_the_person_and_of_each_session() {
    let (world, ear) = world_with_ear().await;
    world.standin.sign_in("mel", None);
    world.standin.sign_in("mel", None);
    world.standin.sign_in("ada", None);
    world.standin.ban("mel");
    world.standin.events_sent().await;
    let mut told: Vec<_> = ear
        .heard()
        .iter()
        .map(|(_, body)| {
            let event: Value = serde_json::from_str(body).expect("JSON");
            json!([event["type"], event["data"]["banned"]]).to_string()
        })
        .collect();
    told.sort();
    let expected = [
        r#"["session.revoked",null]"#,
        r#"["session.revoked",null]"#,
        r#"["user.updated",true]"#,
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn events_can_come_twice_with_a_wrong_signature_or_late() {
    let (world, ear) = world_with_ear().await;
    let revoke = |fault: WebhookFault| {
        world.standin.misdeliver(fault);
        let session = world.standin.sign_in("ada", None);
        world.standin.revoke(&session.session_id);
    };
    revoke(WebhookFault::Doubled);
    world.standin.events_sent().await;
    let [(first, _), (second, _)] = &ear.heard()[..] else {
        panic!("{:?}", ear.heard().len());
    };
    assert_eq!(first["svix-id"], second["svix-id"]);

    revoke(WebhookFault::WrongSignature);
    world.standin.events_sent().await;
    let (headers, body) = ear.heard().pop().expect("an event");
    assert!(!is_signed(world.standin.webhook_secret(), &headers, &body));

    tokio::time::pause();
    let began = tokio::time::Instant::now();
    revoke(WebhookFault::Delayed(Duration::from_hours(1)));
    assert_eq!(world.standin.events_sent().await.len(), 4);
    assert!(began.elapsed() >= Duration::from_hours(1));
    tokio::time::resume();

    world.standin.behave();
    let session = world.standin.sign_in("ada", None);
    world.standin.revoke(&session.session_id);
    world.standin.events_sent().await;
    let (headers, body) = ear.heard().pop().expect("an event");
    assert!(is_signed(world.standin.webhook_secret(), &headers, &body));
}

#[tokio::test]
async fn events_go_to_this_machine_only_and_nowhere_unless_told() {
    let world = World::new().await;
    for elsewhere in [
        "http://example.com/x",
        "https://127.0.0.1/x",
        "127.0.0.1:80",
        "",
    ] {
        let refused = world
            .standin
            .send_events_to(elsewhere)
            .expect_err(elsewhere);
        assert!(refused.to_string().contains(elsewhere));
    }
    let session = world.standin.sign_in("ada", None);
    world.standin.revoke(&session.session_id);
    assert!(world.standin.events_sent().await.is_empty());
}

#[tokio::test]
async fn a_deaf_address_keeps_nothing_from_ending() {
    let world = World::new().await;
    // Nobody listens there any more.
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr();
    let address = format!("http://{}/", address.expect("an address"));
    world
        .standin
        .send_events_to(&address)
        .expect("an address of this machine");
    let session = world.standin.sign_in("ada", None);
    world.standin.revoke(&session.session_id);
    let sent = world.standin.events_sent().await;
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].status, &*sent[0].event), (None, "session.revoked"));
}
