//! Clerk's Frontend API behind the gate (protocol reference, section 8). Nothing is relayed without
//! a [`FapiPermit`], and only the core makes one.

use std::sync::Arc;

use http::header::{COOKIE, HOST, LOCATION, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use secrecy::{ExposeSecret as _, SecretString};
use url::{Position, Url};

use super::body::ClientBody;
use super::group::{GroupRules, Server};
use super::head::{
    self, HeaderRules, HostRule, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO,
};
use super::standing::{ServerName, Standing};
use super::{
    ClientLine, Patience, Protocol, Reuse, Tls, Upstream, UpstreamBody, UpstreamError,
    UpstreamTimes, target, with_framing,
};
use crate::core::decide::FapiPermit;
use crate::core::facts::RequestFacts;
use crate::core::origin::Origin;
use crate::core::peers;

/// The headers by which the Frontend API knows a proxy.
const CLERK_PROXY_URL: HeaderName = HeaderName::from_static("clerk-proxy-url");
const CLERK_SECRET_KEY: HeaderName = HeaderName::from_static("clerk-secret-key");

/// Clerk's Frontend API, as a proxy with the secret key reaches it.
pub struct FrontendApi {
    upstream: Upstream,
    host: String,
    base: Url,
    secret_key: SecretString,
}

impl std::fmt::Debug for FrontendApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrontendApi({})", self.base)
    }
}

/// A request that may go to the Frontend API.
pub struct Errand<'a, 'r> {
    /// The leave to reach it.
    pub permit: &'a FapiPermit,
    /// What the request says.
    pub facts: &'a RequestFacts<'r>,
    /// The connection that it came on.
    pub client: ClientLine,
    /// The largest body in bytes, if there is a limit.
    pub max_body: Option<u64>,
}

impl FrontendApi {
    /// The Frontend API at `origin`. `None` if the secret key is no header text.
    pub fn new(
        origin: &Origin,
        secret_key: SecretString,
        times: UpstreamTimes,
        reuse: Reuse,
        rules: Arc<HeaderRules>,
        tls: Option<Tls>,
    ) -> Option<Self> {
        let as_header = HeaderValue::from_str(secret_key.expose_secret()).ok()?;
        if as_header.is_empty() {
            return None;
        }
        let host = origin.host().to_string();
        let rule = HostRule::Fixed(origin.host().clone());
        let name = ServerName {
            upstream: "frontend-api".into(),
            server: origin.to_string().into(),
        };
        let known = (name, Arc::<Standing>::default());
        let at = (origin.clone().into(), tls);
        let server = Server::new(known, at, Protocol::Http1, rule, times, reuse);
        Some(Self {
            upstream: Upstream::new(vec![server], GroupRules::default(), times, rules)?,
            host,
            base: Url::parse(&origin.to_string()).ok()?,
            secret_key,
        })
    }

    /// Sends a request on and gives the head of the answer; both bodies are streamed.
    pub async fn relay(
        &self,
        errand: &Errand<'_, '_>,
        inbound: Request<Incoming>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let Upstream { times, rules, .. } = &self.upstream;
        let body = ClientBody::new(
            inbound.into_body(),
            errand.max_body,
            Some(times.body_idle),
            rules,
        );
        // What goes to Clerk is nobody's here.
        let patience = Patience {
            client: errand.client,
            limit: times.response,
            ending: &|| None,
        };
        let mut response = self
            .upstream
            .exchange(|_| self.head(errand), body, patience, errand.facts)
            .await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // SECURITY: nobody asked for a tunnel, and nobody gets one past the door to Clerk.
            return Err(UpstreamError::Malformed);
        }
        self.clean(response.headers_mut(), errand.permit);
        Ok(response)
    }

    /// The head of the request to the Frontend API. `None` if no address comes of it.
    fn head(&self, errand: &Errand<'_, '_>) -> Option<Request<()>> {
        let Errand { permit, facts, .. } = errand;
        let mut head = Request::new(());
        *head.method_mut() = facts.method.clone();
        // SECURITY: the host is never part of what is put together here, so whatever the path and
        // the query hold, the secret key goes to no other host.
        *head.uri_mut() = target(permit.path(), facts.query)?;
        *head.version_mut() = Version::HTTP_11;
        let mut headers = self.upstream.rules.passing_to_clerk(facts.headers);
        if let Some(cookies) = head::clerk_cookies(facts.headers) {
            headers.insert(COOKIE, cookies);
        }
        for (name, text) in [
            (HOST, self.host.clone()),
            (X_FORWARDED_HOST, facts.origin.host().to_string()),
            (X_FORWARDED_PROTO, facts.origin.scheme().as_str().to_owned()),
            (CLERK_PROXY_URL, permit.proxy_url().to_owned()),
        ] {
            headers.insert(name, HeaderValue::try_from(text).ok()?);
        }
        if peers::has_address(facts.client) {
            let client = HeaderValue::try_from(facts.client.to_string()).ok()?;
            headers.insert(X_FORWARDED_FOR, client);
        }
        let mut secret_key = HeaderValue::from_str(self.secret_key.expose_secret()).ok()?;
        secret_key.set_sensitive(true);
        headers.insert(CLERK_SECRET_KEY, secret_key);
        *head.headers_mut() = headers;
        with_framing(&mut head, facts);
        Some(head)
    }

    /// Takes from an answer what is not for the browser, and leads its redirects through the proxy.
    fn clean(&self, headers: &mut HeaderMap, permit: &FapiPermit) {
        head::end_to_end(headers, false);
        // Trailers would arrive behind this look at the headers; without it they stay here.
        headers.remove(TRAILER);
        let locations: Vec<HeaderValue> = headers
            .get_all(LOCATION)
            .iter()
            .map(|location| self.rewritten(location, permit.proxy_url()))
            .collect();
        headers.remove(LOCATION);
        for location in locations {
            headers.append(LOCATION, location);
        }
        // SECURITY: what the Frontend API says back of its request is not for the browser, least of
        // all the secret key, in whichever header it stands.
        let secret_key = self.secret_key.expose_secret().as_bytes();
        let named = [CLERK_SECRET_KEY, CLERK_PROXY_URL];
        let leaks: Vec<HeaderName> = headers
            .iter()
            .filter(|(name, value)| {
                let mut pieces = value.as_bytes().windows(secret_key.len());
                named.contains(name) || pieces.any(|piece| piece == secret_key)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in leaks {
            headers.remove(name);
        }
    }

    /// A redirect to the Frontend API as one to the proxy; any other as it is.
    fn rewritten(&self, location: &HeaderValue, proxy_url: &str) -> HeaderValue {
        let url = std::str::from_utf8(location.as_bytes())
            .ok()
            .and_then(|text| self.base.join(text).ok());
        let rest = url
            .as_ref()
            .filter(|url| self.is_here(url))
            .map(|url| &url[Position::BeforePath..]);
        rest.and_then(|rest| HeaderValue::try_from(format!("{proxy_url}{rest}")).ok())
            .unwrap_or_else(|| location.clone())
    }

    /// Whether an address has the Frontend API's host, by whichever scheme.
    fn is_here(&self, url: &Url) -> bool {
        matches!(url.scheme(), "http" | "https")
            && url.host_str() == self.base.host_str()
            && url.port() == self.base.port()
    }
}
