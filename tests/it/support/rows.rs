//! The rows that were recorded from Clerk's own SDK, and what they presume.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use clerk_gate::core::instance::{
    BackendApi, Continuity, Instance, IssuerRule, PendingSessions, Satellite,
};
use clerk_gate::core::key::PublishableKey;
use clerk_gate::core::machine::{Accepts, TokenType, TokenTypes};
use clerk_gate::core::organization_sync::{OrganizationSync, SyncPattern};
use clerk_gate::core::origin::Origin;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

/// The rows of `authenticate.json`, and the moment at which they were recorded.
pub struct Table {
    pub now_ms: u64,
    pub cases: Vec<Value>,
}

/// A table by its name.
pub fn table(name: &str) -> Value {
    let path = format!(
        "{}/tests/cases/recorded/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The table of `authenticateRequest`.
pub fn authenticate() -> Table {
    let table = table("authenticate");
    Table {
        now_ms: table["now"].as_u64().unwrap() * 1000,
        cases: table["cases"].as_array().unwrap().clone(),
    }
}

/// Clerk's Backend API as the rows presume it.
#[derive(Clone)]
pub struct FakeApi(Vec<Value>);

impl FakeApi {
    pub fn load() -> Self {
        Self(table("fake_api")["answers"].as_array().unwrap().clone())
    }

    pub fn answer(
        &self,
        method: &str,
        path: &str,
        authorization: &str,
        query: &[(String, String)],
        json: &Value,
    ) -> &Value {
        self.0
            .iter()
            .find(|answer| {
                let fits = |name: &str, value: &str| {
                    answer[name]
                        .as_str()
                        .is_none_or(|wanted| wanted == "*" || wanted == value)
                };
                let when = &answer["when"];
                fits("method", method)
                    && fits("path", path)
                    && when["authorization"]
                        .as_str()
                        .is_none_or(|wanted| wanted == authorization)
                    && when["query"].as_object().is_none_or(|wanted| {
                        wanted.iter().all(|(key, value)| {
                            query
                                .iter()
                                .any(|(k, v)| k == key && Some(v.as_str()) == value.as_str())
                        })
                    })
                    && when["json"]
                        .as_object()
                        .is_none_or(|wanted| wanted.iter().all(|(key, value)| &json[key] == value))
            })
            .expect("the fake API answers everything")
    }

    pub fn body(answer: &Value) -> String {
        match &answer["body"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    pub fn json(answer: &Value) -> Value {
        serde_json::from_str(&Self::body(answer)).unwrap_or_default()
    }

    pub fn is_json(answer: &Value) -> bool {
        answer["headers"].as_object().is_some_and(|headers| {
            headers.iter().any(|(name, value)| {
                name.eq_ignore_ascii_case("content-type") && value == "application/json"
            })
        })
    }
}

/// The instance that the options of a row describe, as the SDK takes them.
pub fn instance(options: &Value) -> Option<Instance> {
    let text = |name: &str| options[name].as_str();
    let key = PublishableKey::parse(text("publishableKey")?).ok()?;
    let backend_api = if text("secretKey").is_some() {
        BackendApi::Available
    } else {
        BackendApi::NoSecretKey
    };
    let mut instance = Instance::of(key, backend_api);
    instance.continuity = Continuity::Faithful;
    instance.pending = PendingSessions::SignedIn;
    instance.issuer = IssuerRule::Any;
    let list = |value: &Value| -> Vec<String> {
        match value {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many
                .iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        }
    };
    instance.authorized_parties = list(&options["authorizedParties"]);
    instance.audience = list(&options["audience"]);
    let patterns = |name: &str| {
        list(&options["organizationSyncOptions"][name])
            .iter()
            .filter_map(|pattern| SyncPattern::parse(pattern).ok())
            .collect()
    };
    instance.organization_sync = OrganizationSync {
        organizations: patterns("organizationPatterns"),
        personal: options["organizationSyncOptions"]["personalAccountPatterns"]
            .is_array()
            .then(|| patterns("personalAccountPatterns")),
    };
    if let Some(skew) = options["clockSkewInMs"].as_i64() {
        instance.clock_skew_ms = u64::try_from(skew).unwrap_or(0);
    }
    instance.sign_in_url = text("signInUrl").map(str::to_owned);
    instance.sign_up_url = text("signUpUrl").map(str::to_owned);
    let satellite = options["isSatellite"].as_bool() == Some(true);
    if satellite {
        instance.satellite = Some(Satellite {
            auto_sync: options["satelliteAutoSync"].as_bool() == Some(true),
        });
    }
    if let Some(domain) = text("domain").filter(|_| satellite && !instance.is_development()) {
        instance.frontend_api = format!("https://clerk.{domain}");
        instance.own_issuer_host = format!("clerk.{domain}");
    }
    Some(instance)
}

/// Lets browsers call the Frontend API through the proxy of a row, if it has one.
pub fn use_proxy(instance: &mut Instance, options: &Value, origin: &Origin) {
    if let Some(proxy) = options["proxyUrl"].as_str() {
        instance.frontend_api = if proxy.starts_with('/') {
            format!("{origin}{proxy}")
        } else {
            proxy.to_owned()
        };
    }
}

/// The texts of a list.
pub fn strings(value: &Value) -> Option<Vec<String>> {
    Some(
        value
            .as_array()?
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
    )
}

/// The rows each rule of the deviations covers, as the document has them.
pub fn rows_by_rule() -> BTreeMap<String, BTreeSet<String>> {
    let path = format!(
        "{}/docs/explanation/deviations.md",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    let rules: BTreeMap<_, _> = text
        .split("\n## ")
        .skip(1)
        .map(|section| {
            let (rule, _) = section.split_once(':').unwrap();
            let (_, rows) = section.split_once("\nRows:").unwrap();
            let ids = rows
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            (rule.to_owned(), ids)
        })
        .collect();
    let mut numbers: Vec<u32> = rules
        .keys()
        .map(|rule| rule[1..].parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        (1..=27).collect::<Vec<_>>(),
        "the rules have numbers"
    );
    rules
}

/// Which tokens the options of a row accept, as the SDK takes them.
pub fn accepts(options: &Value) -> Accepts {
    match &options["acceptsToken"] {
        Value::Null => Accepts::One(TokenType::Session),
        Value::String(one) if one == "any" => Accepts::Any,
        Value::String(one) => Accepts::One(token_type(one)),
        list => Accepts::List(token_types(list).unwrap()),
    }
}

/// The kinds of token that a value of the SDK's names; `None` if it is absent.
pub fn token_types(value: &Value) -> Option<TokenTypes> {
    match value {
        Value::String(any) if any == "any" => Some(TokenTypes::ANY),
        Value::String(one) => Some(TokenTypes::of(&[token_type(one)])),
        Value::Array(many) => {
            let kinds: Vec<_> = many
                .iter()
                .map(|kind| token_type(kind.as_str().unwrap()))
                .collect();
            Some(TokenTypes::of(&kinds))
        }
        _ => None,
    }
}

fn token_type(word: &str) -> TokenType {
    let found = TokenType::ALL
        .into_iter()
        .find(|kind| kind.as_str() == word);
    found.expect("a kind of token")
}

/// Serves the Backend API as the rows presume it, on a port of its own.
pub async fn serve(api: FakeApi) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let api = api.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let api = api.clone();
                async move { api.respond(request).await }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

impl FakeApi {
    /// An error closes the connection without an answer.
    async fn respond(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, &'static str> {
        let (request, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&body).unwrap_or_default();
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let authorization = request.headers.get("authorization");
        let answer = self.answer(
            request.method.as_str(),
            request.uri.path(),
            authorization.map_or("", |value| value.to_str().unwrap()),
            &query,
            &json,
        );
        if answer["close"] == true {
            return Err("closed, as the row wants it");
        }
        let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
        let mut response = Response::builder().status(status);
        for (name, value) in answer["headers"].as_object().into_iter().flatten() {
            response = response.header(name, value.as_str().unwrap());
        }
        Ok(response.body(Self::body(answer).into()).unwrap())
    }
}
