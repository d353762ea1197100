//! `[[test]]`: what the policy is meant to do, said beside it and checked with it.

use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::persona;
use super::report::{Place, Problem, Problems};
use super::section::{Placed, Section};
use super::shape::Shape;
use crate::core::decide::{Inputs, Webhooks};
use crate::core::edge::Edge;
use crate::core::explain::{Act, Explanation, Outcome, Rehearsal, Trust};
use crate::core::facts::{RequestFacts, WireRequest};
use crate::core::identity_headers::HeaderPlan;
use crate::core::instance::Instance;
use crate::core::origin::Scheme;
use crate::core::persona::Sender;
use crate::core::policy::Policy;
use crate::core::reason::Reason;
use crate::core::verify::Signature;

/// The moment at which assertions are judged, in milliseconds since the epoch. Any would do.
const NOW_MS: u64 = 1_750_000_000_000;

/// One assertion.
pub(super) struct Assertion {
    request: Placed<(Method, Uri)>,
    sender: Sender,
    navigation: bool,
    expect: Option<Placed<Outcome>>,
    route: Option<Placed<String>>,
    reason: Option<Placed<String>>,
}

/// What assertions are checked against.
pub(super) struct World<'w> {
    /// Those of the sites, in their order.
    pub(super) instances: Vec<&'w Instance>,
    pub(super) policy: &'w Policy,
    pub(super) edge: &'w Edge,
    pub(super) headers: &'w HeaderPlan,
    pub(super) pages_prefix: &'w str,
    pub(super) webhooks: Webhooks,
}

/// Reads every `[[test]]`. What cannot be read has been reported.
pub(super) fn read(sections: Vec<Section<'_>>) -> Vec<Assertion> {
    sections.into_iter().filter_map(assertion).collect()
}

fn assertion(mut section: Section<'_>) -> Option<Assertion> {
    let (problems, place) = (section.problems(), section.place().clone());
    let has_request = section.has_needed("request");
    let asserts = ["expect", "route", "reason"]
        .iter()
        .any(|key| section.has(key));
    let request = section.parsed("request", request_line);
    let sender = match section.node("as", persona::shape()) {
        Some(node) => persona::read(node, problems),
        None => Some(Sender::Nobody),
    };
    let words: Vec<(&str, Outcome)> = Outcome::ALL
        .iter()
        .map(|outcome| (outcome.as_str(), *outcome))
        .collect();
    let expect = section.choice("expect", &words);
    let route = section.text("route");
    let codes = Shape::words(Reason::ALL.iter().map(|reason| reason.code()));
    let reason = section.shaped("reason", codes, |text| {
        if Reason::ALL.iter().any(|reason| reason.code() == text) {
            Ok(text.to_owned())
        } else {
            Err("there is no such reason; `docs/reference/reasons.md` lists them".to_owned())
        }
    });
    let navigation = section.flag("navigation");
    if !has_request {
        problems.add(
            Problem::error(&place, "a test needs `request`")
                .hint("write `request = \"GET /admin\"`"),
        );
    }
    if !asserts {
        problems.add(
            Problem::error(&place, "a test needs `expect`, `route` or `reason`")
                .hint("write `expect = \"forbidden\"`"),
        );
    }
    section.finish();
    Some(Assertion {
        request: request?,
        sender: sender?,
        navigation: navigation.is_some_and(|flag| flag.value),
        expect,
        route,
        reason,
    })
}

/// `GET /admin/x`, or with a whole address.
fn request_line(text: &str) -> Result<(Method, Uri), String> {
    let form = || "it is a method and a path, such as `GET /admin/x`".to_owned();
    let (method, target) = text.split_once(' ').ok_or_else(form)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| form())?;
    let target: Uri = target.trim().parse().map_err(|_| form())?;
    if method.as_str().bytes().any(|b| !b.is_ascii_uppercase()) || !target.path().starts_with('/') {
        return Err(form());
    }
    Ok((method, target))
}

