//! Walks through a running stand-in over HTTP, as a gate and a browser would.

mod backend_api;
mod controls;
mod frontend_api;
mod machines;
mod portal;
mod scripts;
mod sessions;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use url::Url;

use super::*;

const APP: &str = "http://localhost:8080/private?x=a%20b";

/// A stand-in on a free port, a clock that stands still, and a browser without cookies.
struct World {
    standin: StandIn,
    clock: Arc<AtomicU64>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut StandInOptions)) -> Self {
        let clock = Arc::new(AtomicU64::new(1_700_000_000_000));
        let told = Arc::clone(&clock);
        let mut options = StandInOptions::new(Arc::new(move || told.load(Ordering::SeqCst)));
        change(&mut options);
        Self {
            standin: StandIn::start(options).await.expect("a stand-in"),
            clock,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.client.request(request).await.expect("an answer")
    }

    async fn get(&self, path: &str) -> Response<Incoming> {
        let uri = format!("{}{path}", self.standin.url());
        let request = Request::get(uri).body(Full::default());
        self.send(request.expect("a request")).await
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Response<Incoming> {
        let body = form(fields);
        let request = Request::post(format!("{}{path}", self.standin.url()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(body));
        self.send(request.expect("a request")).await
    }

    /// Calls the Backend API with the secret key.
    async fn api(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.standin.url()))
            .header(
                "authorization",
                format!("Bearer {}", self.standin.secret_key()),
            )
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()));
        let answer = self.send(request.expect("a request")).await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        (answer.status(), read(answer).await)
    }

    /// The `Set-Cookie` lines of a handshake.
    async fn handshake(&self, dev_browser: &str, more: &str) -> Vec<String> {
        let query = form(&[("redirect_url", APP), ("__clerk_db_jwt", dev_browser)]);
        let path = format!("/v1/client/handshake?{query}&suffixed_cookies=true{more}");
        let answer = self.get(&path).await;
        assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
        let location = location(&answer);
        assert!(location.as_str().starts_with(APP), "{location}");
        let claims = claims(&param(&location, "__clerk_handshake"));
        let lines = claims["handshake"].as_array().expect("directives").iter();
        lines
            .map(|line| line.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Calls the Frontend API as clerk-js on a page of ours does; `call` is a method and a path.
    async fn script(
        &self,
        dev_browser: &str,
        call: &str,
        body: &'static str,
    ) -> (StatusCode, Value) {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let mark = if path.contains('?') { '&' } else { '?' };
        let url = self.standin.url();
        let request = Request::builder()
            .method(method)
            .uri(format!("{url}/v1/{path}{mark}__clerk_db_jwt={dev_browser}"))
            .header("origin", "http://localhost:8080")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(body));
        let answer = self.send(request.expect("a request")).await;
        (answer.status(), read(answer).await)
    }

    async fn refresh(&self, session: &TestSession) -> (StatusCode, Value) {
        let path = format!(
            "sessions/{}/refresh?suffixed_cookies=true",
            session.session_id
        );
        let body = json!({
            "format": "cookie",
            "expired_token": session.token,
            "refresh_token": session.refresh_token,
            "request_origin": "http://localhost:8080",
            "request_headers": {},
        });
        self.api(Method::POST, &path, body).await
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

async fn read(answer: Response<Incoming>) -> Value {
    serde_json::from_str(&text(answer).await).expect("JSON")
}

async fn text(answer: Response<Incoming>) -> String {
    let body = answer.into_body().collect().await.expect("a body");
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

fn location(answer: &Response<Incoming>) -> Url {
    let location = answer.headers()["location"].to_str().expect("text");
    Url::parse(location).expect("an address")
}

fn param(url: &Url, name: &str) -> String {
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a token");
    let json = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&json).expect("JSON")
}

fn cookie<'a>(lines: &'a [String], name: &str) -> &'a str {
    let start = format!("{name}=");
    lines
        .iter()
        .find_map(|line| line.strip_prefix(&start)?.split(';').next())
        .unwrap_or("absent")
}
