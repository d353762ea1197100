//! Envoy's authorization service: asked over gRPC, by a client of tonic's over a real connection.

mod asking;
mod attributes;
mod verdicts;

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use clerk_gate::modes::ext_authz::proto::{
    Address, AppendAction, AttributeContext, CHECK, CheckRequest, CheckResponse,
    HeaderMap as Lines, HeaderValue as Line, HttpRequest, HttpResponse, OkHttpResponse, Peer,
    Request, SocketAddress,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

use crate::support::{Answer, World, doors, usual_routes};

/// The address of a client, as Envoy tells it.
pub const CLIENT: &str = "203.0.113.7";

/// A gate that everybody on this machine may ask.
pub async fn world() -> World {
    World::with(usual_routes()).with_ext_authz().start().await
}

/// What Envoy says of a request.
#[derive(Clone)]
pub struct Ask {
    pub http: HttpRequest,
    pub client: String,
}

impl Ask {
    /// A request for this host, with no headers yet.
    pub fn of(method: &str, path: &str, host: &str) -> Self {
        let http = HttpRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            host: host.to_owned(),
            scheme: "http".to_owned(),
            protocol: "HTTP/1.1".to_owned(),
            ..HttpRequest::default()
        };
        let asked = Self {
            http,
            client: CLIENT.to_owned(),
        };
        // As Envoy has it, among the other headers.
        asked
            .header(":method", method)
            .header(":path", path)
            .header(":authority", host)
            .header(":scheme", "http")
    }

    /// A request of `localhost`.
    pub fn at(world: &World, method: &str, path: &str) -> Self {
        let host = format!("localhost:{}", world.gate.port());
        Self::of(method, path, &host)
    }

    /// Another header line.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.bytes(name, value.as_bytes())
    }

    /// The same of any bytes.
    pub fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        let lines = self.http.header_map.get_or_insert_default();
        lines.headers.push(Line {
            key: name.to_owned(),
            value: String::new(),
            raw_value: value.to_vec(),
        });
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn cookie(self, cookies: &str) -> Self {
        self.header("cookie", cookies)
    }

    /// The same as Envoy writes it without `encode_raw_headers`: lines of one name are one line.
    pub fn joined(mut self) -> Self {
        let Lines { headers } = self.http.header_map.take().unwrap_or_default();
        for Line { key, raw_value, .. } in headers {
            let value = String::from_utf8_lossy(&raw_value).into_owned();
            self.http
                .headers
                .entry(key)
                .and_modify(|known| *known = format!("{known},{value}"))
                .or_insert(value);
        }
        self
    }

    pub fn message(&self) -> CheckRequest {
        let socket_address = Some(SocketAddress {
            address: self.client.clone(),
        });
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer {
                    address: Some(Address { socket_address }),
                }),
                request: Some(Request {
                    http: Some(self.http.clone()),
                }),
            }),
        }
    }

    /// Asks over a connection of its own.
    pub async fn send(&self, world: &World) -> Told {
        let mut caller = Caller::connect(world.check.unwrap()).await;
        self.told(caller.check(self.message(), None).await.unwrap())
    }

    /// What comes of an answer to this.
    pub fn told(&self, response: CheckResponse) -> Told {
        let code = response.status.unwrap().code;
        match response.http_response.unwrap() {
            HttpResponse::Denied(denied) => {
                let mut headers = HeaderMap::new();
                for option in &denied.headers {
                    let action = AppendAction::try_from(option.append_action).unwrap();
                    let (name, value) = pair(option.header.as_ref().unwrap());
                    if action == AppendAction::OverwriteIfExistsOrAdd {
                        assert!(headers.insert(name, value).is_none());
                    } else {
                        headers.append(name, value);
                    }
                }
                let status = denied.status.unwrap().code.try_into().unwrap();
                let answer = Answer {
                    status: StatusCode::from_u16(status).unwrap(),
                    headers,
                    body: denied.body,
                };
                Told {
                    code,
                    answer,
                    arrives: None,
                    ok: OkHttpResponse::default(),
                }
            }
            HttpResponse::Ok(ok) => {
                let mut headers = HeaderMap::new();
                apply(&mut headers, &ok.response_headers_to_add);
                let answer = Answer {
                    status: StatusCode::OK,
                    headers,
                    body: String::new(),
                };
                Told {
                    code,
                    answer,
                    arrives: Some(self.arriving(&ok)),
                    ok,
                }
            }
        }
    }

    /// The headers that the application gets, once Envoy has done what it is told.
    fn arriving(&self, ok: &OkHttpResponse) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let lines = self.http.header_map.as_ref();
        for line in lines.map(|lines| &*lines.headers).unwrap_or_default() {
            if !line.key.starts_with(':') {
                let name = HeaderName::try_from(&line.key).unwrap();
                headers.append(name, HeaderValue::from_bytes(&line.raw_value).unwrap());
            }
        }
        for (name, value) in &self.http.headers {
            if !name.starts_with(':') {
                headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            }
        }
        apply(&mut headers, &ok.headers);
        for name in &ok.headers_to_remove {
            headers.remove(name);
        }
        headers
    }
}

