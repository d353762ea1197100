//! A gate without a network: what the core needs to decide, and nothing else.

use clerk_gate::core::decide::Inputs;
use clerk_gate::core::edge::{Edge, PublicAddress};
use clerk_gate::core::facts::{RequestFacts, WireRequest};
use clerk_gate::core::identity_headers::HeaderPlan;
use clerk_gate::core::instance::{BackendApi, Instance};
use clerk_gate::core::key::PublishableKey;
use clerk_gate::core::origin::{Origin, Scheme};
use clerk_gate::core::policy::Policy;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::START_MS;

/// Everything a verdict depends on but the request.
pub struct Scene {
    pub instance: Instance,
    pub policy: Policy,
    pub headers: HeaderPlan,
    pub edge: Edge,
    pub now_ms: u64,
}

/// The host of requests that name none.
pub const SITE: &str = "app.example.com";

impl Scene {
    /// A production instance at `https://app.example.com` with this policy.
    pub fn with(policy: Policy) -> Self {
        let key = PublishableKey::parse("pk_live_Y2xlcmsuZXhhbXBsZS5jb20k").unwrap();
        Self {
            instance: Instance::of(key, BackendApi::Available),
            policy,
            headers: HeaderPlan::default(),
            edge: Edge {
                public: PublicAddress::Fixed(Origin::parse("https://app.example.com").unwrap()),
                trusted_proxies: Vec::new(),
                hosts: Vec::new(),
            },
            now_ms: START_MS,
        }
    }

    /// Reads a request and does something with it; `T::default()` if it cannot be read.
    pub fn with_facts<T: Default>(
        &self,
        method: &Method,
        target: &Uri,
        mut headers: HeaderMap,
        act: impl FnOnce(Inputs<'_, '_>) -> T,
    ) -> T {
        headers
            .entry(HOST)
            .or_insert(HeaderValue::from_static(SITE));
        let wire = WireRequest {
            method,
            target,
            version: Version::HTTP_11,
            headers: &headers,
            peer: "192.0.2.1".parse().unwrap(),
            scheme: Scheme::Http,
        };
        match RequestFacts::read(wire, &self.edge) {
            Ok(facts) => act(self.inputs(&facts)),
            Err(_) => T::default(),
        }
    }

    pub fn inputs<'a, 'r>(&'a self, facts: &'a RequestFacts<'r>) -> Inputs<'a, 'r> {
        Inputs {
            facts,
            instance: &self.instance,
            policy: &self.policy,
            headers: &self.headers,
            pages_prefix: "/_gate/",
            now_ms: self.now_ms,
        }
    }
}
