//! One request, read whole.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{COOKIE, USER_AGENT};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use url::form_urlencoded;

use super::devices::Activity;
use super::server::Peer;

/// The most that a body may hold: the refresh call repeats all headers of a request.
const BODY_LIMIT: usize = 256 * 1024;

/// One request, read whole.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    peer: IpAddr,
    query: Vec<(String, String)>,
    body: Bytes,
}

/// Why a request could not be read.
pub(super) struct Unreadable;

impl Call {
    /// Reads a request to its end.
    pub(super) async fn read(request: Request<Incoming>) -> Result<Self, Unreadable> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await;
        let query = head.uri.query().unwrap_or_default();
        Ok(Self {
            // A HEAD is answered like a GET; the server leaves the body out.
            method: match head.method {
                Method::HEAD => Method::GET,
                method => method,
            },
            path: head.uri.path().to_owned(),
            query: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            headers: head.headers,
            peer: match head.extensions.get::<Peer>() {
                Some(Peer(address)) => *address,
                None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            },
            body: body.map_err(|_| Unreadable)?.to_bytes(),
        })
    }

    /// A parameter of the query; an empty one counts as absent.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.param_or_empty(name).filter(|value| !value.is_empty())
    }

    /// A parameter of the query, where an empty one has a meaning.
    pub(super) fn param_or_empty(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.iter();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The fields of a form.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// A field of a form, empty or not.
    pub(super) fn field_or_empty(&self, name: &str) -> Option<String> {
        let mut fields = self.fields().into_iter();
        fields.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A field of a form; an empty one counts as absent.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        self.field_or_empty(name).filter(|value| !value.is_empty())
    }

    /// The body as JSON; an empty body is an empty object.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        if self.body.is_empty() {
            return Some(serde_json::json!({}));
        }
        serde_json::from_slice(&self.body).ok()
    }

    /// The first cookie of this name; an empty one counts as absent.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let mut pairs = self.header(COOKIE.as_str())?.split(';');
        pairs
            .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
            .filter(|value| !value.is_empty())
    }

    /// What is known of the browser that sent it.
    pub(super) fn activity(&self) -> Activity {
        let user_agent = self.header(USER_AGENT.as_str()).unwrap_or_default();
        Activity::of(user_agent, self.address())
    }

    /// Where it is said to come from: whoever is on this machine may say so, as proxies of Clerk's Frontend
    /// API do.
    fn address(&self) -> IpAddr {
        let said = self.header("x-forwarded-for").unwrap_or_default();
        let first = said.split(',').next().unwrap_or_default().trim();
        first.parse().unwrap_or(self.peer)
    }

    /// A header that is readable text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
