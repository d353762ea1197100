//! Limits: the arithmetic, what is counted for whom, what answers say, and what nobody gets around.

mod arithmetic;
mod counts;
mod holders;
mod in_flight;
mod order;
mod store;

use std::io;

use clerk_gate::config::{self, Colour, Config, Environment, Source, Surroundings};

use crate::support::{Answer, World, WorldBuilder};

/// What a text in TOML says, with an instance and an upstream that do not matter.
fn written(text: &str) -> Config {
    let text = format!(
        "clerk.publishable-key = \"pk_test_Y2xlcmsuZXhhbXBsZS5jb20k\"\n\
         clerk.secret-key = \"sk_test_0000000000000000000000000000\"\n\
         upstream.url = \"http://127.0.0.1:3000\"\n{text}"
    );
    let surroundings = Surroundings {
        environment: &Environment::default(),
        flags: &[],
        files: &|_| Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    match config::load(&Source::new("limits.toml", text), &surroundings) {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{}", report.render(Colour::Plain)),
    }
}

/// A world with the routes and limits of a text in TOML.
fn world_of(text: &str) -> WorldBuilder {
    let written = written(text);
    World::with(Vec::new()).configure(move |config| config.policy = written.policy)
}

/// A world with one public route, `/**`, that has this limit.
async fn public(limit: &str) -> World {
    let text = format!(
        "[[route]]\nname = \"all\"\npath = \"/**\"\nrequire = \"public\"\nlimit = {limit}\n"
    );
    world_of(&text).start().await
}

/// The status and the code of an answer.
fn outcome(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.code())
}

/// What a refused program gets.
fn limited() -> (u16, String) {
    (429, "rate-limited".to_owned())
}
