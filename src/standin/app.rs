//! A sample application: a site that knows nothing of Clerk and shows what a gate tells it.

use std::io;
use std::net::SocketAddr;

use askama::Template;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::answer::{self, Answer};
use super::call::Call;
use super::faults::Closed;
use super::portal::{ICON, STYLE, asset};
use super::server::Server;

/// The headers by which a gate says who somebody is.
const IDENTITY: [&str; 8] = [
    "x-user-id",
    "x-session-id",
    "x-org-id",
    "x-org-slug",
    "x-org-role",
    "x-org-permissions",
    "x-actor-id",
    "x-token-type",
];

/// A small web site on this machine, to be put behind a gate.
///
/// It protects nothing itself: its pages show who the request says it is from. It ends when dropped.
pub struct SampleApp {
    server: Server,
}

impl SampleApp {
    /// Serves the site on a loopback address.
    pub async fn start(listen: SocketAddr) -> io::Result<Self> {
        let listener = Server::bind(listen).await?;
        let server = Server::start(listener, |request| async {
            Ok::<_, Closed>(respond(request).await)
        })?;
        Ok(Self { server })
    }

    /// The address in use.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Where the site is, such as `http://127.0.0.1:4000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Stops the site and waits until its tasks have ended.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

async fn respond(request: Request<Incoming>) -> Answer {
    match Call::read(request).await {
        Ok(call) => answer(&call),
        Err(_) => answer::text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "text/plain; charset=utf-8",
            "the body could not be read or is too large\n".to_owned(),
        ),
    }
}

fn answer(call: &Call) -> Answer {
    let who = Who::of(&call.headers);
    match (&call.method, call.path.as_str()) {
        (&Method::GET, "/style.css") => asset("text/css; charset=utf-8", STYLE),
        (&Method::GET, "/favicon.ico") => asset("image/svg+xml", ICON),
        (&Method::GET, "/") => page(&HomePage { who, here: "/" }),
        (&Method::GET, "/members") => page(&RoomPage {
            who,
            here: "/members",
            title: "Members",
            lead: "For everybody who is signed in.",
        }),
        (&Method::GET, "/admin") => page(&RoomPage {
            who,
            here: "/admin",
            title: "Admin",
            lead: "For those with the role org:admin.",
        }),
        (&Method::GET, "/form") => page(&FormPage {
            who,
            here: "/form",
            echo: None,
        }),
        (&Method::POST, "/form") => page(&FormPage {
            who,
            here: "/form",
            echo: Some(call.fields()),
        }),
        (&Method::GET, "/headers") => page(&HeadersPage {
            who,
            here: "/headers",
            headers: all_headers(&call.headers),
        }),
        (&Method::GET, "/api/public") => answer::json(
            StatusCode::OK,
            &json!({ "message": "anybody may read this" }),
        ),
        (_, "/api/whoami") => answer::json(StatusCode::OK, &whoami(&call.headers)),
        _ => answer::page(StatusCode::NOT_FOUND, &MissingPage { who, here: "" }, ""),
    }
}

fn page(template: &impl Template) -> Answer {
    answer::page(StatusCode::OK, template, "")
}

/// The identity headers received; null is a header that was not there.
fn whoami(headers: &HeaderMap) -> Value {
    let received: Map<String, Value> = IDENTITY
        .iter()
        .map(|name| ((*name).to_owned(), json!(text(headers, name))))
        .collect();
    Value::Object(received)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn all_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), value)
        })
        .collect();
    rows.sort();
    rows
}

/// Who the request says it is from.
struct Who {
    user_id: Option<String>,
    organization: Option<String>,
    role: Option<String>,
}

impl Who {
    fn of(headers: &HeaderMap) -> Self {
        let known = |name| text(headers, name).filter(|value| !value.is_empty());
        Self {
            user_id: known("x-user-id"),
            organization: known("x-org-slug"),
            role: known("x-org-role"),
        }
    }
}

#[derive(Template)]
#[template(path = "standin/app_home.html")]
struct HomePage {
    who: Who,
    here: &'static str,
}

#[derive(Template)]
#[template(path = "standin/app_room.html")]
struct RoomPage {
    who: Who,
    here: &'static str,
    title: &'static str,
    lead: &'static str,
}

#[derive(Template)]
#[template(path = "standin/app_form.html")]
struct FormPage {
    who: Who,
    here: &'static str,
    echo: Option<Vec<(String, String)>>,
}

#[derive(Template)]
#[template(path = "standin/app_headers.html")]
struct HeadersPage {
    who: Who,
    here: &'static str,
    headers: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "standin/app_missing.html")]
struct MissingPage {
    who: Who,
    here: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_is_shown_escaped() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user-id", "<script>".parse().expect("a value"));
        let page = HeadersPage {
            who: Who::of(&headers),
            here: "/headers",
            headers: all_headers(&headers),
        };
        let html = page.render().expect("a page");
        assert!(!html.contains("<script>"), "{html}");
        assert!(html.contains("&#60;script&#62;"), "{html}");
    }

    #[test]
    fn a_header_that_is_empty_is_nobody() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user-id", "".parse().expect("a value"));
        assert!(Who::of(&headers).user_id.is_none());
    }
}
