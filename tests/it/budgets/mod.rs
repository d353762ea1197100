//! Limits: the arithmetic, what is counted for whom, what answers say, and what nobody gets around.

mod arithmetic;
mod counts;
mod holders;
mod in_flight;
mod order;
mod store;

use crate::support::toml::written;
use crate::support::{Answer, World, WorldBuilder};

/// A world with the routes and limits of a text in TOML.
pub fn world_of(text: &str) -> WorldBuilder {
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
