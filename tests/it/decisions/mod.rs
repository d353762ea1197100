//! The last decisions: what is kept of them, who sees it, and that they can be explained later.

mod again;
mod asked;
mod page;
mod secrets;

use http::StatusCode;
use serde_json::Value;

use crate::budgets::world_of;
use crate::support::{World, WorldBuilder};

const ROUTES: &str = r#"
[[route]]
name    = "public"
path    = "/public/**"
require = "public"

[[route]]
name    = "few"
path    = "/few/**"
require = "public"
limit   = { requests = 1, window = "1h" }

[[route]]
name    = "admin"
path    = "/admin/**"
require = "org:admin"

[[route]]
name    = "keys"
path    = "/keys/**"
require = { token = "api_key" }

[[route]]
name    = "members"
path    = "/members/**"
require = "signed-in"
"#;

fn builder() -> WorldBuilder {
    world_of(ROUTES)
}

/// The decisions that there are, the youngest first.
async fn decisions(world: &World, query: &str) -> Vec<Value> {
    let answer = world
        .window(&format!("/decisions.json{query}"))
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let value: Value = serde_json::from_str(&answer.body).unwrap();
    value["decisions"].as_array().unwrap().clone()
}

/// What a decision says under this name, of each.
fn each(decisions: &[Value], name: &str) -> Vec<String> {
    let said = decisions.iter().map(|decision| match &decision[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    said.collect()
}
