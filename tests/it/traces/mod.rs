//! Traces: what is written down of a share of requests, where it goes, and that nobody is harmed by it.

mod context;
mod parts;
mod receiver;
mod troubles;

use clerk_gate::config::TracesConfig;
use clerk_gate::telemetry::traces::otlp::Span;
use clerk_gate::telemetry::traces::{Destination, Share};

use crate::budgets::world_of;
use crate::support::{World, WorldBuilder};
use receiver::{Manner, Receiver, attributes, hex};

/// Traces of this share of requests, to this receiver.
fn traces(receiver: &Receiver, share: f64) -> TracesConfig {
    let endpoint = format!("http://{}/v1/traces", receiver.address);
    TracesConfig {
        destination: Destination {
            endpoint: endpoint.parse().unwrap(),
            headers: vec![("x-key".parse().unwrap(), "hidden".into())],
            service: "gate-of-tests".to_owned(),
        },
        share: Share::of(share).unwrap(),
    }
}

const ROUTES: &str = r#"
[[route]]
name    = "public"
path    = "/public/**"
require = "public"

[[route]]
name    = "members"
path    = "/members/**"
require = "signed-in"

[[route]]
name    = "keys"
path    = "/keys/**"
require = { token = "api_key" }
"#;

/// A world with these routes and with traces.
fn traced(receiver: &Receiver, share: f64) -> WorldBuilder {
    let traces = traces(receiver, share);
    world_of(ROUTES).configure(move |config| config.traces = Some(Box::new(traces)))
}

/// The span of this name; there is one.
#[track_caller]
fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    match (found.next(), found.next()) {
        (Some(span), None) => span,
        _ => panic!("not one `{name}`: {spans:#?}"),
    }
}

/// The trace, the span and the flags that a request was sent with.
fn sent(traceparent: &str) -> (&str, &str, &str) {
    let mut parts = traceparent.split('-');
    let mut part = || parts.next().unwrap();
    assert_eq!(part(), "00");
    (part(), part(), part())
}
