//! Events: what happens to sessions and people, told to one address, signed as Svix signs.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use url::{Position, Url};

use super::Now;
use super::instance::Instance;
use super::random;
use super::redirect::is_loopback;
use super::resources;
use super::state::{Session, Status};

/// How long a delivery may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A way in which events arrive otherwise than they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFault {
    /// Each event comes this much later.
    Delayed(Duration),
    /// Each event comes twice, under the same id.
    Doubled,
    /// Each event is signed with somebody else's secret.
    WrongSignature,
}

/// An event as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// Its type, such as `session.revoked`.
    pub event: String,
    /// `svix-id`.
    pub id: String,
    /// `svix-timestamp`.
    pub timestamp: u64,
    /// `svix-signature`.
    pub signature: String,
    /// The body that is signed.
    pub body: String,
    /// The status of the answer; `None` if there was none.
    pub status: Option<u16>,
}

/// Where events go, and what has become of them.
pub(super) struct Webhooks {
    pub(super) secret: String,
    now: Now,
    runtime: Handle,
    under_way: TaskTracker,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    target: Option<Url>,
    fault: Option<WebhookFault>,
    sent: Vec<WebhookDelivery>,
}

impl Webhooks {
    /// Events go nowhere yet; by this clock, and sent by this runtime.
    pub(super) fn new(now: Now, runtime: Handle) -> Self {
        let under_way = TaskTracker::new();
        // Closed, it can be waited for; it takes tasks all the same.
        under_way.close();
        Self {
            secret: secret(),
            now,
            runtime,
            under_way,
            inner: Mutex::default(),
        }
    }

    /// Sends events to this address from now on.
    // SECURITY: whoever reaches the stand-in can end sessions; that must make no calls elsewhere.
    pub(super) fn aim(&self, target: &str) -> io::Result<()> {
        let url = Url::parse(target).ok().filter(|url| {
            url.scheme() == "http" && url.host().is_some_and(|host| is_loopback(&host))
        });
        let url = url.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{target}` is no `http` address of this machine"),
            )
        })?;
        self.inner().target = Some(url);
        Ok(())
    }

    pub(super) fn fail(&self, fault: Option<WebhookFault>) {
        self.inner().fault = fault;
    }

    /// What was sent, once nothing is under way any more.
    pub(super) async fn sent(&self) -> Vec<WebhookDelivery> {
        self.under_way.wait().await;
        self.inner().sent.clone()
    }

    /// Sends an event, if there is somebody to send it to.
    fn tell(self: &Arc<Self>, kind: &str, data: &Value) {
        let (target, fault) = {
            let inner = self.inner();
            (inner.target.clone(), inner.fault)
        };
        let Some(target) = target else {
            return;
        };
        let body = json!({
            "data": data,
            "object": "event",
            "type": kind,
            "timestamp": (self.now)(),
            "instance_id": "ins_2standin",
        });
        let (kind, body) = (kind.to_owned(), body.to_string());
        let webhooks = Arc::clone(self);
        let delivering = async move {
            if let Some(WebhookFault::Delayed(time)) = fault {
                tokio::time::sleep(time).await;
            }
            let secret = match fault {
                Some(WebhookFault::WrongSignature) => secret(),
                _ => webhooks.secret.clone(),
            };
            let times = if fault == Some(WebhookFault::Doubled) {
                2
            } else {
                1
            };
            let id = random::id("msg");
            for _ in 0..times {
                let timestamp = (webhooks.now)() / 1000;
                let mut delivery = WebhookDelivery {
                    event: kind.clone(),
                    id: id.clone(),
                    timestamp,
                    signature: sign(&secret, &id, timestamp, &body),
                    body: body.clone(),
                    status: None,
                };
                match tokio::time::timeout(PATIENCE, post(&target, &delivery)).await {
                    Ok(Ok(status)) => delivery.status = Some(status),
                    Ok(Err(error)) => tracing::debug!(%error, "an event could not be delivered"),
                    Err(_) => tracing::debug!("an event was not taken in time"),
                }
                webhooks.inner().sent.push(delivery);
            }
        };
        self.under_way.spawn_on(delivering, &self.runtime);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Instance {
    /// Ends a live session, and tells of it.
    pub(super) fn end(&self, id: &str, how: Status) -> Option<Session> {
        let now = self.now();
        let (was_live, session) = {
            let mut state = self.state();
            let was_live = state.session(id, now)?.status.is_live();
            (was_live, state.end(id, how, now)?)
        };
        if was_live {
            let mut data = resources::session(&session);
            if let (Some(fields), Some(person)) =
                (data.as_object_mut(), self.person(&session.user_id))
            {
                fields.insert("user".to_owned(), resources::user(self, person));
            }
            self.webhooks
                .tell(&format!("session.{}", how.name()), &data);
        }
        Some(session)
    }

    /// Bans a person: every session is revoked, and none can be begun.
    pub(super) fn ban(&self, user_id: &str) -> Option<Value> {
        let person = self.person(user_id)?;
        let now = self.now();
        let live: Vec<Session> = {
            let mut state = self.state();
            state.ban(&person.user_id);
            let held = state.sessions(now);
            held.filter(|held| held.user_id == person.user_id && held.status.is_live())
                .collect()
        };
        for session in live {
            self.end(&session.id, Status::Revoked);
        }
        let user = resources::user(self, person);
        self.webhooks.tell("user.updated", &user);
        Some(user)
    }

    /// Lifts a ban.
    pub(super) fn unban(&self, user_id: &str) -> Option<Value> {
        let person = self.person(user_id)?;
        self.state().unban(&person.user_id);
        let user = resources::user(self, person);
        self.webhooks.tell("user.updated", &user);
        Some(user)
    }
}

async fn post(target: &Url, delivery: &WebhookDelivery) -> io::Result<u16> {
    let address = &target[Position::BeforeHost..Position::AfterPort];
    let port = target.port_or_known_default().unwrap_or(80);
    let name = target.host_str().unwrap_or_default();
    let stream = TcpStream::connect((name.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let request = Request::post(&target[Position::BeforePath..Position::AfterQuery])
        .header(HOST, address)
        .header(CONTENT_TYPE, "application/json")
        .header("svix-id", &delivery.id)
        .header("svix-timestamp", delivery.timestamp)
        .header("svix-signature", &delivery.signature)
        .body(Full::new(Bytes::from(delivery.body.clone())))
        .map_err(io::Error::other)?;
    // The connection ends with the sender.
    let asking = async move {
        let answer = sender.send_request(request).await;
        answer.map(|answer| answer.status().as_u16())
    };
    let (answer, _) = tokio::join!(asking, connection);
    answer.map_err(io::Error::other)
}

/// A new signing secret.
fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(random::text(32)))
}

fn sign(secret: &str, id: &str, timestamp: u64, body: &str) -> String {
    let encoded = secret.strip_prefix("whsec_").unwrap_or_default();
    let key = STANDARD.decode(encoded).unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}
