//! The upstream: pooled connections, forwarding, tunnels. Nothing is forwarded without a
//! [`Permit`], and only the core makes one. `relay` has the way to Clerk's Frontend API.

pub mod address;
pub mod alter;
pub mod body;
mod connector;
pub mod frames;
pub mod head;
mod pool;
pub mod relay;
mod reuse;
pub mod signer;
pub mod tunnel;

use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::TRANSFER_ENCODING;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Instant;

use crate::core::decide::{BodyRule, Permit};
use crate::core::facts::{BodyLength, RequestFacts, Upgrade};
use crate::core::reason::Reason;
use crate::core::signed_assertion::ASSERTION_HEADER;
use address::ServerAddress;
use body::{ClientBody, Watch};
use connector::Connector;
pub use connector::Tls;
use head::{HeaderRules, HostRule};
pub use pool::UpstreamBody;
use pool::{Pool, SendError};
pub use reuse::{ClientLine, Reuse};
use signer::Signer;
pub use tunnel::{Held, Tunnel, Tunnels};

/// One upstream.
pub struct Upstream {
    address: ServerAddress,
    host: HostRule,
    times: UpstreamTimes,
    rules: Arc<HeaderRules>,
    signer: Option<Arc<Signer>>,
    pool: Pool,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({})", self.address)
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
    /// An answer that is no HTTP, or that was not asked for.
    #[error("the answer of the upstream cannot be understood")]
    Malformed,
    /// The client's own body failed.
    #[error("the client's body failed: {0}")]
    Client(Reason),
    /// Who asked may not go on.
    #[error("the sender may not go on: {0}")]
    Ended(Reason),
}

