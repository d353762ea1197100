//! Somebody who takes traces over OTLP, or behaves badly.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clerk_gate::telemetry::traces::otlp::{
    ExportRequest, ExportResponse, KeyValue, PartialSuccess, Span, Value,
};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How it behaves.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Takes everything.
    Takes,
    /// Takes all spans but so many.
    Leaves(i64),
    /// Answers with this status.
    Answers(u16),
    /// Does so once, then takes everything.
    AnswersOnce(u16),
    /// Never answers.
    Hangs,
}

/// What has arrived.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// The messages, as they came.
    pub raw: Vec<Bytes>,
    /// Their headers, and what they were sent to.
    pub heads: Vec<(String, HeaderMap)>,
    /// What made the spans.
    pub resources: Vec<BTreeMap<String, String>>,
    /// The spans.
    pub spans: Vec<Span>,
}

pub struct Receiver {
    pub address: SocketAddr,
    arrived: Arc<watch::Sender<Arrived>>,
}

impl Receiver {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            arrived: Arc::new(watch::channel(Arrived::default()).0),
        };
        let manner = Arc::new(Mutex::new(manner));
        let arrived = Arc::clone(&receiver.arrived);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (arrived, manner) = (Arc::clone(&arrived), Arc::clone(&manner));
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (arrived, manner) = (Arc::clone(&arrived), Arc::clone(&manner));
                        async move { Ok::<_, Infallible>(take(request, &arrived, &manner).await) }
                    });
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        receiver
    }

    /// Waits until so many spans are there.
    pub async fn spans(&self, count: usize) -> Vec<Span> {
        self.until(|arrived| arrived.spans.len() >= count)
            .await
            .spans
    }

    /// Waits until it is so.
    pub async fn until(&self, holds: impl Fn(&Arrived) -> bool) -> Arrived {
        let mut arriving = self.arrived.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(20), arriving.wait_for(&holds)).await;
        assert!(waited.is_ok(), "{:#?}", self.now().spans);
        self.now()
    }

    /// What is there now.
    pub fn now(&self) -> Arrived {
        self.arrived.borrow().clone()
    }
}

async fn take(
    request: Request<Incoming>,
    arrived: &watch::Sender<Arrived>,
    manner: &Mutex<Manner>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let message = ExportRequest::decode(body.clone()).unwrap();
    let now = *manner.lock().unwrap();
    if let Manner::AnswersOnce(_) = now {
        *manner.lock().unwrap() = Manner::Takes;
    }
    arrived.send_modify(|arrived| {
        let target = format!("{} {}", parts.method, parts.uri);
        arrived.heads.push((target, parts.headers));
        arrived.raw.push(body);
        for made in message.resource_spans {
            let resource = made.resource.unwrap_or_default();
            arrived.resources.push(attributes(&resource.attributes));
            let spans = made.scope_spans.into_iter().flat_map(|scope| scope.spans);
            arrived.spans.extend(spans);
        }
    });
    let status = match now {
        Manner::Answers(status) | Manner::AnswersOnce(status) => status,
        Manner::Takes | Manner::Leaves(_) => 200,
        Manner::Hangs => std::future::pending().await,
    };
    let answer = ExportResponse {
        partial_success: match now {
            Manner::Leaves(rejected_spans) => Some(PartialSuccess { rejected_spans }),
            _ => None,
        },
    };
    let mut response = Response::new(Full::new(answer.encode_to_vec().into()));
    *response.status_mut() = status.try_into().unwrap();
    let pause = "0".parse().unwrap();
    response.headers_mut().insert("retry-after", pause);
    response
}

/// Attributes by their names.
pub fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let written = |pair: &KeyValue| match pair.value.clone().unwrap().value.unwrap() {
        Value::Text(text) => text,
        Value::Whole(number) => number.to_string(),
    };
    let pairs = pairs.iter();
    pairs
        .map(|pair| (pair.key.clone(), written(pair)))
        .collect()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let number = bytes.iter();
    let number = number.fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{number:0width$x}", width = bytes.len() * 2)
}
