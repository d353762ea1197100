//! The gate as the proxy itself.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::account::Account;
use super::answer_body::{AnswerBody, HeldBody};
use super::call::CallBody;
use super::http2::Arrival;
use super::live::{self, LiveBody};
use super::log_line::{self, Outcome};
use super::{http2, own_answer, request_id, serve};
use crate::core::call::{self, Manner};
use crate::core::decide::{Decision, FapiPermit, Permit, Refusal, RefusalKind, Task, Verdict};
use crate::core::facts::{Audience, BodyLength, RequestFacts, WireRequest};
use crate::core::origin::Scheme;
use crate::core::reason::Reason;
use crate::core::reply;
use crate::core::ride_through::RIDE_THROUGH_HEADER;
use crate::core::trace_context;
use crate::gate::live::Ticket;
use crate::gate::{Gate, Ruling, Snapshot};
use crate::pages::{self, Document};
use crate::rewrite;
use crate::telemetry::access::{self, Action};
use crate::telemetry::requests::Mode;
use crate::telemetry::traces::Sender;
use crate::upstream::head::{self, Privacy, X_REQUEST_ID};
use crate::upstream::relay::Errand;
use crate::upstream::{
    AskedServer, ClientLine, EarlyHints, Ending, Forwarded, Held, Outbound, Tunnels, UpstreamError,
};

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The address of the other end.
    pub address: IpAddr,
    /// Whether the connection is encrypted.
    pub scheme: Scheme,
    /// The connection itself.
    pub line: ClientLine,
}

impl Peer {
    /// The other end of a connection that has just been accepted.
    pub fn new(address: IpAddr, scheme: Scheme) -> Self {
        Self {
            address,
            scheme,
            line: ClientLine::new(),
        }
    }

    /// What it has sent, as it came.
    pub(super) fn wire(self, parts: &Parts) -> WireRequest<'_> {
        WireRequest {
            method: &parts.method,
            target: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
            peer: self.address,
            scheme: self.scheme,
        }
    }
}

/// Answers a request. Never fails: every failure is an answer with a reason.
///
/// `hints` are those of the connection, if its client may be told any.
pub async fn answer(
    gate: &Gate,
    snapshot: &Arc<Snapshot>,
    tunnels: &Tunnels,
    peer: Peer,
    hints: Option<&EarlyHints>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let began = Instant::now();
    let request_id = request_id::of(request.headers());
    let (mut parts, body) = request.into_parts();
    let sender = || Sender::of(snapshot.edge.trusts(peer.address));
    let account = Account::open(gate, Mode::Proxy, began, &parts.headers, sender);
    let version = parts.version;
    let arrival = http2::arrive(&mut parts, &body);
    let mut line = log_line::begun(&request_id, &parts.method, peer.address);
    line.protocol = Some(access::protocol(version));
    let read = arrival.and_then(|arrival| {
        let facts = RequestFacts::read(peer.wire(&parts), &snapshot.edge)?;
        Ok((arrival, facts))
    });
    let (arrival, facts) = match read {
        Ok(read) => read,
        Err(reason) => {
            let response = own_answer::unread(reason, version, &parts, &request_id);
            let status = response.status().as_u16();
            account.unread(&line, &parts.method, snapshot, reason, status);
            return response;
        }
    };
    let ruling = gate.decide(snapshot, &facts).await;
    let verdict = &ruling.verdict;
    line.verdict = began.elapsed();
    let mut inbound = Request::new(body);
    *inbound.extensions_mut() = parts.extensions.clone();
    let desk = Desk {
        gate,
        snapshot,
        facts: &facts,
        ruling: &ruling,
        verdict,
        request_id: &request_id,
        trace: account.told(),
        peer,
        hints,
        version,
        server: AskedServer::default(),
    };
    let (response, asked) = desk.carry_out(inbound, tunnels).await;
    let (response, unsettled) = desk.settle(&arrival, response);
    let decision = match &verdict.decision {
        Decision::Forward(_) => Action::Forward,
        Decision::Relay(_) => Action::Relay,
        Decision::Redirect(_) => Action::Redirect,
        Decision::Refuse(_) => Action::Refuse,
        Decision::Page(_) | Decision::Serve(_) => Action::Page,
    };
    let outcome = Outcome {
        decision,
        status: response.status().as_u16(),
        failure: unsettled.or(asked.as_ref().and_then(|asked| asked.failure)),
        upstream_status: asked.as_ref().and_then(|asked| asked.status),
        upstream: asked.as_ref().and_then(|asked| asked.took),
        server: desk.server.address(),
    };
    account.judged(&line, snapshot, &facts, &ruling, &outcome);
    response
}

/// What the upstream was asked, and what came of it.
struct Asked {
    status: Option<u16>,
    failure: Option<Reason>,
    /// How long somebody else took to answer; `None` if nobody was asked.
    took: Option<std::time::Duration>,
}

