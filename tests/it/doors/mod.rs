//! Doors: gateways ask about requests that they have, and are told what the proxy would have done.

mod asking;
mod hosts;
mod limits;
mod paths;
mod recipes;
mod verdicts;

use std::net::SocketAddr;

use clerk_gate::core::door::Dialect;

use crate::support::{Answer, Call, World, raw};
use http::Method;

/// The address of a client, as gateways tell it.
pub const CLIENT: &str = "203.0.113.7";

/// What a gateway says of a request, in its own words.
pub fn said(dialect: Dialect, method: &str, uri: &str, host: &str) -> Vec<(String, String)> {
    let names = match dialect {
        Dialect::Nginx | Dialect::Haproxy => [
            "x-original-proto",
            "x-original-client",
            "x-original-method",
            "x-original-uri",
            "x-original-host",
        ],
        Dialect::Traefik | Dialect::Caddy => [
            "x-forwarded-proto",
            "x-forwarded-for",
            "x-forwarded-method",
            "x-forwarded-uri",
            "x-forwarded-host",
        ],
        Dialect::Envoy => ["x-original-proto", "x-original-client", "", "", "host"],
    };
    let values = ["http", CLIENT, method, uri, host];
    names
        .into_iter()
        .zip(values)
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The status that is answered to a question with this target and host in it, byte by byte.
async fn asked(
    world: &World,
    dialect: Dialect,
    (target, host): (&[u8], &[u8]),
    lines: &str,
) -> u16 {
    let mut bytes = match dialect {
        Dialect::Envoy => [b"GET /auth/envoy", target, b" HTTP/1.1\r\n"].concat(),
        _ => format!("GET {} HTTP/1.1\r\nhost: door\r\n", dialect.path()).into_bytes(),
    };
    for (name, value) in said(dialect, "GET", "{target}", "{host}") {
        bytes.extend_from_slice(format!("{name}: ").as_bytes());
        bytes.extend_from_slice(match value.as_str() {
            "{target}" => target,
            "{host}" => host,
            other => other.as_bytes(),
        });
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("connection: close\r\n{lines}\r\n").as_bytes());
    let answer = raw(world.doors.unwrap(), &bytes).await;
    match answer.header("x-clerk-gate-status") {
        Some(_) => status(dialect, &answer),
        None => answer.status.as_u16(),
    }
}

/// A question at a door, with these header lines of the gateway's.
pub fn question(
    doors: SocketAddr,
    dialect: Dialect,
    method: &str,
    uri: &str,
    said: &[(String, String)],
) -> Call {
    let (asked, target) = match dialect {
        Dialect::Envoy => (method, format!("{}{uri}", dialect.path())),
        _ => ("GET", dialect.path().to_owned()),
    };
    let method = Method::from_bytes(asked.as_bytes()).unwrap();
    let call = Call::new(doors, method, &target);
    said.iter()
        .fold(call, |call, (name, value)| call.header(name, value))
}

/// Asks about a request of `localhost`.
pub fn ask(world: &World, dialect: Dialect, method: &str, uri: &str) -> Call {
    let host = format!("localhost:{}", world.gate.port());
    let said = said(dialect, method, uri, &host);
    question(world.doors.unwrap(), dialect, method, uri, &said)
}

/// The status that the client sees: nginx is told it in a header.
pub fn status(dialect: Dialect, answer: &Answer) -> u16 {
    let status = answer.status.as_u16();
    if dialect != Dialect::Nginx || status == 200 {
        return status;
    }
    let told = answer.header("x-clerk-gate-status").unwrap();
    let real = told.parse().unwrap();
    assert_eq!(status, if real == 403 { 403 } else { 401 }, "{answer:?}");
    real
}

/// The code of a refusal, wherever its body is.
pub fn code(dialect: Dialect, answer: &Answer) -> String {
    if dialect != Dialect::Nginx {
        return answer.code();
    }
    let told = Answer {
        body: answer
            .header("x-clerk-gate-body")
            .unwrap_or_default()
            .to_owned(),
        headers: answer.headers.clone(),
        status: answer.status,
    };
    told.code()
}

/// The cookies that the browser gets, wherever they are.
pub fn cookies(answer: &Answer) -> Vec<String> {
    let numbered = (1..=8).filter_map(|number| {
        let name = format!("x-clerk-gate-set-cookie-{number}");
        answer.header(&name).map(str::to_owned)
    });
    let numbered = numbered.filter(|cookie| !cookie.is_empty());
    answer
        .all("set-cookie")
        .into_iter()
        .chain(numbered)
        .collect()
}
