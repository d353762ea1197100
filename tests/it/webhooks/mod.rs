//! Clerk's events: whose they are, what follows from them, and what does not.

mod endpoint;
mod signature;
mod standin;

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clerk_gate::clerk::webhooks::WebhookSecrets;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Call, World, WorldBuilder, usual_routes};

/// The secret of the protocol reference's vector.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Another one.
const OTHER_SECRET: &str = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy";

const PAGE: &str = "/_gate/webhooks/clerk";

/// The signature that whoever knows `secret` makes.
pub fn sign(secret: &str, id: &str, timestamp: u64, body: &str) -> String {
    let bytes = STANDARD.decode(&secret["whsec_".len()..]).unwrap();
    let content = format!("{id}.{timestamp}.{body}");
    let tag = hmac::sign(&Key::new(HMAC_SHA256, &bytes), content.as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

/// A world whose gate takes events that are signed with `SECRET`.
fn listening() -> WorldBuilder {
    World::with(usual_routes()).configure(|config| {
        config.webhooks = Some(WebhookSecrets::parse([SECRET]).unwrap());
    })
}

/// An event about something, as Clerk writes it, of a moment ago.
fn event(world: &World, kind: &str, data: &Value) -> String {
    let now = clerk_gate::clock::Clock::now_ms(&*world.clock);
    json!({ "data": data, "object": "event", "type": kind, "timestamp": now, "instance_id": "ins_1" })
        .to_string()
}

/// The delivery of an event, signed at this moment.
fn delivery(world: &World, id: &str, body: &str) -> Call {
    let now = clerk_gate::clock::Clock::now_ms(&*world.clock) / 1000;
    post(world, id, now, &sign(SECRET, id, now, body), body)
}

fn post(world: &World, id: &str, timestamp: u64, signature: &str, body: &str) -> Call {
    world
        .request(Method::POST, PAGE)
        .header("content-type", "application/json")
        .header("svix-id", id)
        .header("svix-timestamp", &timestamp.to_string())
        .header("svix-signature", signature)
        .body(body)
}
