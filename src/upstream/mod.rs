//! The upstream: its servers, pooled connections, forwarding, tunnels. Nothing is forwarded without a
//! [`Permit`], and only the core makes one. `relay` has the way to Clerk's Frontend API.

pub mod address;
pub mod alter;
pub mod body;
mod connector;
mod early_hints;
mod exchange;
mod failure;
pub mod frames;
pub mod group;
pub mod head;
pub mod health;
mod pool;
pub mod relay;
mod reuse;
pub mod signer;
pub(crate) mod stall;
pub mod standing;
mod streams;
pub mod tunnel;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::TRANSFER_ENCODING;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use thiserror::Error;

use crate::core::call::Manner;
use crate::core::decide::{BodyRule, Permit};
use crate::core::facts::{BodyLength, RequestFacts, Upgrade};
use crate::core::reason::Reason;
use crate::core::signed_assertion::ASSERTION_HEADER;
use crate::core::trace_context;
use body::ClientBody;
pub use connector::{Protocol, Tls};
pub use early_hints::EarlyHints;
use early_hints::Hinting;
use exchange::Patience;
use group::{Group, GroupRules, Server};
use head::{HeaderRules, Met};
pub use pool::UpstreamBody;
pub use reuse::{ClientLine, Reuse};
use signer::Signer;
pub use tunnel::{Held, Over, Tunnel, Tunnels};

/// One upstream.
pub struct Upstream {
    group: Group,
    times: UpstreamTimes,
    rules: Arc<HeaderRules>,
    signer: Option<Arc<Signer>>,
    passes_hints: bool,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upstream").field(&self.group).finish()
    }
}

/// How long an upstream may take.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamTimes {
    /// To accept a connection.
    pub connect: Duration,
    /// To begin its answer, counted from the last piece of the request.
    pub response: Duration,
    /// How long an unused connection is kept; shorter than the upstream keeps it.
    pub idle: Duration,
    /// How long the client's body may pause.
    pub body_idle: Duration,
}

/// Why an upstream gave no answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum UpstreamError {
    /// No connection.
    #[error("the upstream cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// It speaks another protocol.
    #[error("the upstream speaks another protocol")]
    Protocol,
    /// An answer that is no HTTP, or that was not asked for.
    #[error("the answer of the upstream cannot be understood")]
    Malformed,
    /// The client's own body failed.
    #[error("the client's body failed: {0}")]
    Client(Reason),
    /// Who asked may not go on.
    #[error("the sender may not go on: {0}")]
    Ended(Reason),
    /// Each server has as many requests as it takes.
    #[error("the upstream has as many requests as it takes")]
    Full,
    /// No server is well.
    #[error("no server of the upstream is well")]
    Unhealthy,
}

impl UpstreamError {
    /// The reason to refuse with.
    pub fn reason(self) -> Reason {
        match self {
            Self::Unreachable => Reason::UpstreamUnreachable,
            Self::Timeout => Reason::UpstreamTimeout,
            Self::Protocol => Reason::UpstreamProtocol,
            Self::Malformed => Reason::UpstreamMalformed,
            Self::Full => Reason::UpstreamFull,
            Self::Unhealthy => Reason::UpstreamUnhealthy,
            Self::Client(reason) | Self::Ended(reason) => reason,
        }
    }
}

/// Tells, once, that what is open has to end, and why.
pub type Ending = Pin<Box<dyn Future<Output = Reason> + Send>>;

/// A request that may go on.
pub struct Outbound<'a, 'r> {
    /// The leave to reach the upstream.
    pub permit: &'a Permit,
    /// What the request says.
    pub facts: &'a RequestFacts<'r>,
    /// The peer it came from.
    pub peer: IpAddr,
    /// The connection that it came on.
    pub client: ClientLine,
    /// The id that it goes by.
    pub request_id: &'a HeaderValue,
    /// What is told of the trace that it is part of, where there are traces.
    pub trace: Option<&'a trace_context::Outbound>,
    /// The largest body in bytes, if there is a limit.
    pub max_body: Option<u64>,
    /// What ends a request that takes its time, if anything does; asked for only then.
    pub ending: &'a (dyn Fn() -> Option<Ending> + Sync),
    /// Where the server is noted that was asked last.
    pub asked: &'a AskedServer,
    /// How its sender can be told of early hints, if that is possible.
    pub hints: Option<&'a EarlyHints>,
}

/// The server that a request went to in the end, for whoever writes it down.
#[derive(Debug, Default)]
pub struct AskedServer(Mutex<Option<Arc<str>>>);

impl AskedServer {
    /// Its address; `None` if none was asked.
    pub fn address(&self) -> Option<Arc<str>> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }

    fn note(&self, server: &Server) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = Some(Arc::clone(&server.name().server));
    }
}

/// How long a request may take before anybody looks whether it may still go on.
pub const BRIEF: Duration = Duration::from_secs(1);

/// What came of a request: the head of its answer, and the tunnel that it opened.
#[derive(Debug)]
pub struct Forwarded {
    /// The answer.
    pub response: Response<UpstreamBody>,
    /// A tunnel; not open yet.
    pub tunnel: Option<Tunnel>,
}

/// What the upstream is told of a request that somebody else forwards, beside the identity headers.
#[derive(Debug)]
pub struct Told {
    /// The signed assertion, if there has to be one.
    pub assertion: Option<HeaderValue>,
    /// The cookies that go on, if there are any.
    pub cookies: Option<HeaderValue>,
}

