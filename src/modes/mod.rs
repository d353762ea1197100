//! Ways to stand in front of an application: facts from a wire, a decision onto a wire.
//!
//! Modes decide nothing. They read a request into facts, let the gate decide, and write down what
//! it came to.

mod account;
pub mod answer_body;
mod asked;
mod call;
mod counter;
pub mod ext_authz;
pub mod forward_auth;
mod http2;
pub mod https_redirect;
pub mod live;
mod log_line;
mod own_answer;
pub mod proxy;
mod request_id;
mod serve;