/// Runs the assertions. Each that does not hold is an error that says what was found.
pub(super) fn run(assertions: &[Assertion], world: &World<'_>, problems: &Problems) {
    for assertion in assertions {
        let found = assertion.explanation(world);
        let (method, target) = &assertion.request.value;
        let who = persona::described(&assertion.sender);
        let complain = |place: &Place, expected: &str, what: &str| {
            let mut problem = Problem::error(
                place,
                format!("`{method} {target}` as {who}: expected {expected}, found {what}"),
            );
            if let Some(route) = &found.route {
                let readings: Vec<String> = found
                    .readings
                    .iter()
                    .map(|line| format!(", and of `{}` by the {} reading", line.route, line.kind))
                    .collect();
                problem =
                    problem.label(format!("a matter of route `{route}`{}", readings.concat()));
            }
            if let Some(reason) = &found.reason {
                problem = problem.hint(format!("the reason found is `{reason}`"));
            }
            problems.add(problem);
        };
        if let Some(expect) = &assertion.expect
            && expect.value != found.outcome
        {
            complain(
                &expect.place,
                &format!("`{}`", expect.value.as_str()),
                &format!("`{}`", found.outcome.as_str()),
            );
        }
        if let Some(route) = &assertion.route
            && found.route.as_ref() != Some(&route.value)
        {
            let what = match &found.route {
                Some(other) => format!("`{other}`"),
                None => "a page of the gate".to_owned(),
            };
            complain(&route.place, &format!("route `{}`", route.value), &what);
        }
        if let Some(reason) = &assertion.reason {
            let code = found.reason.as_deref().unwrap_or("none");
            let code = code.split("-refresh-").next().unwrap_or(code);
            if code != reason.value {
                complain(
                    &reason.place,
                    &format!("reason `{}`", reason.value),
                    &format!("`{code}`"),
                );
            }
        }
    }
}

impl Assertion {
    fn explanation(&self, world: &World<'_>) -> Explanation {
        let (method, target) = &self.request.value;
        let headers = self.headers(world);
        let unreadable =
            |reason| Explanation::of_unreadable(method.as_str(), &target.to_string(), reason);
        let facts = match RequestFacts::read(self.wire(&headers), world.edge) {
            Ok(facts) => facts,
            Err(reason) => return unreadable(reason),
        };
        let Some(instance) = world.instances.get(facts.site) else {
            return unreadable(Reason::HostNotServed);
        };
        let inputs = Inputs {
            facts: &facts,
            instance,
            policy: world.policy,
            headers: world.headers,
            pages_prefix: world.pages_prefix,
            webhooks: world.webhooks,
            now_ms: NOW_MS,
        };
        let mut rehearsal = Rehearsal::new(inputs, Trust::Sender(&self.sender));
        loop {
            match rehearsal.go_on() {
                Act::Verdict(verdict) => return rehearsal.explain(&verdict),
                Act::Signature(slot) => rehearsal.answer(slot, Signature::Bad),
            }
        }
    }

    fn headers(&self, world: &World<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        let host = match self.request.value.1.authority() {
            Some(authority) => authority.to_string(),
            None => world.edge.usual_host(),
        };
        set(HOST, &host);
        if self.navigation {
            set(ACCEPT, "text/html");
            set(HeaderName::from_static("sec-fetch-dest"), "document");
            set(HeaderName::from_static("sec-fetch-mode"), "navigate");
        }
        if let Ok(facts) = RequestFacts::read(self.wire(&headers), world.edge)
            && let Some(instance) = world.instances.get(facts.site)
            && let Some(token) = self.sender.bearer(instance, NOW_MS)
            && let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            headers.insert(AUTHORIZATION, value);
        }
        headers
    }

    fn wire<'w>(&'w self, headers: &'w HeaderMap) -> WireRequest<'w> {
        let (method, target) = &self.request.value;
        WireRequest {
            method,
            target,
            version: Version::HTTP_11,
            headers,
            peer: [127, 0, 0, 1].into(),
            scheme: Scheme::Http,
        }
    }
}
