//! clerk-gate: an authenticating reverse proxy that gives any web application Clerk.
//!
//! The house has floors, and imports point downwards only:
//!
//! - `core`: the decision, pure. No async, no clock, no sockets.
//! - `clerk`: the things that call other machines.
//!
//! `clock` and `tls` are wiring in the walls, known to every floor but the core.

pub mod admin;
pub mod clerk;
pub mod clock;
pub mod config;
pub mod core;
pub mod gate;
pub mod modes;
pub mod pages;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod upstream;