/// A verdict on its way onto the wire.
struct Desk<'a, 'r> {
    gate: &'a Gate,
    snapshot: &'a Arc<Snapshot>,
    facts: &'a RequestFacts<'r>,
    ruling: &'a Ruling,
    verdict: &'a Verdict,
    request_id: &'a HeaderValue,
    /// What the upstream is told of the trace.
    trace: Option<&'a trace_context::Outbound>,
    peer: Peer,
    hints: Option<&'a EarlyHints>,
    /// What its sender speaks.
    version: Version,
    server: AskedServer,
}

impl Desk<'_, '_> {
    async fn carry_out(
        &self,
        inbound: Request<Incoming>,
        tunnels: &Tunnels,
    ) -> (Response<AnswerBody>, Option<Asked>) {
        let (mut response, asked) = match &self.verdict.decision {
            Decision::Forward(permit) => {
                let began = Instant::now();
                let outcome = self.forward(permit, inbound, tunnels).await;
                let took = Some(began.elapsed());
                match outcome {
                    Ok(response) => {
                        let status = Some(response.status().as_u16());
                        return (
                            self.finished(response),
                            Some(Asked {
                                status,
                                failure: None,
                                took,
                            }),
                        );
                    }
                    Err(error) => {
                        let reason = error.reason();
                        let refusal = Refusal {
                            kind: kind_of(error),
                            ..own_answer::refusal(reason, self.facts.audience)
                        };
                        let document = self.refused(&refusal);
                        (
                            own_answer::of(document, self.request_id),
                            Some(Asked {
                                status: None,
                                failure: Some(reason),
                                took,
                            }),
                        )
                    }
                }
            }
            Decision::Relay(permit) => {
                let began = Instant::now();
                let outcome = self.relay(permit, inbound).await;
                let asked = Asked {
                    status: outcome.as_ref().ok().map(|answer| answer.status().as_u16()),
                    failure: outcome.as_ref().err().map(|error| error.reason()),
                    took: Some(began.elapsed()),
                };
                let response = outcome.unwrap_or_else(|error| {
                    own_answer::of(pages::relay_failure(error), self.request_id)
                });
                (response, Some(asked))
            }
            Decision::Redirect(redirect) => (
                own_answer::of(pages::redirect(&redirect.location), self.request_id),
                None,
            ),
            Decision::Refuse(refusal) => {
                (own_answer::of(self.refused(refusal), self.request_id), None)
            }
            Decision::Page(page) => (
                own_answer::of(pages::page(page, self.id()), self.request_id),
                None,
            ),
            Decision::Serve(order) => {
                let (gate, snapshot) = (self.gate, self.snapshot);
                let served =
                    serve::carry_out(order, gate, snapshot, self.facts, inbound, self.id());
                let (document, failure) = match served.await {
                    Ok(served) => (served.document, served.failure),
                    Err(failure) => {
                        let audience = match order.task() {
                            // Whoever sends events reads no pages.
                            Task::Webhook => Audience::Program,
                            _ => self.facts.audience,
                        };
                        let refusal = Refusal {
                            kind: failure.kind,
                            ..own_answer::refusal(failure.reason, audience)
                        };
                        let document = self.refused(&refusal);
                        (document, Some(failure.reason))
                    }
                };
                let asked = failure.map(|reason| Asked {
                    status: None,
                    failure: Some(reason),
                    took: None,
                });
                (own_answer::of(document, self.request_id), asked)
            }
        };
        own_answer::dress(response.headers_mut(), self.verdict);
        (self.finished(response), asked)
    }

