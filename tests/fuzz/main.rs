//! What strangers send, changed at random for a bounded time, on the stable toolchain.
//!
//! Each target starts from the files of its folder in `corpus/` and from inputs made per run, and
//! keeps what makes the gate behave in a way that was not seen before. What must hold is written in
//! `tests/it/support/invariants.rs`, as for the properties. `FUZZ_SECONDS` is the time for all
//! targets together, `FUZZ_SEED` repeats a run as far as time allows. A finding is shown in its
//! shortest form: put it into the corpus, or better into a case of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    dead_code,
    reason = "a test that cannot go on says so by a panic, and not every target needs all there is"
)]

mod engine;
mod envoy;
mod proxy_header;
#[path = "../it/readers/mod.rs"]
mod readers;
#[path = "../it/support"]
mod support {
    pub mod invariants;
    pub mod pages;
    pub mod protected;
    pub mod pure;
}
mod targets;

use engine::fuzz;

#[test]
fn path() {
    fuzz("path", &targets::path, &[]);
}

#[test]
fn cookies() {
    fuzz("cookies", &targets::cookies, &[]);
}

#[test]
fn forwarded() {
    fuzz("forwarded", &targets::forwarded, &[]);
}

#[test]
fn token() {
    fuzz("token", &targets::token, &targets::tokens());
}

#[test]
fn jwks() {
    fuzz("jwks", &targets::jwks, &targets::key_sets());
}

#[test]
fn event() {
    fuzz("event", &targets::event, &[]);
}

#[test]
fn redirect() {
    fuzz("redirect", &targets::redirect, &[]);
}

#[test]
fn configuration() {
    fuzz(
        "configuration",
        &targets::configuration,
        &targets::configurations(),
    );
}

#[test]
fn decide() {
    fuzz("decide", &targets::decide, &[]);
}

#[test]
fn page() {
    fuzz("page", &targets::page, &[]);
}

#[test]
fn proxy_header() {
    let made = proxy_header::proxy_headers();
    fuzz("proxy_header", &proxy_header::proxy_header, &made);
}

#[test]
fn message() {
    fuzz("message", &envoy::message, &envoy::messages());
}

#[test]
fn told() {
    fuzz("told", &envoy::told, &[]);
}
