//! `clerk-gate explain`: why a request falls as it does.

use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::settings::Settings;
use super::{Ending, complain, hand_out, window};
use crate::admin::decisions::{NONE_KEPT, NOT_KEPT};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Environment};
use crate::core::decide::Inputs;
use crate::core::explain::{Act, Explanation, Rehearsal, Trust};
use crate::core::facts::{RequestFacts, WireRequest};
use crate::core::origin::Scheme;
use crate::core::persona::Sender;
use crate::core::policy::Policy;
use crate::core::reason::Reason;
use crate::gate::{Site, Snapshot};
use crate::server;

#[derive(Args, Debug)]
pub(super) struct Explain {
    /// The method, such as GET
    #[arg(required_unless_present = "request_id")]
    method: Option<Method>,
    /// The path with its query, or a whole address
    #[arg(required_unless_present = "request_id")]
    target: Option<Uri>,
    /// A request that a running gate has decided about, by the id in its log and in the answer
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new(), conflicts_with_all = [
        "method", "target", "sender", "cookie", "bearer", "headers", "program", "publishable_key",
        "upstream", "listen",
    ])]
    request_id: Option<String>,
    /// The admin listener of that gate
    #[arg(
        long,
        value_name = "URL",
        requires = "request_id",
        default_value = "http://127.0.0.1:9901"
    )]
    admin: Uri,
    /// As whom: `nobody`, `user_1,org:member,permission=org:x:read,plan=…,feature=…,verified=5m`, or
    /// `token=api_key,user_1,scope=…`
    #[arg(long = "as", value_name = "WHO", conflicts_with_all = ["cookie", "bearer"])]
    sender: Option<String>,
    /// With these cookies: the value of a `Cookie` header
    #[arg(long, value_name = "COOKIES", conflicts_with = "bearer")]
    cookie: Option<String>,
    /// With this token in the `Authorization` header
    #[arg(long, value_name = "TOKEN")]
    bearer: Option<String>,
    /// With this header, written `name: value`; may be repeated
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// As a program sends it, not as a browser opens a page
    #[arg(long)]
    program: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Explains on standard output. Nothing is asked of Clerk but its keys, and those only for a token.
pub(super) async fn explain(explain: &Explain, environment: &Environment) -> Ending {
    if let Some(id) = &explain.request_id {
        return recall(id, &explain.admin, explain.json).await;
    }
    let (Some(method), Some(target)) = (&explain.method, &explain.target) else {
        complain(
            "say which request: its method and its path, or `--request-id`",
            None,
        );
        return Ending::Misused;
    };
    let written = Written {
        method,
        target,
        explain,
    };
    let found = match explain.settings.load(environment) {
        Ok(found) => found,
        Err(ending) => return ending,
    };
    let clock = SystemClock;
    let snapshot = match server::snapshot(&found.config, &(Arc::new(clock) as _)) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            complain(&format!("{error:#}"), None);
            return Ending::Failed;
        }
    };
    let now_ms = clock.now_ms();
    let sender = explain.sender.as_deref().map(config::parse_persona);
    let asked = sender.transpose().and_then(|sender| {
        let headers = written.headers(sender.as_ref(), &snapshot, now_ms)?;
        Ok((sender, headers))
    });
    let (sender, headers) = match asked {
        Ok(asked) => asked,
        Err(why) => {
            complain(&why, None);
            return Ending::Misused;
        }
    };
    let trust = sender.as_ref().map_or(Trust::Nobody, Trust::Sender);
    let explained = |policy| written.rehearse(trust, &snapshot, policy, &headers, now_ms);
    let explanation = explained(&snapshot.policy).await;
    let shadow = match &snapshot.shadow {
        Some(shadow) => Some(explained(shadow.policy()).await),
        None => None,
    };
    let text = match (explain.json, shadow) {
        (false, None) => explanation.to_string(),
        (false, Some(shadow)) => {
            format!("{explanation}\nby the shadow policy, which is not enforced:\n\n{shadow}")
        }
        (true, shadow) => {
            let mut json = explanation.to_json();
            if let (Some(shadow), Some(whole)) = (shadow, json.as_object_mut()) {
                whole.insert("shadow".to_owned(), shadow.to_json());
            }
            format!("{json:#}\n")
        }
    };
    hand_out(text.as_bytes())
}

