//! The gate's own pages for sessions and tokens: what they do, for whom, and what they refuse.

mod asking;
mod listing;
mod me;
mod orders;
mod sign_out;
mod switching;
mod tokens;
mod troubles;
mod upstream_tokens;

use clerk_gate::standin::TestSession;
use http::Method;
use serde_json::Value;

use crate::support::{Answer, Call, World, cookies, raw, sealed};

/// A change that a script of the application asks for.
fn script(world: &World, path: &str, session: &TestSession) -> Call {
    from_here(world, world.request(Method::POST, path)).cookie(&sealed(world, session))
}

/// A form of one of the gate's pages.
fn form(world: &World, path: &str, session: &TestSession) -> Call {
    let call = world
        .request(Method::POST, path)
        .cookie(&sealed(world, session));
    from_here(world, call)
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-mode", "navigate")
        .header("accept", "text/html")
}

/// The same request, said to come from the application.
fn from_here(world: &World, call: Call) -> Call {
    let origin = format!("http://localhost:{}", world.gate.port());
    call.header("origin", &origin)
        .header("sec-fetch-site", "same-origin")
}

fn json(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_str(&answer.body).unwrap()
}

/// A page without its style, which has a file of its own.
fn without_style(body: &str) -> String {
    let (head, rest) = body.split_once("<style>").unwrap();
    let (_, tail) = rest.split_once("</style>").unwrap();
    format!("{head}<style>…</style>{tail}")
}

/// How a session stands at Clerk.
async fn status_of(world: &World, session: &TestSession) -> String {
    let request = format!(
        "GET /v1/sessions/{} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        session.session_id,
        world.clerk.addr(),
        world.clerk.secret_key(),
    );
    let answer = raw(world.clerk.addr(), request.as_bytes()).await;
    json(&answer)["status"].as_str().unwrap().to_owned()
}

/// What the Frontend API tells the browser that holds this session.
async fn held(world: &World, beside: &TestSession) -> Value {
    let request = format!(
        "GET /v1/client?__clerk_db_jwt={} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        beside.dev_browser,
        world.clerk.addr(),
    );
    json(&raw(world.clerk.addr(), request.as_bytes()).await)["response"].clone()
}

/// Whether somebody with these cookies gets to the application.
async fn gets_in(world: &World, session: &TestSession) -> bool {
    let answer = world.get("/members").cookie(&cookies(session)).send().await;
    answer.status.is_success()
}

/// The names of the cookies that an answer takes away.
fn taken_away(answer: &Answer) -> Vec<String> {
    let gone = answer.all("set-cookie").into_iter();
    gone.filter(|line| line.contains("Max-Age=0"))
        .map(|line| line.split('=').next().unwrap().to_owned())
        .collect()
}

/// What every answer of these pages has: nothing is stored, nothing is sniffed, no other origin reads
/// it.
#[track_caller]
fn assert_kept_close(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    if answer.status.is_redirection() {
        return;
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    if answer
        .header("content-type")
        .unwrap()
        .starts_with("text/html")
    {
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!answer.body.contains("<script"), "{}", answer.body);
    }
}
