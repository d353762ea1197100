//! The version in the line of a request.

use clerk_gate::core::door::Dialect;

use super::world_with;
use crate::doors;
use crate::support::http2::Connection;
use crate::support::{log, raw};

#[tokio::test]
async fn the_line_of_a_request_has_the_version_that_it_came_in() {
    let world = world_with(crate::support::WorldBuilder::with_doors).await;
    let (log, _listening) = log::listen();
    let port = world.gate.port();
    let host = format!("host: localhost:{port}\r\n");
    let mut connection = Connection::open(world.gate).await;
    let mut protocols = Vec::new();
    for (target, request) in [
        ("/public/x", None),
        ("/public/x", Some("HTTP/1.1")),
        ("/public/x", Some("HTTP/1.0")),
        // What cannot be read has come in a version all the same.
        ("/%zz", Some("HTTP/1.1")),
        ("/%zz", None),
    ] {
        let before = log.text().len();
        match request {
            None => {
                connection.ask(connection.get(target)).await;
            }
            Some(version) => {
                let lines = format!("{host}connection: close\r\n");
                let request = format!("GET {target} {version}\r\n{lines}\r\n");
                raw(world.gate, request.as_bytes()).await;
            }
        }
        let said = log.text().split_off(before);
        protocols.push(protocol(&said));
    }
    let expected = ["h2", "http/1.1", "http/1.0", "http/1.1", "h2"];
    assert_eq!(protocols, expected.map(|name| Some(name.to_owned())));
    // A gateway tells of somebody else's request, and not in what it came.
    let before = log.text().len();
    let door = doors::ask(&world, Dialect::Traefik, "GET", "/public/x");
    assert_eq!(door.send().await.status, 200);
    assert_eq!(protocol(&log.text().split_off(before)), None);
}

/// What the only line of a request among these says of its version.
fn protocol(said: &str) -> Option<String> {
    let lines = said.lines();
    let lines: Vec<&str> = lines
        .filter(|line| line.contains("clerk_gate::access"))
        .collect();
    let [line] = lines[..] else {
        panic!("{lines:?}");
    };
    let (_, rest) = line.split_once(" protocol=\"")?;
    Some(rest.split('"').next().unwrap().to_owned())
}