impl UpstreamError {
    /// The reason to refuse with.
    pub fn reason(self) -> Reason {
        match self {
            Self::Unreachable => Reason::UpstreamUnreachable,
            Self::Timeout => Reason::UpstreamTimeout,
            Self::Malformed => Reason::UpstreamMalformed,
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
    /// The largest body in bytes, if there is a limit.
    pub max_body: Option<u64>,
    /// What ends a request that takes its time, if anything does; asked for only then.
    pub ending: &'a (dyn Fn() -> Option<Ending> + Sync),
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
    /// The upstream at `address`, over TLS where `tls` says how.
    pub fn new(
        address: ServerAddress,
        host: HostRule,
        times: UpstreamTimes,
        reuse: Reuse,
        rules: Arc<HeaderRules>,
        tls: Option<Tls>,
    ) -> Self {
        let connector = Connector::new(address.clone(), tls, times.connect);
        Self {
            address,
            host,
            times,
            rules,
            signer: None,
            pool: Pool::new(connector, times.idle, reuse),
        }
    }

    /// The same upstream, told under a signature what permits say has to be.
    #[must_use]
    pub fn signing_with(self, signer: Option<Arc<Signer>>) -> Self {
        Self { signer, ..self }
    }

    /// Forwards a request and gives the head of the answer; both bodies are streamed.
    pub async fn forward(
        &self,
        outbound: &Outbound<'_, '_>,
        inbound: Request<Incoming>,
    ) -> Result<Forwarded, UpstreamError> {
        let facts = outbound.facts;
        let mut inbound = inbound;
        let client_upgrade =
            (facts.upgrade == Upgrade::WebSocket).then(|| hyper::upgrade::on(&mut inbound));
        let body = match outbound.permit.body() {
            BodyRule::Stream => ClientBody::new(
                inbound.into_body(),
                outbound.max_body,
                self.times.body_idle,
                &self.rules,
            ),
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
            .exchange(|| self.head(outbound), body, patience, facts)
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
            tunnel = Some(Tunnel { client, upstream });
        }
        Ok(Forwarded { response, tunnel })
    }

    /// Sends a request and waits for the head of its answer; `head` is asked again where the
    /// request has to be sent once more.
    async fn exchange(
        &self,
        head: impl Fn() -> Option<Request<()>>,
        body: ClientBody,
        patience: Patience<'_>,
        facts: &RequestFacts<'_>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let request = head().ok_or(UpstreamError::Malformed)?;
        let watch = body.watch();
        let mut answer = self
            .ask(request.map(|()| body), watch.as_ref(), patience)
            .await;
        if let Some(Err(SendError::Exchange { stale: true, .. })) = &answer
            && is_repeatable(facts)
            && let Some(head) = head()
        {
            let again = head.map(|()| ClientBody::none());
            answer = self.ask(again, None, patience).await;
        }
        match answer {
            None => Err(UpstreamError::Timeout),
            Some(Err(SendError::Ended(reason))) => Err(UpstreamError::Ended(reason)),
            Some(Err(error)) => {
                let fault = watch.and_then(|watch| watch.fault.reason());
                Err(fault.map_or_else(|| kind(&error), UpstreamError::Client))
            }
            Some(Ok(response)) if !head::is_framed_in_one_way(response.headers()) => {
                // SECURITY: what such an upstream takes for the rest of this answer would be taken
                // for somebody else's.
                response.into_body().abandon();
                Err(UpstreamError::Malformed)
            }
            Some(Ok(mut response)) => {
                // The version is about the connection to the client, which is not this one
                // (RFC 9112, section 2.3).
                *response.version_mut() = Version::HTTP_11;
                Ok(response)
            }
        }
    }

    /// What somebody else who forwards the request has to know. `None` if something has to be signed
    /// and cannot be.
    pub fn tell(&self, permit: &Permit, facts: &RequestFacts<'_>) -> Option<Told> {
        let assertion = match permit.assertion() {
            Some(assertion) => Some(self.signer.as_ref()?.sign(assertion)?),
            None => None,
        };
        Some(Told {
            assertion,
            cookies: self.rules.cookies(facts.headers),
        })
    }

    /// The head of the request to the upstream. `None` if no address comes of it, or if something has
    /// to be signed and cannot be.
    fn head(&self, outbound: &Outbound<'_, '_>) -> Option<Request<()>> {
        let facts = outbound.facts;
        let mut head = Request::new(());
        *head.method_mut() = facts.method.clone();
        let query = facts.query.and_then(head::query_for_upstream);
        // The very path that was matched.
        *head.uri_mut() = target(facts.path.as_str(), query.as_deref())?;
        *head.version_mut() = Version::HTTP_11;
        *head.headers_mut() = self.rules.request(
            facts,
            outbound.permit,
            &self.host,
            outbound.peer,
            outbound.request_id,
        );
        if let Some(assertion) = outbound.permit.assertion() {
            // SECURITY: last, and always: an upstream has to be able to rely on it.
            let signed = self.signer.as_ref()?.sign(assertion)?;
            head.headers_mut().insert(&ASSERTION_HEADER, signed);
        }
        if outbound.permit.body() == BodyRule::Drop {
            head.headers_mut().remove(http::header::CONTENT_LENGTH);
        } else {
            with_framing(&mut head, facts);
        }
        Some(head)
    }

    /// Sends a request; `None` if nothing moves for `limit`.
    async fn ask(
        &self,
        request: Request<ClientBody>,
        watch: Option<&Watch>,
        patience: Patience<'_>,
    ) -> Option<Result<Response<UpstreamBody>, SendError>> {
        let limit = patience.limit;
        let began = Instant::now();
        let mut end = began + limit;
        let mut answer = std::pin::pin!(self.pool.send(request, patience.client));
        // Most answers are there before anybody could have taken the leave for them back.
        let brief = tokio::time::timeout_at(end.min(began + BRIEF), answer.as_mut());
        if let Ok(answer) = brief.await {
            return Some(answer);
        }
        let ending = (patience.ending)();
        let mut ending = std::pin::pin!(async {
            match ending {
                Some(ending) => ending.await,
                None => std::future::pending().await,
            }
        });
        loop {
            let step = async {
                tokio::select! {
                    biased;
                    reason = ending.as_mut() => Err(SendError::Ended(reason)),
                    answer = answer.as_mut() => answer,
                }
            };
            if let Ok(answer) = tokio::time::timeout_at(end, step).await {
                return Some(answer);
            }
            // A long body takes its time; what counts is how long nothing has moved.
            let moved = watch.map(|watch| watch.pulse.last() + limit);
            end = moved.filter(|moved| *moved > end)?;
        }
    }
}

/// Who waits for the head of an answer, how long it may take, and what may end the wait.
#[derive(Clone, Copy)]
struct Patience<'a> {
    client: ClientLine,
    limit: Duration,
    ending: &'a (dyn Fn() -> Option<Ending> + Sync),
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

/// Whether a request may be sent a second time: it has no body and changes nothing.
fn is_repeatable(facts: &RequestFacts<'_>) -> bool {
    matches!(*facts.method, Method::GET | Method::HEAD)
        && facts.body == BodyLength::None
        && facts.upgrade == Upgrade::None
}

fn is_websocket(response: &Response<UpstreamBody>) -> bool {
    response
        .headers()
        .get(http::header::UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What kind of failure it is that a request brought no answer.
fn kind(error: &SendError) -> UpstreamError {
    let of_io = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::TimedOut => UpstreamError::Timeout,
        _ => UpstreamError::Unreachable,
    };
    let error = match error {
        SendError::Connect(error) => return of_io(error),
        SendError::Ended(reason) => return UpstreamError::Ended(*reason),
        SendError::Exchange { error, .. } => error,
    };
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return of_io(io);
        }
        if let Some(hyper) = inner.downcast_ref::<hyper::Error>()
            && (hyper.is_parse() || hyper.is_incomplete_message())
        {
            return UpstreamError::Malformed;
        }
        source = inner.source();
    }
    UpstreamError::Malformed
}
