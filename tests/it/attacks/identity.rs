//! Headers and trailers with which a client claims to be somebody: none of them arrives.

use clerk_gate::core::identity_headers::{IDENTITY_HEADERS, MappedHeader};
use clerk_gate::core::policy::CredentialUse;
use clerk_gate::core::requirement::Requirement;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;

use super::{Case, assert_none, table};
use crate::support::http2::{Connection, full, with_trailers};
use crate::support::upstream::Received;
use crate::support::{World, raw, route, usual_routes};

/// The headers that claims are mapped to, and what they say of the member.
const MAPPED: [(&str, &str); 2] = [("remote-user", "mel@example.com"), ("x-team", "red")];

async fn world() -> World {
    let mut routes = usual_routes();
    let mut assets = route("assets", &["/assets/**"], Requirement::Public);
    assets.credentials = CredentialUse::Ignore;
    routes.push(assets);
    let mapped = ["email", "team"].into_iter().zip(MAPPED);
    let headers = mapped
        .map(|(claim, (name, _))| MappedHeader {
            name: HeaderName::from_static(name),
            claim: vec![claim.to_owned()],
        })
        .collect();
    World::with(routes)
        .configure(|config| {
            config.identity.headers = headers;
            config.http2.cleartext = true;
        })
        .start()
        .await
}

/// The request of a case; its lines stand in the head, or behind the body.
fn request(world: &World, case: &Case, target: &str, lines: &str) -> Vec<u8> {
    let port = world.gate.port();
    let head = format!("POST {target} HTTP/1.1\r\nhost: localhost:{port}\r\n{lines}");
    let mut bytes = head.into_bytes();
    if case.group == "trailers" {
        let line = String::from_utf8_lossy(&case.input);
        let name = line.split(':').next().unwrap();
        let framing = format!(
            "te: trailers\r\ntrailer: {name}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n4\r\nbody\r\n0\r\n"
        );
        bytes.extend_from_slice(framing.as_bytes());
        bytes.extend_from_slice(&case.input);
        bytes.extend_from_slice(b"\r\n\r\n");
    } else {
        bytes.extend_from_slice(&case.input);
        bytes.extend_from_slice(b"\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody");
    }
    bytes
}

/// What is wrong with what the upstream was told, if anything is.
fn lie(received: &Received, member: Option<&str>) -> Option<String> {
    let letters = |name: &str| name.replace(|sign: char| !sign.is_ascii_alphanumeric(), "");
    let ours: Vec<&str> = IDENTITY_HEADERS
        .iter()
        .map(HeaderName::as_str)
        .chain(MAPPED.map(|(name, _)| name))
        .collect();
    for (name, value) in received.headers.iter().chain(&received.trailers) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let alike = ours
            .iter()
            .any(|own| letters(own) == letters(name.as_str()));
        let own = ours.contains(&name.as_str()) && member.is_some();
        if value.contains("forged") || (alike && !own) {
            return Some(format!("the upstream sees {name}: {value}"));
        }
    }
    let told = [
        ("x-user-id", member),
        ("x-org-role", member.map(|_| "org:member")),
        ("x-token-type", member.map(|_| "session_token")),
    ];
    let mapped = MAPPED.map(|(name, value)| (name, member.map(|_| value)));
    told.into_iter().chain(mapped).find_map(|(name, value)| {
        let seen = received.header(name);
        (seen.as_deref() != value).then(|| format!("{name} is {seen:?}"))
    })
}

#[tokio::test]
async fn no_header_of_a_client_says_who_it_is() {
    let world = world().await;
    let mel = world.clerk.sign_in("mel", None);
    let claims = json!({ "email": MAPPED[0].1, "team": MAPPED[1].1 });
    let token = world.clerk.mint(&mel.session_id, &claims);
    let bearer = format!("authorization: Bearer {token}\r\n");
    let ways = [
        ("/public/x", "", None),
        ("/assets/x", &*bearer, None),
        ("/public/x", &*bearer, Some(&*mel.user_id)),
        ("/members", &*bearer, Some(&*mel.user_id)),
    ];
    let mut faults = Vec::new();
    for case in table("identity.txt", 150) {
        for (target, lines, member) in ways {
            let request = request(&world, &case, target, lines);
            let answer = raw(world.gate, &request).await;
            let received = world.upstream.take_received();
            let wanted = case.expected.parse().unwrap_or(200);
            let through = usize::from(wanted == 200);
            if answer.status.as_u16() != wanted || received.len() != through {
                faults.push(case.fault(format!("{} {}", answer.status, received.len())));
            }
            for received in &received {
                faults.extend(lie(received, member).map(|lie| case.fault(lie)));
                assert_eq!(received.target, target, "{}", case.line);
            }
            assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
    assert_none(&faults);
}

/// The lines of a case as HTTP/2 has them, if it can have them: in small letters, and none about the
/// connection.
fn in_http2(case: &Case) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in case.input.split(|byte| *byte == b'\n') {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
        if name == "connection" {
            return None;
        }
        headers.append(name, value);
    }
    Some(headers)
}

#[tokio::test]
async fn no_header_of_a_client_says_who_it_is_over_http_2_either() {
    let world = world().await;
    let mel = world.clerk.sign_in("mel", None);
    let claims = json!({ "email": MAPPED[0].1, "team": MAPPED[1].1 });
    let token = world.clerk.mint(&mel.session_id, &claims);
    let bearer: HeaderValue = format!("Bearer {token}").parse().unwrap();
    let mut faults = Vec::new();
    let (mut asked, mut left_out) = (0, 0);
    for case in table("identity.txt", 150) {
        // What is refused in HTTP/1.1 is refused for how its bytes are written.
        let headers = in_http2(&case).filter(|_| case.expected.is_empty());
        let Some(headers) = headers else {
            left_out += 1;
            continue;
        };
        let mut client = Connection::open(world.gate).await;
        for (target, member) in [("/public/x", None), ("/members", Some(&*mel.user_id))] {
            let mut request = client.request(Method::POST, target);
            if case.group == "trailers" {
                let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
                let names = names.join(", ").parse().unwrap();
                request.headers_mut().insert("trailer", names);
                *request.body_mut() = with_trailers(b"body", headers.clone());
            } else {
                request.headers_mut().extend(headers.clone());
                *request.body_mut() = full("body");
            }
            if member.is_some() {
                request
                    .headers_mut()
                    .insert("authorization", bearer.clone());
            }
            let answer = client.ask(request).await;
            let received = world.upstream.take_received();
            asked += 1;
            match received.as_slice() {
                [received] => faults.extend(lie(received, member).map(|lie| case.fault(lie))),
                _ => faults.push(case.fault(format!("{} {}", answer.status, received.len()))),
            }
        }
        client.ended.abort();
    }
    assert_none(&faults);
    println!("identity.txt over HTTP/2: {asked} asked, {left_out} cases left out");
    assert!(asked >= 200, "only {asked}");
}