/// What a running gate keeps of a request of this id, explained by that gate.
async fn recall(id: &str, admin: &Uri, json: bool) -> Ending {
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let page = if json { "explain.json" } else { "explain" };
    let base = admin.to_string();
    let address = format!("{}/{page}?request-id={id}", base.trim_end_matches('/'));
    let why = match address.parse() {
        Ok(address) => match window::ask(&address).await {
            Ok((StatusCode::OK, text)) if json => return hand_out(&pretty(&text)),
            Ok((StatusCode::OK, text)) => return hand_out(&text),
            Ok((NONE_KEPT, _)) => {
                complain(
                    &format!("`{admin}` keeps no decisions"),
                    Some("its `[admin] decisions` is 0: it says how many of the last are kept"),
                );
                return Ending::Failed;
            }
            Ok((NOT_KEPT, _)) => {
                complain(
                    &format!("`{admin}` keeps no decision of this request id"),
                    Some(
                        "it may be too old: `[admin] decisions` says how many of the last are kept",
                    ),
                );
                return Ending::Failed;
            }
            Ok((status, _)) => format!("it answered {status}"),
            Err(why) => why,
        },
        Err(_) => "this is no `http` address".to_owned(),
    };
    let hint = "name the admin listener of the gate: `--admin http://127.0.0.1:9901`";
    complain(&format!("`{admin}` cannot be asked: {why}"), Some(hint));
    Ending::Failed
}

/// JSON for people; what is none, as it is.
fn pretty(text: &[u8]) -> Vec<u8> {
    let value: Result<serde_json::Value, _> = serde_json::from_slice(text);
    value.map_or_else(
        |_| text.to_vec(),
        |value| format!("{value:#}\n").into_bytes(),
    )
}

/// A request as it is written on the command line.
struct Written<'a> {
    method: &'a Method,
    target: &'a Uri,
    explain: &'a Explain,
}

impl Written<'_> {
    /// The headers of the request: those that are asked for over those that are usual.
    fn headers(
        &self,
        sender: Option<&Sender>,
        snapshot: &Snapshot,
        now_ms: u64,
    ) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, text: &str| {
            let value = HeaderValue::from_str(text)
                .map_err(|_| format!("the value of `{name}` is no legal header text"))?;
            headers.insert(name, value);
            Ok::<_, String>(())
        };
        let host = match self.target.authority() {
            Some(authority) => authority.to_string(),
            None => snapshot.edge.usual_host(),
        };
        set(HOST, &host)?;
        if !self.explain.program {
            set(ACCEPT, "text/html")?;
            set(HeaderName::from_static("sec-fetch-dest"), "document")?;
            set(HeaderName::from_static("sec-fetch-mode"), "navigate")?;
        }
        if let Some(cookie) = &self.explain.cookie {
            set(COOKIE, cookie)?;
        }
        if let Some(token) = &self.explain.bearer {
            set(AUTHORIZATION, &format!("Bearer {token}"))?;
        }
        for line in &self.explain.headers {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| format!("`--header {line}` is not `name: value`"))?;
            let name = HeaderName::try_from(name.trim())
                .map_err(|_| format!("`{name}` is no header name"))?;
            set(name, value.trim())?;
        }
        if let Some(site) = self.site(snapshot, &headers)
            && let Some(token) = sender.and_then(|sender| sender.bearer(&site.instance, now_ms))
            && !headers.contains_key(AUTHORIZATION)
        {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| "this sender cannot have a token".to_owned())?;
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    /// The site that a request with these headers belongs to, if any does.
    fn site<'s>(&self, snapshot: &'s Snapshot, headers: &HeaderMap) -> Option<&'s Site> {
        let facts = RequestFacts::read(self.wire(headers), &snapshot.edge).ok()?;
        snapshot.site(facts.site)
    }

    fn wire<'w>(&'w self, headers: &'w HeaderMap) -> WireRequest<'w> {
        WireRequest {
            method: self.method,
            target: self.target,
            version: Version::HTTP_11,
            headers,
            peer: [127, 0, 0, 1].into(),
            scheme: Scheme::Http,
        }
    }

    async fn rehearse(
        &self,
        trust: Trust<'_>,
        snapshot: &Snapshot,
        policy: &Policy,
        headers: &HeaderMap,
        now_ms: u64,
    ) -> Explanation {
        let wire = self.wire(headers);
        let unreadable =
            |reason| Explanation::of_unreadable(self.method.as_str(), self.target.path(), reason);
        let facts = match RequestFacts::read(wire, &snapshot.edge) {
            Ok(facts) => facts,
            Err(reason) => return unreadable(reason),
        };
        let Some(site) = snapshot.site(facts.site) else {
            return unreadable(Reason::HostNotServed);
        };
        let inputs = Inputs {
            facts: &facts,
            instance: &site.instance,
            policy,
            headers: &snapshot.headers,
            pages_prefix: &snapshot.pages_prefix,
            webhooks: snapshot.webhooks(),
            now_ms,
        };
        let mut rehearsal = Rehearsal::new(inputs, trust);
        loop {
            let slot = match rehearsal.go_on() {
                Act::Verdict(verdict) => {
                    return Explanation {
                        site: snapshot.edge.site_name(facts.site),
                        ..rehearsal.explain(&verdict)
                    };
                }
                Act::Signature(slot) => slot,
            };
            let signature = match rehearsal.token(slot) {
                Some((raw, token)) => site.keys.check(raw, token).await.0,
                None => crate::core::verify::Signature::Bad,
            };
            rehearsal.answer(slot, signature);
        }
    }
}
