//! Clerk's servers, as the gate calls them: keys, the Backend API.
//!
//! Knows nothing of requests or policy; answers questions of the gate.
pub mod backend;
pub mod client;
pub mod jwks;
pub mod keys;
