//! What each metric is called, which labels it has, and what it says.

use crate::telemetry::exposition::Described;

const fn described<const N: usize>(
    name: &'static str,
    labels: [&'static str; N],
    help: &'static str,
) -> Described<N> {
    Described { name, help, labels }
}

pub(super) const BUILD: Described<1> = described(
    "clerk_gate_build_info",
    ["version"],
    "Always 1, with the version of the program",
);
pub(super) const GENERATION: Described<0> = described(
    "clerk_gate_config_generation",
    [],
    "The number of the configuration in force: 1 at the start, more with each that takes its place",
);
pub(super) const REJECTED: Described<0> = described(
    "clerk_gate_rejected_configs",
    [],
    "Configurations that were read while the gate ran and not taken, for a fault in them",
);
pub(super) const DECISIONS: Described<3> = described(
    "clerk_gate_decisions",
    ["route", "decision", "reason"],
    "Requests, by what was decided, why, and on which route",
);
pub(super) const REQUESTS: Described<2> = described(
    "clerk_gate_requests",
    ["mode", "status"],
    "Requests, by how they came and with which status they were answered",
);
pub(super) const VERDICTS: Described<1> = described(
    "clerk_gate_verdict_seconds",
    ["mode"],
    "How long verdicts took, calls to Clerk included",
);
pub(super) const UPSTREAM: Described<1> = described(
    "clerk_gate_upstream_seconds",
    ["route"],
    "How long the application took to begin its answers",
);
pub(super) const SERVER_REQUESTS: Described<3> = described(
    "clerk_gate_upstream_requests",
    ["upstream", "server", "outcome"],
    "Requests to servers of the application, by what came of them",
);
pub(super) const SERVER_TIMES: Described<2> = described(
    "clerk_gate_upstream_server_seconds",
    ["upstream", "server"],
    "How long servers of the application took to begin their answers",
);
pub(super) const SERVER_IN_FLIGHT: Described<2> = described(
    "clerk_gate_upstream_in_flight",
    ["upstream", "server"],
    "Requests that servers of the application have at the moment, tunnels among them",
);
pub(super) const SERVER_OPEN: Described<2> = described(
    "clerk_gate_upstream_open",
    ["upstream", "server"],
    "1 where a server is given requests, 0 where it is left out",
);
pub(super) const SERVER_EJECTIONS: Described<2> = described(
    "clerk_gate_upstream_ejections",
    ["upstream", "server"],
    "How often servers of the application were left out for requests that failed",
);
pub(super) const SERVER_CHECKS: Described<3> = described(
    "clerk_gate_upstream_checks",
    ["upstream", "server", "outcome"],
    "Checks of the health of servers of the application",
);
pub(super) const RELAY: Described<0> = described(
    "clerk_gate_relay_seconds",
    [],
    "How long Clerk's Frontend API took to begin the answers that were relayed",
);
pub(super) const REFRESHES: Described<1> = described(
    "clerk_gate_failed_refreshes",
    ["detail"],
    "Requests whose expired session was not refreshed, by the detail of the reason",
);
pub(super) const RIDES: Described<1> = described(
    "clerk_gate_ride_throughs",
    ["route"],
    "Requests of sessions that rode through an outage of Clerk's, by route",
);
pub(super) const SHADOW: Described<2> = described(
    "clerk_gate_shadow_verdicts",
    ["outcome", "shadow"],
    "Requests that a shadow policy has judged, by what becomes of them and what would",
);
pub(super) const CALLS: Described<2> = described(
    "clerk_gate_clerk_calls",
    ["purpose", "outcome"],
    "Calls of the gate's own to Clerk, by what they were for and what came of them",
);
pub(super) const CALL_TIMES: Described<1> = described(
    "clerk_gate_clerk_call_seconds",
    ["purpose"],
    "How long these calls took, to the last byte",
);
pub(super) const BUDGET: Described<1> = described(
    "clerk_gate_clerk_budget_calls",
    ["site"],
    "Calls to the Backend API that could be made at once",
);
pub(super) const CACHES: Described<2> = described(
    "clerk_gate_cache_lookups",
    ["cache", "outcome"],
    "Tokens that were looked up among those already known",
);
pub(super) const KEYS: Described<1> = described(
    "clerk_gate_keys",
    ["site"],
    "Keys at hand that verify session tokens",
);
pub(super) const KEY_AGE: Described<1> = described(
    "clerk_gate_keys_age_seconds",
    ["site"],
    "How long ago these keys were fetched",
);
pub(super) const LIMITS: Described<2> = described(
    "clerk_gate_limit_charges",
    ["limit", "outcome"],
    "Requests that were charged to a limit, by what came of it",
);
pub(super) const CONNECTIONS: Described<1> = described(
    "clerk_gate_connections",
    ["listener"],
    "Connections that are open, tunnels among them",
);
pub(super) const ACCEPTED: Described<1> = described(
    "clerk_gate_accepted_connections",
    ["listener"],
    "Connections that were accepted",
);
pub(super) const SPOKEN: Described<2> = described(
    "clerk_gate_protocol_connections",
    ["protocol", "tls"],
    "Connections to the application that are open, by what is spoken",
);
pub(super) const EVER_SPOKEN: Described<2> = described(
    "clerk_gate_accepted_protocol_connections",
    ["protocol", "tls"],
    "Connections to the application that were accepted, by what is spoken",
);
pub(super) const CERTIFICATES: Described<2> = described(
    "clerk_gate_certificate_expiry_timestamp_seconds",
    ["certificate", "name"],
    "When certificates that clients are shown expire, in seconds since the epoch",
);
pub(super) const MOST_CONNECTIONS: Described<0> = described(
    "clerk_gate_connections_limit",
    [],
    "Connections that each listener has open at most",
);
pub(super) const TUNNELS: Described<0> =
    described("clerk_gate_tunnels", [], "WebSockets that are open");
pub(super) const LIVE: Described<0> = described(
    "clerk_gate_live_connections",
    [],
    "WebSockets, streams and long answers that are bound to a session or a machine",
);
pub(super) const LIVE_OWNERS: Described<0> = described(
    "clerk_gate_live_owners",
    [],
    "Sessions and machines that these are bound to",
);
pub(super) const SPANS: Described<1> = described(
    "clerk_gate_spans",
    ["outcome"],
    "Spans of traces, by what became of them",
);
pub(super) const INJECTIONS: Described<1> = described(
    "clerk_gate_injections",
    ["outcome"],
    "Pages that clerk-js was to be put into, by what became of them",
);