    async fn forward(
        &self,
        permit: &Permit,
        inbound: Request<Incoming>,
        tunnels: &Tunnels,
    ) -> Result<Response<AnswerBody>, UpstreamError> {
        let limit = permit.max_body().or(self.snapshot.max_body);
        self.fits(limit)?;
        let upstream = self
            .snapshot
            .upstreams
            .get(permit.upstream())
            .ok_or(UpstreamError::Unreachable)?;
        let outbound = Outbound {
            permit,
            facts: self.facts,
            peer: self.peer.address,
            client: self.peer.line,
            request_id: self.request_id,
            trace: self.trace,
            max_body: limit,
            ending: &|| self.ticket(permit).as_ref().map(ending),
            asked: &self.server,
            hints: self.hints,
        };
        let forwarded = upstream.forward(&outbound, inbound).await?;
        let Forwarded {
            mut response,
            tunnel,
        } = forwarded;
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        head::end_to_end(response.headers_mut(), upgraded);
        // The gate alone says who rides through.
        response.headers_mut().remove(&RIDE_THROUGH_HEADER);
        response
            .headers_mut()
            .insert(X_REQUEST_ID, self.request_id.clone());
        if let Some(tunnel) = tunnel {
            let hold = self.ruling.hold.clone().map(|hold| hold as Held);
            let over = tunnels.run(tunnel, self.ticket(permit).as_ref().map(ending), hold);
            // For whoever writes to the client in HTTP/2.
            response.extensions_mut().insert(over);
        }
        let ticket = if live::needs_care(&response) {
            self.ticket(permit)
        } else {
            None
        };
        let response = match ticket {
            Some(ticket) => {
                let (head, body) = response.into_parts();
                let body = LiveBody::new(body, &head.headers, ticket);
                Response::from_parts(head, AnswerBody::Live(body))
            }
            None => response.map(AnswerBody::Upstream),
        };
        let mut response = match permit.insertion() {
            None => response,
            Some(insertion) => {
                let tally = &self.gate.injections;
                let response = rewrite::insert(response, self.facts.method, insertion, tally);
                response.map(|body| match body {
                    rewrite::Answer::AsItIs(body) => body,
                    rewrite::Answer::Page(page) => AnswerBody::Page(page),
                })
            }
        };
        // In HTTP/1.1 a status behind the body may not arrive, and what breaks off has to be seen to.
        if self.version == Version::HTTP_2 && call::is_grpc(response.headers()) {
            response = response.map(CallBody::answer);
        }
        let privacy = if self.verdict.who.is_some() {
            Privacy::Personal
        } else {
            Privacy::Anybody
        };
        head::set_cookies(response.headers_mut(), &self.verdict.set_cookies, privacy);
        Ok(match &self.ruling.hold {
            Some(hold) => response.map(|body| HeldBody::answer(body, Arc::clone(hold))),
            None => response,
        })
    }

    /// The answer in the words of what its request came in, and why it became another one.
    fn settle(
        &self,
        arrival: &Arrival,
        response: Response<AnswerBody>,
    ) -> (Response<AnswerBody>, Option<Reason>) {
        match arrival.settle(response) {
            Ok(response) => (response, None),
            Err(reason) => {
                let refusal = own_answer::refusal(reason, self.facts.audience);
                let document = pages::refusal(reply::reply(&refusal, self.id()));
                let mut response = own_answer::of(document, self.request_id);
                own_answer::dress(response.headers_mut(), self.verdict);
                (self.finished(response), Some(reason))
            }
        }
    }

    /// A refusal, as whoever has sent the request understands it.
    fn refused(&self, refusal: &Refusal) -> Document {
        let manner = Manner::of(self.facts.method, self.facts.headers);
        pages::refusal(reply::in_manner(manner, refusal, self.id()))
    }

    fn ticket(&self, permit: &Permit) -> Option<Ticket> {
        self.gate.ticket(self.snapshot, permit)
    }

    async fn relay(
        &self,
        permit: &FapiPermit,
        inbound: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, UpstreamError> {
        let errand = Errand {
            permit,
            facts: self.facts,
            client: self.peer.line,
            max_body: self.snapshot.max_body,
        };
        self.fits(errand.max_body)?;
        let site = self.snapshot.site(self.facts.site);
        let clerk = site.and_then(|site| site.frontend_api.as_ref());
        let clerk = clerk.ok_or(UpstreamError::Unreachable)?;
        let mut response = clerk.relay(&errand, inbound).await?;
        response
            .headers_mut()
            .insert(X_REQUEST_ID, self.request_id.clone());
        Ok(response.map(AnswerBody::Relayed))
    }

    /// Refuses a body that is said to be too large, before a byte of it is read.
    fn fits(&self, limit: Option<u64>) -> Result<(), UpstreamError> {
        match (limit, self.facts.body) {
            (Some(limit), BodyLength::Exactly(length)) if length > limit => {
                Err(UpstreamError::Client(Reason::BodyTooLarge))
            }
            _ => Ok(()),
        }
    }

    /// The answer with what every one of them says.
    fn finished(&self, mut response: Response<AnswerBody>) -> Response<AnswerBody> {
        own_answer::finish(response.headers_mut(), self.snapshot, self.ruling);
        response
    }

    fn id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }
}

/// What ends something that is entered into the registry by this.
fn ending(ticket: &Ticket) -> Ending {
    let lease = ticket.bind();
    Box::pin(async move { lease.ended().await })
}

/// What kind of refusal it is that a request could not be forwarded.
fn kind_of(error: UpstreamError) -> RefusalKind {
    match error {
        UpstreamError::Ended(Reason::TokenExpired) => RefusalKind::Unauthorized,
        UpstreamError::Ended(_) => RefusalKind::SignedOut,
        UpstreamError::Unreachable
        | UpstreamError::Timeout
        | UpstreamError::Protocol
        | UpstreamError::Malformed
        | UpstreamError::Full
        | UpstreamError::Unhealthy
        | UpstreamError::Client(_) => RefusalKind::Request,
    }
}