fn pair(line: &Line) -> (HeaderName, HeaderValue) {
    let name = HeaderName::try_from(&line.key).unwrap();
    (name, line.value.parse().unwrap())
}

/// Does to headers what Envoy does with options.
fn apply(
    headers: &mut HeaderMap,
    options: &[clerk_gate::modes::ext_authz::proto::HeaderValueOption],
) {
    for option in options {
        let (name, value) = pair(option.header.as_ref().unwrap());
        match AppendAction::try_from(option.append_action).unwrap() {
            AppendAction::AppendIfExistsOrAdd => {
                assert_eq!(option.append, None);
                headers.append(name, value);
            }
            AppendAction::AddIfAbsent => {
                headers.entry(name).or_insert(value);
            }
            AppendAction::OverwriteIfExistsOrAdd => {
                assert_eq!(option.append, Some(false));
                headers.insert(name, value);
            }
            AppendAction::OverwriteIfExists => panic!("nothing is said so"),
        }
    }
}

/// What came back.
pub struct Told {
    /// The code of gRPC's in the message.
    pub code: i32,
    /// What the client sees; of a yes, what is added to the application's answer.
    pub answer: Answer,
    /// What the application gets; `None` if it gets nothing.
    pub arrives: Option<HeaderMap>,
    ok: OkHttpResponse,
}

impl Told {
    pub fn status(&self) -> u16 {
        self.answer.status.as_u16()
    }

    /// The values of a header that the application gets.
    pub fn arrived(&self, name: &str) -> Vec<String> {
        let lines = self.arrives.as_ref().expect("a yes").get_all(name).iter();
        lines
            .map(|line| line.to_str().unwrap().to_owned())
            .collect()
    }
}

/// A connection to the service.
pub struct Caller(SendRequest<Body>);

impl Caller {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn check(
        &mut self,
        message: CheckRequest,
        secret: Option<&str>,
    ) -> Result<CheckResponse, Status> {
        self.call(CHECK, message, secret).await
    }

    /// Whether a service is served.
    pub async fn health(&mut self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer: HealthCheckResponse = self
            .call("/grpc.health.v1.Health/Check", request, None)
            .await?;
        Ok(answer.status())
    }

    pub async fn call<M, A>(
        &mut self,
        path: &'static str,
        message: M,
        secret: Option<&str>,
    ) -> Result<A, Status>
    where
        M: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut request = tonic::Request::new(message);
        if let Some(secret) = secret {
            let secret = secret.parse().unwrap();
            request.metadata_mut().append("x-clerk-gate-secret", secret);
        }
        self.send(path, request).await
    }

    pub async fn send<M, A>(
        &mut self,
        path: &'static str,
        request: tonic::Request<M>,
    ) -> Result<A, Status>
    where
        M: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let codec = ProstCodec::<M, A>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let answer = Grpc::with_origin(self, "http://gate".parse().unwrap())
            .unary(request, path, codec)
            .await?;
        Ok(answer.into_inner())
    }
}

impl GrpcService<Body> for &mut Caller {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// The code of a call that is refused.
pub fn code<T>(outcome: Result<T, Status>) -> Code {
    outcome.err().expect("a refusal").code()
}
