//! Configurations as they stand in a file.

use std::io;

use clerk_gate::config::{self, Colour, Config, Environment, Source, Surroundings};

use super::pure::NOW_MS;

/// What a text in TOML says, with an instance and an upstream that do not matter.
pub fn written(text: &str) -> Config {
    let text = format!(
        "clerk.publishable-key = \"pk_test_Y2xlcmsuZXhhbXBsZS5jb20k\"\n\
         clerk.secret-key = \"sk_test_0000000000000000000000000000\"\n\
         upstream.url = \"http://127.0.0.1:3000\"\n{text}"
    );
    let surroundings = Surroundings {
        environment: &Environment::default(),
        flags: &[],
        files: &|_| Err(io::Error::from(io::ErrorKind::NotFound)),
        now_ms: NOW_MS,
    };
    match config::load(&Source::new("gate.toml", text), &surroundings) {
        Ok(loaded) => loaded.config,
        Err(report) => panic!("{}", report.render(Colour::Plain)),
    }
}
