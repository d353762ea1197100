//! The gate as Envoy's authorization service: asked over gRPC about a request that Envoy forwards.
//!
//! Envoy says what the request is in a message, which becomes facts like those of any request. The
//! verdict goes back as what Envoy has to change of the request, or as the answer of its client.

mod answer;
pub mod proto;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::codegen::Service;
use tonic::server::Grpc;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_prost::ProstCodec;

use super::account::Account;
use super::asked::{self, Asked};
use super::forward_auth::Admission;
use super::{log_line, request_id};
use crate::core::door::{Attributes, HeadLimits, Original, Wording};
use crate::core::facts::{self, Audience};
use crate::core::reason::Reason;
use crate::gate::{Gate, Snapshot};
use crate::telemetry::requests::Mode;
use crate::telemetry::traces::Sender;
use proto::{CheckRequest, CheckResponse};

/// The body of an answer.
pub type Body = tonic::body::Body;

/// How much larger a message may be than the head of the request that it tells of: names, numbers and
/// what else Envoy says.
const AROUND_A_HEAD: usize = 64 * 1024;

/// Who may ask, how much may be said, and whether there is somebody to ask.
pub struct Door {
    admission: Admission,
    limits: HeadLimits,
    /// How long a message may take to arrive.
    patience: Duration,
    reporter: HealthReporter,
    health: HealthServer<HealthService>,
}

impl Door {
    /// A door that is not serving yet.
    pub async fn new(admission: Admission, limits: HeadLimits, patience: Duration) -> Self {
        let reporter = HealthReporter::new();
        let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let door = Self {
            admission,
            limits,
            patience,
            reporter,
            health,
        };
        door.set_serving(false).await;
        door
    }

    /// Says from now on that the gate serves requests, or that it does not.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in ["", proto::SERVICE] {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Whether this peer, with these headers, may ask.
    pub fn admits(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        self.admission.admits(peer, headers)
    }

    fn message_bytes(&self) -> usize {
        self.limits.bytes.saturating_mul(2) + AROUND_A_HEAD
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("admission", &self.admission)
            .field("limits", &self.limits)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// What a stranger hears, whatever it asks.
pub fn stranger() -> Response<Body> {
    Status::permission_denied("").into_http()
}

/// Answers a call of somebody who may ask. A verdict is never an error of gRPC.
pub async fn answer(
    gate: &Gate,
    snapshot: &Arc<Snapshot>,
    door: &Door,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let limit = door.message_bytes();
    let whole = Limited::new(body, limit).collect();
    let body = match tokio::time::timeout(door.patience, whole).await {
        Ok(Ok(body)) => Full::new(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Status::resource_exhausted("the message is too large").into_http();
        }
        Ok(Err(_)) => return Status::cancelled("the message did not arrive").into_http(),
        Err(_) => return Status::deadline_exceeded("the message did not arrive").into_http(),
    };
    let request = Request::from_parts(head, body);
    let path = request.uri().path();
    if path == proto::CHECK {
        let check = Check {
            gate,
            snapshot,
            limits: door.limits,
            peer,
        };
        return Grpc::new(ProstCodec::default())
            .max_decoding_message_size(limit)
            .unary(check, request)
            .await;
    }
    if path == HEALTH {
        let answered = door.health.clone().call(request).await;
        return answered.unwrap_or_else(|never| match never {});
    }
    Status::new(Code::Unimplemented, "").into_http()
}

/// Where health is asked about. Watching it is not offered: a watch has no end, and whoever drains would
/// wait for it.
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// The one method of the service.
struct Check<'a> {
    gate: &'a Gate,
    snapshot: &'a Arc<Snapshot>,
    limits: HeadLimits,
    peer: IpAddr,
}

impl<'a> Service<tonic::Request<CheckRequest>> for Check<'a> {
    type Response = tonic::Response<CheckResponse>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let Self {
            gate,
            snapshot,
            limits,
            peer,
        } = *self;
        Box::pin(async move {
            let said = Said::of(request.into_inner());
            Ok(tonic::Response::new(
                judge(gate, snapshot, limits, peer, &said).await,
            ))
        })
    }
}

