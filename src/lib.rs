//! clerk-gate: an authenticating reverse proxy that gives any web application Clerk.
//!
//! The house has floors, and imports point downwards only:
//!
//! - 4: `cli`, `server`: arguments; build, bind, serve, drain.
//! - 3: `modes`, `admin`, `config`: a decision onto a wire; the operator's window; TOML, checked.
//! - 2: `gate`, `pages`: one snapshot per request and the ask/answer loop; pages of our own.
//! - 1: `clerk`, `store`, `upstream`, `rewrite`: the things that call other machines, what they answer,
//!   and what is counted.
//! - 0: `core`: the decision, pure. No async, no clock, no sockets.
//!
//! `clock`, `tls` and `telemetry` are wiring in the walls, unknown to the core. `standin` is an
//! annexe for development and tests, known to `cli` alone.

pub mod admin;
pub mod clerk;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod gate;
pub mod modes;
pub mod pages;
pub mod rewrite;
pub mod server;
#[cfg(feature = "dev")]
pub mod standin;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod upstream;
