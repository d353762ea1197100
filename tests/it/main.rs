//! Everything that is tested through the surface of the library and of the program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test that cannot go on says so by a panic, and nothing outside uses this crate"
)]

mod answers;
mod attacks;
mod budgets;
mod clerk_failures;
mod cli;
mod cli_doctor;
mod cli_init;
mod cli_shell;
mod config;
mod continuity;
mod decisions;
mod docs;
mod doors;
mod early_hints;
mod ended;
mod ext_authz;
mod forwarding;
mod frontend_api;
mod gate;
mod grpc;
mod house;
mod http2;
mod identity;
mod injection;
mod keys;
mod limits;
mod live;
mod machines;
mod metrics;
mod minting;
mod ordinary;
mod prefixes;
mod properties;
mod readers;
mod recorded;
mod recorded_http;
mod reload;
mod renewal;
mod ride_through;
mod robust;
mod satellites;
mod secrets;
mod session_pages;
mod sessions;
mod shadow;
mod signed_assertion;
mod sites;
mod sockets;
mod step_up;
mod streaming;
mod strictest;
mod support;
mod tls;
mod traces;
mod upstream_connections;
mod upstream_http2;
mod upstreams;
mod webhooks;
mod websocket_origins;