/// What a message says. What it does not say is empty.
pub struct Said {
    http: proto::HttpRequest,
    client: String,
}

impl Said {
    /// Takes a message apart.
    pub fn of(request: CheckRequest) -> Self {
        let attributes = request.attributes.unwrap_or_default();
        let source = attributes.source.and_then(|source| source.address);
        let address = source.and_then(|address| address.socket_address);
        Self {
            http: attributes
                .request
                .unwrap_or_default()
                .http
                .unwrap_or_default(),
            client: address.unwrap_or_default().address,
        }
    }

    /// The request that is asked about.
    pub fn original(&self, limits: HeadLimits) -> Result<Original, Reason> {
        let http = &self.http;
        let raw = http.header_map.as_ref().map(|map| &*map.headers);
        let raw = raw.unwrap_or_default();
        // SECURITY: of two lists of headers, the application gets neither for certain.
        if !raw.is_empty() && !http.headers.is_empty() {
            return Err(Reason::DoorMetadata);
        }
        let (lines, wording): (Vec<(&str, &[u8])>, _) = if raw.is_empty() {
            let lines = http.headers.iter();
            let lines = lines.map(|(name, value)| (&**name, value.as_bytes()));
            (lines.collect(), Wording::Joined)
        } else {
            (raw.iter().map(line).collect(), Wording::Each)
        };
        let attributes = Attributes {
            method: &http.method,
            target: &http.path,
            host: &http.host,
            scheme: &http.scheme,
            protocol: &http.protocol,
            client: &self.client,
            lines: &lines,
            wording,
        };
        Original::of_attributes(&attributes, limits)
    }

    fn method(&self) -> Method {
        Method::from_bytes(self.http.method.as_bytes()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Said")
            .field("method", &self.http.method)
            .field("host", &self.http.host)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

fn line(header: &proto::HeaderValue) -> (&str, &[u8]) {
    let value = if header.raw_value.is_empty() {
        header.value.as_bytes()
    } else {
        &header.raw_value
    };
    (&header.key, value)
}

async fn judge(
    gate: &Gate,
    snapshot: &Snapshot,
    limits: HeadLimits,
    peer: IpAddr,
    said: &Said,
) -> CheckResponse {
    let began = Instant::now();
    let original = said.original(limits);
    let none = HeaderMap::new();
    let headers = original
        .as_ref()
        .map_or(&none, |original| original.wire().headers);
    let request_id = request_id::of(headers);
    let method = said.method();
    let sender = || Sender::of(snapshot.edge.trusts(peer));
    let account = Account::open(gate, Mode::ExtAuthz, began, headers, sender);
    let mut line = log_line::begun(&request_id, &method, peer);
    let read = original
        .as_ref()
        .map_err(|reason| *reason)
        .and_then(|original| Ok((original.wire().peer, original.facts(&snapshot.edge)?)));
    let (client, facts) = match read {
        Ok(read) => read,
        Err(reason) => {
            let audience = match &original {
                Ok(_) => facts::audience(&method, headers),
                // Nobody can tell who reads the answer.
                Err(_) => Audience::Program,
            };
            let no = asked::refusal(reason, audience, line.request_id);
            account.unread(&line, &method, snapshot, reason, no.status.as_u16());
            return answer::no(no, &request_id, reason.code());
        }
    };
    let ruling = gate.decide(snapshot, &facts).await;
    line.verdict = began.elapsed();
    let asked = Asked {
        snapshot,
        facts: &facts,
        ruling: &ruling,
        request_id: &request_id,
    };
    let yes = match asked.leave() {
        Ok(permit) => answer::yes(&asked, permit, client).map_err(|reason| asked.failed(reason)),
        Err(no) => Err(no),
    };
    match yes {
        Ok(yes) => {
            account.judged(&line, snapshot, &facts, &ruling, &asked::goes_on());
            yes
        }
        Err(no) => {
            account.judged(&line, snapshot, &facts, &ruling, &no.outcome);
            let cause = ruling.verdict.cause.as_ref().map(|cause| cause.reason);
            let reason = no.outcome.failure.or(cause).map_or("", Reason::code);
            answer::no(no.document, &request_id, reason)
        }
    }
}
