//! Clerk's servers, as the gate calls them: keys, the Backend API, machine tokens, events.
//!
//! Knows nothing of requests or policy; answers questions of the gate.
pub mod backend;
pub mod browsers;
pub mod budget;
pub mod calls;
pub mod client;
pub mod jwks;
pub mod keys;
pub mod machines;
pub mod reach;
pub mod sessions;
pub mod webhooks;