impl Upstream {
    /// The upstream of these servers; `None` without any.
    pub fn new(
        servers: Vec<Server>,
        group: GroupRules,
        times: UpstreamTimes,
        rules: Arc<HeaderRules>,
    ) -> Option<Self> {
        Some(Self {
            group: Group::new(servers, group)?,
            times,
            rules,
            signer: None,
            passes_hints: false,
        })
    }

    /// Its servers, in the order of the configuration.
    pub fn servers(&self) -> &[Server] {
        self.group.servers()
    }

    /// Whether a server of its own is given requests, as far as can be told.
    pub fn is_open(&self, server: &Server) -> bool {
        self.group.is_well(server) && !self.group.is_ejected(server)
    }

    /// The same upstream, told under a signature what permits say has to be.
    #[must_use]
    pub fn signing_with(self, signer: Option<Arc<Signer>>) -> Self {
        Self { signer, ..self }
    }

    /// The same upstream, whose early hints go to clients that hear them, or do not.
    #[must_use]
    pub fn passing_hints(self, passes_hints: bool) -> Self {
        Self {
            passes_hints,
            ..self
        }
    }

    /// Forwards a request and gives the head of the answer; both bodies are streamed.
    pub async fn forward(
        &self,
        outbound: &Outbound<'_, '_>,
        inbound: Request<Incoming>,
    ) -> Result<Forwarded, UpstreamError> {
        let facts = outbound.facts;
        let mut inbound = inbound;
        let hints = outbound.hints.filter(|_| self.passes_hints);
        let hinting = hints.map(EarlyHints::begin);
        let client_upgrade =
            (facts.upgrade == Upgrade::WebSocket).then(|| hyper::upgrade::on(&mut inbound));
        let takes_calls = self.servers().iter().all(Server::speaks_http2);
        let pause = match takes_calls.then(|| Manner::of(facts.method, facts.headers)) {
            // Both sides of a call take turns, for as long as they like; until the application has begun
            // to answer, the time for that counts.
            Some(Manner::Call) => None,
            Some(Manner::Plain) | None => Some(self.times.body_idle),
        };
        let body = match outbound.permit.body() {
            BodyRule::Stream => {
                ClientBody::new(inbound.into_body(), outbound.max_body, pause, &self.rules)
            }
            BodyRule::Drop => ClientBody::none(),
        };
        let limit = outbound
            .permit
            .response_timeout()
            .unwrap_or(self.times.response);
        let patience = Patience {
            limit,
            client: outbound.client,
            ending: outbound.ending,
        };
        let mut response = self
            .exchange(
                |server| self.head(server, outbound, hinting.as_ref()),
                body,
                patience,
                facts,
            )
            .await?;
        let mut tunnel = None;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) =
                client_upgrade.filter(|_| *facts.method == Method::GET && is_websocket(&response))
            else {
                // SECURITY: a tunnel that nobody asked for would carry requests past every rule.
                return Err(UpstreamError::Malformed);
            };
            let upstream = hyper::upgrade::on(&mut response);
            let place = response.body_mut().place.take();
            tunnel = Some(Tunnel {
                client,
                upstream,
                place,
            });
        }
        Ok(Forwarded { response, tunnel })
    }

    /// What somebody else who forwards the request has to know. `None` if something has to be signed
    /// and cannot be.
    pub fn tell(&self, permit: &Permit, facts: &RequestFacts<'_>) -> Option<Told> {
        let assertion = match permit.assertion() {
            Some(assertion) => Some(self.signer.as_ref()?.sign(assertion, facts.path.as_str())?),
            None => None,
        };
        Some(Told {
            assertion,
            cookies: self.rules.cookies(facts.headers),
        })
    }

    /// The head of the request to a server of the upstream. `None` if no address comes of it, or if something has
    /// to be signed and cannot be.
    fn head(
        &self,
        server: &Server,
        outbound: &Outbound<'_, '_>,
        hinting: Option<&Hinting>,
    ) -> Option<Request<()>> {
        outbound.asked.note(server);
        let facts = outbound.facts;
        let mut head = Request::new(());
        if let Some(hinting) = hinting {
            hinting.listen(&mut head);
        }
        *head.method_mut() = facts.method.clone();
        let query = facts.query.and_then(head::query_for_upstream);
        let path = outbound.permit.path(facts).as_str();
        *head.uri_mut() = target(path, query.as_deref())?;
        *head.version_mut() = Version::HTTP_11;
        let met = Met {
            peer: outbound.peer,
            request_id: outbound.request_id,
            trace: outbound.trace,
            stripped: outbound.permit.stripped(),
        };
        *head.headers_mut() = self
            .rules
            .request(facts, outbound.permit, &server.host, &met);
        if let Some(assertion) = outbound.permit.assertion() {
            // SECURITY: last, and always: an upstream has to be able to rely on it.
            let signed = self.signer.as_ref()?.sign(assertion, path)?;
            head.headers_mut().insert(&ASSERTION_HEADER, signed);
        }
        if outbound.permit.body() == BodyRule::Drop {
            head.headers_mut().remove(http::header::CONTENT_LENGTH);
        } else {
            with_framing(&mut head, facts);
        }
        Some(head)
    }
}

/// A target at the upstream, in origin form.
fn target(path: &str, query: Option<&str>) -> Option<Uri> {
    let path = match query {
        Some(query) => [path, "?", query].concat(),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(path).ok().map(Uri::from)
}

/// Says that a body comes whose length is not known: without it, the body of a GET or HEAD is taken
/// for none.
fn with_framing(head: &mut Request<()>, facts: &RequestFacts<'_>) {
    if facts.body == BodyLength::Unknown {
        let chunked = HeaderValue::from_static("chunked");
        head.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
}

fn is_websocket(response: &Response<UpstreamBody>) -> bool {
    response
        .headers()
        .get(http::header::UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
